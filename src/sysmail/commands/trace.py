"""``sysmail trace ID``: what happened to a message, from the entrance to the next hop's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Optional

from sysmail import queue
from sysmail.errors import UsageError
from sysmail.host.port import Reader
from sysmail.report import Problem, Report
from sysmail.trace.collect import Found, find, logs
from sysmail.trace.journal import Journal, suppressed
from sysmail.trace.log import Log
from sysmail.trace.narrate import as_data
from sysmail.trace.story import DELIVERED, FAILED, WAITING, Story, worst

__all__ = ["run"]

_EXITS = {DELIVERED: 0, FAILED: 1, WAITING: 3}
_LONGEST = 998
"""Characters of a line of a message, and so of a Message-ID (RFC 5322, 2.1.1)."""


def run(reader: Reader, query: str, log_file: str = "") -> Report:
    """Exit code 0 when every message told of was delivered, 1 when one failed, else 3."""
    query = query.strip()
    if not query.strip("<>") or len(query) > _LONGEST or not query.isprintable():
        raise UsageError(
            "bad-id",
            "that is neither a queue id, nor a Message-ID, nor an address",
            "give one, as `sysmail queue list` or the mail log show it",
        )
    # Programs that search it run elsewhere: a relative name would be another file's.
    real = reader.link(log_file) if log_file else ""
    if real is None:
        raise UsageError("no-such-log", f"there is no file {log_file}", "name a mail log")
    state = reader.state(real, content=False) if real else None
    if state is not None and state.kind != "file":
        raise UsageError("no-such-log", f"{log_file} is no file", "name a mail log")
    places = logs(reader, real)
    found = find(places, query)
    waiting = {} if log_file or reader.which("postqueue") is None else _queue(reader)
    if found is None:
        report = _not_found(query, [place.name for place in places], waiting, reader)
    else:
        report = _report(reader, query, found, waiting)
    return replace(report, notes=(*report.notes, *_unread(places)))


def _unread(places: Sequence[Log]) -> list[str]:
    failures = dict.fromkeys(error.message for log in places for error in log.unread.values())
    return [f"{message}; what is missing here may have been in it" for message in failures]


def _queue(reader: Reader) -> dict[str, queue.Message]:
    return {message.queue_id: message for message in queue.waiting(reader) or []}


def _report(
    reader: Reader,
    query: str,
    found: Found,
    waiting: dict[str, queue.Message],
) -> Report:
    address = query.strip("<>").lower() if found.kind == "recipient" else ""
    users = _users(reader, [*found.messages, *found.notices.values(), *found.parents.values()])
    outcome = worst(_outcome(story, found.messages, address) for story in found.messages)

    def told(story: Story, depth: int = 0) -> dict[str, Any]:
        data = as_data(story, users)
        if not depth:
            data["outcome"] = _outcome(story, found.messages, address)
        there = waiting.get(story.queue_id)
        data["queue"] = there.queue if there is not None else ""
        for notice in data["notices"]:
            child = found.notices.get(notice["queue_id"])
            notice["message"] = told(child, depth + 1) if child is not None and depth < 3 else None
        parent = found.parents.get(story.queue_id)
        data["notice_about"] = as_data(parent, users) if parent is not None and not depth else None
        return data

    shown = {story.queue_id for story in found.messages}
    waits = _waiting_for(address, waiting) if address else []
    more = sum(message.queue_id not in shown for message in waits)
    first = min(story.first for story in found.messages)
    dropped = suppressed(reader, first - 60) if found.log == Journal.name else 0
    return Report(
        "trace",
        outcome,
        _EXITS[outcome],
        notes=_notes(found, dropped, more),
        details={
            "query": query,
            "kind": found.kind,
            "log": found.log,
            "messages": [told(story) for story in found.messages],
            "others": {"counts": found.others.counts, "complete": found.others.complete},
            "suppressed": dropped,
            "now": reader.now(),
        },
    )


def _outcome(story: Story, messages: Sequence[Story], address: str) -> str:
    """What a message came to; one that was queued anew to what it came to under its next id."""
    for _ in messages:
        after = [
            s for s in messages if s.entrance is not None and s.entrance.former == story.queue_id
        ]
        if story.ended != "requeued" or not after:
            break
        story = after[-1]
    return story.outcome(address)


def _notes(found: Found, dropped: int, more: int) -> tuple[str, ...]:
    notes: list[str] = []
    if more:
        notes.append(f"{more} more for this recipient in the queue: see `sysmail queue list`")
    if found.others.counts:
        summed = ", ".join(f"{count} {word}" for word, count in found.others.counts.items())
        notes.append(f"and other messages: {summed}")
    if not found.others.complete:
        notes.append("older parts of the log may have more")
    if dropped:
        notes.append(f"journald dropped {dropped} messages of Postfix since: lines may be missing")
    return tuple(notes)


def _users(reader: Reader, told: list[Story]) -> dict[int, str]:
    """The names of the users whose programs sent, as far as they have one."""
    found: dict[int, str] = {}
    for story in told:
        uid: Optional[int] = story.entrance.uid if story.entrance is not None else None
        if uid is not None and uid not in found:
            found[uid] = reader.ask(["getent", "passwd", str(uid)]).out.partition(":")[0]
    return found


def _waiting_for(address: str, waiting: dict[str, queue.Message]) -> list[queue.Message]:
    """What waits for a recipient; until it is tried, the log does not name him."""
    wanted = address.lower()
    return [m for m in waiting.values() if wanted in {r.address.lower() for r in m.recipients}]


def _not_found(
    query: str, names: list[str], waiting: dict[str, queue.Message], reader: Reader
) -> Report:
    searched = ", ".join(names) or "no log, as there is none"
    there = waiting.get(query)
    untried = _waiting_for(query.strip("<>"), waiting)
    if there is not None:
        problem = Problem(
            "message-not-logged",
            f"{query} waits in the queue ({there.queue}), and is not in the log: {searched}",
            f"see `sysmail queue show {query}`",
        )
    elif untried:
        there = max(untried, key=lambda message: message.arrived)
        problem = Problem(
            "message-not-logged",
            f"{there.queue_id} to {query} waits in the queue ({there.queue}), and the log does not "
            f"have that it was tried: {searched}",
            f"see `sysmail trace {there.queue_id}`",
        )
    else:
        problem = Problem(
            "message-not-found",
            f"no message is known as {query}; searched: {searched}",
            "check the id; logs that were deleted or are elsewhere can be named with --log",
        )
    details = {"query": query, "kind": "", "log": "", "messages": [], "now": reader.now()}
    return Report("trace", "unknown", 3, errors=(problem,), details=details)
