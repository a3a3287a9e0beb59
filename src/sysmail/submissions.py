"""What msmtpd handed to Mailu, and what Mailu answered: the log lines of msmtp(1)."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple, Optional

from sysmail.host.port import Reader

__all__ = ["DYNAMIC_USERS", "Entry", "Submission", "by_user", "entries", "handed", "parse", "since"]

_LINE = re.compile(r"^host=(\S+) tls=\w+ auth=\w+.* recipients=(\S+) (.*)exitcode=(EX_\w+)$")
_ANSWER = re.compile(r"smtpmsg='(.*?)'(?: |$)")
_TROUBLE = re.compile(r"errormsg='(.*?)'(?: |$)")


DYNAMIC_USERS = range(61184, 65520)
"""What systemd gives DynamicUser= (systemd's UIDS-GIDS documentation)."""


@dataclass(frozen=True)
class Submission:
    """One message: ``answer`` is Mailu's own, or what kept msmtp from getting one.

    ``time`` is when it was logged, in seconds since the epoch; 0 where the log does not say.
    """

    host: str
    recipients: tuple[str, ...]
    accepted: bool
    answer: str
    time: float = 0.0


def parse(text: str) -> list[Submission]:
    """The lines of msmtpd's own msmtp, oldest first; the rest is left out."""
    found: list[Submission] = []
    for line in text.splitlines():
        match = _LINE.match(line.strip())
        if match is None or match.group(1) == "localhost":
            continue  # a program's own msmtp, which talked to msmtpd
        rest = match.group(3)
        answer = _ANSWER.search(rest) or _TROUBLE.search(rest)
        found.append(
            Submission(
                match.group(1),
                tuple(match.group(2).split(",")),
                match.group(4) == "EX_OK",
                answer.group(1) if answer is not None else "",
            )
        )
    return found


class Entry(NamedTuple):
    """What msmtp logged: when (seconds since the epoch), as which user, which the kernel says."""

    time: float
    uid: int
    line: str


def since(reader: Reader, moment: float, host: str) -> Optional[list[Submission]]:
    """What was handed to ``host`` since (seconds since the epoch); None when no log can be read."""
    told = entries(reader, moment)
    return None if told is None else handed(told, host)


def handed(told: Iterable[Entry], host: str) -> list[Submission]:
    """What msmtpd of ours handed to ``host``.

    Anybody may log under msmtp's name, and a program's own msmtp does. No account has a
    user of DynamicUser= (systemd.exec(5)).
    """
    ours = [each for each in told if each.uid in DYNAMIC_USERS]
    found = [replace(one, time=each.time) for each in ours for one in parse(each.line)]
    return [each for each in found if each.host == host]


def by_user(told: Iterable[Entry]) -> Counter[int]:
    """How many messages programs gave to msmtpd by sendmail(1), which is msmtp, by user."""
    return Counter(each.uid for each in told if each.line.startswith("host=localhost "))


def entries(reader: Reader, moment: float) -> Optional[list[Entry]]:
    """All that any msmtp logged since, oldest first; None when no log can be read."""
    # By identifier: journald does not always know the unit of a process that ends at once.
    argv = ["journalctl", "-q", "-a", "--no-pager", "-o", "json", "-t", "msmtp"]
    argv.append("--output-fields=MESSAGE,_UID")
    said = reader.ask([*argv, "--since", f"@{moment:.6f}"])
    if said.status != 0 and said.err.strip():
        return None
    found = map(_entry, said.out.splitlines())
    return [each for each in found if each is not None]


def _entry(row: str) -> Optional[Entry]:
    try:
        entry = json.loads(row)
        message = str(entry["MESSAGE"]).strip()
        when = int(entry.get("__REALTIME_TIMESTAMP", 0)) / 1e6
        found = Entry(when, int(entry["_UID"]), message)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return None if "\n" in message else found
