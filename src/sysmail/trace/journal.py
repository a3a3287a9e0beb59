"""The mail log in systemd's journal."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Optional

from sysmail.errors import HostError
from sysmail.host.port import Reader
from sysmail.logline import LogLine, said
from sysmail.maillog import by_owner
from sysmail.trace.log import LIMIT, Named
from sysmail.trace.naming import mentions, needles

__all__ = ["Journal", "arrival_of", "suppressed"]

_DIGITS = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
_LONG = re.compile(f"[{_DIGITS}]{{10,}}z[{_DIGITS[:-1]}]+")
_MICROSECONDS = 4
_HOUR = 3600.0
SECONDS = 120.0
"""For a journal of some gigabytes without a moment to begin at."""


_SUPPRESSED = "a596d6fe7bfa4994828e72309e95d61e"
"""MESSAGE_ID of journald's notes about messages that its rate limit dropped (sd-messages.h)."""
_DROPPED = re.compile(r"Suppressed ([0-9]{1,9}) messages from postfix")

_FIELDS = "MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID,_PID,_UID"
_UNITS = ("-u", "postfix*")
_BY_HAND = ("-t", "postfix/postsuper")
"""postsuper(1) logs in the unit of who called it, as mail_owner, which it becomes first."""


def arrival_of(queue_id: str) -> Optional[float]:
    """When a message with a long queue id arrived: it begins with that (mail_queue.h).

    Seconds since the epoch; None for a short one, which tells only microseconds.
    """
    if _LONG.fullmatch(queue_id) is None:
        return None
    seconds = 0
    for letter in queue_id[: queue_id.rindex("z") - _MICROSECONDS]:
        seconds = seconds * len(_DIGITS) + _DIGITS.index(letter)
    return float(seconds)


class Journal:
    """The journal, read with journalctl(1)."""

    name = "the journal"

    def __init__(self, reader: Reader, owner: str = "") -> None:
        """Nothing is asked yet. ``owner`` is mail_owner of Postfix, where that is known."""
        self._reader, self._owner = reader, owner
        self.unread: dict[str, HostError] = {}

    def of(self, queue_id: str) -> list[LogLine]:
        """The lines that name a queue id."""
        return self._of_messages(rf"\b{re.escape(queue_id)}\b", _since([queue_id]))

    def naming(self, text: str) -> Named:
        """What names a recipient or a Message-ID, the newest first."""
        lines = self._lines(_UNITS, "|".join(map(_quoted, needles(text))), None)
        return Named(tuple(mentions(reversed(lines), text)), len(lines) < LIMIT)

    def lately(self, texts: Sequence[str], since: float) -> list[LogLine]:
        """The lines since a moment that hold one of the texts."""
        return self._lines(_UNITS, "|".join(map(_quoted, texts)), since) if texts else []

    def around(
        self, queue_ids: Sequence[str], near: Sequence[LogLine], *, notices: bool = False
    ) -> list[LogLine]:
        """Every line of these messages."""
        del near, notices
        if not queue_ids:
            return []
        pattern = rf"^({'|'.join(map(re.escape, queue_ids))}): "
        return self._of_messages(pattern, _since(queue_ids))

    def session(self, program: str, pid: int, place: tuple[int, int], time: float) -> list[LogLine]:
        """The lines about the last TLS session of a process before that place."""
        which = (*_UNITS, "-t", program, f"_PID={pid}", "--until", f"@{time + 1:.6f}")
        lines = self._lines(which, "TLS connection|subject_CN=", time - _HOUR)
        return [line for line in lines if line.place <= place][-2:]

    def successor(self, queue_id: str, near: LogLine) -> list[LogLine]:
        """The line of pickup(8) that gave a requeued message its next queue id."""
        return self._lines(_UNITS, rf" orig_id={re.escape(queue_id)}\b", near.time - 1)[:1]

    def attempts(self, since: float) -> list[LogLine]:
        """The newest attempts to hand messages on, since a moment, in order."""
        return self._lines(_UNITS, "status=", since)

    def of_msmtp(self, text: str, since: Optional[float] = None) -> list[LogLine]:
        """The lines of msmtp that name a text, and after them those of programs' own msmtp."""
        # By identifier: journald does not always know the unit of a process that ends at once.
        which = ("-t", "msmtp")
        lines = self._lines(which, _quoted(text), since)
        if since is not None or not lines:
            return lines
        local = self._lines(which, "host=localhost ", lines[0].time)
        return sorted({line.place: line for line in (*lines, *local)}.values(), key=_place)

    def _of_messages(self, pattern: str, since: Optional[float]) -> list[LogLine]:
        """What Postfix logged, and what was done to its queue by hand."""
        found = self._lines(_UNITS, pattern, since)
        try:
            # The name is anybody's (logger(1)), the user is not.
            whose = by_owner(self._reader, self._owner)
        except HostError:
            return found
        found += self._lines((*_BY_HAND, whose), pattern, since)
        return sorted({line.place: line for line in found}.values(), key=_place)

    def _lines(self, which: Sequence[str], pattern: str, since: Optional[float]) -> list[LogLine]:
        argv = ["journalctl", "-q", "-a", "--no-pager", "-o", "json", f"--output-fields={_FIELDS}"]
        argv += [*which, "-n", str(LIMIT), "--case-sensitive=yes", "-g", pattern]
        if since is not None:
            argv += ["--since", f"@{since:.6f}"]
        said = self._reader.ask(argv, timeout=SECONDS)
        # 1 alone is that nothing matches.
        if said.status not in (0, 1) or (said.status == 1 and said.err.strip()):
            raise HostError(
                "log-not-read",
                f"the journal could not be read: {said.err.strip().partition(chr(10))[0]}",
                "run `journalctl -u 'postfix*' -n 1 -g x` to see why",
            )
        found = [line for line in map(_line, said.out.splitlines()) if line is not None]
        return sorted(found, key=_place)


