"""Questions to DNS that several checks ask, each of them once."""

from __future__ import annotations

import ipaddress
import re
from typing import Union

from sysmail.host.port import FOUND, Answer, Resolver

__all__ = [
    "Address",
    "Published",
    "Remembering",
    "address_kind",
    "addresses_of",
    "can_exist",
    "is_qualified",
    "parents",
]

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

_HOST_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
NOT_OUTSIDE = ("localdomain", "local", "internal", "lan", "home.arpa", "invalid", "localhost")
"""Top names that the world's DNS never has (RFC 6761, 6762, 8375; ICANN's .internal)."""


class Remembering:
    """A resolver that asks no question twice: several checks need the same records."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._known: dict[tuple[str, str], Answer] = {}

    def lookup(self, name: str, kind: str) -> Answer:
        """The answer, from memory where there is one."""
        key = (name.lower().rstrip("."), kind)
        if key not in self._known:
            self._known[key] = self._resolver.lookup(*key)
        return self._known[key]


class Published:
    """DNS as it will be with one TXT record in place of all those of a name."""

    def __init__(self, resolver: Resolver, name: str, text: str) -> None:
        self._resolver, self._name, self._text = resolver, name.lower().rstrip("."), text

    def lookup(self, name: str, kind: str) -> Answer:
        """The new record where it is asked for, else what DNS says."""
        if kind == "TXT" and name.lower().rstrip(".") == self._name:
            return Answer(FOUND, (self._text,))
        return self._resolver.lookup(name, kind)


def address_kind(address: Address) -> str:
    """The type of the record that holds an address."""
    return "A" if address.version == 4 else "AAAA"


def addresses_of(resolver: Resolver, name: str, kind: str) -> tuple[Address, ...]:
    """The addresses of a name, as far as DNS has any; what is no address is left out."""
    found: list[Address] = []
    for text in resolver.lookup(name, kind).values:
        try:
            found.append(ipaddress.ip_address(text))
        except ValueError:
            continue
    return tuple(found)


def can_exist(name: str) -> bool:
    """Whether a text can be a name in DNS: labels of 1 to 63 bytes, 253 in all (RFC 1035)."""
    bare = name.removesuffix(".")
    return 0 < len(bare) <= 253 and all(0 < len(label) <= 63 for label in bare.split("."))


def is_qualified(name: str) -> bool:
    """Whether others could look a host's name up: letters, digits and hyphens, with a domain."""
    labels = name.lower().rstrip(".").split(".")
    valid = len(labels) > 1 and all(_HOST_LABEL.fullmatch(label) for label in labels)
    above = (labels[-1], ".".join(labels[-2:]))
    return valid and can_exist(name) and not set(above) & set(NOT_OUTSIDE)


def parents(domain: str) -> list[str]:
    """A domain and those above it, the longest first."""
    labels = domain.lower().rstrip(".").split(".")
    return [".".join(labels[start:]) for start in range(len(labels))]
