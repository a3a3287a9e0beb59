"""What left lately: the attempts of a time, counted by what they came to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Optional

from sysmail import maillog
from sysmail.errors import HostError
from sysmail.facts.model import Facts
from sysmail.host.port import Reader
from sysmail.logline import LogLine, parse
from sysmail.trace.events import read
from sysmail.trace.journal import Journal
from sysmail.trace.log import LIMIT

__all__ = ["Delivered", "Recent", "recent"]


@dataclass(frozen=True)
class Delivered:
    """A delivery that the next hop took: ``time`` is seconds since the epoch."""

    time: float
    queue_id: str
    recipient: str
    answer: str


@dataclass(frozen=True)
class Recent:
    """How many attempts came to what (sent, deferred, bounced, ...), and the last deliveries.

    ``complete`` is false where there were more lines than are looked at.
    """

    counts: dict[str, int]
    last: tuple[Delivered, ...]
    complete: bool


def recent(
    reader: Reader, facts: Facts, maillog_file: str, since: float, shown: int
) -> Optional[Recent]:
    """The attempts since a moment; None where no log can be read."""
    if facts.systemd and not maillog_file:
        try:
            found = Journal(reader).attempts(since)
        except HostError:
            return None
        return _counted(found, shown, complete=len(found) < LIMIT)
    lines = maillog.lines_since(reader, facts, maillog_file, since, "status=")
    if lines is None:
        return None
    parsed = [parse(line, reader.now()) for line in lines]
    return _counted(
        [line for line in parsed if line is not None], shown, complete=len(lines) < maillog.LIMIT
    )


def _counted(lines: list[LogLine], shown: int, *, complete: bool) -> Recent:
    counts: Counter[str] = Counter()
    last: list[Delivered] = []
    for line in lines:
        event = read(line.daemon, line.text)
        if event.kind != "attempt" or not line.queue_id:
            continue
        status = event.facts["status"]
        counts[status] += 1
        if status == "sent":
            sent = Delivered(line.time, line.queue_id, event.facts["to"], event.facts["answer"])
            last = [*last[1 - shown :], sent] if shown > 1 else [sent]
    return Recent(dict(counts), tuple(last), complete)
