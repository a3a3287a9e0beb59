"""The IMAP client over real sockets: what it finds and removes, and hostile servers."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from sysmail.errors import HostError
from sysmail.host.imap import LONGEST, ImapMailbox
from sysmail.host.machine import Machine
from sysmail.host.port import Located
from unit.imap_server import PASSWORD, USER, Message, Server
from unit.smtp_server import Authority, listening

TOKEN = "f00d"
OURS = f"<{TOKEN}.cron@sysmail.invalid>"
OTHERS = [f"<x{TOKEN}.cron@sysmail.invalid>", f"<{TOKEN}.cron@sysmail.invalid.example>"]
SECONDS = 20.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("ca") / "ca")


@contextlib.contextmanager
def opened(
    server: Server, authority: Authority, password: str = PASSWORD, seconds: float = SECONDS
) -> Iterator[ImapMailbox]:
    """The client, logged in to a server on loopback."""
    context = authority.context("localhost")
    with listening(server.handler(context)) as port:
        box = ImapMailbox("localhost", port, USER, password, str(authority.file), seconds)
        try:
            yield box
        finally:
            box.close()


def full() -> Server:
    """A server with messages of ours and of others, and a folder for junk."""
    rows = [Message(3, f" {OTHERS[0]}"), Message(7, f" {OURS}"), Message(9, f" {OTHERS[1]}")]
    return Server({"INBOX": rows, "Sent": [], "Bulk": []}, {"Bulk": "\\HasNoChildren \\Junk"})


def test_found_and_removed(authority: Authority) -> None:
    """Only the very Message-ID is found, and only that message goes; what others marked stays."""
    server = full()
    server.folders["INBOX"].append(Message(11, " <marked@by.others>", deleted=True))
    with opened(server, authority) as box:
        assert box.folders == ("INBOX", "Bulk")
        assert box.find(TOKEN, [OURS]) == {OURS: Located("INBOX", "7")}
        assert box.remove(Located("INBOX", "7"))
        assert box.find(TOKEN, [OURS]) == {}
    assert [m.uid for m in server.folders["INBOX"]] == [3, 9, 11]


def test_found_in_junk(authority: Authority) -> None:
    """In the folder for junk, which is marked or called so; a folded header is the same."""
    for flags in ({"Spam": "\\Junk"}, {}):
        server = Server({"INBOX": [], "Spam": [Message(1, f"\r\n {OURS}")]}, flags)
        with opened(server, authority) as box:
            assert box.find(TOKEN, [OURS]) == {OURS: Located("Spam", "1")}


def test_without_uidplus(authority: Authority) -> None:
    """A message is marked, and no EXPUNGE takes along what others marked."""
    server = full()
    server.capabilities = "IMAP4rev1"
    with opened(server, authority) as box:
        assert not box.remove(Located("INBOX", "7"))
    assert [m.uid for m in server.folders["INBOX"] if m.deleted] == [7]
    assert not any("EXPUNGE" in line or "CLOSE" in line for line in server.said)
    assert any(line.startswith("LOGIN ") for line in server.said), "no AUTH=PLAIN was offered"


def test_login_refused(authority: Authority) -> None:
    """A wrong password is told with a code of its own, and never repeated."""
    for capabilities in ("IMAP4rev1 AUTH=PLAIN", "IMAP4rev1"):
        server = Server(capabilities=capabilities)
        with pytest.raises(HostError) as caught, opened(server, authority, "wrong horse"):
            pass
        assert caught.value.code == "imap-login-refused"
        assert "wrong horse" not in caught.value.message


def test_certificates(authority: Authority, tmp_path: Path) -> None:
    """No login is sent to a server whose certificate is not for its name, or of nobody known."""
    server = Server()
    other = Authority.make(tmp_path / "other")
    for context, ca, code in (
        (authority.context("other.example"), authority, "certificate-wrong-name"),
        (authority.context("localhost"), other, "certificate-not-trusted"),
    ):
        with listening(server.handler(context)) as port, pytest.raises(HostError) as caught:
            Machine().mailbox(
                "localhost", port, USER, PASSWORD, ca_file=str(ca.file), seconds=SECONDS
            )
        assert caught.value.code == code
    assert server.said == []


def _greeting(data: bytes) -> Callable[[Server], None]:
    return lambda server: setattr(server, "greeting", data)


def _odd(name: str, data: bytes) -> Callable[[Server], None]:
    return lambda server: server.odd.update({name: data})


HOSTILE: dict[str, tuple[Callable[[Server], None], str]] = {
    "another protocol": (_greeting(b"220 mail ESMTP\r\n"), "imap-failed"),
    "bye": (_greeting(b"* BYE not now\r\n"), "imap-failed"),
    "a line without end": (_greeting(b"* OK " + b"x" * (LONGEST * 2)), "imap-failed"),
    "bytes": (_greeting(bytes(range(128, 256)) * 9 + b"\r\n"), "imap-failed"),
    "a huge literal": (_odd("LIST", b"* LIST () NIL {99999999999}\r\n"), "imap-failed"),
    "a literal that is no number": (
        _odd("UID FETCH", b"* 1 FETCH (X {" + b"9" * 5000 + b"}\r\nTAG OK done\r\n"),
        "imap-failed",
    ),
    "lines without end": (_odd("LIST", b"* LIST () NIL x\r\n" * 20_000), "imap-failed"),
    "refuses to search": (_odd("UID SEARCH", b"TAG BAD no\r\n"), "imap-failed"),
    "refuses to list": (_odd("LIST", b"TAG NO no\r\n"), "imap-failed"),
    "read-only": (_odd("SELECT", b"* OK [READ-ONLY] x\r\nTAG OK [READ-ONLY] x\r\n"), "imap-failed"),
    "another's tag": (_odd("CAPABILITY", b"OTHER1 OK done\r\n"), "imap-failed"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_servers(authority: Authority, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a server says, there is a failure with a stable code, and an end."""
    # The whole of it would take imaplib longer than the deadline on a busy machine.
    monkeypatch.setattr("sysmail.host.imap.MOST", 1 << 18)
    change, code = HOSTILE[name]
    server = full()
    change(server)
    with pytest.raises(HostError) as caught, opened(server, authority) as box:
        box.find(TOKEN, [OURS])
    assert (caught.value.code, len(caught.value.message) < 300) == (code, True)


