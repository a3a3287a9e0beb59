"""The one table of the policy's keys.

Validation, suggestions for misspelt keys, the reference in the documentation,
the command line's flags and Ansible's argument specification all read
:data:`KEYS`; a key exists by standing here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Callable

from sysmail.policy.names import (
    read_address,
    read_hop_host,
    read_hostname,
    read_username,
    read_webhook,
)
from sysmail.policy.quantities import read_count, read_duration, read_size
from sysmail.policy.values import (
    read_ascii_path,
    read_choice,
    read_path,
    read_port,
    read_secret,
    read_text,
    read_words,
)

__all__ = ["HOPS", "KEYS", "SECTIONS", "Key"]

_Reader = Callable[[object, str], object]

HOPS = ("mailu", "smarthost")
"""The tables that describe a server."""

_ROUTES = ("auto", "mailu", "relay")
_NEXT_HOPS = ("", "mailu", "smarthost", "direct", "hold")
_TLS = ("implicit", "starttls", "none")
_FORMATS = ("json", "ntfy", "slack", "telegram")

_HOUR = 3600
_DAY = 86400
# An hour is what a next hop needs to be rebooted; 100 days (8,640,000 s) is the most that
# Postfix's queue manager takes for maximal_queue_lifetime.
_LIFETIME = (_HOUR, 100 * _DAY)
_RETRY = (10, _HOUR)
# A notice needs room around the message that it returns: below 20 kB Postfix fails to send one.
# Above 2^31-1 some of its counters are a C int; no mail server takes as much.
_MESSAGE_SIZE = (20_000, 2**31 - 1)


@dataclass(frozen=True)
class Key:
    """One key of the policy.

    ``name`` is dotted, ``kind`` the word for its type in the documentation, and
    ``default`` and ``example`` are written as in TOML (``default`` is ``""`` where
    there is none). ``read`` checks a value and returns it in the unit of the
    model. A ``secret`` key is accepted from Ansible only, and never written.
    """

    name: str
    kind: str
    read: _Reader
    doc: str
    example: str
    default: str = '""'
    flag: str = ""
    choices: tuple[str, ...] = ()
    required: bool = False
    secret: bool = False

    @property
    def section(self) -> str:
        """The table that the key stands in; ``""`` for the top level."""
        return self.name.rpartition(".")[0]

    @property
    def last(self) -> str:
        """The key's name within its table."""
        return self.name.rpartition(".")[2]


def _choice(choices: tuple[str, ...]) -> _Reader:
    return partial(read_choice, choices=choices)


def _duration(bounds: tuple[int, int], *, zero: bool = False) -> _Reader:
    return partial(read_duration, shortest=bounds[0], longest=bounds[1], zero=zero)


_TOP = (
    Key(
        "admin",
        "address",
        read_address,
        "Who reads the mail for root, cron and other local users, and every notice of a failure;"
        " without it such mail is refused or waits, visibly.",
        '"ops@example.org"',
        flag="--admin",
    ),
    Key(
        "hostname",
        "host name",
        read_hostname,
        "The name that this host gives in HELO and in Message-ID;"
        " by default its fully qualified name.",
        '"web1.example.org"',
        flag="--hostname",
    ),
    Key(
        "sender",
        "address",
        read_address,
        "The address, owned by the login, that every sender of this host is rewritten to;"
        " by default Mailu's login, where mail goes to Mailu.",
        '"no-reply@example.org"',
        flag="--sender",
    ),
    Key(
        "route",
        "choice",
        _choice(_ROUTES),
        "Which way mail leaves applications: straight to Mailu by msmtp, which has no queue, or"
        " through the relay on this host; `auto` is Mailu while it is configured and answers, else"
        " the relay.",
        '"relay"',
        default='"auto"',
        flag="--route",
        choices=_ROUTES,
    ),
    Key(
        "next_hop",
        "choice",
        _choice(_NEXT_HOPS),
        "Where the relay sends mail: to Mailu, to the smarthost, directly to each recipient's"
        " server, or nowhere yet; by default to the first of these that is configured.",
        '"direct"',
        flag="--next-hop",
        choices=_NEXT_HOPS[1:],
    ),
)

