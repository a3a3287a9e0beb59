"""Puts the tool on a host: one archive that only root may write, and the command ``sysmail``.

The archive gets its modules compiled for the Python of the host, because
Python keeps no compiled modules for a zip by itself, and compiling them costs
more than everything else of a run.
"""

from __future__ import annotations

import io
import marshal
import zipfile
from importlib import util
from typing import Optional

from sysmail.errors import RefusedError
from sysmail.host.port import FileState, Writer

__all__ = [
    "COMMAND",
    "FOLDER",
    "archive_path",
    "compile_anew",
    "compiled",
    "place",
    "take_away",
]

FOLDER = "/usr/local/lib/sysmail"
COMMAND = "/usr/local/bin/sysmail"
# A program that runs from an archive opens it again for every module: the former one stays.
KEPT = 2
_UNCHECKED_HASH = 0b01


def archive_path(identity: str) -> str:
    """Where the archive with this content is."""
    return f"{FOLDER}/sysmail-{identity}.pyz"


def place(writer: Writer, archive: bytes, identity: str) -> None:
    """Write the archive and the command. RefusedError where others than root could write it."""
    _require_roots(FOLDER, writer.state(FOLDER, content=False), "directory")
    path = archive_path(identity)
    command = writer.state(COMMAND, content=False)
    # The archive last: it is what the next run looks for.
    if command is None or command.target.startswith(FOLDER + "/"):
        writer.mkdir(COMMAND.rpartition("/")[0], 0o755)
        writer.symlink(COMMAND, path)
    writer.mkdir(FOLDER, 0o755)
    writer.write(path, compiled(archive), 0o755)
    for former in _formers(writer, path)[KEPT - 1 :]:
        writer.remove(former)


def take_away(writer: Writer) -> bool:
    """Remove every archive, and the command where it is ours; say whether there was any."""
    command = writer.state(COMMAND, content=False)
    ours = command is not None and command.target.startswith(FOLDER + "/")
    if ours:
        writer.remove(COMMAND)
    paths = [f"{FOLDER}/{name}" for name in writer.names(FOLDER)]
    for path in paths:
        writer.remove(path)
    writer.rmdir(FOLDER)
    return ours or bool(paths)


def _formers(writer: Writer, but: str) -> list[str]:
    """The other archives, the newest first."""
    found: list[tuple[float, str]] = []
    for name in writer.names(FOLDER):
        path = f"{FOLDER}/{name}"
        state = writer.state(path, content=False)
        if path != but and name.endswith(".pyz") and state is not None:
            found.append((-state.mtime, path))
    return [path for _, path in sorted(found)]


def _require_roots(path: str, state: Optional[FileState], kind: str) -> None:
    if state is None or (state.kind == kind and state.uid == 0 and not state.mode & 0o022):
        return
    raise RefusedError(
        "tool-not-safe",
        f"{path} is not a {kind} that root alone may write, and what is in it runs as root",
        f"move {path} away, then retry",
    )


def compile_anew(writer: Writer, path: str) -> None:
    """Replace the archive by one that is compiled for this Python."""
    data = writer.read(path)
    if data is not None:
        writer.write(path, compiled(data), 0o755)


def compiled(archive: bytes) -> bytes:
    """The same archive with every module compiled for this Python, and nothing compressed."""
    start = archive.index(b"PK")
    into = io.BytesIO()
    into.write(archive[:start])
    with zipfile.ZipFile(io.BytesIO(archive)) as found, zipfile.ZipFile(into, "a") as written:
        for name in found.namelist():
            if name.endswith(".pyc"):
                continue
            data = found.read(name)
            written.writestr(zipfile.ZipInfo(name, found.getinfo(name).date_time), data)
            if name.endswith(".py"):
                written.writestr(name + "c", _bytecode(data, name))
    return into.getvalue()


def _bytecode(source: bytes, name: str) -> bytes:
    """A module as PEP 552 wants it, not to be compared with its source."""
    code = compile(source, name, "exec", dont_inherit=True)
    flags = _UNCHECKED_HASH.to_bytes(4, "little")
    return util.MAGIC_NUMBER + flags + util.source_hash(source) + marshal.dumps(code)