def _place(line: LogLine) -> tuple[int, int]:
    return line.place


def _since(queue_ids: Sequence[str]) -> Optional[float]:
    moments = [arrival_of(queue_id) for queue_id in queue_ids]
    known = [moment for moment in moments if moment is not None]
    # An hour, for clocks that were set meanwhile.
    return min(known) - _HOUR if len(known) == len(moments) and known else None


def _quoted(text: str) -> str:
    return re.escape(text).replace("\\ ", " ").replace("\\<", "<").replace("\\>", ">")


def _line(row: str) -> Optional[LogLine]:
    try:
        entry: dict[str, Any] = json.loads(row)
        message = entry["MESSAGE"]
        if isinstance(message, list):  # what is not UTF-8 (systemd.io, journal export formats)
            message = bytes(message).decode("utf-8", "replace")
        turn = re.search(r"(?:^|;)i=([0-9a-f]+)", str(entry.get("__CURSOR", "")))
        return said(
            int(entry["__REALTIME_TIMESTAMP"]) / 1e6,
            str(entry.get("SYSLOG_IDENTIFIER", "")),
            int(entry.get("SYSLOG_PID") or entry.get("_PID") or 0),
            str(message),
            int(entry["_UID"]) if "_UID" in entry else None,
            (0, int(turn.group(1), 16) if turn else int(entry["__REALTIME_TIMESTAMP"])),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def suppressed(reader: Reader, since: float) -> int:
    """How many messages of Postfix's units journald's rate limit has dropped since (seconds)."""
    argv = ["journalctl", "-q", "--no-pager", "-o", "json", "--output-fields=MESSAGE,N_DROPPED"]
    # MESSAGE_ID is the sender's own word; the transport is journald's.
    argv += [f"MESSAGE_ID={_SUPPRESSED}", "_TRANSPORT=driver"]
    argv += ["--since", f"@{since:.6f}", "-n", str(LIMIT)]
    count = 0
    for row in reader.ask(argv).out.splitlines():
        try:
            match = _DROPPED.match(json.loads(row)["MESSAGE"])
            count += int(match.group(1)) if match else 0
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    return count
