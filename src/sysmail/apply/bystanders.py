"""What people have beside the files that sysmail writes: found before a way back takes it.

A way back puts back what was only remembered, because a package might have overwritten it; it
purges packages, and Debian's Postfix takes its whole folder along then; and it removes what
packages leave behind. What is there when an apply ends is written down. What is otherwise later
was made or changed by somebody, but for what Postfix and its package make.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any, Optional

from sysmail.apply.checkpoint import FORMER, TEMPORARY, Checkpoint, digest
from sysmail.apply.edits import changed_paths, is_former
from sysmail.distro import Distro
from sysmail.host.port import FileState, Reader

__all__ = ["ETC_POSTFIX", "bystanders", "folders_below", "is_left_by_package", "walk", "write_down"]

ETC_POSTFIX = "/etc/postfix"

_OF_THE_PACKAGE = re.compile(
    rf"{ETC_POSTFIX}/((dynamicmaps\.cf|postfix-files)(\.d/.+)?|post-install|postfix-script|"
    r"makedefs\.out|(main|master|bounce)\.cf\.(proto|default))$|"
    r".*(\.dpkg-(new|old|dist|tmp)|\.ucf-(new|old|dist)|\.pac(new|save)(\.\d+)?)$"
)
"""Rewritten by each update of Postfix's package, or by a package manager; no configuration."""

_COMPILED = re.compile(r"\.(db|lmdb|cdb|dir|pag)$")
"""The ends of what postmap(1) and newaliases(1) make of a text file."""

_CONFFILES = ("dpkg-query", "-W", "-f", "${Conffiles}\n")
_CONFFILE = re.compile(r"^ (/.+) ([0-9a-f]{32})( obsolete)?$", re.MULTILINE)
"""What dpkg wrote down of a file of configuration when it unpacked it."""

_OURS = (FORMER, TEMPORARY)


def walk(reader: Reader, folder: str) -> Iterator[str]:
    """Every file and link below a folder; links to folders are not followed but the first."""
    for name in reader.names(folder):
        path = f"{folder}/{name}"
        state = reader.state(path, content=False)
        if state is not None and state.kind == "directory":
            yield from walk(reader, path)
        elif state is not None and state.kind in {"file", "link"}:
            yield path


def folders_below(reader: Reader, folder: str) -> Iterator[str]:
    """Every folder below one, the inner ones first."""
    for name in reader.names(folder):
        path = f"{folder}/{name}"
        state = reader.state(path, content=False)
        if state is not None and state.kind == "directory":
            yield from folders_below(reader, path)
            yield path


def write_down(reader: Reader, checkpoint: Checkpoint, distro: Optional[Distro]) -> None:
    """What is there at the end of an apply that changed packages, for the journal of it."""
    if distro is None or not (checkpoint.packages_asked or checkpoint.packages_replaced):
        return
    paths = {*walk(reader, ETC_POSTFIX), *_remembered(checkpoint)}
    paths |= set(distro.leftovers) - set(checkpoint.leftovers_before)
    checkpoint.found = {}
    for path in sorted(paths - set(changed_paths(checkpoint))):
        state = None if path.endswith(_OURS) else reader.state(path)
        if state is not None and state.kind in {"file", "link"}:
            checkpoint.found[path] = _mark(state)
    # Its postrm removes the folder; pacman leaves what is of no package (both measured).
    checkpoint.folder_goes = distro.name == "apt" and _takes_configuration(checkpoint)


def bystanders(reader: Reader, checkpoints: list[Checkpoint]) -> dict[str, str]:
    """What undoing these would take of somebody's, by path: how it was changed, such as ``made``.

    What somebody removed is not told of: nothing is lost where it comes back.
    """
    managed = {path for checkpoint in checkpoints for path in changed_paths(checkpoint)}
    told: dict[str, str] = {}
    for checkpoint in checkpoints:
        if checkpoint.state == "done":
            for path in sorted(_in_the_way(reader, checkpoint) - managed):
                how = _how(reader, checkpoint, path)
                if how:
                    told[path] = how
            told.update(_conffiles(reader, checkpoint, managed | set(told)))
    return told


