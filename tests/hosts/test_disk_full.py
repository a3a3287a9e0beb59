"""A disk that is full at sampled writes of a change; SYSMAIL_SEED repeats what is printed.

All writes of all changes: tests/torture/test_disk_full_everywhere.py.
"""

from __future__ import annotations

import os
import random

from cutoff import CHANGES
from full import HOW, WHAT, Full

from lab import FreshHost, Lab

SEED = int(os.environ["SYSMAIL_SEED"])
WRITES = {"space": 44, "inodes": 46}
"""About as many has a change of the policy; where one was the last, the change is done."""

(POLICY_CHANGE,) = (change for change in CHANGES if change.name == "policy change")


def test_the_disk_is_full_at_sampled_writes(lab: Lab, fresh_host: FreshHost) -> None:
    """No block, or no inode, for good or for a moment: told, and the host as before."""
    print(f"SYSMAIL_SEED={SEED}")
    full = Full(lab, fresh_host, "debian", POLICY_CHANGE)
    chosen = random.Random(SEED)  # noqa: S311 - a sample, not a secret
    for what in WHAT:
        for how in HOW:
            full.sample(chosen.randint(1, WRITES[what]), what, how, chosen.randrange(5))
    full.close()
