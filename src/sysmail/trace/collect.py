"""From what somebody knows of a message to its lines in the log, and to stories.

A queue id names one message; a Message-ID most often one; a recipient many,
of which the newest few are told in full.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Optional

from sysmail.errors import HostError
from sysmail.facts.collect import collect_postfix
from sysmail.host.port import Reader
from sysmail.logline import LogLine
from sysmail.maillog import SYSLOG_FILES
from sysmail.trace import msmtp_log
from sysmail.trace.events import Tls, read
from sysmail.trace.files import FileLog
from sysmail.trace.journal import Journal
from sysmail.trace.log import SHOWN, Log
from sysmail.trace.story import DELIVERED, FAILED, Story, outcome_of, session_after, stories

__all__ = ["Found", "Others", "find", "is_queue_id", "logs", "with_sessions"]

_QUEUE_ID = re.compile(r"[0-9A-F]{6,20}|[0-9A-Za-z]{10,30}")
SESSIONS = 20
"""Deliveries of which the TLS session is looked up, for all messages of a trace."""

DEPTH = 3
"""Notices about notices that are followed."""


@dataclass(frozen=True)
class Others:
    """Messages that were found and are not told of: how many came to what.

    ``complete`` is false where older parts of the log were left out.
    """

    counts: dict[str, int] = field(default_factory=dict)
    complete: bool = True


@dataclass(frozen=True)
class Found:
    """What a log knows of a query: ``kind`` is queue-id, message-id, recipient or empty.

    ``messages`` are in order, the oldest first; ``notices`` are the stories of
    what they caused, by queue id.
    """

    kind: str
    log: str
    messages: tuple[Story, ...] = ()
    notices: dict[str, Story] = field(default_factory=dict)
    parents: dict[str, Story] = field(default_factory=dict)
    others: Others = Others()


def is_queue_id(query: str) -> bool:
    """Whether a text may be a queue id, short or long."""
    return _QUEUE_ID.fullmatch(query) is not None


def logs(reader: Reader, named: str = "") -> list[Log]:
    """Where to look, the likeliest first; a log that is ``named`` is the only one."""
    if named:
        return [FileLog(reader, named)]
    postfix = collect_postfix(reader)
    maillog_file = postfix["maillog_file"] if postfix is not None else ""
    found: list[Log] = [FileLog(reader, maillog_file)] if maillog_file else []
    if "system" in reader.names("/run/systemd"):
        found.append(Journal(reader, postfix["mail_owner"] if postfix is not None else ""))
    found += [FileLog(reader, path) for path in SYSLOG_FILES if reader.link(path) is not None]
    return found


def find(places: Sequence[Log], query: str) -> Optional[Found]:
    """What the first log that knows the query says; None where none does.

    HostError when none does, and one of them could not be read.
    """
    bare = query.strip().strip("<>")
    trouble: Optional[HostError] = None
    for log in places:
        try:
            found = _find_in(log, bare)
        except HostError as error:
            trouble = log.unread[log.name] = error
            continue
        if found is not None:
            return found
    if trouble is not None:
        raise trouble
    return None


def _find_in(log: Log, bare: str) -> Optional[Found]:
    found = _by_id(log, bare) if is_queue_id(bare) else None
    # Each search may be one of gigabytes: what is no user's name is not looked for as one.
    if not is_queue_id(bare) or bare == bare.lower():
        for text in dict.fromkeys((bare, bare.lower())):
            found = found or _by_text(log, text)
    if found is None and isinstance(log, Journal):
        handed = msmtp_log.stories(log.of_msmtp(bare), bare)
        if handed:
            kind = "queue-id" if is_queue_id(bare) else "recipient"
            found = Found(kind, log.name, tuple(handed[-SHOWN:]), others=_summed(handed))
    return found


def _summed(handed: Sequence[Story]) -> Others:
    counts: dict[str, int] = {}
    for story in handed[:-SHOWN]:
        counts[story.outcome()] = counts.get(story.outcome(), 0) + 1
    return Others(counts)


def _by_id(log: Log, queue_id: str) -> Optional[Found]:
    lines = log.of(queue_id)
    told = stories(lines, queue_id)
    if not told:
        return None
    # Its newest use; a notice is told with the message that it is about.
    story = told[-1]
    parents = _parents(log, lines, queue_id)
    return _completed(log, Found("queue-id", log.name, (story,), parents=parents), lines)


def _parents(log: Log, lines: Sequence[LogLine], queue_id: str) -> dict[str, Story]:
    found: dict[str, Story] = {}
    for line in lines:
        event = read(line.daemon, line.text)
        if event.kind == "notice" and event.facts["child"] == queue_id:
            told = stories(log.around([line.queue_id], [line]), line.queue_id)
            if told:
                found[queue_id] = told[-1]
    return found


def _by_text(log: Log, text: str) -> Optional[Found]:
    named = log.naming(text)
    kinds: dict[str, str] = {}
    refused: list[LogLine] = []
    last: dict[str, str] = {}
    newest: dict[str, LogLine] = {}
    for each in named.mentions:
        line = each.line
        if line.queue_id == "NOQUEUE":
            refused.append(line)
            continue
        kinds.setdefault(line.queue_id, each.kind)
        newest.setdefault(line.queue_id, line)
        if each.outcome:
            last.setdefault(line.queue_id, each.outcome)
    if not kinds and not refused:
        return None
    ids = list(kinds)[:SHOWN]
    lines = log.around(ids, [newest[queue_id] for queue_id in ids])
    told = [_nearest(stories(lines, queue_id), newest[queue_id]) for queue_id in ids]
    told += [stories([line], "NOQUEUE")[0] for line in refused[:SHOWN]]
    told.reverse()
    told.sort(key=lambda story: story.first)
    kind = "message-id" if "message-id" in kinds.values() else "recipient"
    counts: dict[str, int] = {}
    for queue_id in list(kinds)[SHOWN:]:
        outcome = last.get(queue_id, "waiting")
        counts[outcome] = counts.get(outcome, 0) + 1
    left = [story.outcome(text if kind == "recipient" else "") for story in told[:-SHOWN]]
    for outcome in [*left, *[FAILED] * len(refused[SHOWN:])]:
        counts[outcome] = counts.get(outcome, 0) + 1
    found = Found(kind, log.name, tuple(told[-SHOWN:]), others=Others(counts, named.complete))
    return _completed(log, found, lines)


def _nearest(told: Sequence[Story], line: LogLine) -> Story:
    """Of several uses of a queue id, the one that a line belongs to."""
    return next((s for s in told if s.first <= line.time <= s.last), told[-1])


def _completed(log: Log, found: Found, lines: Sequence[LogLine]) -> Found:
    """With the notices that the messages caused, what they were requeued as, and TLS."""
    messages = _with_successors(log, found.messages, lines)
    notices = dict(found.notices)
    _notices(log, messages, notices, DEPTH)
    left = SESSIONS
    for story in (*messages, *notices.values()):
        left -= with_sessions(log, story, left)
    if isinstance(log, Journal):
        for story in messages:
            came = story.entrance
            if came is not None and came.way == "smtp" and story.queue_id != "NOQUEUE":
                msmtp_log.with_user(story, log.of_msmtp(story.queue_id, came.time - 1))
    return replace(found, messages=tuple(messages), notices=notices)


def _with_successors(log: Log, messages: Sequence[Story], lines: Sequence[LogLine]) -> list[Story]:
    """With what those that were queued anew became, each once."""
    told = list(messages)
    own = {line.queue_id: line for line in lines}
    todo = [story for story in told if story.ended == "requeued"]
    while todo:
        former = todo.pop()
        for line in log.successor(former.queue_id, own[former.queue_id]):
            if any(story.queue_id == line.queue_id for story in told):
                continue
            more = [line, *_later(log, line)]
            own[line.queue_id] = more[-1]
            next_ = stories(more, line.queue_id)[-1:]
            told += next_
            todo += [story for story in next_ if story.ended == "requeued"]
    return told


def _later(log: Log, line: LogLine) -> list[LogLine]:
    return [each for each in log.around([line.queue_id], [line]) if each.place != line.place]


def _notices(log: Log, messages: Sequence[Story], found: dict[str, Story], depth: int) -> None:
    """The stories of the notices that messages caused, and of those about these."""
    caused = {n.queue_id: n for story in messages for n in story.notices if n.queue_id not in found}
    if not caused or not depth:
        return
    near = [LogLine(n.time, "", 0, queue_id, "", None, n.place) for queue_id, n in caused.items()]
    lines = log.around(list(caused), near, notices=True)
    told = {each: stories(lines, each) for each in caused}
    found.update({each: of[-1] for each, of in told.items() if of})
    _notices(log, [of[-1] for of in told.values() if of], found, depth - 1)


def with_sessions(log: Log, story: Story, left: int = SESSIONS) -> int:
    """Give the last attempts their TLS sessions; how many were looked up."""
    done = 0
    for place, attempt in reversed(list(enumerate(story.attempts))):
        if done >= left or outcome_of(attempt) != DELIVERED:
            continue
        if attempt.tls is not None or ":" not in attempt.relay:
            continue
        done += 1
        lines = log.session(attempt.program, attempt.pid, attempt.place, attempt.time)
        server = attempt.relay.partition("[")[0]
        session: Optional[Tls] = None
        for line in lines:
            session = session_after(session, line.text)
        if session is not None and session.server == server and session.version:
            story.attempts[place] = replace(attempt, tls=session)
    return done
