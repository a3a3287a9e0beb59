"""SMTP over real loopback sockets: the client, the catcher, and TLS."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sysmail.errors import HostError
from sysmail.host.catcher import SmtpCatcher
from sysmail.host.smtp import Session, can_connect, free_port
from unit.smtp_server import Authority, Handler, listening, scripted

NAME = "mail.example.org"
MINE = "try-1@sysmail-try.invalid"


def open_session(port: int, tls: str = "none", ca_file: str = "", name: str = NAME) -> Session:
    return Session("127.0.0.1", port, name=name, tls=tls, ca_file=ca_file, timeout=5.0)


def failure(handler: Handler, tls: str = "none", ca_file: str = "") -> HostError:
    """What a session with this server fails with."""

    def speak(port: int) -> None:
        session = open_session(port, tls, ca_file)
        try:
            session.command("NOOP")
        finally:
            session.close()

    with listening(handler) as port, pytest.raises(HostError) as caught:
        speak(port)
    assert caught.value.remedy
    return caught.value


def say(*pieces: bytes) -> Handler:
    """A server that says this and closes the connection once the client has closed its own."""

    def handle(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass

    return handle


def reset(connection: socket.socket) -> None:
    """Close with a reset, as a port forwarder without its server does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.fixture
def catcher() -> Iterator[SmtpCatcher]:
    """A catcher that takes the mail of one sender."""
    found = SmtpCatcher(lambda address: address == MINE)
    yield found
    found.close()


def hand_over(session: Session, sender: str, message: bytes, *recipients: str) -> int:
    """The code of the final reply; the message is only sent where everything before was taken."""
    for command in ("EHLO x", f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{r}>" for r in recipients)):
        reply = session.command(command)
        if reply.code != 250:
            return reply.code
    return session.data(message).code


def test_message_arrives_at_the_catcher(catcher: SmtpCatcher) -> None:
    """A message reaches the catcher with its envelope and every line, dots and all."""
    session = open_session(catcher.port)
    assert session.greeting.code == 220
    message = b"Subject: x\n\n.\n..\n.hidden\nlast"
    assert hand_over(session, MINE, message, "a@x.example", "b@x.example") == 250
    session.close()
    (found,) = catcher.messages()
    assert (found.sender, found.recipients) == (MINE, ("a@x.example", "b@x.example"))
    assert found.data == b"Subject: x\r\n\r\n.\r\n..\r\n.hidden\r\nlast\r\n"


LINES = st.lists(
    st.one_of(
        st.sampled_from([b"", b".", b"..", b".\r", b"\r", b"QUIT"]), st.binary(max_size=6)
    ).map(lambda line: line.replace(b"\n", b"")),
    max_size=6,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=LINES)
def test_any_message_arrives_as_it_was(catcher: SmtpCatcher, lines: list[bytes]) -> None:
    """Whatever is in a message, the catcher has its lines as they were, and nothing after them."""
    lines = [*(line[:-1] if line.endswith(b"\r") else line for line in lines), b"end"]
    session = open_session(catcher.port)
    try:
        assert hand_over(session, MINE, b"\n".join(lines), "a@x.example") == 250
        assert session.command("NOOP").code == 250
        assert catcher.messages()[-1].data == b"".join(line + b"\r\n" for line in lines)
    finally:
        session.close()


def test_message_of_others_is_deferred(catcher: SmtpCatcher) -> None:
    """To mail that is not of the try the catcher says 450, so that its client keeps it."""
    session = open_session(catcher.port)
    assert hand_over(session, "root@web1.example.org", b"x", "a@x.example") == 450
    assert hand_over(session, "", b"x", "a@x.example") == 450
    assert hand_over(session, MINE, b"x", "a@x.example") == 250
    session.close()
    assert [found.sender for found in catcher.messages()] == [MINE]


def test_refused_sender_cannot_go_on(catcher: SmtpCatcher) -> None:
    """A client that goes on after 450 does not leave its message with the catcher."""
    session = open_session(catcher.port)
    session.command("EHLO x")
    assert session.command("MAIL FROM:<root@web1>").code == 450
    with contextlib.suppress(HostError):
        session.command("RCPT TO:<a@x.example>")
        session.data(b"x")
    session.close()
    assert catcher.messages() == []


def test_message_that_was_cut_off_did_not_arrive(catcher: SmtpCatcher) -> None:
    """A connection that ends within a message leaves nothing: its client sends it again."""
    with socket.create_connection(("127.0.0.1", catcher.port)) as client:
        stream = client.makefile("rwb")
        for line in (
            b"",
            b"EHLO x",
            b"MAIL FROM:<" + MINE.encode() + b">",
            b"RCPT TO:<a@b>",
            b"DATA",
        ):
            if line:
                stream.write(line + b"\r\n")
                stream.flush()
            while stream.readline()[3:4] == b"-":
                pass
        stream.write(b"half a mess")
        stream.flush()
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass
    assert catcher.messages() == []


def test_client_that_leaves_prints_nothing(
    catcher: SmtpCatcher, capfd: pytest.CaptureFixture[str]
) -> None:
    """A client that resets its connection is no reason to print a traceback."""
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", catcher.port)) as client:
            client.sendall(b"EHLO x\r\nQUIT\r\n" * 10)
            reset(client)
    # One that is served after them, so that they were.
    session = open_session(catcher.port)
    assert hand_over(session, MINE, b"x", "a@x.example") == 250
    session.close()
    catcher._server.shutdown()
    threads = [t for t in threading.enumerate() if "process_request" in t.name]
    for thread in threads:
        thread.join(5)
    assert capfd.readouterr().err == ""


def test_catcher_knows_no_other_command(catcher: SmtpCatcher) -> None:
    """What the catcher does not know is refused, and the dialogue goes on."""
    session = open_session(catcher.port)
    assert session.command("VRFY root").code in (502, 503)
    assert session.command("HELO x").code == 250
    assert session.command("RSET").code == 250
    session.close()


def test_catcher_takes_many_at_once(catcher: SmtpCatcher) -> None:
    """Messages over connections at the same time all arrive."""

    def one(number: int) -> None:
        session = open_session(catcher.port)
        assert hand_over(session, MINE, str(number).encode(), "a@x.example") == 250
        session.close()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found.data for found in catcher.messages()) == [b"%d\r\n" % n for n in range(8)]


