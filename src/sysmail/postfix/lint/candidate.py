"""A candidate as the rules see it: parameters, services and tables, with what the host has.

The formats are those of postconf(5) and master(5): a line that begins with
white space goes on with the one before, comments and empty lines in between
do not count, and the last of several entries is in force.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sysmail.desired import ManagedFile
from sysmail.facts.model import Facts

__all__ = ["Candidate", "Finding", "Service", "candidate", "logical_lines", "seconds"]

# What the rules ask for and a main.cf may leave out: postconf(5), Postfix 3.4 to 3.10.
_DEFAULTS: Mapping[str, str] = {
    "bounce_queue_lifetime": "5d",
    "compatibility_level": "0",
    "default_transport": "smtp",
    "inet_interfaces": "all",
    "inet_protocols": "all",
    "local_transport": "local:$myhostname",
    "maximal_backoff_time": "4000s",
    "maximal_queue_lifetime": "5d",
    "message_size_limit": "10240000",
    "minimal_backoff_time": "300s",
    "mydestination": "$myhostname, localhost.$mydomain, localhost",
    "notify_classes": "resource, software",
    "queue_directory": "/var/spool/postfix",
    "queue_run_delay": "300s",
    "relay_transport": "relay",
    "smtp_sasl_security_options": "noplaintext, noanonymous",
    "smtp_sasl_tls_security_options": "$smtp_sasl_security_options",
    "smtp_sasl_tls_verified_security_options": "$smtp_sasl_tls_security_options",
    "smtp_tls_connection_reuse": "no",
    "smtp_tls_wrappermode": "no",
    "smtpd_relay_restrictions": (
        "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination"
    ),
    "smtputf8_enable": "yes",
    "virtual_alias_domains": "$virtual_alias_maps",
    "virtual_alias_maps": "$virtual_maps",
}

_REFERENCE = re.compile(r"\$(?:([A-Za-z0-9_]+)|\{([A-Za-z0-9_]+)\}|\(([A-Za-z0-9_]+)\)|\$)")
_DEEPEST = 20
_LONGEST = 100_000
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@dataclass(frozen=True)
class Finding:
    """One thing that kills mail: ``rule`` is a stable word, ``what`` says what becomes of mail."""

    rule: str
    parameter: str
    what: str
    remedy: str


@dataclass(frozen=True)
class Service:
    """One service of master.cf; ``options`` are its own parameters (``-o``)."""

    name: str
    kind: str
    chroot: str
    command: str
    options: Mapping[str, str]


@dataclass(frozen=True)
class Candidate:
    """``main`` is as written; ``odd`` are lines of either file that Postfix cannot read.

    ``twice`` names what main.cf sets more than once; ``tables`` are the texts of
    the files that come along, by path. ``settled``: every package is there, so
    that ``facts`` say what this build has. ``missing`` are files that the host lacks.
    """

    main: Mapping[str, str]
    services: tuple[Service, ...]
    facts: Facts
    odd: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    settled: bool = True
    missing: frozenset[str] = frozenset()

    def written(self, name: str) -> str:
        """The value as main.cf has it, or Postfix's default."""
        if name in self.main:
            return self.main[name]
        if name in _DEFAULTS:
            return _DEFAULTS[name]
        postfix = self.facts.postfix
        # What the main.cf in force sets is no default.
        return "" if postfix is None or name in postfix.own else postfix[name]

    def __getitem__(self, name: str) -> str:
        """The value with every ``$name`` in it replaced; conditions stay as they are."""
        return self._expand(self.written(name), 0)

    def words(self, name: str) -> list[str]:
        """The value as a list: postconf(5) separates by commas and white space."""
        return [word for word in re.split(r"[,\s]+", self[name]) if word]

    def yes(self, name: str) -> bool:
        """Whether a boolean parameter is on."""
        return self[name].lower() == "yes"

    @property
    def login(self) -> bool:
        """Whether a password is sent to the next hop."""
        return self.yes("smtp_sasl_auth_enable")

    @property
    def level(self) -> int:
        """The compatibility level in thousandths: 3006 for 3.6 and 2000 for 2."""
        found = re.match(r"([0-9]{1,6})(?:\.([0-9]{1,3}))?", self["compatibility_level"])
        return int(found.group(1)) * 1000 + int(found.group(2) or 0) if found else 0

    def references(self, name: str) -> list[str]:
        """The parameters that a value names by ``$name``."""
        found = _REFERENCE.findall(self.main.get(name, ""))
        return [a or b or c for a, b, c in found if a or b or c]

    def circular(self, name: str) -> bool:
        """Whether expanding a value never ends."""
        todo, seen = [(name, 0)], set()
        while todo:
            at, depth = todo.pop()
            for each in self.references(at):
                if each == name:
                    return True
                if each not in seen and depth < _DEEPEST * 50:
                    seen.add(each)
                    todo.append((each, depth + 1))
        return False

    def _expand(self, text: str, depth: int) -> str:
        if "$" not in text or depth > _DEEPEST:
            return text

        def value(found: re.Match[str]) -> str:
            name = found.group(1) or found.group(2) or found.group(3)
            return self._expand(self.written(name), depth + 1) if name else "$"

        return _REFERENCE.sub(value, text)[:_LONGEST]


