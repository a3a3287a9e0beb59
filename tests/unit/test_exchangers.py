"""The question for a domain's exchangers: what is asked, and what is made of any answer."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sysmail.host import exchangers
from sysmail.host.exchangers import ask_exchangers, parse_answer, servers
from sysmail.host.port import ABSENT, FOUND, NOTHING, UNANSWERED

ID = b"\x12\x34"
QUESTION = b"\x07example\x03org\x00" + struct.pack(">HH", 15, 1)
FAR, NEAR = b"\x03far\xc0\x0c", b"\x04near\x07example\x03net\x00"


def reply(*records: tuple[int, bytes], code: int = 0, number: bytes = ID) -> bytes:
    """An answer: the records are a kind and its data."""
    head = number + struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0)
    body = b"".join(
        b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data for kind, data in records
    )
    return head + QUESTION + body


def mx(preference: int, name: bytes) -> tuple[int, bytes]:
    return 15, struct.pack(">H", preference) + name


def test_best_exchanger_comes_first() -> None:
    """Compressed names are put together, and records of other kinds are left out."""
    said = reply(mx(20, FAR), (46, b"signature"), mx(10, NEAR))
    answer = parse_answer(said, ID)
    assert (answer.status, answer.values) == (
        FOUND,
        ("10 near.example.net", "20 far.example.org"),
    )


def test_domain_that_takes_no_mail() -> None:
    """RFC 7505: one exchanger, the root, which is the empty name."""
    assert parse_answer(reply(mx(0, b"\0")), ID).values == ("0 ",)


@pytest.mark.parametrize(
    ("said", "status", "why"),
    [
        (reply(), NOTHING, ""),
        (reply(code=3), ABSENT, ""),
        (reply(code=2), UNANSWERED, "SERVFAIL"),
        (reply(code=5), UNANSWERED, "REFUSED"),
        (reply(code=9), UNANSWERED, "code 9"),
        (reply(number=b"\0\0"), UNANSWERED, "something else"),
        (b"", UNANSWERED, "something else"),
        (ID, UNANSWERED, "what is no answer"),
        (reply(mx(10, b"\xc0\x28")), UNANSWERED, "what is no answer"),
    ],
)
def test_other_answers(said: bytes, status: str, why: str) -> None:
    """No such name, no such record, and nobody knows are three things."""
    answer = parse_answer(said, ID)
    assert answer.status == status
    assert why in answer.why
    assert bool(why) == bool(answer.why)


def test_damaged_answers_raise_nothing() -> None:
    """Whatever bytes come, an answer comes of them."""
    whole = reply(mx(20, FAR), mx(10, NEAR))
    for cut in range(len(whole)):
        parse_answer(whole[:cut], ID)
    for place in range(2, len(whole)):
        for byte in (0, 1, 12, 63, 64, 192, 255):
            parse_answer(whole[:place] + bytes([byte]) + whole[place + 1 :], ID)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", ["127.0.0.1"]),
        ("search example.org\n# nameserver 192.0.2.1\n", ["127.0.0.1"]),
        ("nameserver 192.0.2.1\n nameserver 2001:db8::1\n", ["192.0.2.1", "2001:db8::1"]),
        ("nameserver 1.1.1.1\n" * 5, ["1.1.1.1"] * 3),
    ],
)
def test_servers_of_resolv_conf(text: str, named: list[str]) -> None:
    """At most three, and this host where there is none."""
    assert servers(text) == named


@contextmanager
def answering(monkeypatch: pytest.MonkeyPatch, *answers: bytes) -> Iterator[None]:
    """Real datagrams to a server that gives these answers, by its port in place of 53."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            for answer in answers:
                question, client = server.recvfrom(4096)
                server.sendto(question[:2] + answer[2:], client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        monkeypatch.setattr(exchangers, "DNS_PORT", server.getsockname()[1])
        yield
        thread.join()


def test_question_over_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of the answer is that of the question."""
    with answering(monkeypatch, reply(mx(10, NEAR))):
        answer = ask_exchangers("example.org", "nameserver 127.0.0.1\n", 20)
    assert answer.values == ("10 near.example.net",)


def test_second_server_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is broken is not the last word."""
    with answering(monkeypatch, reply(code=2), reply(mx(10, NEAR))):
        answer = ask_exchangers("example.org", "nameserver 127.0.0.1\n" * 2, 20)
    assert answer.status == FOUND


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """The evidence names the server and the reason."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(exchangers, "DNS_PORT", taken.getsockname()[1])
    answer = ask_exchangers("example.org", "", 20)
    assert (answer.status, answer.why) == (UNANSWERED, "127.0.0.1: Connection refused")


@pytest.mark.parametrize("name", ["", "a..b", "x" * 64 + ".org", "ö.example.org"])
def test_name_that_cannot_be(name: str) -> None:
    """It is not asked for."""
    assert ask_exchangers(name, "", 20).status == ABSENT
