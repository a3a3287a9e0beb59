"""What msmtpd handed to Mailu, and what Mailu answered: the log lines of msmtp(1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from sysmail.host.port import Reader

__all__ = ["Submission", "parse", "since"]

_LINE = re.compile(r"^host=(\S+) tls=\w+ auth=\w+.* recipients=(\S+) (.*)exitcode=(EX_\w+)$")
_ANSWER = re.compile(r"smtpmsg='(.*?)'(?: |$)")
_TROUBLE = re.compile(r"errormsg='(.*?)'(?: |$)")


@dataclass(frozen=True)
class Submission:
    """One message: ``answer`` is Mailu's own, or what kept msmtp from getting one."""

    host: str
    recipients: tuple[str, ...]
    accepted: bool
    answer: str


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
    argv = ["journalctl", "-q", "--no-pager", "-o", "cat", "-t", "msmtp"]
    said = reader.ask([*argv, "--since", f"@{moment:.6f}"])
    if said.status != 0 and said.err.strip():
        return None
    return [each for each in parse(said.out) if each.host == host]
