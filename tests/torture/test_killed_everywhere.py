"""The whole matrix of tests/hosts/test_killed.py: before and after every single change."""

from __future__ import annotations

import pytest
from cutoff import CHANGES, Change, count, cut_off, install_killer

from lab import FreshHost


@pytest.mark.parametrize("base", ["debian", "arch"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_killed_at_every_moment(fresh_host: FreshHost, base: str, change: Change) -> None:
    """SIGKILL before and after each change leaves a host that the next command repairs."""
    host = fresh_host(base, packages=["postfix", "msmtp"])
    install_killer(host)
    total = count(host, change)
    for number in range(1, total + 1):
        for moment in ("before", "after"):
            cut_off(host, change, number, moment)
    print(f"{base}, {change.name}: {2 * total} moments")
