"""``sysmail rollback`` and ``sysmail remove``: back to a checkpoint, or to before the first.

Where Postfix goes, or what sysmail found comes back, the queue leaves first. Where it
cannot, the command refuses and says what waits; nothing was changed then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Callable, Optional

from sysmail import signals
from sysmail.apply import leaving
from sysmail.apply.checkpoint import Checkpoint, Store
from sysmail.apply.recovery import is_pending
from sysmail.apply.undo import check_undo, undo
from sysmail.apply.undo_packages import removes_postfix
from sysmail.errors import RefusedError
from sysmail.facts import collect
from sysmail.host.port import Reader, Writer
from sysmail.report import Report, RouteSummary, StepResult

__all__ = ["foresee", "remove", "rollback"]

Say = Callable[[str], None]


def rollback(writer: Writer, say: Say, *, force: bool) -> Report:
    """Undo the last apply. The lock must be held."""
    checkpoints = _checkpoints(writer)
    last = checkpoints[-1]
    check_undo(writer, [last], force=force)
    _let_leave(writer, [last], say, first=len(checkpoints) == 1, force=force)
    signals.hold()
    notes = undo(writer, last, say, force=force)
    return _report(writer, "rollback", "rolled-back", [last], notes)


def remove(writer: Writer, say: Say, *, force: bool) -> Report:
    """Undo every apply, the last one first: the host as sysmail found it."""
    checkpoints = _checkpoints(writer)
    check_undo(writer, checkpoints, force=force)
    _let_leave(writer, checkpoints, say, first=True, force=force)
    signals.hold()
    notes: list[str] = []
    for number, checkpoint in reversed(list(enumerate(checkpoints))):
        # Checked above, all at once: an edit that an apply had kept comes back on the way, and is
        # kept once more.
        older = checkpoints[number - 1] if number else None
        notes = undo(writer, checkpoint, say, force=True, older=older)
    return _report(writer, "remove", "removed", checkpoints[::-1], notes)


def foresee(writer: Writer) -> Report:
    """What ``remove`` would undo. RefusedError where it would refuse, as far as that is known."""
    checkpoints = _checkpoints(writer)
    check_undo(writer, checkpoints, force=False)
    facts = collect(writer)
    goes = removes_postfix(writer, checkpoints, facts)
    waiting: list[object] = []
    if facts.postfix is not None:
        waiting += leaving.refuse_stuck(
            writer, facts, _since(checkpoints, writer.now(), goes=goes), goes=goes
        )
    kept = [f"{len(waiting)} messages in the queue would leave first"] if waiting else []
    report = _report(writer, "remove", "changes", checkpoints[::-1], kept)
    return replace(report, exit_code=2, changed=False, route=None)


def _let_leave(
    writer: Writer, undone: list[Checkpoint], say: Say, *, first: bool, force: bool
) -> None:
    """The queue leaves where Postfix goes with it, or where its owner's configuration returns.

    The latter would send what the relay accepted another way, or nowhere: ``force`` says
    that this is what is wanted.
    """
    facts = collect(writer)
    goes = removes_postfix(writer, undone, facts)
    if facts.postfix is None or not (goes or (first and not force)):
        return
    leaving.let_leave(writer, facts, _since(undone, writer.now(), goes=goes), say, goes=goes)


def _since(undone: list[Checkpoint], now: float, *, goes: bool) -> float:
    """From when on mail is sysmail's: what an owner's Postfix had before stays with it.

    A clock that was set back says nothing of what came since: then all of it.
    """
    since = min(checkpoint.time for checkpoint in undone)
    return 0.0 if goes or since > now else since


def _checkpoints(writer: Writer) -> list[Checkpoint]:
    found = Store(writer).load()
    if found and is_pending(writer, found[-1]):
        _require_packages(writer, found[-1])
    if not found:
        raise RefusedError(
            "nothing-to-undo", "sysmail changed nothing on this host", "nothing needs to be done"
        )
    return found


def _require_packages(writer: Writer, pending: Checkpoint) -> None:
    """RefusedError while somebody may still install what the host was prepared for."""
    installed = collect(writer).packages
    missing = [name for name in pending.packages_asked if name not in installed]
    if missing:
        age = round(writer.now() - pending.time)
        raise RefusedError(
            "packages-pending",
            f"this host was prepared {age} s ago for {', '.join(missing)}, which Ansible may "
            "still be installing",
            "run the role or `sysmail apply`, which goes on from there, then retry; after half an "
            "hour it is undone by any command",
        )


def _report(
    reader: Reader, command: str, outcome: str, undone: list[Checkpoint], notes: Sequence[str]
) -> Report:
    steps = [
        StepResult(f"checkpoint {c.number}", f"undo {c.kind} {c.number}: {len(c.files)} files")
        for c in undone
    ]
    now = Store(reader).in_force()
    return Report(
        command=command,
        outcome=outcome,
        exit_code=0,
        changed=True,
        route=_route(now),
        steps=tuple(steps),
        notes=(*notes, _in_force(now)),
    )


def _route(now: Optional[Checkpoint]) -> Optional[RouteSummary]:
    if now is None:
        return None
    said = now.route
    return RouteSummary(said.get("name", ""), said.get("next_hop", ""), said.get("reason", ""))


def _in_force(now: Optional[Checkpoint]) -> str:
    if now is None:
        return "nothing of sysmail is in force: the host is as it was found"
    when = datetime.fromtimestamp(now.time, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return f"in force now: the policy of apply {now.number}, of {when}"
