"""The whole matrix of tests/hosts/test_power_cut.py: the power goes at every single moment."""

from __future__ import annotations

import pytest
from power import CHANGES, Change, Powered

from lab import FreshHost, Lab


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
    for number in range(1, total + 1):
        powered.cut(number)
    print(f"{base}, {change.name}: {total} moments")