def test_closed_catcher_takes_no_connection() -> None:
    """After close nothing listens on the catcher's port any more."""
    other = SmtpCatcher(lambda _: True)
    assert can_connect("127.0.0.1", other.port)
    assert can_connect("127.0.0.1", other.port, source="127.0.0.1")
    other.close()
    assert not can_connect("127.0.0.1", other.port)


def test_replies_of_several_lines() -> None:
    """The lines of a reply are joined, in whatever pieces they come."""
    pieces = (b"220-one\r\n220", b"-two\r\n220 three\r\n250-a\r\n250", b" b\r\n")
    with listening(say(*pieces)) as port:
        session = open_session(port)
        assert (session.greeting.code, session.greeting.text) == (220, "one\ntwo\nthree")
        reply = session.command("EHLO x")
        assert (reply.code, reply.text) == (250, "a\nb")
        session.close()


@pytest.mark.parametrize("line", [b"250\r\n", b"250 \r\n", b"250\n"])
def test_reply_without_text(line: bytes) -> None:
    """A reply may have no text."""
    with listening(say(b"220 x\r\n", line)) as port:
        reply = open_session(port).command("NOOP")
    assert (reply.code, reply.text) == (250, "")


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\r\n",
        b"2\r\n",
        b"\x15\x03\x01\x00\x02\x02\x0a\r\n",
        "²²² hi\r\n".encode(),
        "٢٢٠ hi\r\n".encode(),
        b"\xff\xfe220\r\n",
        b"220-x\r\n" * 300,
        b"x" * 70_000,
    ],
)
def test_what_is_no_smtp_is_said(garbage: bytes) -> None:
    """A server that does not speak SMTP is told as that, and never trusted further."""
    assert failure(say(garbage)).code == "not-smtp"


@settings(max_examples=40)
@given(garbage=st.binary(min_size=1, max_size=40))
def test_any_garbage_is_a_failure_with_a_code(garbage: bytes) -> None:
    """Whatever bytes a server says, a session opens, or fails with one of two codes."""
    with listening(say(garbage)) as port:
        found = "a greeting"
        try:
            open_session(port)
        except HostError as error:
            found = error.code
    assert found in ("a greeting", "not-smtp", "connection-lost")


@pytest.mark.parametrize("said", [b"", b"220 x", b"220-x\r\n", b"220 x\r\n"])
def test_closed_connection_is_said(said: bytes) -> None:
    """A connection that ends within the dialogue is told as that."""
    assert failure(say(said)).code == "connection-lost"


