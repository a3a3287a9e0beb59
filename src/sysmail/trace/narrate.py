"""A story as steps for a person to read, and as plain data. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Optional

from sysmail.trace.events import Tls
from sysmail.trace.story import DELIVERED, FAILED, WAITING, Attempt, Story, outcome_of

__all__ = ["Deferral", "Step", "as_data", "deferrals", "ending", "recipient", "steps"]

Users = Mapping[int, str]

SHOWN = 10
"""Recipients of one message that are told of apart."""

# What differs from try to try in the same refusal.
_CHANGING = re.compile(r"\b\d+(?= ?(?:s|sec|secs|seconds|min|minutes|hours)\b)|\d\d:\d\d(?::\d\d)?")


@dataclass(frozen=True)
class Step:
    """One step of a story, and when; one that came again says how often, and ``until`` when."""

    time: float
    text: str
    count: int = 1
    until: float = 0.0


@dataclass(frozen=True)
class Deferral:
    """A reason to wait, told once: how often, from when until when, and for whom."""

    reason: str
    relay: str
    count: int
    first: float
    last: float
    recipients: tuple[str, ...]


def deferrals(story: Story) -> list[Deferral]:
    """Why a message waited, each reason once, in order of the first time."""
    found: dict[str, list[Attempt]] = {}
    for attempt in story.attempts:
        if outcome_of(attempt) == WAITING:
            found.setdefault(_CHANGING.sub("#", attempt.answer), []).append(attempt)
    return [
        Deferral(
            each[-1].answer,
            each[-1].relay,
            len(each),
            each[0].time,
            each[-1].time,
            tuple(dict.fromkeys(attempt.recipient for attempt in each)),
        )
        for each in found.values()
    ]


def steps(story: Story, users: Users) -> list[Step]:
    """What happened, in order, without what only repeats."""
    return sorted(_steps(story, users), key=lambda step: step.time)


def _steps(story: Story, users: Users) -> Iterator[Step]:
    yield from _beginning(story, users)
    for remark in story.remarks:
        yield Step(remark.time, _REMARKS.get(remark.kind, "{}").format(remark.text))
    for wait in deferrals(story):
        text = f"deferred for {_several(wait.recipients)}: {wait.reason}"
        yield Step(wait.first, text, wait.count, wait.last)
    final = [a for a in story.attempts if outcome_of(a) != WAITING]
    for attempt in final[:SHOWN]:
        yield Step(attempt.time, ending(attempt))
    if len(final) > SHOWN:
        good = sum(outcome_of(attempt) == DELIVERED for attempt in final[SHOWN:])
        bad = len(final) - SHOWN - good
        yield Step(final[-1].time, f"and for others: {good} delivered, {bad} refused")
    if story.expired is not None:
        yield Step(story.expired, "given up, too long in the queue: returned to the sender")
    for notice in story.notices:
        whom = "the sender" if notice.to == "sender" else notice.to
        yield Step(notice.time, f"notice to {whom} ({notice.about}): {notice.queue_id}")
    if story.end is not None and story.ended in _ENDS:
        yield Step(story.end, _ENDS[story.ended])


_REMARKS = {
    "lost": "the last notice about it could not be delivered either, and was discarded",
    "on-hold": "put on hold by hand, or by the watch",
    "released": "released from hold",
    "held": "put on hold: {}",
    "reject": "refused: {}",
}
_ENDS = {
    "removed": "removed from the queue",
    "deleted": "deleted from the queue by hand",
    "requeued": "queued anew, with another queue id",
}


def _beginning(story: Story, users: Users) -> Iterator[Step]:
    came = story.entrance
    if came is not None:
        yield Step(came.time, _entrance(story, users))
    if story.identified is not None:
        yield Step(story.identified, f"Message-ID {story.message_id}")
    if story.queued is not None:
        many = "1 recipient" if story.recipients == 1 else f"{story.recipients} recipients"
        size = "1 byte" if story.size == 1 else f"{story.size} bytes"
        text = f"queued: {size} for {many}, from {story.sender or '<>'}"
        if came is not None and came.sender and came.sender != story.sender:
            text += f" (was {came.sender})"
        yield Step(story.queued, text)


def _entrance(story: Story, users: Users) -> str:
    came = story.entrance
    if came is None:
        return ""
    who = ""
    if came.uid is not None:
        name = users.get(came.uid, "")
        who = f"uid {came.uid}{f' ({name})' if name else ''}"
    text = f"taken over SMTP from {came.client}"
    if came.way != "smtp":
        text = f"taken from {came.way} of {who or 'an unknown user'}"
    elif who:
        text += f", msmtp of {who}"
    if came.login:
        text += f", login {came.login}"
    return f"taken up again, was {came.former} before" if came.former else text


def ending(attempt: Attempt) -> str:
    """What an attempt that ended it came to, in the next hop's own words."""
    whom = attempt.recipient
    if attempt.original and attempt.original != attempt.recipient:
        whom += f" (for {attempt.original})"
    if outcome_of(attempt) == FAILED:
        return f"refused for {whom} by {_place(attempt)}: {attempt.answer}"
    parts = [f"delivered to {whom} by {_place(attempt)}", *_tls(attempt.tls)]
    if attempt.remote_id:
        parts.append(f"there {attempt.remote_id}")
    parts.append(f"after {attempt.delay:g} s{_shares(attempt.delays)}")
    return f"{', '.join(parts)}: {attempt.answer}"


