"""``sysmail status``: the route, what waits and why, what left lately."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any, Optional

from sysmail import queue, submissions
from sysmail.apply.checkpoint import Checkpoint, Store
from sysmail.commands.memory import load, undelivered
from sysmail.errors import HostError
from sysmail.facts import Facts, collect
from sysmail.host.port import Reader
from sysmail.policy import parse
from sysmail.report import Problem, Report, RouteSummary
from sysmail.trace.journal import suppressed
from sysmail.trace.recent import Recent, recent

__all__ = ["run"]

LATELY_SECONDS = 86400.0
SHOWN = 5
_UNREAD = "no mail log can be read: what was sent is not known"


def run(reader: Reader) -> Report:
    """Exit code 0 when what takes mail here runs and nothing is overdue, else 1."""
    in_force = Store(reader).in_force()
    facts = collect(reader)
    problems: list[Problem] = []
    if in_force is None:
        problems.append(
            Problem("not-applied", "sysmail was never applied here", "run `sysmail apply`")
        )
    if in_force is not None and in_force.route.get("name") == "mailu":
        return _mailu(reader, in_force, facts)
    if not facts.master_running:
        problems.append(
            Problem("not-running", "Postfix does not run", "run `sysmail apply`, or see its log")
        )
    if facts.postfix is None:
        return _report(reader, problems, in_force, {})
    messages = _waiting(reader, problems)
    # While a message is tried again it is in another queue, and has no reason for a moment.
    asked = in_force.policy if in_force is not None else {}
    patience = parse({"queue": asked.get("queue", {})}).queue.retry_every
    old = reader.now() - patience
    overdue = [
        m
        for m in messages or []
        if m.queue == "deferred" or (m.queue != "hold" and m.arrived < old)
    ]
    if overdue:
        reason = queue.by_reason(overdue)[0][0]
        problems.append(
            Problem(
                "mail-waits",
                f"{len(overdue)} waiting, mostly: {reason}",
                "see `sysmail queue list`; it is tried again by itself",
            )
        )
    now = reader.now()
    log_file = facts.postfix["maillog_file"]
    lately = recent(reader, facts, log_file, now - LATELY_SECONDS, SHOWN)
    in_journal = facts.systemd and not log_file
    details: dict[str, Any] = {
        "queue": _queue(messages) if messages is not None else None,
        "deliveries": _deliveries(lately, now) if lately is not None else None,
        "suppressed": suppressed(reader, now - LATELY_SECONDS) if in_journal else 0,
        "now": now,
    }
    notes = _notes(lately, details["suppressed"])
    return replace(_report(reader, problems, in_force, details), notes=notes)


def _deliveries(lately: Recent, now: float) -> dict[str, Any]:
    return {
        "since": now - LATELY_SECONDS,
        "sent": lately.counts.get("sent", 0),
        "attempts": lately.counts,
        "complete": lately.complete,
        "last_sent": lately.last[-1].time if lately.last else None,
        "last": [
            {"queue_id": d.queue_id, "recipient": d.recipient, "answer": d.answer, "time": d.time}
            for d in lately.last
        ],
    }


def _notes(lately: Optional[Recent], dropped: int) -> tuple[str, ...]:
    notes: list[str] = []
    if lately is None:
        notes.append(_UNREAD)
    elif not lately.complete:
        notes.append("there was more in 24 hours than the newest lines that were counted")
    if dropped:
        notes.append(f"journald dropped {dropped} messages of Postfix in 24 hours")
    return tuple(notes)


def _waiting(reader: Reader, problems: list[Problem]) -> Optional[list[queue.Message]]:
    """The queue; None where it cannot be listed, which is then a problem too."""
    try:
        return queue.listed(reader)
    except HostError as error:
        problems.append(Problem(error.code, error.message, error.remedy))
        return None


def _mailu(reader: Reader, in_force: Checkpoint, facts: Facts) -> Report:
    """The route mailu: nothing queues here; what the last messages came to."""
    problems: list[Problem] = []
    units = [unit for unit in facts.msmtpd.values() if unit.enabled or unit.active]
    if not units or not all(unit.active for unit in units):
        remedy = "run `sysmail apply`, or see its log"
        problems.append(Problem("not-running", "sysmail's msmtpd does not run", remedy))
    now = reader.now()
    host = str(in_force.policy.get("mailu", {}).get("host", ""))
    handed = submissions.since(reader, now - LATELY_SECONDS, host)
    if handed and not handed[-1].accepted:
        problems.append(
            Problem(
                "mail-refused",
                f"the last message was not taken: {handed[-1].answer}",
                "the program that sent it was told; see `sysmail prove`",
            )
        )
    waiting = _waiting(reader, problems) if facts.postfix is not None else []
    if waiting:
        remedy = "run `sysmail apply`"
        problems.append(
            Problem("mail-waits", f"{len(waiting)} wait in a Postfix that is off", remedy)
        )
    details: dict[str, Any] = {
        "queue": _queue(waiting) if waiting is not None else None,
        "deliveries": _handed(handed, now) if handed is not None else None,
        "now": now,
    }
    notes = (_UNREAD,) if handed is None else ()
    return replace(_report(reader, problems, in_force, details), notes=notes)


def _handed(handed: list[submissions.Submission], now: float) -> dict[str, Any]:
    taken = [each.time for each in handed if each.accepted]
    return {
        "since": now - LATELY_SECONDS,
        "sent": len(taken),
        "refused": len(handed) - len(taken),
        "last_sent": taken[-1] if taken else None,
        "last": [
            {
                "queue_id": "",
                "recipient": ", ".join(each.recipients),
                "answer": each.answer,
                "time": each.time,
            }
            for each in handed[-SHOWN:]
        ],
    }


def _queue(messages: list[queue.Message]) -> dict[str, Any]:
    return {
        "count": len(messages),
        "oldest": messages[0].arrived if messages else None,
        "oldest_waiting": next((m.arrived for m in messages if m.queue != "hold"), None),
        "by_queue": dict(Counter(message.queue for message in messages)),
        "reasons": [
            {"reason": reason, "count": count, "oldest": oldest}
            for reason, count, oldest in queue.by_reason(messages)
        ],
    }


def _report(
    reader: Reader, problems: list[Problem], in_force: Any, details: dict[str, Any]
) -> Report:
    problems = [*problems, *(undelivered(load(reader)) if in_force is not None else [])]
    route = None
    if in_force is not None and in_force.route:
        route = RouteSummary(
            in_force.route["name"], in_force.route["next_hop"], in_force.route["reason"]
        )
    return Report(
        command="status",
        outcome="unhealthy" if problems else "healthy",
        exit_code=1 if problems else 0,
        route=route,
        errors=tuple(problems),
        details=details,
    )
