"""Reads the JSON cases below tests/cases: an input beside what is expected of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

CASES = Path(__file__).resolve().parents[1] / "cases"


def cases(folder: str) -> list[Any]:
    """Every case below a folder as a parameter of a test, called by its path."""
    paths = sorted((CASES / folder).rglob("*.json"))
    assert paths, f"no cases below {folder}"
    return [
        pytest.param(path.parent.name, json.loads(path.read_text(encoding="utf-8")), id=_id(path))
        for path in paths
    ]


def _id(path: Path) -> str:
    return str(path.relative_to(CASES).with_suffix(""))


def text(lines: list[str]) -> str:
    """Lines of a case as the text that a program printed."""
    return "".join(line + "\n" for line in lines)
