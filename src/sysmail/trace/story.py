"""The story of a message: its lines in the log, in order, put together. Pure.

A queue id may be used again once its message is gone (short ones are, long
ones are not): each use is a story of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Optional

from sysmail.logline import LogLine
from sysmail.trace.events import Event, Tls, certificate, read, remote_id, tls

__all__ = [
    "DELIVERED",
    "FAILED",
    "WAITING",
    "Attempt",
    "Entrance",
    "Notice",
    "Remark",
    "Story",
    "outcome_of",
    "outcome_of_status",
    "session_after",
    "stories",
    "worst",
]

DELIVERED = "delivered"
FAILED = "failed"
WAITING = "waiting"

_GOOD = frozenset({"sent", "deliverable"})
_BAD = frozenset({"bounced", "expired", "undeliverable"})
_HEARD = 100
"""Lines of its own that a message is held with, beyond those that tell of recipients."""


@dataclass(frozen=True)
class Entrance:
    """How a message came: by ``sendmail`` (``uid``) or ``smtp`` (``client``, ``login``)."""

    time: float
    way: str
    uid: Optional[int] = None
    sender: str = ""
    client: str = ""
    login: str = ""
    former: str = ""
    """The queue id that it had before it was requeued."""


@dataclass(frozen=True)
class Attempt:
    """One attempt to hand a message on: the next hop's answer in its own words.

    ``delays`` are seconds before the queue, in it, connecting, and sending (postconf(5),
    delay_logging_resolution_limit).
    """

    time: float
    recipient: str
    original: str
    program: str
    relay: str
    status: str
    dsn: str
    delay: float
    delays: tuple[float, ...]
    answer: str
    tls: Optional[Tls] = None
    place: tuple[int, int] = field(default=(0, 0), compare=False)
    pid: int = field(default=0, compare=False)

    @property
    def remote_id(self) -> str:
        """The queue id at the next hop, where the message was taken and the answer has one."""
        return remote_id(self.answer) if self.status == "sent" else ""


@dataclass(frozen=True)
class Notice:
    """A notice that this message caused: to the ``sender`` or the ``postmaster``, about what."""

    time: float
    to: str
    about: str
    queue_id: str
    place: tuple[int, int] = field(default=(0, 0), compare=False)


@dataclass(frozen=True)
class Remark:
    """Something else that was said of a message; ``kind`` as in ``events``."""

    time: float
    kind: str
    text: str


@dataclass
class Story:
    """One message. ``ended`` is removed, deleted, requeued, refused or empty."""

    queue_id: str
    first: float = 0.0
    last: float = 0.0
    entrance: Optional[Entrance] = None
    message_id: str = ""
    sender: Optional[str] = None
    size: Optional[int] = None
    recipients: Optional[int] = None
    queued: Optional[float] = None
    attempts: list[Attempt] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    remarks: list[Remark] = field(default_factory=list)
    expired: Optional[float] = None
    ended: str = ""
    end: Optional[float] = None
    identified: Optional[float] = None
    refused: set[str] = field(default_factory=set)
    """Recipients, in lower case, that smtpd(8) refused while it took the message for others."""

    @property
    def whole(self) -> bool:
        """Whether its beginning is there."""
        return self.entrance is not None or bool(self.message_id)

    def by_recipient(self) -> dict[tuple[str, str], Attempt]:
        """The last attempt for each recipient, in order of the first.

        Two that were rewritten to one address are still two: each is tried (cleanup(8),
        enable_original_recipient).
        """
        return {(attempt.recipient, attempt.original): attempt for attempt in self.attempts}

    def outcome(self, recipient: str = "") -> str:
        """What became of it, for everybody or for one recipient: delivered, failed or waiting.

        Waiting is also what is not known to have ended.
        """
        if self.ended == "refused" or any(remark.kind == "lost" for remark in self.remarks):
            return FAILED
        last = [
            attempt
            for attempt in self.by_recipient().values()
            if not recipient or recipient.lower() in _names(attempt)
        ]
        found = [outcome_of(attempt) for attempt in last]
        taken = {name for attempt in last for name in _names(attempt)}
        wanted = {recipient.lower()} if recipient else self.refused
        found += [FAILED] * len(self.refused & wanted - taken)
        if self.ended == "deleted" or self.expired is not None:
            found = [FAILED if each == WAITING else each for each in found] or [FAILED]
        if not found:
            return WAITING
        known = self.ended == "removed" or len(last) >= (self.recipients or 1) or recipient
        return worst([*found, *([] if known else [WAITING])])


def _names(attempt: Attempt) -> tuple[str, str]:
    return attempt.recipient.lower(), attempt.original.lower()


def outcome_of(attempt: Attempt) -> str:
    """What one attempt came to."""
    return outcome_of_status(attempt.status, attempt.program)


def outcome_of_status(status: str, program: str) -> str:
    """What an attempt came to that a program logged with this status."""
    if status in _BAD or program.endswith("/discard"):
        return FAILED
    return DELIVERED if status in _GOOD else WAITING


def worst(outcomes: Iterable[str]) -> str:
    """One outcome for many: failed before waiting before delivered."""
    found = set(outcomes)
    return next((each for each in (FAILED, WAITING) if each in found), DELIVERED)


def stories(lines: Sequence[LogLine], queue_id: str) -> list[Story]:
    """Every message that had this queue id, the oldest first.

    The lines are in the log's order; those of other messages may be among
    them. Lines without a queue id, of the same process, tell of its TLS sessions.
    """
    found: list[Story] = []
    sessions: dict[tuple[str, int], Tls] = {}
    for line in lines:
        if not line.queue_id:
            known = sessions.get((line.program, line.pid))
            session = session_after(known, line.text)
            if session is not None:
                sessions[line.program, line.pid] = session
            continue
        if line.queue_id != queue_id:
            continue
        event = read(line.daemon, line.text)
        if not found or _is_another(found[-1], line, event):
            found.append(Story(queue_id, first=line.time))
        _take(found[-1], line, event, sessions.get((line.program, line.pid)))
    return found


def session_after(before: Optional[Tls], text: str) -> Optional[Tls]:
    """The TLS session that a line of a process without a queue id leads to.

    The name of the certificate is told first; with it a session without a version begins.
    """
    shown = certificate(text)
    if shown is not None:
        return Tls("", shown[0], "", "", shown[1])
    session = tls(text)
    if session is None or before is None or before.version or before.server != session.server:
        return session if session is not None else before
    return replace(session, subject=before.subject)


def _is_another(story: Story, line: LogLine, event: Event) -> bool:
    """Whether a line begins the next message with this queue id."""
    if event.kind in ("pickup", "client"):
        return story.entrance is not None or story.queued is not None or bool(story.attempts)
    if event.kind == "message-id":
        return bool(story.ended)
    # What comes after the end (two processes write one log) still belongs to it.
    return False if event.kind != "queued" else bool(story.ended) and line.time > story.last + 1


def _take(story: Story, line: LogLine, event: Event, session: Optional[Tls]) -> None:
    story.last = max(story.last, line.time)
    taker = _TAKERS.get(event.kind)
    if taker is not None:
        taker(story, line, event.facts)
    elif event.kind == "attempt":
        _attempt(story, line, event.facts, session)
    elif len(story.remarks) < _HEARD:
        text = event.facts.get("text") or event.facts.get("why") or line.text
        story.remarks.append(Remark(line.time, event.kind, text))


def _pickup(story: Story, line: LogLine, facts: dict[str, str]) -> None:
    story.entrance = Entrance(
        line.time,
        "sendmail",
        uid=int(facts["uid"]),
        sender=facts["sender"],
        former=facts.get("former", ""),
    )


def _client(story: Story, line: LogLine, facts: dict[str, str]) -> None:
    more = dict(
        part.split("=", 1) for part in facts.get("more", "").strip(", ").split(", ") if "=" in part
    )
    story.entrance = Entrance(
        line.time,
        "smtp",
        client=more.get("orig_client", facts["client"]),
        login=more.get("sasl_username", ""),
        former=more.get("orig_queue_id", ""),
    )


def _message_id(story: Story, line: LogLine, facts: dict[str, str]) -> None:
    # A Resent-Message-ID comes second: the first is what programs know.
    if not story.message_id:
        story.message_id, story.identified = facts["message_id"], line.time


def _queued(story: Story, line: LogLine, facts: dict[str, str]) -> None:
    if story.queued is None:
        story.queued = line.time
    story.sender, story.size = facts["sender"], int(facts["size"])
    # It is logged anew at each try, with those who are left.
    story.recipients = max(story.recipients or 0, int(facts["count"]))


def _attempt(story: Story, line: LogLine, facts: dict[str, str], session: Optional[Tls]) -> None:
    server = facts["relay"].partition("[")[0]
    story.attempts.append(
        Attempt(
            line.time,
            facts["to"],
            facts.get("original", ""),
            line.program,
            facts["relay"],
            facts["status"],
            facts["dsn"],
            _seconds(facts["delay"]),
            tuple(_seconds(part) for part in facts["delays"].split("/")),
            facts["answer"],
            session
            if session is not None and session.server == server and session.version
            else None,
            line.place,
            line.pid,
        )
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0


def _notice(story: Story, line: LogLine, facts: dict[str, str]) -> None:
    story.notices.append(Notice(line.time, facts["to"], facts["about"], facts["child"], line.place))


def _expired(story: Story, line: LogLine, _facts: dict[str, str]) -> None:
    story.expired = line.time


def _end(word: str) -> Any:
    def ended(story: Story, line: LogLine, _facts: dict[str, str]) -> None:
        story.ended, story.end = word, line.time

    return ended


def _reject(story: Story, line: LogLine, facts: dict[str, str]) -> None:
    answer = facts["answer"]
    story.remarks.append(Remark(line.time, "reject", answer))
    # smtpd(8) refuses one recipient of a message and takes the others.
    whole = answer.startswith(("END-OF-MESSAGE", "DATA", "END-OF-HEADER", "header", "body"))
    if whole or line.queue_id == "NOQUEUE" or facts["verb"] == "discard":
        story.ended, story.end = "refused", line.time
    elif "to" in facts:
        story.refused.add(facts["to"].lower())


_TAKERS = {
    "pickup": _pickup,
    "client": _client,
    "message-id": _message_id,
    "queued": _queued,
    "notice": _notice,
    "expired": _expired,
    "removed": _end("removed"),
    "deleted": _end("deleted"),
    "requeued": _end("requeued"),
    "reject": _reject,
}