@pytest.mark.parametrize("name", ["", "AUTHENTICATE", "LIST", "UID SEARCH"])
def test_silence(authority: Authority, name: str) -> None:
    """A server that says nothing, from whatever moment, is given up at the deadline."""
    server = full()
    if name:
        server.odd[name] = b""
    else:
        server.greeting = b""
    with pytest.raises(HostError) as caught, opened(server, authority, seconds=0.5) as box:
        box.find(TOKEN, [OURS])
    assert caught.value.code == "imap-too-slow"


def test_a_fetch_that_tells_of_another_message(authority: Authority) -> None:
    """The Message-ID of another UID is not taken for that of the message asked about."""
    server = full()
    text = f"Message-ID: {OURS}\r\n\r\n".encode()
    start = b"* 1 FETCH (UID 77 BODY[HEADER.FIELDS (MESSAGE-ID)] {%d}\r\n" % len(text)
    server.odd["UID FETCH"] = start + text + b")\r\nTAG OK done\r\n"
    with opened(server, authority) as box:
        assert box.find(TOKEN, [OURS]) == {}


def test_nobody_there() -> None:
    """A closed port, and a connection that ends at once, have codes of their own."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(HostError) as caught:
        ImapMailbox("127.0.0.1", port, USER, PASSWORD, "", SECONDS)
    assert caught.value.code == "port-closed"
    with listening(lambda c: c.close()) as port, pytest.raises(HostError) as caught:
        ImapMailbox("127.0.0.1", port, USER, PASSWORD, "", SECONDS)
    assert caught.value.code == "imap-failed"
