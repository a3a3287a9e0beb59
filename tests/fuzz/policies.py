"""Policies as plain data, drawn from a number: about 19 values in 20 are good ones.

Hardly a policy of many hostile values gets past the first of them; one of good values with one
hostile value shows what becomes of that one. Good values too are as odd as is allowed.
"""

from __future__ import annotations

import random
from typing import Any

from fuzz.through import MARK
from sysmail.policy import KEYS, SECTIONS, Secret

__all__ = ["BAD", "NAMES", "SNIPPETS", "anything", "damaged", "policy_data", "value_of"]

BAD = f"\n{MARK} = yes"
SNIPPETS = (
    *(BAD, f"\r{MARK} = yes", f"\r\n{MARK} = yes", f"\0{MARK}", f"\x0b{MARK}", f"\x85{MARK} = y"),
    *(f"\u2028{MARK} = yes", f"\u2029{MARK}", "\u202e", "\u2066", "\u200b", "\ufeff", "\u00ad"),
    *("${", "${x", "${x?{y}}", "$(", "$(id)", "$x", "$$", "$mynetworks", "${mynetworks}", "`id`"),
    *('"', "'", "\\", "\\n", "\\\n", "/", "//", "/ x", "|", ";", "#", "=", "{", "}", "{ }", "["),
    *("]", " ", "\t", "%s", "%n", "{{ 7*7 }}", "@", "@@", ",", ":", "::1", "127.0.0.1", ".."),
    *("../../x", "\u0430dmin@example.org", "ex\u0430mple.org", "\uff21", "\u0661", "\u00b2"),
    *("\U0001f600", "\udc80", "\ud800", "e\u0301", "\u2215", "\u2024", "\u3002", "\uff20"),
    *("admin@example.org.", "\x1b[31m", "\x7f", "\x1c", "-", "--", "~", "*", "?", "&", "(", ")"),
    *("9" * 300, "x" * 5000),
)

# Everything that may stand in a name before the @, and so in a file, a pattern or a shell.
_ODD = "!#$%&'*+/=?^_`{|}~-"
_ADDRESSES = (
    *("ops@example.org", "o$p{s}@example.org", "a/b|c@example.org", "x'y@example.org"),
    *("n$$o@example.org", "`id`@example.org", "${x}@example.org", "$mynetworks@example.org"),
    *(f"{_ODD}@example.org", "%s@example.org", "#x@example.org", "-x@example.org"),
    *("{{@example.org", "}@example.org", "a.b+c@xn--bcher-kva.example", "OPS@EXAMPLE.ORG"),
)
_LOGINS = (
    *("no-reply@example.org", 'a"b', "a$b@example.org", "${x}@example.org", "a,b|c@d", "a\\b"),
    *("$(id)", "'", "#x", "a=b", "{x}", "[x]", "user", "%n", "/x/"),
)
_PATHS = ("/etc/ssl/ca.pem", "/etc/ssl/$x.pem", "/etc/ssl/a'b.pem", "/etc/ssl/a=b,c.pem")
_COMMANDS = ("/bin/echo x", ["/bin/echo", "x"], ["/bin/echo", "$(x)", "${y}"], "/bin/echo '${x}'")
_PASSWORDS = ("a-marked-password", Secret("a-marked-password"))
_TLS: tuple[dict[str, Any], ...] = (
    *({}, {"tls": "implicit"}, {"tls": "starttls"}, {"port": 465}, {"port": 587}, {"port": 2525}),
    *({"port": "465"}, {"tls": "implicit", "port": 465}, {"tls": "starttls", "port": 2525}),
    *({"tls": "starttls", "port": 25}, {"tls": "implicit", "port": 65535}),
)
_NO_TLS: tuple[dict[str, Any], ...] = ({"tls": "none"}, {"tls": "none", "port": 2525})
_HOSTS = ("mail.example.org", "MAIL.example.org", "mail", "xn--bcher-kva.example")
_BARE_HOSTS = (*_HOSTS, "192.0.2.25", "[2001:db8::1]", "2001:db8::1")

