"""What is around the relay and breaks a promise: DNS, port 25 outbound, the disk of the queue."""

from __future__ import annotations

from typing import Callable

import pytest

from sysmail.commands import prove
from sysmail.host.port import ABSENT, NOTHING, UNANSWERED, Answer, Room
from sysmail.report import FAIL, PASS, Verdict
from unit.fake_debian import FakeDebian
from unit.test_prove import applied

QUEUE = "/var/spool/postfix"
Break = Callable[[FakeDebian], object]


def verdicts(host: FakeDebian) -> dict[str, Verdict]:
    return {v.check: v for v in prove.run(host, "", {}).verdicts}


def exchanger(*values: str, status: str = "found", why: str = "") -> Break:
    def answer(host: FakeDebian) -> None:
        host.mx = Answer(status, values, why)

    return answer


def closed(host: FakeDebian) -> None:
    host.reached.clear()
    host.troubles["mx.example.org"] = "no answer in 5 s"


@pytest.mark.parametrize(
    ("break_it", "evidence", "remedy"),
    [
        (exchanger(status=UNANSWERED, why="192.0.2.1 does not answer"), "192.0.2.1", "resolv.conf"),
        (exchanger(status=ABSENT), "there is no domain example.com", "set admin"),
        (exchanger("0 "), "example.com says so", "set admin"),
        (closed, "mx.example.org port 25: no answer in 5 s", "let port 25 leave"),
        (exchanger(status=NOTHING), "example.com port 25", "let port 25 leave"),
        (exchanger("10 a.example", "20 b.example", "30 mx.example.org"), "b.example", "port 25"),
    ],
)
def test_direct_mail_cannot_leave(break_it: Break, evidence: str, remedy: str) -> None:
    """With next hop direct the way to admin's exchangers is looked at."""
    host = applied()
    assert verdicts(host)["verified-next-hop"].status == PASS
    break_it(host)
    found = verdicts(host)["verified-next-hop"]
    assert found.status == FAIL
    assert evidence in found.evidence
    assert remedy in found.remedy


def test_second_exchanger_will_do() -> None:
    """One that is down is what the others are for."""
    host = applied()
    exchanger("10 down.example", "20 mx.example.org")(host)
    assert verdicts(host)["verified-next-hop"].status == PASS


@pytest.mark.parametrize(
    ("room", "evidence", "remedy"),
    [
        (Room(1, 2**20), "1024 kB free", f"`df -h {QUEUE}`"),
        (Room(1, 10**12, inodes=3), "room for 3 more files", f"`df -i {QUEUE}`"),
        (Room(1, 10**12, read_only=True), "mounted read-only", f"`mount -o remount,rw {QUEUE}`"),
    ],
)
def test_disk_of_the_queue(room: Room, evidence: str, remedy: str) -> None:
    """Accepted mail has to be written down somewhere."""
    host = applied()
    assert verdicts(host)["nothing-lost"].status == PASS
    host.rooms[QUEUE] = room
    found = verdicts(host)["nothing-lost"]
    assert found.status == FAIL
    assert evidence in found.evidence
    assert remedy in found.remedy


def test_stopped_relay_with_a_full_disk() -> None:
    """To apply once more would not start it: the disk is what is told."""
    host = applied()
    host._stop()
    host.rooms[QUEUE] = Room(1, 10**12, read_only=True)
    found = verdicts(host)["loopback-only"]
    assert "does not run: the file system" in found.evidence
    assert "remount" in found.remedy


def test_packet_filter_before_loopback() -> None:
    """Where Postfix listens and nobody can connect, something stands in between."""
    host = applied()
    assert verdicts(host)["local-clients"].status == PASS
    server, connect = host.server, host.can_connect
    host.server = (  # type: ignore[method-assign]
        lambda address, port, source: None if address == "::1" else server(address, port, source)
    )
    host.can_connect = (  # type: ignore[method-assign]
        lambda address, port, source="", timeout=3.0: (
            address != "::1" and connect(address, port, source, timeout)
        )
    )
    found = verdicts(host)["local-clients"]
    assert found.status == FAIL
    assert "a client on ::1 is refused" in found.evidence
    assert "nft list ruleset" in found.remedy
