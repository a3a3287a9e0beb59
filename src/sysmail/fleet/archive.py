"""The tool as one file: a zip that Python runs, named by what is in it.

It holds the package sysmail and, for Python 3.9 and 3.10, the TOML reader of
the Python that made it; where the tool itself runs from such a file, that
file is the archive.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import sysmail

__all__ = ["MAIN", "build", "identity", "own_archive"]

SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = "__main__.py"
# Zip knows no earlier date; a fixed one makes the same file of the same source.
_DATE = (1980, 1, 1, 0, 0, 0)

_RUN = b"""\
import sys

if sys.version_info < (3, 9):
    sys.exit("sysmail needs Python 3.9 or newer")
from sysmail.cli.main import entry

entry()
"""


def identity() -> str:
    """16 hexadecimal digits that stand for the content of the tool."""
    found = hashlib.sha256()
    for name, data in _sources():
        found.update(f"{name}\0{len(data)}\0".encode() + data)
    return found.hexdigest()[:16]


def own_archive() -> str:
    """The archive that this very code runs from; empty where it runs from a folder."""
    path = getattr(getattr(sysmail.__spec__, "loader", None), "archive", "")
    return path if isinstance(path, str) else ""


def build() -> bytes:
    """The archive."""
    path = own_archive()
    if path:
        with open(path, "rb") as handle:
            return handle.read()
    into = io.BytesIO()
    into.write(SHEBANG)
    with zipfile.ZipFile(into, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (*_sources(), *_toml_reader(), (MAIN, _RUN)):
            archive.writestr(zipfile.ZipInfo(name, _DATE), data, zipfile.ZIP_DEFLATED)
    return into.getvalue()


def _sources() -> list[tuple[str, bytes]]:
    """Name and content of every file of the package, sorted."""
    return sorted(_folder(files("sysmail"), "sysmail"))


def _folder(folder: Any, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        name = f"{prefix}/{entry.name}"
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _folder(entry, name)
        elif entry.is_file() and not entry.name.endswith(".pyc"):
            yield name, entry.read_bytes()


def _toml_reader() -> list[tuple[str, bytes]]:
    """The library tomli, which is part of Python from 3.11 on as tomllib (PEP 680)."""
    for name in ("tomllib", "tomli"):
        if find_spec(name) is not None:
            return sorted(_folder(files(name), "tomli"))
    return []
