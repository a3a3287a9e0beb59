"""The whole matrix of tests/hosts/test_disk_full.py: no space, or no inode, at every single write.

A part of it: SYSMAIL_STRIDE and SYSMAIL_FIRST of moments.py; pytest's -k chooses bases, changes,
what is lacking and for how long.
"""

from __future__ import annotations

import pytest
from cutoff import CHANGES, Change
from full import HOW, WHAT, Full

from lab import FreshHost, Lab
from torture.everywhere import everywhere
from torture.moments import strided


@pytest.mark.parametrize("base", ["debian", "arch"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("how", HOW)
def test_the_disk_is_full_at_every_write(
    lab: Lab, fresh_host: FreshHost, base: str, change: Change, what: str, how: str
) -> None:
    """Full at any write, for good or for a moment: told, and the host as before."""
    everywhere(
        f"{base}, {change.name}, {what} {how}",
        lambda: Full(lab, fresh_host, base, change),
        lambda full: full.writes(what),
        lambda names: strided(range(1, len(names) + 1)),
        lambda full, number, turn: full.sample(number, what, how, turn),
    )
