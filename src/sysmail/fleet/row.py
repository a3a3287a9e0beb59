"""One host of a fleet: as a run knows it, and as the page may show it.

A report comes from a host, and a host is not trusted: it may have any shape, any
size and any characters. What leaves this module is short, printable and of one shape.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Optional

from sysmail.report import FAIL, PASS, PROMISES, UNKNOWN

__all__ = [
    "FAILED",
    "PROVEN",
    "STATES",
    "HostRow",
    "Shown",
    "Trouble",
    "clean",
    "shown",
]

NOT_CHECKED = "not checked"
_WORST_FIRST = (FAIL, UNKNOWN, NOT_CHECKED, PASS)

FAILED = "failed"
UNREACHABLE = "unreachable"
UNPROVEN = "not proven"
SKIPPED = "skipped"
PROVEN = "proven"
STATES = (FAILED, UNREACHABLE, UNPROVEN, SKIPPED, PROVEN)
"""What a host is in one word, the worst first."""

NAME_LENGTH = 253
"""As long as a host name may be."""
WORD_LENGTH = 40
TEXT_LENGTH = 400
MAX_ITEMS = 100
"""So many verdicts or errors of a report are looked at."""
MAX_TROUBLES = 12
MAX_STACKED = 2
"""So many marks may stand on a letter; more of them paint over the lines above."""
MAX_COUNT = 10**12


@dataclass(frozen=True)
class HostRow:
    """What a run knows of a host.

    ``outcome`` is ok, changed, failed, unreachable or skipped; ``message`` says
    what failed, ``remedy`` what to do next. ``report`` is the JSON report of
    sysmail, version 1. ``queue`` has ``count``, and ``oldest`` in seconds since
    the epoch, or None.
    """

    name: str
    outcome: str
    message: str = ""
    remedy: str = ""
    report: Optional[Mapping[str, Any]] = None
    queue: Optional[Mapping[str, Any]] = None


@dataclass(frozen=True)
class Trouble:
    """One thing that failed: the promise or the error's code, what was seen, what to do."""

    label: str
    text: str
    remedy: str


@dataclass(frozen=True)
class Shown:
    """A host as the page shows it. ``age`` is of the oldest waiting message, in seconds."""

    name: str
    state: str
    changed: bool
    route: str
    next_hop: str
    verdicts: tuple[str, ...]
    waiting: Optional[int]
    age: Optional[float]
    troubles: tuple[Trouble, ...]
    left_out: int

    @property
    def order(self) -> tuple[Any, ...]:
        """The worst first; among equals those where mail waits, then by name."""
        name = re.split("([0-9]+)", self.name.lower())
        return (
            STATES.index(self.state),
            -self.verdicts.count(FAIL),
            not self.waiting,
            [int(part) if at % 2 else part for at, part in enumerate(name)],
        )


def clean(value: object, length: int = TEXT_LENGTH) -> str:
    """A text of at most ``length`` characters that cannot disturb what stands around it.

    Control characters, invisible ones and those that turn the direction of
    writing become U+FFFD; white space becomes single spaces.
    """
    if not isinstance(value, str):
        return ""
    text = " ".join(value[: 4 * length].split())
    if not (text.isascii() and text.isprintable()):
        text = "".join(_harmless(text))
    return text if len(text) <= length else text[: length - 1] + "…"


def _harmless(text: str) -> Iterator[str]:
    stacked = 0
    for char in text:
        stacked = stacked + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        if stacked <= MAX_STACKED:
            yield char if char.isprintable() else "\ufffd"


def shown(row: HostRow, time: float) -> Shown:
    """What the page shows of a host at a time, in seconds since the epoch."""
    report = _table(row.report)
    route = _table(report.get("route"))
    found = _verdicts(report)
    statuses = _worst(found)
    queue = _table(row.queue) or _table(report.get("queue"))
    waiting, oldest = _number(queue.get("count")), _number(queue.get("oldest"))
    troubles = _troubles(row, report, found)
    return Shown(
        name=clean(row.name, NAME_LENGTH) or "(no name)",
        state=_state(clean(row.outcome, WORD_LENGTH), statuses),
        changed=row.outcome == "changed",
        route=clean(route.get("name"), WORD_LENGTH),
        next_hop=clean(route.get("next_hop"), WORD_LENGTH),
        verdicts=tuple(statuses.get(name, NOT_CHECKED) for name in PROMISES),
        waiting=None if waiting is None else int(waiting),
        age=max(time - oldest, 0.0) if oldest is not None and waiting else None,
        troubles=tuple(troubles[:MAX_TROUBLES]),
        left_out=max(len(troubles) - MAX_TROUBLES, 0),
    )


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _tables(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, (list, tuple)):
        yield from (_table(item) for item in islice(value, MAX_ITEMS))


def _number(value: object) -> Optional[float]:
    """A number of messages or seconds; None for what cannot be one."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    # Whole numbers of any length are compared, never converted.
    return value if 0 <= value <= MAX_COUNT and math.isfinite(value) else None


def _verdicts(report: Mapping[str, Any]) -> list[tuple[str, str, Trouble]]:
    """Name, status and words of each verdict; a status that is none of ours is unknown."""
    found = []
    for verdict in _tables(report.get("verdicts")):
        name, status = clean(verdict.get("check"), WORD_LENGTH), verdict.get("status")
        known = status if isinstance(status, str) and status in (PASS, FAIL) else UNKNOWN
        if not name:
            continue
        # Nobody reads on this page why a promise is kept.
        text = "" if known == PASS else clean(verdict.get("evidence")) or known
        found.append((name, known, Trouble(name, text, clean(verdict.get("remedy")))))
    return found


def _worst(found: list[tuple[str, str, Trouble]]) -> dict[str, str]:
    """The status of each check; of two verdicts of one check the worse one counts."""
    worst: dict[str, str] = {}
    for name, status, _ in found:
        worst[name] = min(worst.get(name, status), status, key=_WORST_FIRST.index)
    return worst


def _state(outcome: str, statuses: Mapping[str, str]) -> str:
    if outcome == UNREACHABLE:
        return UNREACHABLE
    if outcome == FAILED or FAIL in statuses.values():
        return FAILED
    if outcome == SKIPPED and not statuses:
        return SKIPPED
    whole = all(statuses.get(name) == PASS for name in PROMISES)
    if whole and UNKNOWN not in statuses.values() and outcome in ("ok", "changed", SKIPPED):
        return PROVEN
    return UNPROVEN


def _troubles(
    row: HostRow, report: Mapping[str, Any], found: list[tuple[str, str, Trouble]]
) -> list[Trouble]:
    """What failed, errors first, then broken promises, then what is unknown; each once."""
    troubles = []
    for error in _tables(report.get("errors")):
        text = clean(error.get("message"))
        if text:
            code = clean(error.get("code"), WORD_LENGTH)
            troubles.append(Trouble(code, text, clean(error.get("remedy"))))
    for wanted in (FAIL, UNKNOWN):
        troubles += [trouble for _, status, trouble in found if status == wanted]
    message, remedy = clean(row.message), clean(row.remedy)
    # The run's own words often repeat an error of the report.
    if message and not any(each.text in message for each in troubles):
        troubles.insert(0, Trouble("", message, remedy))
    return list(dict.fromkeys(troubles))