GOOD: dict[str, tuple[Any, ...]] = {
    "admin": _ADDRESSES,
    "hostname": ("web1.example.org", "WEB.Example.ORG", "a.b", "x-1.xn--bcher-kva.example"),
    "sender": _ADDRESSES,
    "route": ("auto", "relay"),
    "next_hop": ("direct", "hold", ""),
    "host": _BARE_HOSTS,
    "port": (465, 587, 25, "465", 2525),
    "tls": ("implicit", "starttls", "none"),
    "username": _LOGINS,
    "password_file": ("/etc/sysmail/password", "/root/a b$c"),
    "password_command": _COMMANDS,
    "password": _PASSWORDS,
    "ca_file": _PATHS,
    "lifetime": ("5d", "1h", 86400, "100d"),
    "warn_after": (0, "0", "2m", "30m", 60),
    "retry_every": ("60s", "10s", 300, "5m"),
    "webhook": ("https://alerts.example.org/x", "https://[2001:db8::1]:8443/?a=$b'"),
    "format": ("json", "ntfy", "slack"),
    "telegram_chat": ("-1001234567890", "@ops"),
    "command": ("/bin/page x", ["/bin/page"], ["/bin/page", "${x}\\", "a'b"]),
    "oldest": ("1h", "2d"),
    "queue": (1, 1000),
    "proof_age": ("7d", "1d"),
    "runaway": (0, 1000),
    "message_size": ("25MB", "20kB", 20_000, 2**31 - 1, "1 GiB"),
}
NAMES = tuple(GOOD)

_EXTRAS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("mail_name", ("x", "a  b", "$mail_version", "it's", 'a "b"', "# x", "{ a, b }", "a = b")),
    ("smtp_helo_timeout", ("20s", 5, "1m")),
    ("hopcount_limit", (30, "40")),
    ("biff", (True, False, "no")),
    ("inet_protocols", ("ipv4", "all")),
    ("always_bcc", ("archive@example.org",)),
    ("header_size_limit", (100_000, 200_000)),
    ("smtpd_banner", ("$myhostname ESMTP", "$$x", "x\\")),
    ("smtputf8_enable", ("no", False)),
    ("smtp_bind_address", ("192.0.2.7",)),
    ("milter_default_action", ("accept", "tempfail")),
)
_BAD_NAMES = (
    *("no_such_parameter", "mynetworks", "relayhost", "a b", "x=y", f"x{BAD}", "", "$x", "line"),
    *("empty_address_x", "local_transport", "SMTPD_BANNER", "#x", "x" * 101, "\u0455mtpd_banner"),
    *("smtpd_milters", "default_process_limit", "smtp_header_checks", "inet_interfaces"),
)
_BAD_VALUES = (
    *("soon", "regexp:/etc/x", "lmdb:/etc/x", "inline:{x=y}", "{ a, b", "x\\", "#", 10**12, -1),
    *("", None, 10**30, "$mail_name", "$no_such", "ipv6", "static:all", "pcre:/x", True, 5, 1.5),
)

_SCALARS: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, 10**5000, 0.0, -0.0, 1e308),
    *(float("nan"), float("inf"), b"", b"\xff\0", (), Secret("x"), object, 1j),
)


def anything(chance: random.Random, depth: int = 3) -> Any:
    """A value of any type: a scalar, text of any characters, or lists and tables of such."""
    kind = chance.randrange(10 if depth else 7)
    if kind < 4:
        return chance.choice(_SCALARS)
    if kind < 5:
        return chance.choice(SNIPPETS)
    if kind < 7:
        return _text(chance)
    inner = [anything(chance, depth - 1) for _ in range(chance.randrange(4))]
    if kind < 8:
        return inner
    names = (chance.choice((_text(chance), chance.choice(NAMES), 1, None)) for _ in inner)
    return dict(zip(names, inner))


def _text(chance: random.Random) -> str:
    top = chance.choice((0x7F, 0xFF, 0x2FFF, 0x10FFFF))
    return "".join(chr(chance.randint(0, top)) for _ in range(chance.randrange(20)))


