"""Mail leaves before Postfix goes with a rollback or a removal; else that is refused.

What waits is given time for as long as it gets less. Programs go on sending
meanwhile: what comes then leaves when the entrances are closed (``stop_empty``).
Nothing is changed before a refusal but that the queue was flushed.
"""

from __future__ import annotations

from typing import Callable

from sysmail import queue
from sysmail.apply import service
from sysmail.apply.retire import close_sendmail, drain, open_sendmail, stop_for_good
from sysmail.errors import HostError, RefusedError, StepError, SysmailError
from sysmail.facts.model import Facts
from sysmail.host.port import Reader, Writer

__all__ = [
    "count_waiting",
    "let_leave",
    "refuse_stuck",
    "refuse_waiting",
    "reopen",
    "stop_empty",
]

REMEDY = (
    "see `sysmail queue list`; bring the next hop back, or `sysmail queue release` or `delete` "
    "what is there, then retry"
)
FORMER_WAY = "; with --force it stays in the queue of the Postfix that was there before"


def count_waiting(reader: Reader, facts: Facts) -> int:
    """How many messages there are, damaged ones too, whatever state Postfix is in.

    The listing knows what is just being moved; the files are there where nothing can list them.
    """
    messages = queue.waiting(reader)
    directory = _directory(facts)
    if messages is None:
        return queue.stored(reader, directory) + queue.corrupt(reader, directory)
    return len(messages) + queue.corrupt(reader, directory)


def _directory(facts: Facts) -> str:
    found = facts.postfix["queue_directory"] if facts.postfix is not None else ""
    return found or "/var/spool/postfix"


def refuse_waiting(count: int) -> RefusedError:
    """For mail that came at a moment when nothing can be done about it but to stay."""
    return RefusedError(
        "queue-not-empty",
        f"mail waits in the queue ({count}), and removing Postfix would lose it",
        "see `sysmail queue list`; flush, release or delete what is there, then retry",
    )


def refuse_stuck(reader: Reader, facts: Facts, since: float, *, goes: bool) -> list[queue.Message]:
    """What waits and can leave. RefusedError for what cannot: held, damaged, or nothing sends it.

    ``since``: what arrived earlier is of no concern here. ``goes``: Postfix, with its queue.
    """
    damaged = queue.corrupt(reader, _directory(facts)) if goes else 0
    if damaged:
        where = _directory(facts) + "/corrupt"
        raise RefusedError(
            "queue-not-empty",
            f"{_said(damaged)} in {where}, damaged, and removing Postfix would lose "
            f"{'it' if damaged == 1 else 'them'}",
            f"look at {where} with `postcat`, and move what is there elsewhere; then retry",
        )
    messages = queue.waiting(reader)
    if messages is None:
        count = count_waiting(reader, facts)
        if count and goes:
            raise refuse_waiting(count)
        return []
    here = [message for message in messages if message.arrived >= since]
    held = sum(message.queue == "hold" for message in here)
    if held or (here and not facts.master_running):
        why = f"{held} of them held" if held else "and Postfix does not run, so it cannot leave"
        raise RefusedError(
            "queue-not-empty",
            f"{_said(len(here))} in the queue, {why}{_reasons(here)}",
            REMEDY + ("" if goes else FORMER_WAY),
        )
    return here


def let_leave(
    writer: Writer, facts: Facts, since: float, say: Callable[[str], None], *, goes: bool
) -> None:
    """Wait until the queue has left. RefusedError that says what waits and why, when it cannot."""
    here = refuse_stuck(writer, facts, since, goes=goes)
    if not here:
        return
    say(f"{_said(len(here))} in the queue: it leaves first")
    try:
        drain(writer, say, since)
    except StepError as error:
        raise _stays(error, goes=goes) from error


def stop_empty(writer: Writer, facts: Facts, say: Callable[[str], None]) -> None:
    """Close the entrances, let leave what came until then, and stop Postfix for good.

    RefusedError where mail stays: the entrances are open again then, and Postfix runs.
    """
    close_sendmail(writer)
    try:
        stop_for_good(writer, facts, say)
    except (StepError, HostError) as error:
        reopen(writer, facts)
        if error.code == "queue-not-drained":
            raise _stays(error, goes=True) from error
        raise
    count = count_waiting(writer, facts)
    if count:
        reopen(writer, facts)
        raise refuse_waiting(count)


def reopen(writer: Writer, facts: Facts) -> None:
    """Postfix runs again, now and at boot, and takes mail."""
    open_sendmail(writer)
    service.act(writer, facts, "enable")
    service.act(writer, facts, "restart")


def _stays(error: SysmailError, *, goes: bool) -> RefusedError:
    return RefusedError(
        "queue-not-empty",
        error.message + (", and removing Postfix would lose it" if goes else ""),
        REMEDY + ("" if goes else FORMER_WAY),
    )


def _said(count: int) -> str:
    return f"{count} message waits" if count == 1 else f"{count} messages wait"


def _reasons(messages: list[queue.Message]) -> str:
    patient = [message for message in messages if message.queue != "hold"]  # those are counted
    return "".join(f"; {count}: {reason}" for reason, count, _ in queue.by_reason(patient)[:3])
