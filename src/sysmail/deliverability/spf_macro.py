"""Macros in SPF records (RFC 7208, 7)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Callable
from urllib.parse import quote

from sysmail.deliverability.names import Address

__all__ = ["Client", "expand"]

_MACRO = re.compile(r"%(?:\{([A-Za-z])([0-9]*)([rR]?)([.\-+,/_=]*)\}|([%_-]))")
_PLAIN = {"%": "%", "_": " ", "-": "%20"}
LONGEST = 253


@dataclass(frozen=True)
class Client:
    """Who is judged: the address that connects, its envelope sender and its HELO name."""

    address: Address
    sender: str
    helo: str

    @property
    def local_part(self) -> str:
        """The left side of the sender."""
        return self.sender.rpartition("@")[0] or "postmaster"

    @property
    def sender_domain(self) -> str:
        """The right side of the sender."""
        return self.sender.rpartition("@")[2]


def expand(text: str, client: Client, domain: str, validated: Callable[[], str]) -> str:
    """A domain-spec with its macros filled in, as the name to ask for.

    ``domain`` is the one whose record this is; ``validated`` looks up the
    client's own name, and is asked only for ``%{p}``. Labels on the left of
    what is too long for DNS are left out (7.3).
    """
    values: dict[str, Callable[[], str]] = {
        "s": lambda: f"{client.local_part}@{client.sender_domain}",
        "l": lambda: client.local_part,
        "o": lambda: client.sender_domain,
        "d": lambda: domain,
        "i": lambda: _dotted(client.address),
        "p": validated,
        "v": lambda: "in-addr" if client.address.version == 4 else "ip6",
        "h": lambda: client.helo,
    }

    def fill(found: re.Match[str]) -> str:
        if found[5]:
            return _PLAIN[found[5]]
        letter = found[1]
        value = _transform(values[letter.lower()](), found[2], bool(found[3]), found[4] or ".")
        return quote(value, safe="-._~") if letter.isupper() else value

    name = _MACRO.sub(fill, text).rstrip(".")
    while len(name) > LONGEST and "." in name:
        name = name.partition(".")[2]
    return name


def _transform(value: str, digits: str, reverse: bool, delimiters: str) -> str:
    parts = re.split("[" + re.escape(delimiters) + "]", value)
    if reverse:
        parts.reverse()
    # A number with more digits than any name has labels keeps all of them.
    keep = int(digits) if digits and len(digits) < 6 else len(parts)
    return ".".join(parts[-keep:])


def _dotted(address: Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return ".".join(address.exploded.replace(":", ""))
