"""Talks to the next hop the whole way: name, TCP, TLS, greeting, login, sender, size.

The login is only ever sent over TLS to a host whose certificate was verified
for its name (promise 5). No message is sent.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Optional

from sysmail.errors import HostError, SysmailError
from sysmail.host.port import Reader, SmtpSession
from sysmail.policy import Hop, Policy, Secret

__all__ = ["Reached", "check_next_hop", "is_temporary"]

TIMEOUT_SECONDS = 5.0

TEMPORARY = frozenset({"name-not-resolved", "port-closed", "connection-lost", "next-hop-busy"})
"""Codes of failures that may pass by themselves: a next hop that is down."""


@dataclass(frozen=True)
class Reached:
    """A next hop that answered the whole way; ``put_off`` is its 4xx to a message, if any."""

    peer: str
    greeting: str
    tls: str
    logged_in: bool
    put_off: str = ""


def check_next_hop(
    reader: Reader, policy: Policy, hop: Hop, sender: str, password: Optional[Secret], ca_file: str
) -> Reached:
    """Reach the next hop as the relay will. HostError with a code of its own for each failure."""
    session = reader.smtp(
        hop.host,
        hop.port,
        name=hop.host,
        tls=hop.tls,
        ca_file=hop.ca_file or ca_file,
        timeout=TIMEOUT_SECONDS,
    )
    try:
        _expect_greeting(session)
        extensions = session.command("EHLO localhost").text.upper().splitlines()
        _check_size(session, extensions, policy)
        if hop.username:
            _login(session, hop, password, extensions)
        put_off = _check_envelope(session, sender, policy.admin or sender)
        return Reached(
            session.peer, session.greeting.text, session.tls, bool(hop.username), put_off
        )
    finally:
        session.close()


def _expect_greeting(session: SmtpSession) -> None:
    code, text = session.greeting.code, session.greeting.text
    if code != 220:
        raise HostError(
            "next-hop-busy" if 400 <= code < 500 else "next-hop-refuses",
            f"{session.peer} does not take mail now: {code} {text}",
            "find out there why it refuses this host: the log of that server says it",
        )


def _check_size(session: SmtpSession, extensions: list[str], policy: Policy) -> None:
    for line in extensions:
        words = line.split()
        if words[:1] == ["SIZE"] and re.fullmatch("[0-9]{1,18}", "".join(words[1:2])):
            limit = int(words[1])
            if 0 < limit < policy.limits.message_size:
                raise HostError(
                    "message-size-too-small",
                    f"{session.peer} takes messages of at most {limit} bytes, and this host "
                    f"would accept {policy.limits.message_size}",
                    f"set message_size under [limits] to at most {limit}",
                )


def _login(
    session: SmtpSession, hop: Hop, password: Optional[Secret], extensions: list[str]
) -> None:
    if password is None:
        raise HostError("no-password", f"no password for {hop.username}", "set password_file")
    offered = {w for line in extensions if line.startswith("AUTH") for w in line.split()[1:]}
    secret = password.reveal().encode()
    user = hop.username.encode()
    if "PLAIN" in offered:
        token = base64.b64encode(b"\0" + user + b"\0" + secret).decode()
        reply = session.command(f"AUTH PLAIN {token}")
    elif "LOGIN" in offered:
        # Each answer is looked at: to a server that refused already, the next line is a
        # command, which it echoes and logs.
        reply = session.command("AUTH LOGIN")
        for word in (user, secret):
            if reply.code == 334:
                reply = session.command(base64.b64encode(word).decode())
    else:
        raise HostError(
            "no-login-offered",
            f"{session.peer} offers no login (AUTH PLAIN or LOGIN)",
            "check the port: 465 or 587 take logins, 25 does not",
        )
    if reply.code == 235:
        return
    temporary = 400 <= reply.code < 500
    raise HostError(
        "next-hop-busy" if temporary else "login-refused",
        f"{session.peer} refused the login of {hop.username}: {reply.code} {_discreet(reply.text)}",
        "check username and password (password_file) in the policy",
    )


def _discreet(text: str) -> str:
    """A server's words without what may be a credential that it echoes."""
    return re.sub(r"[A-Za-z0-9+/=]{16,}", "***", text)


def _check_envelope(session: SmtpSession, sender: str, recipient: str) -> str:
    """MAIL FROM and RCPT TO, without a message: many answer for the sender at the recipient.

    Returns what it says when it puts the message off (4xx), which is no failure.
    """
    reply = session.command(f"MAIL FROM:<{sender}>")
    if reply.code == 250:
        reply = session.command(f"RCPT TO:<{recipient}>")
    said = f"{reply.code} {reply.text}"
    # What is refused is told by words and codes (RFC 3463), not by what is in the addresses.
    words = re.sub(r"<[^>]*>", "", reply.text).lower()
    if reply.code < 500:
        session.command("RSET")
        return said if reply.code >= 400 else ""
    if "sender" in words or "not owned" in words:
        raise HostError(
            "sender-not-owned",
            f"{session.peer} refused the sender {sender}: {said}",
            "set sender in the policy to an address that the login owns",
        )
    if "relay access" in words or "relaying" in words or "relay not" in words:
        raise HostError(
            "no-relaying",
            f"{session.peer} does not relay for this host: {said}",
            "set username and password_file in the policy, or allow this host on that server",
        )
    if re.match(r"5\.1\.\d", words):
        raise HostError(
            "admin-refused",
            f"{session.peer} takes no mail for {recipient}: {said}",
            "set admin in the policy to an address that receives mail: notices go there",
        )
    raise HostError(
        "next-hop-refuses",
        f"{session.peer} refused mail of {sender} for {recipient}: {said}",
        "look at the log of that server",
    )


def is_temporary(error: SysmailError) -> bool:
    """Whether a failure is of a next hop that is down rather than set up wrong."""
    return error.code in TEMPORARY
