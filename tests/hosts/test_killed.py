"""The file part of promise 7 on a booted host: killed at sampled moments, the seed is printed."""

from __future__ import annotations

import os
import random

import pytest
from cutoff import CHANGES, Change, count, cut_off, install_killer

from lab import FreshHost

SEED = int(os.environ.get("SYSMAIL_SEED") or random.SystemRandom().randrange(10**6))
SAMPLES = 4


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_killed_at_sampled_moments(fresh_host: FreshHost, change: Change) -> None:
    """SIGKILL before or after any single change leaves a host that the next command repairs."""
    print(f"SYSMAIL_SEED={SEED}")
    host = fresh_host(packages=["postfix", "msmtp"])
    install_killer(host)
    total = count(host, change)
    assert total > 5
    chosen = random.Random(f"{SEED} {change.name}")  # noqa: S311 - a sample, not a secret
    for _ in range(SAMPLES):
        cut_off(host, change, chosen.randint(1, total), chosen.choice(["before", "after"]))