def _place(attempt: Attempt) -> str:
    if attempt.relay == "none":
        return "this host"
    server, _, port = attempt.relay.rpartition(":")
    return f"{server} port {port}" if port.isdigit() else attempt.relay


def _tls(session: Optional[Tls]) -> list[str]:
    if session is None:
        return []
    if session.trust == "Verified":
        return [session.version, f"certificate verified for {session.server}"]
    if session.trust == "Anonymous":
        return [session.version, "no certificate"]
    of = f" of {session.subject}" if session.subject else ""
    return [session.version, f"certificate{of} not verified ({session.trust.lower()})"]


def _shares(delays: tuple[float, ...]) -> str:
    if len(delays) != len(_DELAYS):
        return ""
    told = [f"{share:g} {name}" for share, name in zip(delays, _DELAYS.values()) if share > 0]
    return f" ({', '.join(told)})" if told else ""


_DELAYS = {
    "before_queue": "before the queue",
    "in_queue": "waiting",
    "connecting": "connecting",
    "sending": "sending",
}


def _several(names: tuple[str, ...]) -> str:
    if len(names) > 2:
        return f"{names[0]} and {len(names) - 1} others"
    return " and ".join(names)


def as_data(story: Story, users: Users) -> dict[str, Any]:
    """A story as in the JSON report; times are seconds since the epoch."""
    came = story.entrance
    return {
        "queue_id": story.queue_id,
        "message_id": story.message_id,
        "outcome": story.outcome(),
        "first": story.first,
        "last": story.last,
        "entrance": None
        if came is None
        else {
            "time": came.time,
            "way": came.way,
            "uid": came.uid,
            "user": users.get(came.uid, "") if came.uid is not None else "",
            "sender": came.sender,
            "client": came.client,
            "login": came.login,
            "former_queue_id": came.former,
        },
        "sender": story.sender,
        "size": story.size,
        "recipients": [recipient(last) for last in story.by_recipient().values()],
        "deferrals": [
            {
                "reason": wait.reason,
                "relay": wait.relay,
                "count": wait.count,
                "first": wait.first,
                "last": wait.last,
                "recipients": list(wait.recipients),
            }
            for wait in deferrals(story)
        ],
        "notices": [
            {"time": n.time, "to": n.to, "about": n.about, "queue_id": n.queue_id}
            for n in story.notices
        ],
        "expired": story.expired is not None,
        "ended": story.ended,
        "story": [
            {"time": s.time, "text": s.text, "count": s.count, "until": s.until or s.time}
            for s in steps(story, users)
        ],
    }


def recipient(last: Attempt) -> dict[str, Any]:
    """The last attempt for a recipient, as in the JSON report."""
    session = last.tls
    delays = dict(zip(_DELAYS, last.delays)) if len(last.delays) == len(_DELAYS) else {}
    return {
        "address": last.recipient,
        "original": last.original,
        "outcome": outcome_of(last),
        "status": last.status,
        "dsn": last.dsn,
        "time": last.time,
        "relay": last.relay,
        "remote_queue_id": last.remote_id,
        "answer": last.answer,
        "delay": last.delay,
        "delays": delays,
        "tls": None
        if session is None
        else {
            "version": session.version,
            "cipher": session.cipher,
            "trust": session.trust.lower(),
            "certificate": session.server if session.trust == "Verified" else "",
            "subject": session.subject,
        },
    }
