"""Which sysmail a unit of root may run: one that nobody but root can write."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from sysmail.host.port import Reader
from sysmail.watch.units import PATHS, command_of

__all__ = ["COPY", "copy_command", "find_tool", "others_can_write"]

INSTALLED = ("/usr/local/bin/sysmail", "/usr/bin/sysmail")
"""Where Ansible puts it, pip, and a package of a distribution."""

PYTHON = "/usr/bin/python3"
_NEW_ENOUGH = "import sys; sys.exit(sys.version_info < (3, 9))"

COPY = "/var/lib/sysmail/recover.pyz"
"""The copy of the tool that each transaction places (apply/guard.py); it is there while there is
a checkpoint, on hosts with systemd."""


def copy_command(reader: Reader) -> str:
    """What runs the copy: the host's own Python where it works, else this very interpreter.

    The file behind the name, such as /usr/bin/python3.11, goes with an upgrade of the distribution.
    """
    # The link that a virtual environment or an alternative is may be another one tomorrow.
    own = os.path.realpath(sys.executable) if sys.executable else ""
    usable = own and _is_safe(reader, own) and not _works(reader, own)
    return _with(own if usable else PYTHON)


def _with(python: str) -> str:
    return f"{python} -I {COPY}"


def _works(reader: Reader, own: str) -> bool:
    """Whether the host's own Python can run the copy; not asked where it is what runs now."""
    if not _is_safe(reader, PYTHON):
        return False
    return reader.link(PYTHON) == own or reader.ask([PYTHON, "-I", "-c", _NEW_ENOUGH]).status == 0


def find_tool(reader: Reader) -> str:
    """The command: a program, or an interpreter and the copy.

    One that is installed goes before one that was only run once, and what the timer runs
    already before what runs now, so that two checkouts do not take turns.
    """
    service = reader.read(PATHS[0])
    former = command_of(service.decode("utf-8", "replace")) if service is not None else ""
    if former.endswith(_with("")) and former != _with(PYTHON):
        former = (
            copy_command(reader) if _works(reader, os.path.realpath(sys.executable)) else former
        )
    own = reader.own_command()
    for command in (*INSTALLED, former, own):
        if command and _is_safe(reader, command.partition(" ")[0]):
            return command
    # Ansible's check on a bare host: the run itself puts it there first.
    is_coming = own in INSTALLED and reader.state(own, content=False) is None
    return own if is_coming else copy_command(reader)


def _is_safe(reader: Reader, program: str) -> bool:
    """Whether root alone may write the program, the source beside it, and what is above them."""
    real = reader.link(program)
    state = reader.state(real, content=False) if real is not None else None
    if real is None or state is None or state.kind != "file" or not state.mode & 0o100:
        return False
    paths = [real, f"{real.rpartition('/')[0]}/src/sysmail", *_above(real), *_above(program)]
    return all(_is_roots(reader, path) for path in paths)


def others_can_write(reader: Reader, words: Sequence[str]) -> str:
    """What somebody but root can write of the files a command names, and the folders above them.

    The first such path; empty if there is none.
    """
    for word in words:
        real = reader.link(word) if word.startswith("/") else None
        state = reader.state(real, content=False) if real is not None else None
        if real is None or state is None or state.kind != "file":
            continue
        for path in (real, *_above(real), *_above(word)):
            if not _is_roots(reader, path):
                return path
    return ""


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) or "/" for end in range(1, len(parts))]


def _is_roots(reader: Reader, path: str) -> bool:
    state = reader.state(path, content=False)
    if state is None:
        return True
    return state.uid == 0 and (state.kind == "link" or not state.mode & 0o022)