def candidate(
    files: tuple[ManagedFile, ...],
    facts: Facts,
    *,
    settled: bool = True,
    missing: frozenset[str] = frozenset(),
) -> Candidate:
    """Make one of the files that would be written."""
    texts = {file.path: file.data.decode("utf-8", "replace") for file in files}
    main, twice, odd = _main(texts.pop("/etc/postfix/main.cf", ""))
    services, odd_services = _services(texts.pop("/etc/postfix/master.cf", ""))
    return Candidate(
        main=main,
        services=services,
        facts=facts,
        odd=(*odd, *odd_services),
        twice=twice,
        tables=texts,
        settled=settled,
        missing=missing,
    )


def logical_lines(text: str) -> Iterator[str]:
    """The lines of a configuration file of Postfix, put together."""
    parts: list[str] = []
    # Only LF ends a line for Postfix; splitlines() knows nine other characters.
    for line in text.split("\n"):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and parts:
            parts.append(line.strip())
            continue
        if parts:
            yield " ".join(parts)
        parts = [line.rstrip()]
    if parts:
        yield " ".join(parts)


def seconds(text: str, unit: str) -> int:
    """A time of postconf(5), in ``unit`` where it names none; -1 for what is no time."""
    found = re.fullmatch(r"([0-9]{1,10})([smhdw]?)", text.strip())
    return int(found.group(1)) * _UNITS[found.group(2) or unit] if found else -1


def _main(text: str) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    values: dict[str, str] = {}
    twice: list[str] = []
    odd: list[str] = []
    for line in logical_lines(text):
        name, equals, value = line.partition("=")
        name = name.strip()
        if not equals or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            odd.append(f"main.cf: {line[:60]}")
            continue
        twice += [name] if name in values else []
        values[name] = value.strip()
    return values, tuple(twice), tuple(odd)


def _services(text: str) -> tuple[tuple[Service, ...], tuple[str, ...]]:
    found: list[Service] = []
    odd: list[str] = []
    for line in logical_lines(text):
        words = line.split()
        if len(words) < 8 or words[1] not in ("inet", "unix", "unix-dgram", "fifo", "pass"):
            odd.append(f"master.cf: {line[:60]}")
            continue
        found.append(Service(words[0], words[1], words[4], words[7], _options(words[8:])))
    return tuple(found), tuple(odd)


def _options(words: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for option, value in zip(words, words[1:]):
        name, equals, text = value.partition("=")
        if option == "-o" and equals:
            found[name] = text
    return found
