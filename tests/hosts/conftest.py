"""Fixtures for tests on booted hosts: one lab for the session, hosts for as long as a test."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# `lab` is a package of the tests and not installed anywhere.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import FreshHost, Host, Lab
from lab.packages import missing

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab of this run. Where it cannot stand, tests are skipped by name, but never in CI."""
    wants = missing()
    if wants and os.environ.get("CI"):
        pytest.fail("the lab needs: " + "; ".join(wants))
    if wants:
        pytest.skip("the lab needs: " + "; ".join(wants))
    with Lab() as opened:
        yield opened


@pytest.fixture
def fresh_host(lab: Lab) -> Iterator[FreshHost]:
    """A factory of hosts for one test."""
    made: list[Host] = []

    def make(base: str = "debian", **kwargs: Any) -> Host:
        name = kwargs.pop("name", f"{base}{next(_numbers)}")
        host = lab.host(name, base, **kwargs)
        made.append(host)
        return host

    try:
        yield make
    finally:
        for host in made:
            lab.remove(host)
        lab.mx.behave([])
