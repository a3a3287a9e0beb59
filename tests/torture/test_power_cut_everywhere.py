"""The whole matrix of tests/hosts/test_power_cut.py: the power goes at every single moment.

A part of it: see moments.py; pytest's -k chooses bases and changes.
"""

from __future__ import annotations

import pytest
from power import CHANGES, Change, Powered

from lab import FreshHost, Lab
from torture.everywhere import everywhere
from torture.moments import chosen


@pytest.mark.parametrize("base", ["debian", "arch"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_the_power_goes_at_every_moment(
    lab: Lab, fresh_host: FreshHost, base: str, change: Change
) -> None:
    """A unit at boot brings the host to the old or the new before Postfix starts, never open."""
    if base == "arch" and change.packages:
        pytest.skip("exim4 is not in the lab's repository for pacman")
    everywhere(
        f"{base}, {change.name}, the power went",
        lambda: Powered(lab, fresh_host, base, change),
        Powered.moments,
        chosen,
        lambda powered, number, _: powered.cut(number),
    )
