"""What happened to a message, and what Postfix complained about: its log.

Where systemd collects logs it is the journal, else the file that Postfix
writes itself (postconf(5), maillog_file) or syslogd's.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Optional

from sysmail.facts.model import Facts
from sysmail.host.port import Reader

__all__ = [
    "Delivery",
    "deliveries",
    "last_fatal",
    "lines_since",
    "losses",
    "queue_id_of",
    "time_of",
]

SYSLOG_FILES = ("/var/log/mail.log", "/var/log/maillog")

LOST = "undeliverable postmaster notification discarded"
"""What bounce(8) says when the last notice about a message is gone (measured)."""

_MONTH_NAMES = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_STAMP = re.compile(r"([A-Z][a-z]{2}) +(\d+) (\d\d):(\d\d):(\d\d)")
_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)")
_DELIVERY = re.compile(
    r"postfix\S*/(\w+)\[\d+\]: ([0-9A-Za-z]+): to=<([^>]*)>(?:, orig_to=<([^>]*)>)?"
    r", relay=([^\s,]+),(?: conn_use=\d+,)? delay=(\d+(?:\.\d+)?), delays=[^,]*"
    r", dsn=(\d\.\d+\.\d+), status=(\w+) \((.*)\)$"
)


@dataclass(frozen=True)
class Delivery:
    """One attempt to hand a message on: the next hop's answer in its own words."""

    queue_id: str
    recipient: str
    relay: str
    delay: float
    dsn: str
    status: str
    answer: str


def lines_since(
    reader: Reader, facts: Facts, maillog_file: str, since: float, grep: str = ""
) -> Optional[list[str]]:
    """Lines of the mail log, oldest first; None when there is no log that can be read.

    ``since``: seconds since the epoch; ``grep``: a text that the lines must contain.
    """
    if facts.systemd and not maillog_file:
        return _journal(reader, since, grep)
    for path in (maillog_file, *SYSLOG_FILES):
        raw = reader.read(path) if path else None
        if raw is not None:
            return [
                line
                for line in raw.decode("utf-8", "replace").splitlines()
                if (not grep or grep in line) and _time_of(line, reader.now()) >= int(since)
            ]
    return None


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


def _time_of(line: str, now: float) -> float:
    iso = _ISO.match(line)
    if iso:
        parts = [int(word) for word in iso.groups()]
        return time.mktime((*parts, 0, 0, -1))  # type: ignore[arg-type]
    match = _STAMP.match(line)
    if not match or match.group(1) not in _MONTHS:
        return 0.0
    month, numbers = _MONTHS[match.group(1)], [int(word) for word in match.groups()[1:]]
    year = time.localtime(now).tm_year
    found = time.mktime((year, month, *numbers, 0, 0, -1))  # type: ignore[arg-type]
    # syslog has no year: a line of the future is from last year.
    if found > now + 86400:
        found = time.mktime((year - 1, month, *numbers, 0, 0, -1))  # type: ignore[arg-type]
    return found


def time_of(line: str, now: float) -> float:
    """When a line of syslog was written, seconds since the epoch; 0 where it does not say."""
    return _time_of(line, now)


def deliveries(lines: list[str], queue_id: str = "") -> tuple[Delivery, ...]:
    """Every attempt in the lines, or those of one message."""
    found: list[Delivery] = []
    for line in lines:
        if queue_id and queue_id not in line:
            continue
        match = _DELIVERY.search(line)
        if match and (not queue_id or match.group(2) == queue_id):
            found.append(
                Delivery(
                    match.group(2),
                    match.group(3),
                    match.group(5),
                    float(match.group(6)),
                    match.group(7),
                    match.group(8),
                    match.group(9),
                )
            )
    return tuple(found)


def queue_id_of(lines: list[str], message_id: str) -> str:
    """The queue id under which cleanup(8) took a Message-ID, with or without brackets; or empty."""
    for line in lines:
        match = re.search(r"/cleanup\[\d+\]: ([0-9A-Za-z]+): message-id=<(.*)>", line)
        if match and match.group(2) == message_id.strip("<>"):
            return match.group(1)
    return ""


def losses(reader: Reader, facts: Facts, maillog_file: str, since: float) -> Optional[list[str]]:
    """The lines that say a last notice was discarded; None when no log can be read."""
    if facts.systemd and not maillog_file:
        # By identifier, which the journal has an index for: it may hold months of other lines.
        lines = _journal(reader, since, LOST, ("-t", "postfix/bounce"))
    else:
        lines = lines_since(reader, facts, maillog_file, since, LOST)
    if lines is None:
        return None
    # bounce(8)'s own line: the words may also stand in some server's answer.
    return [
        line for line in lines if re.search(rf"/bounce\[\d+\]: (?:warning: )?\w+: {LOST}$", line)
    ]


def last_fatal(reader: Reader, facts: Facts, maillog_file: str) -> str:
    """Why Postfix did not start, in its own words; empty when it did not say."""
    lines = lines_since(reader, facts, maillog_file, reader.now() - 60) or []
    for line in reversed(lines):
        match = re.search(r"(?:fatal|panic): (.*)", line)
        if match:
            return match.group(1)
    return ""
