"""Talking to the next hop, over real loopback sockets and TLS where there is a login."""

from __future__ import annotations

import base64
import shutil
import ssl
from typing import Optional

import pytest

from sysmail.errors import HostError
from sysmail.host.machine import Machine
from sysmail.nexthop import Reached, check_next_hop, is_temporary
from sysmail.policy import Hop, Secret, parse
from unit.smtp_server import Authority, listening, scripted

SENDER = "no-reply@example.org"
PASSWORD = Secret("correct horse battery")
EHLO = "250-mail.example.org\n250-SIZE 52428800\n250-AUTH PLAIN LOGIN\n250 8BITMIME"
POLICY = parse({"admin": "ops@example.com", "limits": {"message_size": "25MB"}})

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("nexthop") / "ca")


@pytest.fixture(scope="module")
def context(authority: Authority) -> ssl.SSLContext:
    return authority.context("localhost")


class NextHop:
    """A next hop with given replies, and what it was told."""

    def __init__(self, authority: Authority, context: ssl.SSLContext) -> None:
        self._authority, self._context = authority, context
        self.said: list[str] = []

    def reach(
        self,
        replies: dict[str, str],
        greeting: str = "220 mail.example.org ESMTP",
        login: bool = True,  # noqa: FBT002
        tls: str = "implicit",
        password: Optional[Secret] = PASSWORD,
    ) -> Reached:
        """Reach it as apply does."""
        known = {"EHLO": EHLO, "AUTH": "235 ok", **replies}
        handler = scripted(known, self.said, self._context, tls, greeting)
        with listening(handler) as port:
            user = SENDER if login else ""
            hop = Hop("localhost", port, tls, user, ca_file=str(self._authority.file))
            return check_next_hop(Machine(), POLICY, hop, SENDER, password, "")

    def failure(self, replies: dict[str, str], **options: object) -> HostError:
        """What reaching it fails with; the password is not in it."""
        with pytest.raises(HostError) as caught:
            self.reach(replies, **options)  # type: ignore[arg-type]
        error = caught.value
        assert error.remedy
        assert PASSWORD.reveal() not in error.message + error.remedy
        return error


@pytest.fixture
def next_hop(authority: Authority, context: ssl.SSLContext) -> NextHop:
    return NextHop(authority, context)


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_good_next_hop(next_hop: NextHop, tls: str) -> None:
    """A good next hop is greeted, logged in to, asked for the sender, and sent no message."""
    found = next_hop.reach({"STARTTLS": "220 go on"}, tls=tls)
    assert found.logged_in
    assert found.tls.startswith("TLSv1.")
    assert not [line for line in next_hop.said if line.upper().startswith("DATA")]
    auth = next(line for line in next_hop.said if line.startswith("AUTH PLAIN "))
    assert base64.b64decode(auth.split()[2]) == b"\0no-reply@example.org\0correct horse battery"
    assert f"MAIL FROM:<{SENDER}>" in next_hop.said
    if tls == "starttls":
        assert next_hop.said.index("STARTTLS") < next_hop.said.index(auth)


def test_login_in_two_steps(next_hop: NextHop) -> None:
    """Where only LOGIN is offered, name and password are sent as they are asked for."""
    user = base64.b64encode(SENDER.encode()).decode()
    secret = base64.b64encode(PASSWORD.reveal().encode()).decode()
    replies = {
        "EHLO": "250-x\n250 AUTH LOGIN",
        "AUTH LOGIN": "334 VXNlcm5hbWU6",
        user: "334 UGFzc3dvcmQ6",
        secret: "235 welcome",
    }
    assert next_hop.reach(replies).logged_in
    start = next_hop.said.index("AUTH LOGIN")
    assert next_hop.said[start : start + 3] == ["AUTH LOGIN", user, secret]