def damaged(chance: random.Random, good: Any) -> Any:
    """The value with something slipped in, of another type, or anything at all."""
    if not isinstance(good, str) or not chance.randrange(4):
        return anything(chance)
    place = chance.choice((0, len(good), chance.randint(0, len(good))))
    return good[:place] + chance.choice(SNIPPETS) + good[place:]


def value_of(chance: random.Random, name: str) -> Any:
    """A good value of a key, or one time in 20 a damaged one."""
    return _mostly(chance, chance.choice(GOOD[name]))


def _mostly(chance: random.Random, good: Any) -> Any:
    return good if chance.randrange(20) else damaged(chance, good)


def policy_data(number: int, *, inline: bool) -> dict[Any, Any]:
    """The policy that a number stands for; with ``inline`` it may hold a password."""
    chance = random.Random(number)
    found: dict[Any, Any] = {}
    servers = [name for name in ("mailu", "smarthost") if chance.random() < 0.4]
    for name in servers:
        found[name] = _server(chance, inline=inline)
    for key in KEYS:
        if key.section in ("mailu", "smarthost", "alert") or chance.random() < 0.7:
            continue
        table = found.setdefault(key.section, {}) if key.section else found
        good = chance.choice((*GOOD[key.last], *(servers if key.last == "next_hop" else ())))
        table[key.last] = good
    if chance.random() < 0.3:
        found["alert"] = _alert(chance)
    if chance.random() < 0.3:
        found["postfix"] = _extras(chance)
    _damage(chance, found)
    return found


def _server(chance: random.Random, *, inline: bool) -> dict[str, Any]:
    """A server of which TLS, port, login and password agree."""
    if chance.random() < 0.2:
        return {"host": chance.choice(_BARE_HOSTS), **chance.choice(_NO_TLS)}
    found = {"host": chance.choice(_HOSTS), **chance.choice(_TLS)}
    if chance.random() < 0.6:
        sources = ("password_file", "password_command", *(("password",) if inline else ()))
        source = chance.choice(sources)
        found["username"] = chance.choice(_LOGINS)
        found[source] = chance.choice(GOOD[source])
    if chance.random() < 0.3:
        found["ca_file"] = chance.choice(_PATHS)
    return found


def _alert(chance: random.Random) -> dict[str, Any]:
    """A table of which the shape of an alert and where it goes agree."""
    found: dict[str, Any] = {}
    if chance.random() < 0.6:
        found["webhook"] = chance.choice(GOOD["webhook"])
        found["format"] = chance.choice((*GOOD["format"], "telegram"))
        if found["format"] == "telegram":
            found["telegram_chat"] = chance.choice(GOOD["telegram_chat"])
        if chance.random() < 0.3:
            found["ca_file"] = chance.choice(_PATHS)
    else:
        found["command"] = chance.choice(GOOD["command"])
    for name in ("oldest", "queue", "proof_age"):
        if chance.random() < 0.3:
            found[name] = chance.choice(GOOD[name])
    return found


def _extras(chance: random.Random) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for name, good in chance.sample(_EXTRAS, chance.randrange(1, 4)):
        value = chance.choice(good)
        if not chance.randrange(8):
            value = chance.choice(_BAD_VALUES)
        found[name] = value
    if not chance.randrange(8):
        found[chance.choice(_BAD_NAMES)] = chance.choice((*_BAD_VALUES, "yes"))
    return found


def _damage(chance: random.Random, found: dict[Any, Any]) -> None:
    """One value in 20; now and then a key or a table that is none."""
    tables = [found, *(value for value in found.values() if isinstance(value, dict))]
    for table in tables:
        for name, value in table.items():
            if not isinstance(value, dict):
                table[name] = _mostly(chance, value)
    if not chance.randrange(40):
        name = chance.choice((*SECTIONS, *NAMES, "admn", BAD, 1, None, _text(chance)))
        chance.choice(tables)[name] = anything(chance)
