"""Generated policies, most of them hostile, through every way a policy comes in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any, Callable

from hypothesis import given
from hypothesis import strategies as st

from fuzz.through import MARK, SEENS, Count, Record, carry, examples
from sysmail.cli.arguments import parse_arguments, policy_flags
from sysmail.facts.model import Facts, Listener, ServiceFacts
from sysmail.policy import KEYS, SECTIONS, Policy, Secret, parse, with_flags
from sysmail.policy.ansible import module_options
from sysmail.policy.text import read_document
from unit import make

TYPES = ("cidr", "hash", "inline", "pcre", "pipemap", "regexp", "static", "texthash", "unix")

_RUNNING = {
    "postfix": make.postfix("3.10.4", smtp_helo_timeout="300s", biff="yes", hopcount_limit="50"),
    "packages": {"postfix": "3.10.4", "msmtp": "1", "libsasl2-modules": "1"},
    "service": ServiceFacts(active=True, enabled=True, forking=("postfix@-.service",)),
    "master_running": True,
    "listeners": (Listener("127.0.0.1", 25, 7), Listener("::1", 25, 8)),
}
HOSTS: dict[str, Facts] = {
    "bare Debian": make.facts(),
    "Debian with Postfix": make.facts(**_RUNNING),
    "bare Arch": make.facts(distro=make.ROWS["pacman"], candidates={"postfix": "3.10.2-1"}),
    "Fedora": make.facts(distro=make.ROWS["dnf"], candidates={}),
    "no IPv6": make.facts(ipv6_loopback=False),
    "no name": make.facts(fqdn="", nodename="web1"),
    "a name that is none": make.facts(fqdn="", nodename=f"x\n{MARK} = yes"),
    "no systemd, no log": make.facts(systemd=False, log_socket=False, **_RUNNING),
    "no SASL": make.facts(**{**_RUNNING, "sasl_plain": False}),
    "an old Postfix": make.facts(postfix=make.postfix("3.3.1")),
    "an unknown distribution": make.facts(distro=None),
}

BAD = f"\n{MARK} = yes"
SNIPPETS = (
    *(BAD, f"\r{MARK} = yes", f"\r\n{MARK} = yes", f"\0{MARK}", f"\x0b{MARK}", f"\x85{MARK} = y"),
    *(f"\u2028{MARK} = yes", f"\u2029{MARK}", "\u202e", "\u2066", "\u200b", "\ufeff", "\u00ad"),
    *("${", "${x", "${x?{y}}", "$(", "$(id)", "$x", "$$", "$mynetworks", "${mynetworks}", "`id`"),
    *(
        '"',
        "'",
        "\\",
        "\\n",
        "\\\n",
        "/",
        "//",
        "/ x",
        "|",
        ";",
        "#",
        "=",
        "{",
        "}",
        "{ }",
        "[",
        "]",
    ),
    *(" ", "\t", "%s", "%n", "{{ 7*7 }}", "@", "@@", ",", ":", "::1", "127.0.0.1", "..", "../../x"),
    *("\u0430dmin@example.org", "ex\u0430mple.org", "\uff21", "\u0661", "\u00b2", "\U0001f600"),
    *("\udc80", "\ud800", "e\u0301", "\u2215", "\u2024", "\u3002", "\uff20", "admin@example.org."),
)
GOOD: dict[str, tuple[Any, ...]] = {
    "admin": ("ops@example.org", "o$p{s}@example.org", "a/b|c@example.org", "x'y@example.org"),
    "hostname": ("web1.example.org", "WEB.Example.ORG"),
    "sender": ("no-reply@example.org", "n$$o@example.org"),
    "route": ("auto", "mailu", "relay"),
    "next_hop": ("mailu", "smarthost", "direct", "hold", ""),
    "host": ("mail.example.org", "192.0.2.25", "[2001:db8::1]", "::1", "mail"),
    "port": (465, 587, 25, "465", 2525),
    "tls": ("implicit", "starttls", "none"),
    "username": ("no-reply@example.org", 'a"b', "a$b@example.org", "${x}@example.org", "a,b|c@d"),
    "password_file": ("/etc/sysmail/password",),
    "password_command": ("/bin/echo x", ["/bin/echo", "x"], ["/bin/echo", "$(x)"]),
    "password": ("a-marked-password", Secret("a-marked-password")),
    "ca_file": ("/etc/ssl/ca.pem", '/etc/ssl/a b"c.pem', "/etc/ssl/${x}.pem"),
    "lifetime": ("5d", "1h", 86400, "100d"),
    "warn_after": ("1h", 0, "0", "4h"),
    "retry_every": ("60s", "10s", 300, "1h"),
    "webhook": ("https://alerts.example.org/x",),
    "format": ("json", "ntfy", "slack", "telegram"),
    "telegram_chat": ("-1001234567890", "@ops"),
    "command": ("/bin/page x", ["/bin/page"]),
    "oldest": ("1h", "2d"),
    "queue": (1, 1000),
    "proof_age": ("7d", "1d"),
    "runaway": (0, 1000),
    "message_size": ("25MB", "20kB", 20_000, 2**31 - 1),
}
EXTRAS = (
    *("mail_name", "smtp_helo_timeout", "hopcount_limit", "biff", "inet_protocols", "always_bcc"),
    *(
        "smtp_header_checks",
        "smtpd_banner",
        "smtputf8_enable",
        "no_such_parameter",
        "smtpd_milters",
    ),
    *("mynetworks", "relayhost", "default_process_limit", "header_size_limit", "smtp_bind_address"),
    *(
        "a b",
        "x=y",
        f"x{BAD}",
        "",
        "$x",
        "line",
        "empty_address_x",
        "local_transport",
        "SMTPD_BANNER",
    ),
)
EXTRA_VALUES = (
    *("yes", "no", True, 5, "5s", "soon", "$myhostname x", "$mail_name", "regexp:/etc/x", "all"),
    *("lmdb:/etc/x", "inline:{x=y}", "{ a, b }", "ipv4", "x\\", "#", "a = b", 10**12, -1, "", None),
)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**31, 2**63, 2**64, 10**400, -1, 0]),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=5),
    st.sampled_from(SNIPPETS),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = tuple(key for key in GOOD if any(k.last == key for k in KEYS))


@st.composite
def values(draw: st.DrawFn, name: str) -> Any:
    """A value for a key: mostly a good one, or one with something slipped in, or anything."""
    good = draw(st.sampled_from(GOOD[name]))
    kind = draw(st.integers(0, 9))
    if kind < 6 or (kind < 9 and not isinstance(good, str)):
        return good
    if kind < 9:
        place = draw(st.integers(0, len(good)))
        return good[:place] + draw(st.sampled_from(SNIPPETS)) + good[place:]
    return draw(ANYTHING)


@st.composite
def tables(draw: st.DrawFn) -> dict[Any, Any]:
    """A policy as plain data."""
    found: dict[Any, Any] = {}
    for key in KEYS:
        if not draw(st.integers(0, 2 if key.last in ("host", "username", "tls") else 3)):
            table = found.setdefault(key.section, {}) if key.section else found
            if isinstance(table, dict):
                table[key.last] = draw(values(key.last))
    for section in ("mailu", "smarthost"):
        if isinstance(found.get(section), dict):
            found[section].setdefault("host", "mail.example.org")
            if "username" in found[section] and draw(st.booleans()):
                found[section]["password_file"] = "/etc/sysmail/password"
    if not draw(st.integers(0, 2)):
        found["postfix"] = draw(extras())
    if not draw(st.integers(0, 15)):
        found[draw(st.one_of(st.sampled_from([*SECTIONS, "admn", BAD]), SCALARS))] = draw(ANYTHING)
    return found


@st.composite
def extras(draw: st.DrawFn) -> dict[Any, Any]:
    """A table of extra parameters."""
    pairs = draw(st.lists(st.tuples(st.sampled_from(EXTRAS), extra_values()), max_size=3))
    return dict(pairs)


@st.composite
def extra_values(draw: st.DrawFn) -> Any:
    """A value for an extra parameter."""
    good = draw(st.sampled_from(EXTRA_VALUES))
    if isinstance(good, str) and not draw(st.integers(0, 2)):
        return draw(st.sampled_from(SNIPPETS)) + good
    return good if draw(st.integers(0, 9)) else draw(ANYTHING)


ABOUT = st.sampled_from(sorted(HOSTS))
SEEN = st.sampled_from(SEENS)


def test_as_ansible_gives_them(record_property: Record) -> None:
    """Plain data of any kind, with and without what only Ansible may give: a plan or an error."""
    count = Count("policies as plain data")

    @examples(4000)
    @given(tables(), ABOUT, SEEN, st.booleans())
    def each(data: dict[Any, Any], host: str, seen: Any, inline: bool) -> None:
        count.ended[carry(lambda: parse(data, from_ansible=inline), HOSTS[host], seen)] += 1

    each()
    count.finish(record_property, 4000)


def test_as_ansibles_arguments(record_property: Record) -> None:
    """What Ansible's own conversion leaves of a policy: None for what is not given, texts."""
    count = Count("policies as Ansible's arguments")
    options = module_options()["policy"]["options"]

    def converted(data: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, option in spec.items():
            value = data.get(name)
            if option["type"] == "dict" and "options" in option and isinstance(value, dict):
                value = converted(value, option["options"])
            elif value is not None and option["type"] == "str":
                value = str(value)
            found[name] = value
        return found

    @examples(1500)
    @given(tables(), ABOUT, SEEN)
    def each(data: dict[Any, Any], host: str, seen: Any) -> None:
        given_data = converted(data, options)
        count.ended[carry(lambda: parse(given_data, from_ansible=True), HOSTS[host], seen)] += 1

    each()
    count.finish(record_property, 1500)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, str]:
    """The text of a policy file, JSON or TOML, sometimes damaged; and its name."""
    data = draw(tables())
    if draw(st.booleans()):
        text, name = json.dumps(data, default=str, skipkeys=True), "policy.json"
    else:
        text, name = toml(data), "policy.toml"
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        place = draw(st.integers(0, len(text)))
        cut = draw(st.sampled_from([0, 0, 1, 5]))
        text = text[:place] + draw(st.sampled_from([*SNIPPETS, "]]", "[[x]]", '"""']))
        text += text[place + cut :]
    return text, name


