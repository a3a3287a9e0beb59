"""Going back after a failure, also where the same fault hinders that; and what became of edits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Callable, Optional

from sysmail.apply.checkpoint import Checkpoint
from sysmail.apply.edits import changed_paths, kept_words
from sysmail.apply.recovery import revert
from sysmail.describe import describe
from sysmail.errors import SysmailError
from sysmail.host.port import Writer
from sysmail.plan import RemoveFile, Step, WriteFile
from sysmail.report import StepResult

__all__ = ["describe_all", "go_back", "kept_notes"]


def go_back(
    writer: Writer,
    checkpoint: Checkpoint,
    say: Callable[[str], None],
    notes: Optional[list[str]] = None,
) -> tuple[str, str]:
    """Undo what failed: two empty texts, or why it had to stay, and what to do about that.

    ``notes`` get what is worth telling besides. Where going back fails too, what is left is in
    the journal.
    """
    try:
        return revert(writer, checkpoint, say, notes), ""
    except SysmailError as error:
        left = (
            f"going back is not finished: {error.message}; what is left is in the journal, and the "
            "next command of sysmail goes on with it"
        )
        return left, f"{error.remedy}; then `sysmail status` goes on with the way back"


def describe_all(steps: Iterable[Step], edited: Mapping[str, str]) -> tuple[StepResult, ...]:
    """The steps in words; one that replaces what somebody changed since says so."""
    return tuple(_told(step, edited) for step in steps)


def _told(step: Step, edited: Mapping[str, str]) -> StepResult:
    result = describe(step)
    path = step.file.path if isinstance(step, WriteFile) else ""
    path = step.path if isinstance(step, RemoveFile) else path
    how = edited.get(path)
    if not how:
        return result
    summary = f"{result.summary}, which was {how} by somebody since the last apply"
    return replace(result, summary=summary, edited=how)


def kept_notes(checkpoint: Checkpoint, edited: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for each version of somebody's that an apply replaced: where it is."""
    notes: list[str] = []
    for path, entry in changed_paths(checkpoint).items():
        before = entry["before"] or {}
        if path in edited and "backup" in before:
            notes.append(kept_words(path, edited[path], checkpoint.kept(before)))
        elif path in edited and "target" in before:
            notes.append(
                f"{path} was a link to {before['target']}, made by somebody after sysmail wrote "
                "it; `sysmail rollback` puts it back"
            )
    return tuple(notes)
