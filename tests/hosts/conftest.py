"""Gives the tests of this folder the lab's fixtures: see lab/fixtures.py."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import pytest

# `lab` is a package of the tests and not installed anywhere.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import fixtures

# One for all processes of a run: they have to collect the same samples.
os.environ.setdefault("SYSMAIL_SEED", str(random.SystemRandom().randrange(10**6)))


def pytest_configure(config: pytest.Config) -> None:
    fixtures.register(config)


def pytest_report_header() -> str:
    """What repeats the samples of this run."""
    return f"SYSMAIL_SEED={os.environ['SYSMAIL_SEED']}"
