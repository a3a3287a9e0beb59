"""Follows messages that were just sent through the mail log, with what ``trace`` is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Callable, Optional

from sysmail.errors import HostError
from sysmail.host.port import Writer
from sysmail.logline import LogLine
from sysmail.trace.collect import logs, with_sessions
from sysmail.trace.events import read
from sysmail.trace.files import FileLog
from sysmail.trace.log import Log
from sysmail.trace.story import WAITING, Story, stories

__all__ = ["FOLLOW_SECONDS", "Followed", "follow", "is_settled"]

FOLLOW_SECONDS = 30.0
PAUSE = 0.1


@dataclass(frozen=True)
class Followed:
    """What the log tells of messages: their stories by Message-ID, with brackets.

    ``notices`` are the stories of the notices that they caused, by queue id.
    ``trouble`` is why the log could not be read, if it could not.
    """

    stories: Mapping[str, Story] = field(default_factory=dict)
    notices: Mapping[str, Story] = field(default_factory=dict)
    trouble: Optional[HostError] = None


def is_settled(story: Optional[Story]) -> bool:
    """Whether nothing more is to be waited for: it came to something, or is held."""
    if story is None:
        return False
    held = any(remark.kind in ("held", "on-hold") for remark in story.remarks)
    return held or story.outcome() != WAITING


def follow(
    writer: Writer,
    token: str,
    since: float,
    is_done: Callable[[Followed], bool],
    seconds: float = FOLLOW_SECONDS,
) -> Followed:
    """The messages whose Message-IDs begin with ``token``, sent since a moment (since the epoch).

    Returns once ``is_done``, or after so many ``seconds`` with what is known by then.
    """
    deadline = writer.elapsed() + seconds
    places = logs(writer)
    while True:
        found = _look(writer, places, token, since)
        late = writer.elapsed() >= deadline
        if is_done(found) or late or not places:
            for log in places:
                _with_sessions(log, (*found.stories.values(), *found.notices.values()))
            return found
        writer.sleep(PAUSE)


def _look(writer: Writer, places: list[Log], token: str, since: float) -> Followed:
    """What the first log that knows the messages tells now; it is then the only place."""
    trouble: Optional[HostError] = None
    if not places:
        trouble = HostError(
            "no-mail-log",
            "there is no mail log on this host",
            "see where Postfix logs: `postconf maillog_file`, or syslogd's configuration",
        )
    for log in list(places):
        # One that was rotated meanwhile is another file.
        now = FileLog(writer, log.name) if isinstance(log, FileLog) else log
        try:
            found = _stories(now, token, since)
        except HostError as error:
            trouble = error
            continue
        if found.stories:
            places[:] = [now]
            return found
    return Followed(trouble=trouble)


def _stories(log: Log, token: str, since: float) -> Followed:
    ids: dict[str, str] = {}
    for line in log.lately([f"{token}."], since):
        event = read(line.daemon, line.text)
        if event.kind == "message-id" and event.facts["message_id"].startswith(f"<{token}."):
            ids[line.queue_id] = event.facts["message_id"]
    told = _told(log, ids, since)
    found = {ids[each]: story for each, story in told.items()}
    caused = [notice.queue_id for story in found.values() for notice in story.notices]
    return Followed(found, _told(log, caused, since))


def _told(log: Log, ids: Iterable[str], since: float) -> dict[str, Story]:
    wanted = dict.fromkeys(ids)
    lines: list[LogLine] = log.lately([f"{each}: " for each in wanted], since)
    told = {each: stories(lines, each) for each in wanted}
    return {each: of[-1] for each, of in told.items() if of}


def _with_sessions(log: Log, told: Iterable[Story]) -> None:
    for story in told:
        try:
            with_sessions(log, story)
        except HostError:
            return
