"""Gives the tests of this folder the lab's fixtures, and a controller."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# `lab` is a package of the tests and not installed anywhere.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import Controller, Lab, ansible, fixtures


def pytest_configure(config: pytest.Config) -> None:
    fixtures.register(config)


@pytest.fixture(scope="session")
def controller(lab: Lab) -> Controller:
    """The lab's controller. Without a Python for Ansible tests are skipped, but never in CI."""
    if not ansible.series() and not os.environ.get("CI"):
        pytest.skip("Ansible needs Python 3.11 or newer with venv")
    ansible.newest()
    return lab.controller