def test_next_hop_without_a_login(next_hop: NextHop) -> None:
    """Without a login none is sent, whatever the server offers."""
    assert not next_hop.reach({}, login=False, tls="none", password=None).logged_in
    assert not [line for line in next_hop.said if line.startswith("AUTH")]


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        ({"AUTH": "535 5.7.8 authentication failed"}, "login-refused"),
        ({"AUTH": "534 5.7.9 mechanism too weak"}, "login-refused"),
        ({"AUTH": "454 4.7.0 temporary failure"}, "next-hop-busy"),
        ({"AUTH": "421 4.3.2 closing"}, "next-hop-busy"),
        ({"EHLO": "250-x\n250 AUTH LOGIN", "AUTH": "454 4.7.0 later"}, "next-hop-busy"),
        ({"EHLO": "250-x\n250 AUTH LOGIN", "AUTH": "535 5.7.8 no"}, "login-refused"),
        ({"EHLO": "250-x\n250 8BITMIME"}, "no-login-offered"),
        ({"EHLO": "250-x\n250 AUTH CRAM-MD5 GSSAPI"}, "no-login-offered"),
        (
            {"MAIL": "553 5.7.1 <no-reply@example.org>: Sender address rejected: not owned"},
            "sender-not-owned",
        ),
        (
            {"RCPT": "553 5.7.1 <no-reply@example.org>: Sender address rejected: not owned"},
            "sender-not-owned",
        ),
        ({"RCPT": "554 5.7.1 <ops@example.com>: Relay access denied"}, "no-relaying"),
        ({"RCPT": "550 5.7.1 Relaying denied"}, "no-relaying"),
        ({"RCPT": "550 relay not permitted"}, "no-relaying"),
        ({"EHLO": "250-x\n250-SIZE 10240000\n250 AUTH PLAIN"}, "message-size-too-small"),
        ({"EHLO": "250-x\n250-size 24999999\n250 auth plain"}, "message-size-too-small"),
        ({"MAIL": "554 5.7.1 blocked"}, "next-hop-refuses"),
    ],
)
def test_what_a_next_hop_refuses_has_its_code(
    next_hop: NextHop, replies: dict[str, str], code: str
) -> None:
    """Each thing that a next hop refuses has a code of its own, and says what to do."""
    assert next_hop.failure(replies).code == code


@pytest.mark.parametrize(
    ("greeting", "code"),
    [
        ("421 4.3.2 too busy", "next-hop-busy"),
        ("450 later", "next-hop-busy"),
        ("554 5.7.1 you are blocked", "next-hop-refuses"),
        ("521 no mail here", "next-hop-refuses"),
    ],
)
def test_greeting_that_is_none(next_hop: NextHop, greeting: str, code: str) -> None:
    """A next hop that does not greet is busy or refuses, and is told nothing."""
    assert next_hop.failure({}, greeting=greeting).code == code
    assert [line for line in next_hop.said if line != "QUIT"] == []


@pytest.mark.parametrize(
    "replies",
    [
        {"EHLO": "250-x\n250-SIZE 25000000\n250 AUTH PLAIN"},
        {"EHLO": "250-x\n250-SIZE 0\n250 AUTH PLAIN"},
        {"EHLO": "250-x\n250-SIZE\n250 AUTH PLAIN"},
        {"EHLO": "250-x\n250-SIZE many\n250 AUTH PLAIN"},
        {"EHLO": "250-x\n250-SIZE ²\n250 AUTH PLAIN"},
        {"EHLO": f"250-x\n250-SIZE {'9' * 5000}\n250 AUTH PLAIN"},
        {"MAIL": "450 4.2.1 rate limit"},
        {"RCPT": "450 4.7.1 greylisted"},
        {"RCPT": "251 will forward"},
    ],
)
def test_what_is_no_trouble(next_hop: NextHop, replies: dict[str, str]) -> None:
    """A size that is enough or not said, a rate limit and greylisting are no trouble."""
    assert next_hop.reach(replies).logged_in


@pytest.mark.parametrize(
    "reply",
    [
        "550 5.1.1 <a@example.com>: Recipient address rejected: User unknown in relay recipient"
        " table",
        "550 5.1.1 <sender@example.org>: Recipient address rejected: User unknown",
    ],
)
def test_unknown_recipient_is_not_taken_for_something_else(next_hop: NextHop, reply: str) -> None:
    """A recipient that is not known there is neither a sender nor a relay problem."""
    code = ""
    try:
        next_hop.reach({"RCPT": reply})
    except HostError as error:
        code = error.code
    assert code not in ("no-relaying", "sender-not-owned")


def test_login_without_a_password(next_hop: NextHop) -> None:
    """A login without its password is not tried."""
    assert next_hop.failure({}, password=None).code == "no-password"
    assert not [line for line in next_hop.said if line.startswith("AUTH")]


def test_login_that_is_refused_at_once_tells_nothing_more(next_hop: NextHop) -> None:
    """After a refusal the next line would be a command, which servers echo: it is not sent."""
    next_hop.failure({"EHLO": "250-x\n250 AUTH LOGIN", "AUTH": "503 not now"})
    assert [line for line in next_hop.said if line != "QUIT"][-1] == "AUTH LOGIN"


def test_certificate_comes_before_the_login(authority: Authority) -> None:
    """To a server whose certificate is for another name no command is sent at all."""
    other = NextHop(authority, authority.context("other.example.org"))
    assert other.failure({}).code == "certificate-wrong-name"
    assert other.said == []


@pytest.mark.parametrize(
    ("code", "temporary"),
    [
        ("port-closed", True),
        ("connection-lost", True),
        ("name-not-resolved", True),
        ("next-hop-busy", True),
        ("login-refused", False),
        ("certificate-expired", False),
        ("not-tls", False),
        ("sender-not-owned", False),
    ],
)
def test_what_may_pass_by_itself(code: str, temporary: bool) -> None:
    """What may pass by itself is a next hop that is down; what may not is set up wrong."""
    assert is_temporary(HostError(code, "x", "y")) is temporary
