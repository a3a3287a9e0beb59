"""The host part of promise 7: the power goes at sampled moments, the seed is printed."""

from __future__ import annotations

import os
import random

import pytest
from power import CHANGES, Change, Powered

from lab import FreshHost, Lab

SEED = int(os.environ.get("SYSMAIL_SEED") or random.SystemRandom().randrange(10**6))
SAMPLES = 2


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_the_power_goes_at_sampled_moments(lab: Lab, fresh_host: FreshHost, change: Change) -> None:
    """A unit at boot brings the host to the old or the new before Postfix starts, never open."""
    print(f"SYSMAIL_SEED={SEED}")
    powered = Powered(lab, fresh_host(own_disk=True), change)
    total = powered.count()
    assert total > 20
    chosen = random.Random(f"{SEED} {change.name}")  # noqa: S311 - a sample, not a secret
    for _ in range(SAMPLES):
        powered.cut(chosen.randint(1, total))
