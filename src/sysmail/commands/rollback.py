"""``sysmail rollback`` and ``sysmail remove``: back to a checkpoint, or to before the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Callable

from sysmail.apply import Checkpoint, Store, check_undo, is_pending, undo
from sysmail.errors import RefusedError, StepError
from sysmail.facts import collect
from sysmail.host.port import Writer
from sysmail.report import Report, StepResult

__all__ = ["foresee", "remove", "rollback"]


def rollback(writer: Writer, say: Callable[[str], None], *, force: bool) -> Report:
    """Undo the last apply. The lock must be held."""
    checkpoints = _checkpoints(writer)
    last = checkpoints[-1]
    notes = _undo_whole(writer, last, say, force=force)
    return _report("rollback", "rolled-back", [last], notes)


def remove(writer: Writer, say: Callable[[str], None], *, force: bool) -> Report:
    """Undo every apply, the last one first: the host as sysmail found it."""
    checkpoints = _checkpoints(writer)
    check_undo(writer, checkpoints, force=force)
    notes: list[str] = []
    for checkpoint in reversed(checkpoints):
        # Checked above, all at once: an edit that an apply had kept comes back on the way, and is
        # kept once more.
        notes += _undo_whole(writer, checkpoint, say, force=True)
    return _report("remove", "removed", checkpoints[::-1], notes)


def _undo_whole(
    writer: Writer, checkpoint: Checkpoint, say: Callable[[str], None], *, force: bool
) -> list[str]:
    """Undo one checkpoint; an interrupt waits until that is done, and is then told."""
    try:
        return undo(writer, checkpoint, say, force=force)
    except Exception:
        raise
    except BaseException as error:
        begun = [c for c in Store(writer).load() if c.number == checkpoint.number]
        if begun and begun[0].state == "done":
            raise  # before anything was changed
        if begun:
            say("finishing what was begun")
            undo(writer, begun[0], say, force=True)
        raise StepError(
            "interrupted",
            f"interrupted; {checkpoint.kind} {checkpoint.number} is undone all the same, as a way "
            "back is not left half done",
            "`sysmail plan` shows where the host is now; the same command goes on",
        ) from error


def foresee(writer: Writer) -> Report:
    """What ``remove`` would undo. RefusedError where it would refuse."""
    checkpoints = _checkpoints(writer)
    check_undo(writer, checkpoints, force=False)
    return replace(_report("remove", "changes", checkpoints[::-1]), exit_code=2, changed=False)


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
    command: str, outcome: str, undone: list[Checkpoint], notes: Sequence[str] = ()
) -> Report:
    steps = [
        StepResult(f"checkpoint {c.number}", f"undo {c.kind} {c.number}: {len(c.files)} files")
        for c in undone
    ]
    return Report(
        command=command,
        outcome=outcome,
        exit_code=0,
        changed=True,
        steps=tuple(steps),
        notes=tuple(notes),
    )