_HOP = (
    Key(
        "host",
        "server",
        read_hop_host,
        "The server's name, for which its certificate is verified;"
        ' an IP address only with `tls = "none"`.',
        '"mail.example.org"',
        required=True,
    ),
    Key(
        "port",
        "port",
        read_port,
        "The server's TCP port; by default 465 for implicit TLS, 587 for STARTTLS, 25 without TLS.",
        "465",
        default="465",
    ),
    Key(
        "tls",
        "choice",
        _choice(_TLS),
        "TLS from the first byte, TLS by STARTTLS, or none, which is never combined with a login;"
        " by default `starttls` where `port` is 25 or 587, else `implicit`.",
        '"starttls"',
        default='"implicit"',
        choices=_TLS,
    ),
    Key(
        "username",
        "login",
        read_username,
        "The login; for Mailu it is a full mail address.",
        '"no-reply@example.org"',
    ),
    Key(
        "password_file",
        "path",
        read_path,
        "The file that holds the password and nothing else, readable by root alone.",
        '"/etc/sysmail/password"',
    ),
    Key(
        "password_command",
        "command",
        read_words,
        "A command that prints the password, run as root without a shell at every apply.",
        '["/usr/bin/pass", "show", "mail"]',
    ),
    Key(
        "password",
        "secret",
        read_secret,
        "The password itself; accepted from Ansible only, which has vaults for it.",
        '"{{ vault_mail_password }}"',
        secret=True,
    ),
    Key(
        "ca_file",
        "path",
        read_ascii_path,
        "A PEM file of the authorities that may vouch for the server;"
        " by default the system's trust store.",
        '"/etc/ssl/private-ca.pem"',
    ),
)

_REST = (
    Key(
        "queue.lifetime",
        "duration",
        _duration(_LIFETIME),
        "How long mail that cannot be delivered waits before it is returned to `admin`.",
        '"5d"',
        default='"5d"',
    ),
    Key(
        "queue.warn_after",
        "duration",
        _duration((60, _LIFETIME[1]), zero=True),
        "How long mail waits before `admin` is told that it does; 0 for never.",
        '"4h"',
        default='"1h"',
    ),
    Key(
        "queue.retry_every",
        "duration",
        _duration(_RETRY),
        "How often mail that waits is tried again,"
        " so that a backlog leaves soon after the next hop is back.",
        '"5m"',
        default='"60s"',
    ),
    Key(
        "alert.webhook",
        "URL",
        read_webhook,
        "A URL that the watch posts to when mail itself is broken. Treat it like a password: a"
        " policy file that has one must be closed to others (mode 0600).",
        '"https://alerts.example.org/hook"',
    ),
    Key(
        "alert.format",
        "choice",
        _choice(_FORMATS),
        "What is posted: sysmail's own JSON document, or what ntfy, Slack or Telegram take.",
        '"ntfy"',
        default='"json"',
        choices=_FORMATS,
    ),
    Key(
        "alert.telegram_chat",
        "text",
        read_text,
        "The chat that Telegram's bot writes to: its number, or the `@name` of a channel.",
        '"-1001234567890"',
    ),
    Key(
        "alert.ca_file",
        "path",
        read_path,
        "A PEM file of the authorities that may vouch for the server of `webhook`;"
        " by default the system's trust store.",
        '"/etc/ssl/private-ca.pem"',
    ),
    Key(
        "alert.command",
        "command",
        read_words,
        "A command that the watch runs as root and without a shell when mail itself is broken; the"
        " alert is a JSON document on its standard input.",
        '["/usr/local/bin/page", "mail"]',
        default="[]",
    ),
    Key(
        "alert.oldest",
        "duration",
        _duration((60, _LIFETIME[1])),
        "How long the oldest message may wait before the watch tells; mail that is held does not"
        " count.",
        '"4h"',
        default='"1h"',
    ),
    Key(
        "alert.queue",
        "number",
        partial(read_count, smallest=1, largest=10_000_000),
        "How many messages may wait, and not get fewer, before the watch tells.",
        "200",
        default="1000",
    ),
    Key(
        "alert.proof_age",
        "duration",
        _duration((_DAY, 100 * _DAY)),
        "How old the last good proof may get, next hop and login included, before the watch tells;"
        " it tries one a day.",
        '"2d"',
        default='"7d"',
    ),
    Key(
        "limits.runaway",
        "number",
        partial(read_count, smallest=10, largest=10_000_000, zero=True),
        "How many messages one user, or one client address, may submit in ten minutes; the watch"
        " puts what is beyond that on hold and tells who it was; on the route `mailu`, which has no"
        " queue, it only tells. 0 for no limit.",
        "300",
        default="1000",
    ),
    Key(
        "limits.message_size",
        "size",
        partial(read_size, smallest=_MESSAGE_SIZE[0], largest=_MESSAGE_SIZE[1]),
        "The largest message that is accepted, headers and encoding included.",
        '"25MB"',
        default='"50MB"',
    ),
)


def _in_table(section: str, key: Key) -> Key:
    default = "[]" if key.kind == "command" else key.default
    return replace(key, name=f"{section}.{key.name}", default=default)


KEYS: tuple[Key, ...] = (
    *_TOP,
    *(_in_table(section, key) for section in HOPS for key in _HOP),
    *_REST,
)
"""Every key but those of ``[postfix]``, which are Postfix's own parameters."""

SECTIONS = ("mailu", "smarthost", "queue", "alert", "limits", "postfix")
"""Every table of the policy."""
