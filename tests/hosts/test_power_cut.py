"""The host part of promise 7: the power goes at sampled moments, the seed is printed."""

from __future__ import annotations

import os
import random

import pytest
from power import CHANGES, Change, Powered

from lab import FreshHost, Lab

SEED = int(os.environ.get("SYSMAIL_SEED") or random.SystemRandom().randrange(10**6))
SAMPLES = 1
# The others, and the other changes on a pacman host, are in tests/torture.
TRIED = [("debian", change) for change in CHANGES] + [("arch", CHANGES[0])]


@pytest.mark.parametrize(
    ("base", "change"), TRIED, ids=[f"{base}, {change.name}" for base, change in TRIED]
)
def test_the_power_goes_at_sampled_moments(
    lab: Lab, fresh_host: FreshHost, base: str, change: Change
) -> None:
    """A unit at boot brings the host to the old or the new before Postfix starts, never open."""
    print(f"SYSMAIL_SEED={SEED}")
    powered = Powered(lab, fresh_host, base, change)
    total = powered.count()
    assert total > 20
    chosen = random.Random(f"{SEED} {base} {change.name}")  # noqa: S311 - a sample, not a secret
    for _ in range(SAMPLES):
        powered.cut(chosen.randint(1, total))