def toml(data: dict[Any, Any]) -> str:
    """TOML, as far as the data is something that TOML can say."""
    lines: list[str] = []
    for name, value in data.items():
        if not isinstance(value, dict):
            lines.append(f"{_bare(name)} = {_toml(value)}")
    for name, value in data.items():
        if isinstance(value, dict):
            lines.append(f"[{_bare(name)}]")
            lines += [f"{_bare(inner)} = {_toml(each)}" for inner, each in value.items()]
    return "\n".join(lines) + "\n"


def _bare(name: Any) -> str:
    return name if isinstance(name, str) and name.isidentifier() else json.dumps(str(name))


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, (bool, int, float)):
        return str(value).lower()
    return json.dumps(str(value))


def test_as_documents(record_property: Record) -> None:
    """The text of a policy file, also a damaged one: a plan or an error with exit code 64."""
    count = Count("policies as TOML and JSON")

    @examples(3000)
    @given(documents(), ABOUT, SEEN)
    def each(document: tuple[str, str], host: str, seen: Any) -> None:
        count.ended[carry(lambda: parse(read_document(*document)), HOSTS[host], seen)] += 1

    each()
    count.finish(record_property, 3000)


def test_by_flags(record_property: Record) -> None:
    """Flags of the command line on top of a policy."""
    count = Count("policies by flags")
    flagged = [key for key in KEYS if key.flag]

    @examples(1500)
    @given(st.data(), ABOUT, SEEN)
    def each(data: st.DataObject, host: str, seen: Any) -> None:
        argv = ["apply"]
        for key in flagged:
            if data.draw(st.booleans()):
                argv += [key.flag, str(data.draw(values(key.last)))]
        base = data.draw(st.sampled_from([{}, {"smarthost": {"host": "mail.example.org"}}]))

        def made() -> Policy:
            return with_flags(parse(base), policy_flags(parse_arguments(argv)))

        count.ended[carry(made, HOSTS[host], seen)] += 1

    each()
    count.finish(record_property, 1500)


