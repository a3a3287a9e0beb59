"""The whole matrix of tests/hosts/test_disk_full.py: no space, or no inode, at every single write.

A part of it: SYSMAIL_STRIDE and SYSMAIL_FIRST of moments.py; pytest's -k chooses bases, changes,
what is lacking and for how long.
"""

from __future__ import annotations

import pytest
from cutoff import CHANGES, Change
from full import HOW, WHAT, Full

from lab import FreshHost, Lab, LabError
from torture.moments import strided


@pytest.mark.parametrize("base", ["debian", "arch"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("how", HOW)
def test_the_disk_is_full_at_every_write(
    lab: Lab, fresh_host: FreshHost, base: str, change: Change, what: str, how: str
) -> None:
    """Full at any write, for good or for a moment: told, and the host as before."""
    full = Full(lab, fresh_host, base, change)
    total = full.count(what)
    tried, broken = 0, []
    for number in strided(range(1, total + 1)):
        try:
            full.sample(number, what, how, tried)
        except (AssertionError, LabError) as error:
            print(f"BROKEN at {number}: {error}"[:4000], flush=True)
            broken.append(f"{number}: {error}"[:200])
            full.bench.close()
            full = Full(lab, fresh_host, base, change)
        tried += 1
        print(f"{base}, {change.name}, {what} {how}: {number} of {total}", flush=True)
    full.bench.close()
    said = dict(full.codes)
    print(f"{base}, {change.name}, {what} {how}: {tried} of {total}, {len(broken)} broken; {said}")
    assert broken == []
