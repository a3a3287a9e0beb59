"""What must hold between the keys of a policy.

Each single value has been checked by its reader before; here is what is wrong
only in combination. All of these are ``policy-conflict``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sysmail.errors import PolicyError
from sysmail.policy.model import Alert, Hop, Policy
from sysmail.policy.names import is_ip_address, is_loopback

__all__ = ["PORT_OF_TLS", "check_policy", "read_hop", "tls_of_port"]

PORT_OF_TLS: Mapping[str, int] = {"implicit": 465, "starttls": 587, "none": 25}
"""The port that is meant where only ``tls`` is given (RFC 8314, RFC 6409, RFC 5321)."""

_PASSWORD_SOURCES = ("password_file", "password_command", "password")


def tls_of_port(port: int) -> str:
    """Return the mode of TLS that is meant where only ``port`` is given."""
    return "starttls" if port in {25, 587} else "implicit"


def read_hop(values: Mapping[str, Any], section: str) -> Hop:
    """Make a server of its checked values: fill in port and TLS, then check what must agree."""
    if "host" not in values:
        raise PolicyError(
            "policy-bad-value",
            f"`[{section}]` does not say which server",
            f"Write `host` into `[{section}]`, or remove the table.",
            f"{section}.host",
        )
    filled = dict(values)
    if "port" in values and "tls" not in values:
        filled["tls"] = tls_of_port(values["port"])
    elif "tls" in values and "port" not in values:
        filled["port"] = PORT_OF_TLS[values["tls"]]
    hop = Hop(**filled)
    _check_login(hop, section)
    _check_tls(hop, section)
    return hop


def _check_login(hop: Hop, section: str) -> None:
    """A login is a name and exactly one source of its password."""
    given = [name for name in _PASSWORD_SOURCES if getattr(hop, name)]
    if len(given) > 1:
        raise _conflict(
            f"{section}.{given[1]}",
            f"`{given[0]}` and `{given[1]}` both say where the password is",
            "Keep one of the two.",
        )
    if given and not hop.username:
        raise _conflict(
            f"{section}.{given[0]}",
            "there is a password, and no login that it belongs to",
            f"Add `username` to `[{section}]`, or remove `{given[0]}`.",
        )
    if hop.username and not given:
        raise _conflict(
            f"{section}.username",
            "there is a login without a password",
            f"Add `password_file` or `password_command` to `[{section}]`, or remove `username`.",
        )


def _check_tls(hop: Hop, section: str) -> None:
    """TLS that can work, and a login over verified TLS only."""
    if hop.tls == "none":
        if hop.username:
            raise _conflict(
                f"{section}.tls",
                "a login is only ever sent over TLS that was verified",
                'Write `tls = "implicit"` or `tls = "starttls"`, or remove the login.',
            )
        if hop.ca_file:
            raise _conflict(
                f"{section}.ca_file",
                "without TLS there is no certificate to verify",
                "Remove `ca_file`, or write another `tls`.",
            )
    elif is_ip_address(hop.host):
        raise _conflict(
            f"{section}.host",
            "a certificate is verified for a name, and this is an IP address",
            'Write the server\'s name, or, if it wants no login, `tls = "none"`.',
        )
    # Each of these pairs was seen to hang or to fail for ever: one side waits for the other.
    if hop.port == 465 and hop.tls != "implicit":
        raise _conflict(
            f"{section}.tls",
            "on port 465 the server speaks TLS from the first byte",
            'Write `tls = "implicit"`, or another port.',
        )
    if hop.port in {25, 587} and hop.tls == "implicit":
        raise _conflict(
            f"{section}.tls",
            f"on port {hop.port} the server does not begin with TLS",
            'Write `tls = "starttls"`, or `port = 465`.',
        )


def check_policy(policy: Policy) -> None:
    """Check what must agree between the tables of a policy."""
    for key, value in (("route", policy.route), ("next_hop", policy.next_hop)):
        if value in {"mailu", "smarthost"} and getattr(policy, value) is None:
            raise _conflict(
                key,
                f'`{key} = "{value}"` needs a table `[{value}]` that says where that is',
                f"Add `[{value}]` with `host`, or write another `{key}`.",
            )
    hop = policy.smarthost
    # Mailu's own container may own port 25 of this host; another relay there is this relay.
    if hop is not None and hop.port == 25 and is_loopback(hop.host):
        raise _conflict(
            "smarthost.host",
            "port 25 of this host is the relay itself, so mail would go round in circles",
            "Write the server that mail is to leave by.",
        )
    _check_alert(policy.alert)
    queue = policy.queue
    if queue.warn_after >= queue.lifetime:
        raise _conflict(
            "queue.warn_after",
            "the warning would come after the mail was returned",
            "Write a `warn_after` that is shorter than `lifetime`, or 0 for no warning.",
        )
    if queue.retry_every >= queue.lifetime:
        raise _conflict(
            "queue.retry_every",
            "mail would be returned before it was tried again",
            "Write a `retry_every` that is shorter than `lifetime`.",
        )


def _check_alert(alert: Alert) -> None:
    if alert.format == "telegram" and not alert.telegram_chat:
        raise _conflict(
            "alert.format",
            "a bot of Telegram needs to know which chat it writes to",
            "Add `telegram_chat` to `[alert]`.",
        )
    if alert.telegram_chat and alert.format != "telegram":
        raise _conflict(
            "alert.telegram_chat",
            "only Telegram has chats",
            'Write `format = "telegram"`, or remove `telegram_chat`.',
        )
    for name in ("format", "ca_file"):
        if not alert.webhook and getattr(alert, name) != getattr(Alert, name):
            raise _conflict(
                f"alert.{name}",
                "there is no webhook that it is about",
                f"Add `webhook` to `[alert]`, or remove `{name}`.",
            )


def _conflict(key: str, message: str, remedy: str) -> PolicyError:
    return PolicyError("policy-conflict", f"`{key}`: {message}", remedy, key)
