"""The organisational domain: which names belong to one owner (RFC 7489, 3.2).

That needs the public suffix list. Where the host has no copy of it, the walk
up the tree that DMARC's successor has in its place is done (RFC 9989, 4.10): the
highest name with a DMARC record is the owner's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Optional

from sysmail.deliverability.names import parents

__all__ = ["FILES", "Suffixes", "organisational_by_walk"]

FILES = (
    "/usr/share/publicsuffix/public_suffix_list.dat",
    "/usr/share/publicsuffix/effective_tld_names.dat",
)
"""Where distributions put the list (Debian's publicsuffix, Arch's publicsuffix-list)."""


class Suffixes:
    """The public suffix list, from the text of its file (publicsuffix.org/list)."""

    def __init__(self, text: str) -> None:
        self._rules: set[str] = set()
        self._exceptions: set[str] = set()
        for line in text.splitlines():
            rule = line.split()[0] if line.split() else ""
            if rule.startswith("//") or not rule:
                continue
            if not rule.isascii():
                rule = _ascii(rule)
            kind = self._exceptions if rule.startswith("!") else self._rules
            kind.add(rule.lstrip("!").lower())

    def organisational(self, domain: str) -> str:
        """The domain that somebody registered: one label below the longest public suffix."""
        names = parents(domain)
        for at, name in enumerate(names):
            above = name.partition(".")[2]
            if name in self._exceptions:
                return name
            if name in self._rules or f"*.{above}" in self._rules:
                return names[max(at - 1, 0)]
        return names[-2] if len(names) > 1 else domain


def _ascii(rule: str) -> str:
    try:
        return rule.encode("idna").decode()
    except UnicodeError:
        return rule


def organisational_by_walk(domain: str, records: Iterable[tuple[str, Optional[str]]]) -> str:
    """The owner's domain by the walk: ``records`` are names with their tag ``psd``, longest first.

    Only names that have one DMARC record are in it.
    """
    best = domain
    for name, psd in records:
        if psd == "n":
            return name
        if psd == "y":
            below = [each for each in parents(domain) if each.endswith("." + name)]
            return below[-1] if below else best
        best = name
    return best
