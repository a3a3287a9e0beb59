"""The whole matrix of tests/hosts/test_power_cut.py: the power goes at every single moment.

A part of it: SYSMAIL_STRIDE and SYSMAIL_FIRST of moments.py; pytest's -k chooses bases and changes.
"""

from __future__ import annotations

import pytest
from power import CHANGES, Change, Powered

from lab import FreshHost, Lab, LabError
from torture.moments import strided


@pytest.mark.parametrize("base", ["debian", "arch"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_the_power_goes_at_every_moment(
    lab: Lab, fresh_host: FreshHost, base: str, change: Change
) -> None:
    """A unit at boot brings the host to the old or the new before Postfix starts, never open."""
    if base == "arch" and change.packages:
        pytest.skip("exim4 is not in the lab's repository for pacman")
    powered = Powered(lab, fresh_host, base, change)
    total = powered.count()
    tried, broken = 0, []
    for number in strided(range(1, total + 1)):
        try:
            powered.cut(number)
            print(f"{base}, {change.name}: {number} of {total}", flush=True)
        except (AssertionError, LabError) as error:
            print(f"BROKEN at {number}: {error}"[:4000], flush=True)
            broken.append(f"{number}: {error}"[:200])
            powered = Powered(lab, fresh_host, base, change)
        tried += 1
    print(f"{base}, {change.name}: {tried} of {total} moments, {len(broken)} broken", flush=True)
    assert broken == []