@pytest.mark.parametrize("tls", ["none", "implicit"])
def test_reset_connection_is_said(tls: str) -> None:
    """A connection that is reset is told as lost, with TLS or without: it may pass by itself."""

    def handle(connection: socket.socket) -> None:
        if tls == "none":
            connection.sendall(b"220 x\r\n")
        connection.recv(4096)
        reset(connection)

    assert failure(handle, tls).code == "connection-lost"


@pytest.mark.parametrize("said", ["nothing", "after the hello"])
def test_connection_that_ends_in_the_handshake_is_lost(said: str) -> None:
    """A server that closes during the TLS handshake is down for now, not set up wrong."""

    def handle(connection: socket.socket) -> None:
        if said == "after the hello":
            connection.recv(4096)

    assert failure(handle, "implicit").code == "connection-lost"


def test_closed_port_is_said() -> None:
    """A port that nothing listens on is told as closed."""
    with pytest.raises(HostError) as caught:
        open_session(free_port())
    assert caught.value.code == "port-closed"
    assert not can_connect("127.0.0.1", free_port())


def test_name_that_does_not_resolve_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that does not resolve is told as that."""

    def fail(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", fail)
    with pytest.raises(HostError, match=r"mail\.invalid") as caught:
        Session("mail.invalid", 25)
    assert caught.value.code == "name-not-resolved"


def test_free_port_is_free() -> None:
    """The port that is given can be listened on."""
    with socket.create_server(("127.0.0.1", free_port())):
        pass


def test_close_says_goodbye() -> None:
    """Closing a session sends QUIT, and does not fail where the server is gone."""
    said: list[str] = []
    with listening(scripted({}, said)) as port:
        open_session(port).close()
    assert said == ["QUIT"]
    with listening(say(b"220 x\r\n")) as port:
        open_session(port).close()


def test_every_address_of_a_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where families fail for different reasons, the last one does not hide the first."""
    places = [("127.0.0.1", 9), ("192.0.2.1", 9)]
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_a, **_k: [(2, 1, 6, "", place) for place in places]
    )

    def refuse(place: tuple[str, int], *_rest: object) -> socket.socket:
        raise OSError(111 if place[0] == "127.0.0.1" else 101, f"reason of {place[0]}")

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(HostError) as caught:
        open_session(9)
    assert caught.value.code == "port-closed"
    for place, _ in places:
        assert f"reason of {place} ({place})" in caught.value.message


@pytest.mark.parametrize(
    ("addresses", "number", "remedy"),
    [
        (["2001:db8::1"], 101, "give this host an IPv6 address and a route, or mail.example.org"),
        (["2001:db8::1", "192.0.2.1"], 101, "give this host an address and a route"),
        (["192.0.2.1"], 111, "no firewall is in between, and that the name leads to it"),
    ],
)
def test_where_this_host_has_no_way_no_server_is_blamed(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], number: int, remedy: str
) -> None:
    """The remedy is for what failed on every address, and the addresses are told."""
    places = [(address, 465) for address in addresses]
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_a, **_k: [(2, 1, 6, "", place) for place in places]
    )

    def refuse(*_args: object) -> socket.socket:
        raise OSError(number, "a reason")

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(HostError) as caught:
        Session(NAME, 465)
    assert caught.value.message.endswith(f"a reason ({', '.join(addresses)})")
    assert remedy in caught.value.remedy


def test_refused_data_sends_no_message() -> None:
    """Where DATA is refused the message is not sent."""
    said: list[str] = []
    with listening(scripted({"DATA": "554 no"}, said)) as port:
        session = open_session(port)
        assert session.data(b"hidden").code == 554
        session.close()
    assert said == ["DATA", "QUIT"]


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls") / "ca")


@pytest.fixture(scope="module")
def contexts(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, ssl.SSLContext]:
    """A server's side of TLS for each kind of certificate."""
    stranger = Authority.make(tmp_path_factory.mktemp("tls") / "stranger")
    return {
        "good": authority.context(NAME),
        "expired": authority.context(NAME, ends="20200201000000Z"),
        "not yet valid": authority.context(NAME, begins="20480101000000Z"),
        "wrong name": authority.context("other.example.org"),
        "untrusted": stranger.context(NAME),
    }


@needs_openssl
@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_verified_certificate(
    authority: Authority, contexts: dict[str, ssl.SSLContext], tls: str
) -> None:
    """With a good certificate the session is encrypted, and tells with which version."""
    said: list[str] = []
    handler = scripted({"STARTTLS": "220 go on"}, said, contexts["good"], tls)
    with listening(handler) as port:
        session = open_session(port, tls, str(authority.file))
        assert session.tls in ("TLSv1.2", "TLSv1.3")
        assert session.command("NOOP").code == 250
        session.close()
    assert [word for line in said for word in line.split()[:1]][-2:] == ["NOOP", "QUIT"]


