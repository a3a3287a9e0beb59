"""A line of a mail log: when, which program, and what it said.

Traditional syslog, which Postfix's own log file shares (postlogd(8)), with
traditional, RFC 3339 or ISO stamps, and RFC 5424; with the priority or without.
Traditional stamps have no year and no zone: they are local time, and of the
latest year in which they are not in the future.
"""

from __future__ import annotations

import calendar
import re
import time
from dataclasses import dataclass
from typing import Optional

__all__ = ["LogLine", "is_repeated", "moment", "parse", "said"]

_MONTH_NAMES = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_STAMP = re.compile(r"([A-Z][a-z]{2}) +(\d{1,2}) (?:(\d{4}) )?(\d\d):(\d\d):(\d\d)(\.\d+)?")
_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:?\d\d)?")
# The word before the program is the facility where BusyBox's syslogd writes.
_REST = re.compile(
    r" (?:\S+ )(?:[a-z0-9]+\.[a-z]+ )?([^\s\[:]+)(?:\[(\d{1,10})\])?: (.*)$", re.DOTALL
)
_PRIORITY = re.compile(r"<\d{1,3}>(1 )?")
# Name, process and message id, and structured data (RFC 5424, 6).
_REST_5424 = re.compile(
    r" \S+ (\S+) (\S+) \S+ (?:-|(?:\[(?:[^\]\\]|\\.)*\])+) \ufeff?(.*)$", re.DOTALL
)
_PID = re.compile(r"\d{1,10}")
_QUEUE_ID = re.compile(r"([0-9A-F]{6,}|(?=[A-Za-z]*\d)[0-9A-Za-z]{10,}|NOQUEUE): ")
LEAP = 29
HOUR, SLACK = 3600.0, 60.0
FUTURE = 86400.0
"""Seconds that a stamp may be ahead of the clock that reads it."""


@dataclass(frozen=True)
class LogLine:
    """One line. ``time`` is seconds since the epoch, ``queue_id`` empty where none begins ``text``.

    ``program`` is the whole tag, such as postfix/relay/smtp. ``uid`` is the
    user of the process, which only the journal knows. ``place`` orders lines
    of one log: where it is from (a file's turn, oldest least; then its offset).
    """

    time: float
    program: str
    pid: int
    queue_id: str
    text: str
    uid: Optional[int] = None
    place: tuple[int, int] = (0, 0)

    @property
    def daemon(self) -> str:
        """The daemon of Postfix, such as smtp."""
        return self.program.rpartition("/")[2]


def said(
    when: float,
    program: str,
    pid: int,
    message: str,
    uid: Optional[int] = None,
    place: tuple[int, int] = (0, 0),
) -> LogLine:
    """A line of what a program said, with the queue id that begins it apart."""
    match = _QUEUE_ID.match(message)
    queue_id, text = (match.group(1), message[match.end() :]) if match else ("", message)
    return LogLine(when, program, pid, queue_id, text, uid, place)


def parse(line: str, latest: float, place: tuple[int, int] = (0, 0)) -> Optional[LogLine]:
    """A line of a file that was not written after ``latest``; None for what is none."""
    found = _stamp(line, latest)
    if found is None:
        return None
    form = _REST_5424 if line.startswith("<") and _is_5424(line) else _REST
    rest = form.match(line, found[1])
    if rest is None:
        return None
    pid = int(rest.group(2)) if _PID.fullmatch(rest.group(2) or "") else 0
    return said(found[0], rest.group(1), pid, rest.group(3), None, place)


def _is_5424(line: str) -> bool:
    priority = _PRIORITY.match(line)
    return priority is not None and priority.group(1) is not None


def moment(line: str, latest: float) -> Optional[float]:
    """When a line was written, in seconds since the epoch; None where it does not say."""
    found = _stamp(line, latest)
    return found[0] if found is not None else None


def _stamp(line: str, latest: float) -> Optional[tuple[float, int]]:
    """The moment, and where in the line its stamp ends."""
    priority = _PRIORITY.match(line) if line.startswith("<") else None
    start = priority.end() if priority is not None else 0
    iso = _ISO.match(line, start)
    if iso is not None:
        return _iso(iso), iso.end()
    match = _STAMP.match(line, start)
    if match is None or match.group(1) not in _MONTHS:
        return None
    month, day = _MONTHS[match.group(1)], int(match.group(2))
    clock = tuple(int(match.group(part)) for part in (4, 5, 6))
    fraction = float(match.group(7) or 0)
    if match.group(3):
        return _local(int(match.group(3)), month, day, clock) + fraction, match.end()
    year = time.localtime(latest + FUTURE).tm_year
    while (month, day) == (2, LEAP) and not calendar.isleap(year):
        year -= 1
    found = _local(year, month, day, clock)
    if found > latest + FUTURE:
        found = _local(year - 1, month, day, clock)
    elif time.daylight and is_repeated(found):
        # Of the two hours the second, unless that has not been yet.
        found = max((t for t in _same(found) if t <= latest + SLACK), default=min(_same(found)))
    return found + fraction, match.end()


def _same(when: float) -> list[float]:
    """The moments that a clock on the wall shows alike; more than one when summer ends."""
    shown = time.localtime(when)[:6]
    around = (when - HOUR, when, when + HOUR)
    return [moment for moment in around if time.localtime(moment)[:6] == shown]


def is_repeated(when: float) -> bool:
    """Whether local time shows this moment twice, as summer time ends."""
    return len(_same(when)) > 1


def _local(year: int, month: int, day: int, clock: tuple[int, ...]) -> float:
    try:
        return time.mktime((year, month, day, *clock, 0, 0, -1))  # type: ignore[arg-type]
    except (OverflowError, ValueError):
        return 0.0


def _iso(match: re.Match[str]) -> float:
    year, month, day, hour, minute, second = (int(match.group(part)) for part in range(1, 7))
    fraction = float(f"0.{match.group(7)}") if match.group(7) else 0.0
    zone = match.group(8)
    if not zone:
        return _local(year, month, day, (hour, minute, second)) + fraction
    try:
        found = calendar.timegm((year, month, day, hour, minute, second))
    except (OverflowError, ValueError):
        return 0.0
    if zone != "Z":
        shift = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
        found -= shift if zone[0] == "+" else -shift
    return found + fraction
