"""Fixtures for tests on booted hosts: one lab for the session, hosts for as long as a test.

A plugin of pytest, registered by the conftest of every folder with such tests: fixtures that a
conftest has itself are its folder's own, and then each folder would have a lab of its own.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from . import FreshHost, Host, Lab
from .packages import missing

_numbers = itertools.count(1)


def register(config: pytest.Config) -> None:
    """Make the fixtures known, once however many folders ask for them."""
    module = sys.modules[__name__]
    if not config.pluginmanager.is_registered(module):
        config.pluginmanager.register(module, "lab-fixtures")


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
