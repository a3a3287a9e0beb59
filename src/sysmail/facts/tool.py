"""Which sysmail a timer of root may run: one that nobody but root can write."""

from __future__ import annotations

from sysmail.host.port import Reader
from sysmail.watch.units import PATHS, command_of

__all__ = ["find_tool"]

INSTALLED = ("/usr/local/bin/sysmail", "/usr/bin/sysmail")
"""Where Ansible puts it, pip, and a package of a distribution."""


def find_tool(reader: Reader) -> str:
    """The command; empty where there is none.

    One that is installed goes before one that was only run once, and what the timer runs
    already before what runs now, so that two checkouts do not take turns.
    """
    service = reader.read(PATHS[0])
    former = command_of(service.decode("utf-8", "replace")) if service is not None else ""
    own = reader.own_command()
    for command in (*INSTALLED, former, own):
        if command and _is_safe(reader, command):
            return command
    # Ansible's check on a bare host: the run itself puts it there first.
    return own if own in INSTALLED and reader.state(own) is None else ""


def _is_safe(reader: Reader, command: str) -> bool:
    """Whether root alone may write the program, the source beside it, and what is above them."""
    real = reader.link(command)
    state = reader.state(real) if real is not None else None
    if real is None or state is None or state.kind != "file" or not state.mode & 0o100:
        return False
    paths = [real, f"{real.rpartition('/')[0]}/src/sysmail", *_above(real), *_above(command)]
    return all(_is_roots(reader, path) for path in paths)


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) or "/" for end in range(1, len(parts))]


def _is_roots(reader: Reader, path: str) -> bool:
    state = reader.state(path, content=False)
    if state is None:
        return True
    return state.uid == 0 and (state.kind == "link" or not state.mode & 0o022)