@needs_openssl
@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("expired", "certificate-expired"),
        ("not yet valid", "certificate-expired"),
        ("wrong name", "certificate-wrong-name"),
        ("untrusted", "certificate-not-trusted"),
    ],
)
def test_bad_certificate_has_its_code(
    authority: Authority, contexts: dict[str, ssl.SSLContext], kind: str, code: str, tls: str
) -> None:
    """Each thing that can be wrong with a certificate has a code of its own."""
    handler = scripted({"STARTTLS": "220 go on"}, None, contexts[kind], tls)
    assert failure(handler, tls, str(authority.file)).code == code


@needs_openssl
def test_an_authority_that_expired_is_named(
    authority: Authority, contexts: dict[str, ssl.SSLContext], tmp_path: Path
) -> None:
    """Where none in the file is valid any more it is not the server's certificate to renew."""
    ended = authority.expired()
    found = failure(scripted({}, None, contexts["good"], "implicit"), "implicit", str(ended))
    assert found.code == "certificate-expired"
    assert f"the authority tests in {ended} has expired on 20" in found.message
    assert "put its new certificate there" in found.remedy
    # A system's bundle keeps old ones beside those that are valid.
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(Authority.make(tmp_path / "old").expired().read_text())
    with bundle.open("a") as more:
        more.write(authority.file.read_text())
    servers = failure(scripted({}, None, contexts["expired"], "implicit"), "implicit", str(bundle))
    assert "renew the server's certificate" in servers.remedy


@needs_openssl
def test_certificate_of_a_private_authority_needs_its_file(
    contexts: dict[str, ssl.SSLContext],
) -> None:
    """Without ca_file a private authority is not trusted."""
    handler = scripted({}, None, contexts["good"], "implicit")
    assert failure(handler, "implicit").code == "certificate-not-trusted"


def test_starttls_that_is_not_offered_is_said() -> None:
    """A server that refuses STARTTLS is not spoken to in the clear."""
    said: list[str] = []
    assert failure(scripted({"STARTTLS": "502 no"}, said), "starttls").code == "not-tls"
    assert said[-1] == "STARTTLS"


def test_plain_server_on_a_tls_port_is_said() -> None:
    """A server that answers in the clear where TLS is spoken from the first byte is told."""
    assert failure(scripted({}), "implicit").code == "not-tls"


@needs_openssl
def test_words_before_tls_are_not_believed(
    authority: Authority, contexts: dict[str, ssl.SSLContext]
) -> None:
    """What was slipped in behind the reply to STARTTLS is not taken for a reply under TLS."""
    plain = scripted({"STARTTLS": "220 go on\n250 slipped in"}, None, contexts["good"], "starttls")
    with listening(plain) as port:
        session = open_session(port, "starttls", str(authority.file))
        assert session.command("NOOP").text == "ok"
        session.close()


def test_bad_ca_file_is_an_error_with_a_code(tmp_path: Path) -> None:
    """A ca_file that is not there, or holds no certificate, is an error of sysmail's."""
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    attempts: list[Callable[[], HostError]] = [
        lambda: failure(scripted({}), "implicit", str(tmp_path / "missing.pem")),
        lambda: failure(scripted({}), "implicit", str(empty)),
    ]
    for attempt in attempts:
        assert attempt().code not in ("connection-lost", "not-tls")


def test_a_server_that_drips() -> None:
    """A byte now and then is no answer, though no wait for one is long."""

    def drip(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for byte in b"220-" + b"x" * 150 + b"\r\n220 at last\r\n":
                connection.sendall(bytes([byte]))
                time.sleep(0.02)
            connection.recv(100)

    with listening(drip) as port, pytest.raises(HostError) as caught:
        Session("127.0.0.1", port, timeout=0.5)
    assert caught.value.code == "connection-lost"
    assert "timed out" in caught.value.message


def test_the_whole_dialogue_has_an_end() -> None:
    """A server that answers each command just in time does not keep us either."""

    def slow(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(b"220 hello\r\n")
            while connection.recv(100):
                time.sleep(0.25)
                connection.sendall(b"250 yes\r\n")

    def speak(session: Session) -> None:
        for _ in range(30):
            session.command("NOOP")

    with listening(slow) as port:
        session = Session("127.0.0.1", port, timeout=0.5)
        with pytest.raises(HostError) as caught:
            speak(session)
        session.close()
    assert caught.value.code == "connection-lost"
