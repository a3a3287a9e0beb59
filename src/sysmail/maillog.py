"""What happened to a message, and what Postfix complained about: its log.

Where systemd collects logs it is the journal, else the file that Postfix
writes itself (postconf(5), maillog_file) or syslogd's.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Optional

from sysmail.errors import HostError
from sysmail.facts.model import Facts
from sysmail.host.port import Reader

__all__ = [
    "LIMIT",
    "SYSLOG_FILES",
    "by_owner",
    "by_postfix",
    "is_silent",
    "last_fatal",
    "lines_since",
    "losses",
]

SYSLOG_FILES = ("/var/log/mail.log", "/var/log/maillog")

LIMIT = 100_000
"""Lines that are held at once, the newest."""

STEP = 1 << 16
SLACK = 5.0
"""Seconds by which lines of several processes may be out of order."""

MINUTE, MONTH = 60.0, 30 * 86400.0

LOST = "undeliverable postmaster notification discarded"
"""What bounce(8) says when the last notice about a message is gone (measured)."""


def lines_since(
    reader: Reader, facts: Facts, maillog_file: str, since: float, grep: str = ""
) -> Optional[list[str]]:
    """Lines of the mail log, oldest first; None when there is no log that can be read.

    ``since``: seconds since the epoch; ``grep``: a text that the lines must contain.
    """
    if facts.systemd and not maillog_file:
        return _journal(reader, since, grep)
    for path in (maillog_file, *SYSLOG_FILES):
        if path and reader.link(path) is not None:
            return list(deque(_of_files(reader, path, since, grep), LIMIT))
    return None


def _of_files(reader: Reader, path: str, since: float, grep: str) -> Iterator[str]:
    """The lines of a file, and of the one before it where that is not compressed yet."""
    from sysmail import logline  # a journal has other stamps
    from sysmail.trace.files import COMPRESSED, rotated

    text = [grep.encode() or b" "]
    former = [name for name in rotated(reader, path)[1:2] if not name.endswith(COMPRESSED)]
    for name in (*former, path):
        start, latest = _first_since(reader, name, since)
        lines: deque[str] = deque(maxlen=LIMIT)
        last = 0.0
        for found in reader.search(name, text, start):
            line = found.line.decode("utf-8", "replace")
            when = logline.moment(line, latest)
            if when is None:
                continue
            if _only_looked_late(last, when):
                lines.clear()
            last = when
            if when >= int(since):
                lines.append(line)
        yield from lines


def _only_looked_late(before: float, when: float) -> bool:
    """Whether a line, and all that stand before it, are older than their stamps make them.

    A stamp of syslog has neither year nor zone, but a file is in order: where it goes back by
    months, or in the hour that autumn repeats, what stands before is of last year, or of
    the first of the two hours.
    """
    from sysmail import logline

    back = before - when
    return back > MONTH or (back > MINUTE and logline.is_repeated(before))


def _first_since(reader: Reader, path: str, since: float) -> tuple[int, float]:
    """Where lines of that moment may begin in a file, as it is in order; and its own last moment.

    A rotated file may have gigabytes, of which a few lines are wanted.
    """
    from sysmail import logline

    state = reader.state(reader.link(path) or path, content=False)
    size = state.size if state is not None else 0
    latest = min(reader.now(), state.mtime) if state is not None and state.mtime else reader.now()
    low, high = 0, size
    while high - low > STEP:
        middle = (low + high) // 2
        # The first line is one that was begun before.
        lines = list(islice(reader.search(path, [b" "], middle, middle + STEP), 1, 2))
        when = logline.moment(lines[0].line.decode("utf-8", "replace"), latest) if lines else None
        if when is None or when >= since - SLACK:
            high = middle
        else:
            low = middle
    return low, latest


def _journal(
    reader: Reader, since: float, grep: str, which: tuple[str, ...] = ("-u", "postfix*")
) -> Optional[list[str]]:
    # By unit: Postfix has an identifier for each daemon, and -t matches one exactly.
    argv = ["journalctl", "-q", "--no-pager", "-o", "short", *which]
    argv += ["--since", f"@{int(since)}"]
    if grep:
        argv += ["-g", re.escape(grep).replace("\\ ", " ")]
    said = reader.ask(argv)
    if said.status != 0 and said.err.strip():
        return None
    return said.out.splitlines()


def losses(reader: Reader, facts: Facts, maillog_file: str, since: float) -> Optional[list[str]]:
    """The lines that say a last notice was discarded; None when no log can be read."""
    if facts.systemd and not maillog_file:
        # By identifier, which the journal has an index for: it may hold months of other lines.
        try:
            which = ("-t", "postfix/bounce", by_postfix(reader, facts))
        except HostError:
            return None
        lines = _journal(reader, since, LOST, which)
    else:
        lines = lines_since(reader, facts, maillog_file, since, LOST)
    if lines is None:
        return None
    return [line for line in lines if _is_loss(line, reader.now())]


def is_silent(reader: Reader, facts: Facts, maillog_file: str, start: float, quiet: float) -> bool:
    """Whether Postfix said nothing since ``start``, or for ``quiet`` seconds. HostError: unknown.

    The journal's own clocks are looked at: this host's may have been set meanwhile.
    """
    if facts.systemd and not maillog_file:
        # Not by unit: what systemd itself says of a unit never passes through syslog(3).
        who = [by_postfix(reader, facts), "+", "SYSLOG_IDENTIFIER=postfix/master"]
        argv = ["journalctl", "-q", "--no-pager", "-o", "json", "--output-fields=_PID", "-n", "1"]
        said = reader.ask([*argv, *who]).out.strip()
        return not said or _is_old(reader, said, start, quiet)
    since = max(start, reader.now() - quiet)
    from sysmail import logline
    from sysmail.trace.files import COMPRESSED, rotated

    paths = [path for path in (maillog_file, *SYSLOG_FILES) if path and reader.link(path)]
    files = rotated(reader, paths[0])[:2] if paths else []
    for path in (each for each in files if not each.endswith(COMPRESSED)):
        for found in reader.search_back(path, [b"postfix"]):
            line = logline.parse(found.line.decode("utf-8", "replace"), reader.now())
            if line is not None and line.program.startswith("postfix"):
                return line.time < int(since)
    return True


def _is_old(reader: Reader, said: str, start: float, quiet: float) -> bool:
    """Of an entry of the journal: microseconds since the epoch, and since the host booted."""
    try:
        entry = json.loads(said)
        when = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
        ticks = int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6
        uptime = float((reader.read("/proc/uptime") or b"").split()[0])
    except (ValueError, KeyError, TypeError, IndexError):
        return False
    return when < start or uptime - ticks > quiet


def _is_loss(line: str, now: float) -> bool:
    """bounce(8)'s own line: the words may also stand in some server's answer."""
    from sysmail import logline

    said = logline.parse(line, now)
    if said is None or not said.program.startswith("postfix") or said.daemon != "bounce":
        return False
    words = f"{said.queue_id}: {said.text}"
    return re.fullmatch(rf"(?:: )?(?:warning: )?\w+: {LOST}", words) is not None


def by_postfix(reader: Reader, facts: Facts) -> str:
    """What journalctl(1) asks the journal by for what Postfix's own processes said.

    Anybody may log under Postfix's name; the user of a process comes from the kernel. (Measured
    on Debian 12 and on Arch: pickup, smtpd, cleanup, qmgr, bounce and smtp run as mail_owner.)
    HostError where that user is not known.
    """
    return by_owner(reader, facts.postfix["mail_owner"] if facts.postfix is not None else "")


def by_owner(reader: Reader, owner: str) -> str:
    """The same where mail_owner is known already."""
    name = owner or "postfix"
    accounts = (reader.read("/etc/passwd") or b"").decode("utf-8", "replace").splitlines()
    # A package's user is nearly always in that file, and getent(1) is a program to start.
    line = next((each for each in accounts if each.startswith(f"{name}:")), "")
    fields = (line or reader.ask(["getent", "passwd", name], timeout=5).out).split(":")
    if len(fields) < 3 or not fields[2].isdigit():
        raise HostError(
            "log-not-read",
            f"the user that Postfix runs as, {name}, is not known",
            "see `getent passwd postfix`; the package of Postfix makes that user",
        )
    return f"_UID={fields[2]}"


_SEE_ABOVE = ("daemon initialization failure", "mail system startup failed")
"""The last words of a Postfix that does not start; what it died of is before them."""


def last_fatal(reader: Reader, facts: Facts, maillog_file: str) -> str:
    """Why Postfix did not start, in its own words; empty when it did not say."""
    lines = lines_since(reader, facts, maillog_file, reader.now() - 60) or []
    last = ""
    for line in reversed(lines):
        match = re.search(r"(?:fatal|panic): (.*)", line)
        if match and not match.group(1).startswith(_SEE_ABOVE):
            return match.group(1)
        last = last or (match.group(1) if match else "")
    return last