def is_left_by_package(checkpoint: Checkpoint, path: str) -> bool:
    """Whether a file that packages may leave behind is theirs, and not made by somebody since."""
    found = checkpoint.found
    if found is None or path in found or _OF_THE_PACKAGE.match(path):
        return True
    source = _COMPILED.sub("", path)
    return source != path and (source in found or source in checkpoint.leftovers_before)


def _conffiles(reader: Reader, checkpoint: Checkpoint, known: set[str]) -> dict[str, str]:
    """What a purge takes elsewhere and is not as dpkg put it there; an empty file is no loss."""
    names = set(checkpoint.packages_brought or ()) - set(checkpoint.packages_configured)
    if not names or reader.which(_CONFFILES[0]) is None:
        return {}
    known = known | set(_remembered(checkpoint))
    told: dict[str, str] = {}
    # What is not there any more is told on the standard error, and the others all the same.
    for path, unpacked, _ in _CONFFILE.findall(reader.ask([*_CONFFILES, *sorted(names)]).out):
        state = None if path in known else reader.state(path)
        if state is not None and state.kind == "file" and state.data:
            now = hashlib.md5(state.data, usedforsecurity=False).hexdigest()
            if now != unpacked:
                told[path] = "edited"
    return told


def _remembered(checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for entry in checkpoint.files:
        first = found.setdefault(entry["path"], dict(entry))
        first["after"] = entry["after"]
    return found


def _takes_configuration(checkpoint: Checkpoint) -> bool:
    brought = set(checkpoint.packages_brought or ()) - set(checkpoint.packages_configured)
    return "postfix" in brought


def _in_the_way(reader: Reader, checkpoint: Checkpoint) -> set[str]:
    """What the way back would put something else in the place of, or remove."""
    found, remembered = checkpoint.found or {}, _remembered(checkpoint)
    inside = {path for path in found if path.startswith(ETC_POSTFIX + "/")}
    paths = set(found) - inside - set(remembered)
    postfix = {*checkpoint.packages_asked, *(checkpoint.packages_brought or ())}
    if checkpoint.packages_lost or checkpoint.packages_replaced or "postfix" in postfix:
        paths |= set(remembered)
    if _takes_configuration(checkpoint):
        paths |= inside
    if checkpoint.folder_goes:
        paths |= set(walk(reader, ETC_POSTFIX))
    return paths


def _how(reader: Reader, checkpoint: Checkpoint, path: str) -> str:
    state = reader.state(path)
    if state is None or path.endswith(_OURS) or _is_by_product(reader, checkpoint, path):
        return ""
    entry = _remembered(checkpoint).get(path, {})
    if entry.get("before") is not None and is_former(state, entry["before"]):
        return ""
    if checkpoint.found is None:  # of a former version: only what was remembered can be compared
        same = state.kind != "file" or digest(state.data) == entry.get("after")
        return "" if same else "edited"
    then = checkpoint.found.get(path)
    return _difference(state, then) if _mark(state) != then else ""


def _difference(state: FileState, then: Optional[str]) -> str:
    if state.kind == "link":
        return f"replaced by a link to {state.target}" if then else "made"
    if state.kind != "file":
        return f"replaced by a {state.kind}" if then else ""
    if then is None:
        return "made"
    if then.rpartition(" ")[2] == digest(state.data):
        return f"given mode {state.mode:04o} and owner {state.uid}:{state.gid}"
    return "edited"


def _is_by_product(reader: Reader, checkpoint: Checkpoint, path: str) -> bool:
    if _OF_THE_PACKAGE.match(path):
        return True
    source = _COMPILED.sub("", path)
    if source == path:
        return False
    there = reader.state(source, content=False) is not None
    return there or source in (checkpoint.found or {})


def _mark(state: FileState) -> str:
    if state.kind == "link":
        return f"link {state.target}"
    return f"{state.mode:04o} {state.uid}:{state.gid} {digest(state.data)}"