HUGE = 10_000_000
FILLERS = ("x", "a.", "a@", "${", "\n", "{", "x,", "'", "1")


def _of(key: Any, value: Any) -> dict[str, Any]:
    """A policy with one key, and the server that its table needs."""
    if not key.section:
        return {key.last: value}
    server = {"host": "m.example.org"} if key.section in ("mailu", "smarthost") else {}
    return {key.section: {**server, key.last: value}}


def huge_values() -> Iterator[Callable[[], Policy]]:
    """10 MB for every key, for an extra parameter, for its name, and for a whole document."""
    for filler in FILLERS:
        text = filler * (HUGE // len(filler))
        for key in KEYS:
            yield partial(parse, _of(key, text), from_ansible=True)
        for name in ("mail_name", text):
            yield partial(parse, {"postfix": {name: text}})
        yield partial(parse, {text: text})
        for document in (f'admin = "{text}"', f'{{"admin": "{text}"}}', text):
            yield from _documents(document)


def deep_values() -> Iterator[Callable[[], Policy]]:
    """Thousands of levels, and numbers of thousands of digits, as data and as documents."""
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    for key in KEYS:
        yield partial(parse, _of(key, deep), from_ansible=True)
        yield partial(parse, _of(key, 10**5000), from_ansible=True)
    for size in (100, 10_000, 100_000):
        nested = ("a = " + "[" * size, "[" * size, '{"a":' * size, "a." * size + "a = 1")
        for document in (*nested, "a = " + "9" * size, '{"a": ' + "9" * size + "}"):
            yield from _documents(document)


def _documents(text: str) -> Iterator[Callable[[], Policy]]:
    for name in ("p.toml", "p.json"):
        yield lambda name=name: parse(read_document(text, name))  # type: ignore[misc]


def test_huge_and_deep(record_property: Record) -> None:
    """What is huge or deep is refused; nothing of it takes the memory or the time of a host."""
    count = Count("huge and deep policies")
    for make_one in chain([lambda: parse({})], huge_values(), deep_values()):
        count.ended[carry(make_one, HOSTS["bare Debian"])] += 1
    count.finish(record_property, 300)
