"""What msmtpd handed to Mailu, and what Mailu answered: the log lines of msmtp(1)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Optional

from sysmail.host.port import Reader

__all__ = ["DYNAMIC_USERS", "Submission", "parse", "since"]

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


def since(reader: Reader, moment: float, host: str) -> Optional[list[Submission]]:
    """What was handed to ``host`` since (seconds since the epoch); None when no log can be read."""
    # By identifier: journald does not always know the unit of a process that ends at once.
    argv = ["journalctl", "-q", "-a", "--no-pager", "-o", "json", "-t", "msmtp"]
    argv.append("--output-fields=MESSAGE,_UID")
    said = reader.ask([*argv, "--since", f"@{moment:.6f}"])
    if said.status != 0 and said.err.strip():
        return None
    told = map(_by_msmtpd, said.out.splitlines())
    found = [replace(each, time=when) for when, line in told for each in parse(line)]
    return [each for each in found if each.host == host]


def _by_msmtpd(row: str) -> tuple[float, str]:
    """When, and the message of an entry of the journal; empty where no msmtpd of ours wrote it.

    Anybody may log under msmtp's name, and a program's own msmtp does. The user of the process
    comes from the kernel, and no account has one of DynamicUser= (systemd.exec(5)).
    """
    try:
        entry = json.loads(row)
        if int(entry["_UID"]) not in DYNAMIC_USERS:
            return 0.0, ""
        message = str(entry["MESSAGE"])
        when = int(entry.get("__REALTIME_TIMESTAMP", 0)) / 1e6
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return 0.0, ""
    return when, "" if "\n" in message else message
