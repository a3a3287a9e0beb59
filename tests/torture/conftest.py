"""Gives the tests of this folder the lab's fixtures: see lab/fixtures.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# `lab` is a package of the tests and not installed anywhere.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import fixtures


def pytest_configure(config: pytest.Config) -> None:
    fixtures.register(config)
