"""What msmtp(1) logged of the messages that it handed on. Pure.

On the route ``mailu`` a message leaves two lines: msmtpd's own msmtp tells of
Mailu's answer, then the program's msmtp of msmtpd's. With a relay there is the
second alone, and Postfix's queue id is in it.

Anybody may log under msmtp's name (logger(1)): what is told of Mailu's answer
has to be of a user of DynamicUser=, as msmtpd's msmtp is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sysmail.logline import LogLine
from sysmail.submissions import DYNAMIC_USERS
from sysmail.trace.events import remote_id
from sysmail.trace.story import Attempt, Entrance, Story

__all__ = ["Handed", "parse", "stories", "with_user"]

_LINE = re.compile(
    r"^host=(?P<host>\S+) tls=(?P<tls>\w+) auth=\w+.*?(?: from=(?P<sender>\S*))? "
    r"recipients=(?P<recipients>\S+) (?P<more>.*)exitcode=(?P<code>EX_\w+)$"
)
_SIZE = re.compile(r"mailsize=([0-9]{1,18})\b")
_ANSWER = re.compile(r"(?:smtpmsg|errormsg)='(.*?)'(?: |$)")
PAIRED = 120.0
"""Seconds: as long the program's own msmtp waits for msmtpd at most, and its line comes after."""


@dataclass(frozen=True)
class Handed:
    """One line: ``answer`` is the server's own, or what kept msmtp from getting one."""

    line: LogLine
    host: str
    sender: str
    recipients: tuple[str, ...]
    size: int
    accepted: bool
    answer: str

    @property
    def local(self) -> bool:
        """Whether it went to what listens on this host."""
        return self.host in ("localhost", "127.0.0.1", "::1")


def parse(lines: Sequence[LogLine]) -> list[Handed]:
    """The lines of msmtp among these."""
    found: list[Handed] = []
    for line in lines:
        match = _LINE.match(line.text.strip())
        if match is None:
            continue
        answer, size = _ANSWER.search(match["more"]), _SIZE.search(match["more"])
        found.append(
            Handed(
                line,
                match["host"],
                match["sender"] or "",
                tuple(match["recipients"].split(",")),
                int(size.group(1)) if size else 0,
                match["code"] == "EX_OK",
                answer.group(1) if answer else "",
            )
        )
    return found


def stories(lines: Sequence[LogLine], wanted: str) -> list[Story]:
    """What msmtpd handed to Mailu for a recipient, or under Mailu's queue id; oldest first."""
    handed = parse(lines)
    found: list[Story] = []
    for place, each in enumerate(handed):
        names = {name.lower() for name in each.recipients} | {remote_id(each.answer).lower()}
        if each.line.uid not in DYNAMIC_USERS or each.local or wanted.lower() not in names:
            continue
        program = next(
            (
                other
                for other in handed[place + 1 :]
                if other.local and 0 <= other.line.time - each.line.time <= PAIRED
            ),
            None,
        )
        found.append(_story(each, program))
    return found


def _story(each: Handed, program: object) -> Story:
    story = Story("", first=each.line.time, last=each.line.time, sender=each.sender)
    story.size, story.recipients = each.size, len(each.recipients)
    uid = program.line.uid if isinstance(program, Handed) else None
    story.entrance = Entrance(each.line.time, "msmtp", uid=uid, sender=each.sender)
    story.attempts = [
        Attempt(
            each.line.time,
            recipient,
            "",
            "msmtp",
            each.host,
            "sent" if each.accepted else "bounced",
            "",
            0.0,
            (),
            each.answer,
        )
        for recipient in each.recipients
    ]
    return story


def with_user(story: Story, lines: Sequence[LogLine]) -> None:
    """Add the user whose msmtp handed this message to the relay, where msmtp's log tells."""
    came = story.entrance
    for each in parse(lines):
        if came is not None and each.local and remote_id(each.answer) == story.queue_id:
            story.entrance = replace(came, uid=each.line.uid)
            return
