"""The files of a checkpoint on the way back."""

from __future__ import annotations

from typing import Any, Optional

from sysmail.apply.bystanders import folders_below, walk
from sysmail.apply.checkpoint import FORMER, TEMPORARY, Checkpoint, Store
from sysmail.apply.edits import changed_paths, is_former
from sysmail.apply.retire import CLOSED
from sysmail.errors import HostError
from sysmail.host.port import Writer
from sysmail.postfix import skeleton

__all__ = ["restore_files"]

ETC_POSTFIX = "/etc/postfix/"


def restore_files(
    writer: Writer, checkpoint: Checkpoint, *, removed: bool, swapped: bool, closed: bool
) -> None:
    """Put every file back; ``removed``: packages that this transaction brought are gone again.

    Where none of a mail program's was ``swapped``, what was only remembered was never
    changed, and stays: it may be of a newer version of its package by now. ``closed``: a
    Postfix stays that others need. It does not run, takes no mail that nobody would send,
    and an update of its package finds a main.cf, or it would listen everywhere; its other
    files are as its package brought them.
    """
    first: Optional[HostError] = None
    if swapped:
        first = _restore_folders(writer, checkpoint)
    changed = changed_paths(checkpoint)
    for entry in reversed(checkpoint.files):
        if not swapped and entry["path"] not in changed and writer.state(entry["path"]):
            continue
        # What a package put there that is gone again was not there before.
        gone = removed and entry["path"] in checkpoint.absent_before
        gone = gone and not (closed and entry["path"].startswith(ETC_POSTFIX))
        try:
            _restore(writer, checkpoint, {**entry, "before": None} if gone else entry)
        except HostError as error:
            first = first or error
    if not closed:
        _empty_target(writer, checkpoint)
    if closed:
        file = skeleton()
        writer.write(file.path, file.data + CLOSED, file.mode, file.uid, file.gid)
    if first is not None:
        raise first


def _restore_folders(writer: Writer, checkpoint: Checkpoint) -> Optional[HostError]:
    """Before what is in them, so that nothing private is ever in an open one; what failed first."""
    first: Optional[HostError] = None
    for folder in checkpoint.folders:  # the upper ones first
        try:
            _restore_folder(writer, folder)
        except HostError as error:
            first = first or error
    return first


def _restore_folder(writer: Writer, folder: dict[str, Any]) -> None:
    path = folder["path"]
    access = (folder["mode"], folder["uid"], folder["gid"])
    state = writer.state(path, content=False)
    if "target" in folder:
        if state is None:
            writer.symlink(path, folder["target"])
    elif state is None:
        writer.mkdir(path, *access)
    elif state.kind == "directory" and (state.mode, state.uid, state.gid) != access:
        writer.set_access(path, *access)


def _empty_target(writer: Writer, checkpoint: Checkpoint) -> None:
    """Where the folder was a link, the purge took the link, and not what was put behind it."""
    linked = [folder["path"] for folder in checkpoint.folders if "target" in folder]
    if "postfix" not in set(checkpoint.packages_removing or ()) - set(
        checkpoint.packages_configured
    ):
        return
    known = {entry["path"] for entry in checkpoint.files if entry["before"] is not None}
    known -= set(checkpoint.absent_before)
    for path in [path for top in linked for path in walk(writer, top)]:
        # What somebody made there since is in nobody's way.
        if path not in known and (checkpoint.found is None or path in checkpoint.found):
            writer.remove(path)
    folders = {folder["path"] for folder in checkpoint.folders}
    for path in [path for top in linked for path in folders_below(writer, top)]:
        if path not in folders:
            writer.rmdir(path)


def _restore(writer: Writer, checkpoint: Checkpoint, entry: dict[str, Any]) -> None:
    path, before = entry["path"], entry["before"]
    writer.remove(path + TEMPORARY)
    former = writer.state(path + FORMER)
    if before is not None and former is not None and is_former(former, before):
        writer.rename(path + FORMER, path)  # takes no space
    if former is not None:
        writer.remove(path + FORMER)
    if before is None:
        writer.remove(path)
        return
    if is_former(writer.state(path), before):
        return
    parent = path.rpartition("/")[0]
    if writer.state(parent, content=False) is None:
        writer.mkdir(parent, 0o755)
    if before["kind"] == "link":
        writer.symlink(path, before["target"])
        return
    data = Store(writer).backup(checkpoint, entry)
    writer.write(path, data, before["mode"], before["uid"], before["gid"])
