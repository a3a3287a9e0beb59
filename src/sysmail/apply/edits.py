"""What people changed since sysmail wrote it: found, told, and kept before it is overwritten.

A journal says what each path was given. A path that is neither that nor what
it was before was changed by somebody else: a person, or a program of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Optional

from sysmail.apply.checkpoint import HOME, Checkpoint, digest
from sysmail.errors import HostError, RefusedError
from sysmail.host.port import FileState, Reader, Writer

__all__ = [
    "BESIDE",
    "KEPT",
    "changed_paths",
    "edits",
    "how_changed",
    "is_former",
    "keep_edits",
    "kept_words",
    "refuse_edits",
]

KEPT = f"{HOME}/kept"
BESIDE = ".sysmail-kept"
"""The end of the name of a version that is kept beside its file."""

SHOWN = 3

Entry = Mapping[str, Any]


def edits(
    reader: Reader, checkpoints: Iterable[Checkpoint], paths: Optional[Iterable[str]] = None
) -> dict[str, str]:
    """The paths that somebody changed since, and how, such as ``edited``; ``paths``: only these."""
    newest: dict[str, Entry] = {}
    for checkpoint in checkpoints:
        newest.update(changed_paths(checkpoint))
    wanted = newest if paths is None else [path for path in paths if path in newest]
    found = {path: how_changed(reader.state(path), newest[path]) for path in wanted}
    return {path: how for path, how in found.items() if how}


def changed_paths(checkpoint: Checkpoint) -> dict[str, Entry]:
    """What a transaction changed: before it, and as it left it.

    A path that it only remembered, because a package might take it along, is none.
    """
    found: dict[str, dict[str, Any]] = {}
    for entry in checkpoint.files:
        first = found.setdefault(entry["path"], {**entry, "between": []})
        if checkpoint.state != "done":
            # Cut off, it may be as any of its steps left it.
            first["between"].append(entry["after"])
        first["after"], first["access"] = entry["after"], entry.get("access")
        first["packaged"] = entry.get("packaged")
    return {path: entry for path, entry in found.items() if not _is_left_alone(entry)}


def _is_left_alone(entry: Entry) -> bool:
    before = entry["before"]
    if before is None or before["kind"] != "file" or before["sha256"] != entry["after"]:
        return False
    access = entry.get("access")
    return access is None or list(access) == [before["mode"], before["uid"], before["gid"]]


def how_changed(state: Optional[FileState], entry: Entry) -> str:
    """How a path differs from what sysmail left there; empty where it does not.

    As it was before is no change to be careful with: that is where the way back leads.
    """
    before, after = entry["before"], entry["after"]
    if entry.get("packaged"):
        return ""  # a package's file took the place of somebody's: neither is an edit
    if state is None:
        return "" if after is None or before is None else "removed"
    if before is not None and is_former(state, before):
        return ""
    if state.kind != "file":
        where = f"a link to {state.target}" if state.kind == "link" else "a directory"
        if state.kind == "other":
            where = "something that is no file"
        return f"replaced by {where}"
    if after is None:
        return "made anew"
    if digest(state.data) != after:
        return "" if digest(state.data) in entry.get("between", ()) else "edited"
    access = entry.get("access")
    if access is None or list(access) == _access(state):
        return ""
    return f"given mode {state.mode:04o} and owner {state.uid}:{state.gid}"


_ACCESS = ("mode", "uid", "gid")


def _access(state: FileState) -> list[int]:
    return [state.mode, state.uid, state.gid]


def is_former(state: Optional[FileState], before: Mapping[str, Any]) -> bool:
    """Whether a path is what it was before a transaction."""
    if state is None or state.kind != before["kind"]:
        return False
    if state.kind == "link":
        return bool(state.target == before["target"])
    same = digest(state.data) == before["sha256"]
    return same and _access(state) == [before[name] for name in _ACCESS]


def refuse_edits(
    reader: Reader, checkpoints: list[Checkpoint], beside: Mapping[str, str], *, force: bool
) -> None:
    """RefusedError when the way back would overwrite what somebody changed since.

    ``beside``: what else it would take, of files that sysmail did not write, and how these were
    changed.
    """
    found = {**edits(reader, checkpoints), **beside}
    for path in found:
        state = reader.state(path, content=False)
        if state is not None and state.kind not in {"file", "link"}:
            raise RefusedError(
                "not-a-file",
                f"{path} is a {state.kind} now, and the way back puts a file there",
                f"move {path} away, then retry",
            )
    if found and not force:
        told = ", ".join(f"{path} was {how}" for path, how in list(found.items())[:SHOWN])
        told += f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise RefusedError(
            "edited-since",
            f"{told} by somebody since the last apply",
            "what sysmail wrote is compared by `sysmail plan`; --force goes back all the same, "
            f"and keeps what would be lost below {KEPT}",
        )


def keep_edits(writer: Writer, checkpoint: Checkpoint, beside: Mapping[str, str]) -> list[str]:
    """Copy what somebody changed since to where nothing is overwritten; a sentence for each.

    On a way back that is under way, what cannot be copied is renamed: that takes no space.
    """
    told: list[str] = []
    for path, how in {**edits(writer, [checkpoint]), **beside}.items():
        state = writer.state(path)
        if state is not None and state.kind in {"file", "link"}:
            try:
                kept = _keep(writer, path, state)
            except HostError:
                if checkpoint.state == "done":
                    raise
                kept = _keep_beside(writer, path)
            told.append(kept_words(path, how, kept))
    return told


def _keep_beside(writer: Writer, path: str) -> str:
    """The new name of the file itself, in its own directory."""
    target, number = path + BESIDE, 0
    while writer.state(target, content=False) is not None:
        number += 1
        target = f"{path}{BESIDE}.{number}"
    writer.rename(path, target)
    return target


def kept_words(path: str, how: str, kept: str) -> str:
    """The sentence that says where somebody's version is."""
    return f"{path} was {how} by somebody since the last apply; that version is kept: {kept}"


def _keep(writer: Writer, path: str, state: FileState) -> str:
    """The path of the copy: below KEPT the same, with a number where that name is taken."""
    number = 0
    while True:
        target = f"{KEPT}{path}" + (f".{number}" if number else "")
        there = writer.state(target)
        if there is not None and (there.data, there.target) == (state.data, state.target):
            return target
        if there is None:
            break
        number += 1
    parts = target.split("/")
    for end in range(HOME.count("/") + 1, len(parts)):
        writer.mkdir("/".join(parts[:end]), 0o700)
    if state.kind == "link":
        writer.symlink(target, state.target)
    else:
        writer.write(target, state.data, 0o600)
    return target
