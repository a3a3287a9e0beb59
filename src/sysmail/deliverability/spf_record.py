"""The syntax of an SPF record (RFC 7208, 4.6.1, 5, 6 and 12).

A record is read whole before any of it counts: a mistake anywhere in it makes
receivers treat all of it as broken.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Optional, Union

__all__ = ["BadRecordError", "Mechanism", "Network", "Record", "is_spf", "read_spf"]

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

VERSION = "v=spf1"
# Alternatives that share no first character, so that no text takes long to be refused.
_MACROS = re.compile(
    r"(?:%\{[slodiphv](?:0*[1-9][0-9]*)?r?[.\-+,/_=]*\}|%[%_-]|[\x21-\x24\x26-\x7e])*",
    re.IGNORECASE,
)
_LAST_MACRO = re.compile(r"%\{[^{}]*\}\Z")
_MODIFIER = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)
_MECHANISM = re.compile(r"([+?~-]?)([A-Za-z][A-Za-z0-9]*)(.*)", re.DOTALL)
_LENGTHS = re.compile(r"(?:/([0-9]{1,3}))?(?://([0-9]{1,3}))?\Z")
_RESULTS = {"": "pass", "+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}


class BadRecordError(Exception):
    """What is wrong with a record, in a few words."""


@dataclass(frozen=True)
class Mechanism:
    """One mechanism: ``result`` is what the whole gives where it matches.

    ``domain`` may hold macros, and is empty for the domain that is looked at;
    ``length4`` and ``length6`` are prefix lengths; ``text`` is how it was written.
    """

    result: str
    name: str
    text: str
    domain: str = ""
    length4: int = 32
    length6: int = 128
    network: Optional[Network] = None


@dataclass(frozen=True)
class Record:
    """A record that is well formed. ``redirect`` may hold macros."""

    mechanisms: tuple[Mechanism, ...]
    redirect: str = ""


def is_spf(text: str) -> bool:
    """Whether a TXT record is one of SPF (4.5)."""
    return text.lower() == VERSION or text.lower().startswith(VERSION + " ")


def read_spf(text: str) -> Record:
    """Read a record; BadRecordError says which term is wrong."""
    if not text.isascii():
        raise BadRecordError("it holds characters that are not ASCII")
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, str] = {}
    for term in filter(None, text[len(VERSION) :].split(" ")):
        found = _MODIFIER.fullmatch(term)
        if found is None:
            mechanisms.append(_mechanism(term))
            continue
        name, value = found[1].lower(), found[2]
        if name in ("redirect", "exp"):
            if name in modifiers:
                raise BadRecordError(f"{name}= stands in it twice")
            modifiers[name] = _domain(value, term)
        elif not _MACROS.fullmatch(value):
            raise _bad(term)
    return Record(tuple(mechanisms), modifiers.get("redirect", ""))


def _bad(term: str) -> BadRecordError:
    shown = term if len(term) <= 60 else term[:57] + "..."
    return BadRecordError(f"{shown!r} is not understood")


def _mechanism(term: str) -> Mechanism:
    found = _MECHANISM.fullmatch(term)
    if found is None:
        raise _bad(term)
    result, name, rest = _RESULTS[found[1]], found[2].lower(), found[3]
    if name == "all" and not rest:
        return Mechanism(result, name, term)
    if name in ("ip4", "ip6") and rest.startswith(":"):
        network = _network(rest[1:], 4 if name == "ip4" else 6, term)
        return Mechanism(result, name, term, network=network)
    if name in ("include", "exists") and rest.startswith(":"):
        return Mechanism(result, name, term, _domain(rest[1:], term))
    if name == "ptr":
        return Mechanism(result, name, term, _optional_domain(rest, term))
    if name in ("a", "mx"):
        lengths = _LENGTHS.search(rest)
        rest, of4, of6 = rest[: lengths.start()], lengths[1], lengths[2]  # type: ignore[index,union-attr]
        domain = _optional_domain(rest, term)
        return Mechanism(
            result, name, term, domain, _length(of4, 32, term), _length(of6, 128, term)
        )
    raise _bad(term)


def _length(digits: Optional[str], largest: int, term: str) -> int:
    if digits is None:
        return largest
    if int(digits) > largest or (digits != "0" and digits.startswith("0")):
        raise _bad(term)
    return int(digits)


def _network(text: str, version: int, term: str) -> Network:
    address, slash, digits = text.partition("/")
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        raise _bad(term) from None
    if found.version != version or "%" in address or (slash and not digits.isdigit()):
        raise _bad(term)
    if len(digits) > 3:
        raise _bad(term)
    length = _length(digits if slash else None, found.max_prefixlen, term)
    return ipaddress.ip_network((found, length), strict=False)


def _optional_domain(rest: str, term: str) -> str:
    if not rest:
        return ""
    if not rest.startswith(":"):
        raise _bad(term)
    return _domain(rest[1:], term)


def _domain(text: str, term: str) -> str:
    """A domain-spec (7.1): macros and letters that end in a macro or in a top label."""
    if not _MACROS.fullmatch(text):
        raise _bad(term)
    if _LAST_MACRO.search(text):
        return text
    bare = text.removesuffix(".")
    _, dot, label = bare.rpartition(".")
    plain = label.isascii() and label.replace("-", "").isalnum()
    if not (dot and plain) or label.isdigit() or label[0] == "-" or label[-1] == "-":
        raise _bad(term)
    return text
