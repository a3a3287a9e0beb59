"""A DNS in memory, for tests: zones as a table, and every question recorded."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Union

from sysmail.host.port import ABSENT, FOUND, NOTHING, UNANSWERED, Answer

__all__ = ["SERVFAIL", "FakeDns", "Zone", "told"]

SERVFAIL = "SERVFAIL"
"""In place of records: nobody answers."""

Zone = Mapping[str, Mapping[str, Union[str, Sequence[str]]]]


class FakeDns:
    """Answers from ``name -> type -> record or records``.

    A name that has nothing, and nothing below it, does not exist.
    """

    def __init__(self, zone: Zone) -> None:
        self.zone = {name.lower(): dict(records) for name, records in zone.items()}
        self.asked: list[tuple[str, str]] = []

    def set(self, name: str, kind: str, *values: str) -> None:
        """Replace the records of a name; none at all takes them away."""
        records = self.zone.setdefault(name.lower(), {})
        if values:
            records[kind] = list(values)
        else:
            records.pop(kind, None)
            if not records:
                del self.zone[name.lower()]

    def pointer(self, address: str, *names: str) -> None:
        """Replace the PTR records of an address."""
        self.set(ipaddress.ip_address(address).reverse_pointer, "PTR", *names)

    def lookup(self, name: str, kind: str) -> Answer:
        """What the table says."""
        name = name.lower().rstrip(".")
        self.asked.append((name, kind))
        records = self.zone.get(name)
        if records is None:
            below = any(other.endswith("." + name) for other in self.zone)
            return Answer(NOTHING if below else ABSENT)
        found = records.get(kind, records.get("*", ()))
        if found == SERVFAIL or list(found) == [SERVFAIL]:
            return Answer(UNANSWERED, why="the resolver says SERVFAIL")
        values = (found,) if isinstance(found, str) else tuple(found)
        return Answer(FOUND, values) if values else Answer(NOTHING)


def told(remedy: str) -> str:
    """The text of the TXT record that a remedy names, its strings put together."""
    record = remedy.rpartition(" IN TXT ")[2]
    assert record.startswith('"'), remedy
    assert record.endswith('"'), remedy
    return "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', record))
