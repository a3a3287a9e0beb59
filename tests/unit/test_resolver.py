"""DNS with dnspython against a server that answers as broken and hostile ones do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import dns.resolver
import pytest

from sysmail.errors import HostError
from sysmail.host import resolver as module
from sysmail.host.machine import Machine
from sysmail.host.port import ABSENT, FOUND, NOTHING, UNANSWERED
from sysmail.host.resolver import LiveResolver
from unit.odd_dns import OddDns


@pytest.fixture
def server() -> Iterator[OddDns]:
    with OddDns() as running:
        yield running


def _asking(server: OddDns, patch: pytest.MonkeyPatch, patience: float) -> LiveResolver:
    """A resolver that asks the odd server; ``patience`` are seconds for each try of a question."""
    patch.setattr(module, "QUESTION_SECONDS", 3 * patience)
    patch.setattr(module, "TRY_SECONDS", patience)
    plain = dns.resolver.Resolver(configure=False)
    plain.nameservers, plain.port = [server.address], server.port
    patch.setattr("dns.resolver.Resolver", lambda: plain)
    return LiveResolver(60)


@pytest.fixture
def resolver(server: OddDns, monkeypatch: pytest.MonkeyPatch) -> LiveResolver:
    """For questions that are answered: a busy machine has the time it needs."""
    return _asking(server, monkeypatch, 30.0)


@pytest.fixture
def impatient(server: OddDns, monkeypatch: pytest.MonkeyPatch) -> LiveResolver:
    """For questions that never are."""
    return _asking(server, monkeypatch, 0.3)


def test_an_answer(resolver: LiveResolver, server: OddDns) -> None:
    """The strings of a record are one text; a name without such records is there."""
    answer = resolver.lookup("Fine.Odd.Test.", "TXT")
    assert (answer.status, answer.values) == (FOUND, ("v=spf1 +all",))
    assert resolver.lookup("fine.odd.test", "A").status == NOTHING
    assert resolver.lookup("no.such.test", "A").status == ABSENT
    assert {way for _, _, way in server.asked} == {"udp"}


def test_truncated_answers_are_asked_for_again(resolver: LiveResolver, server: OddDns) -> None:
    """What did not fit into a datagram is asked for over TCP, however long it is."""
    assert resolver.lookup("truncated.odd.test", "TXT").values == ("v=spf1 +all",)
    assert [way for _, _, way in server.asked] == ["udp", "tcp"]
    huge = resolver.lookup("huge.odd.test", "TXT")
    assert len(huge.values[0]) == 60_000


@pytest.mark.parametrize(
    "name", ["silent", "servfail", "refused", "garbage", "liar.fine", "stuck.fine", "loop"]
)
def test_no_answer_is_unanswered(impatient: LiveResolver, name: str) -> None:
    """Silence, errors, bytes that are no DNS, a false id, a dead TCP port, a loop: nobody knows."""
    answer = impatient.lookup(f"{name}.odd.test", "TXT")
    assert answer.status == UNANSWERED
    assert answer.why
    assert len(answer.why) <= 160


@pytest.mark.parametrize(
    "name", ["x" * 64 + ".test", "a..test", "a." * 130 + "test", "\u20ac.test", ""]
)
def test_names_that_cannot_be(resolver: LiveResolver, server: OddDns, name: str) -> None:
    """A text that is no name does not exist, and nobody is asked."""
    assert resolver.lookup(name, "TXT").status == ABSENT
    assert [asked for asked in server.asked if asked[0] != "."] == []


def test_backslashes_are_no_escapes(resolver: LiveResolver, server: OddDns) -> None:
    """A macro may bring any character into a name: it is asked for as it is."""
    resolver.lookup("a\\046b.odd.test", "TXT")
    assert server.asked[0][0] == "a\\\\046b.odd.test."


def test_odd_bytes_are_kept(resolver: LiveResolver) -> None:
    """A byte of a record is a character, whatever it is."""
    text = resolver.lookup("bytes.odd.test", "TXT").values[0]
    assert text.startswith("v=spf1 \xff\xfe\x00\x1b[2J\n")


@pytest.mark.usefixtures("resolver")
def test_time_is_over(server: OddDns) -> None:
    """Once questions have taken all the time there is, no more is sent; other waits count not."""
    ticks = iter([0.0, 6.0, 100.0, 105.0, 106.0])
    late = LiveResolver(10, clock=lambda: next(ticks))
    assert late.lookup("fine.odd.test", "TXT").status == FOUND
    assert late.lookup("fine.odd.test", "TXT").status == FOUND
    answer = late.lookup("fine.odd.test", "TXT")
    assert (answer.status, "time" in answer.why) == (UNANSWERED, True)
    assert len(server.asked) == 2


def test_without_dnspython(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library is missing, the error says how to get it."""
    monkeypatch.setitem(sys.modules, "dns.resolver", None)
    with pytest.raises(HostError) as caught:
        Machine().resolver(1)
    assert caught.value.code == "dnspython-missing"
    assert "python3-dnspython" in caught.value.remedy
    assert "pip install 'sysmail[deliverability]'" in caught.value.remedy


def test_without_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A resolv.conf that cannot be read makes every question unanswered."""
    real = dns.resolver.Resolver
    monkeypatch.setattr("dns.resolver.Resolver", lambda: real(str(tmp_path / "none")))
    answer = LiveResolver(1).lookup("example.org", "A")
    assert (answer.status, "resolv.conf" in answer.why) == (UNANSWERED, True)


def test_the_way_out() -> None:
    """The kernel says which address is used, and why a connection does not come about."""
    machine = Machine()
    assert machine.source_address("127.0.0.9") == "127.0.0.1"
    assert machine.source_address("255.255.255.255") == ""
    with OddDns() as server:
        assert machine.connection_trouble("127.0.0.1", server.port) == ""
        port = server.port
    assert machine.connection_trouble("127.0.0.1", machine.free_port()) == "Connection refused"
    assert port > 0
