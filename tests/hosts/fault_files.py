"""The files of tests/faults: each says how a host is broken, what finds it, and what heals it.

tests/faults/README.md describes the keys. Also read by docs/generate.py, for the table of faults.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FOLDER", "Fault", "faults"]

FOLDER = Path(__file__).resolve().parents[1] / "faults"

_REQUIRED = frozenset(("fault", "host", "check", "says", "remedy", "heal", "postfix_check"))
_OPTIONAL = {
    "break": "",
    "lab": "",
    "command": ["prove"],
    "also": [],
    "cleanup": "",
    "source": "",
    "status": "fail",
}
_LISTS = frozenset(("command", "says", "remedy", "also"))
_ANSWERS = ("passes", "warns", "fails", "none")


@dataclass(frozen=True)
class Fault:
    """One file; ``name`` is the file's, and the fields are its keys."""

    name: str
    fault: str
    host: str
    break_: str
    lab: str
    command: tuple[str, ...]
    check: str
    says: tuple[str, ...]
    remedy: tuple[str, ...]
    heal: str
    also: tuple[str, ...]
    cleanup: str
    postfix_check: str
    source: str
    status: str

    @property
    def broken(self) -> frozenset[str]:
        """All checks that have to fail, and no others."""
        return frozenset((self.check, *self.also))


def faults() -> list[Fault]:
    """Every file, those of one kind of host beside each other. ValueError names a bad one."""
    found = [_read(path) for path in sorted(FOLDER.glob("*.toml"))]
    return sorted(found, key=lambda fault: (fault.host, fault.name))


def _has_words(value: object, key: str) -> bool:
    return bool(value) or key not in _REQUIRED


def _read(path: Path) -> Fault:
    row: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    missing, odd = _REQUIRED - set(row), set(row) - _REQUIRED - set(_OPTIONAL)
    if missing or odd or not (row.get("break") or row.get("lab")):
        raise ValueError(f"{path.name}: lacks {sorted(missing)}, does not know {sorted(odd)}")
    if row["postfix_check"] not in _ANSWERS:
        raise ValueError(f"{path.name}: postfix_check is one of {_ANSWERS}")
    row = {**_OPTIONAL, **row}
    for key, value in row.items():
        if isinstance(value, list) != (key in _LISTS) or not _has_words(value, key):
            raise ValueError(f"{path.name}: {key} is not of the right kind, or empty")
    row["break_"] = row.pop("break")
    lists = {key: tuple(value) for key, value in row.items() if isinstance(value, list)}
    return Fault(name=re.sub(r"\.toml$", "", path.name), **{**row, **lists})
