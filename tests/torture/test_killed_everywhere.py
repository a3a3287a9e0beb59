"""The whole matrix of tests/hosts/test_killed.py: every moment of every change on both bases.

A part of it: SYSMAIL_STRIDE=5 takes every fifth moment, SYSMAIL_FIRST=3 begins with the third, and
pytest's -k chooses bases and changes.
"""

from __future__ import annotations

import os

import pytest
from cutoff import CHANGES, Change, count, interrupt, kill, open_bench

from lab import FreshHost, Lab, LabError

STRIDE = int(os.environ.get("SYSMAIL_STRIDE") or 1)
FIRST = int(os.environ.get("SYSMAIL_FIRST") or 1)
WAYS = ("kill", "kill-all")
SIGNALS = ("int", "term", "hup", "int-int")
BASES = pytest.mark.parametrize("base", ["debian", "arch"])
EACH = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)


@BASES
@EACH
def test_killed_at_every_moment(lab: Lab, fresh_host: FreshHost, base: str, change: Change) -> None:
    """SIGKILL at each moment leaves a host that the next command repairs; no mail is lost."""
    bench = open_bench(lab, fresh_host, base, change)
    total = count(bench, change)
    tried, broken = 0, []
    for number in range(FIRST, total + 1, STRIDE):
        turn = (number - FIRST) // STRIDE
        try:
            tried += kill(bench, change, number, WAYS[turn % len(WAYS)], turn)
            print(f"{base}, {change.name}: {number} of {total}", flush=True)
        except (AssertionError, LabError) as error:
            print(f"BROKEN: {error}"[:4000], flush=True)
            broken.append(str(error)[:200])
            bench.close()
            bench = open_bench(lab, fresh_host, base, change)
    bench.close()
    print(f"{base}, {change.name}: {tried} of {total} moments, {len(broken)} broken", flush=True)
    assert broken == []


@BASES
@EACH
def test_interrupted_at_every_moment(
    lab: Lab, fresh_host: FreshHost, base: str, change: Change
) -> None:
    """A signal at each moment: at once as before, nothing is left for the next command."""
    bench = open_bench(lab, fresh_host, base, change)
    total = count(bench, change)
    tried, broken = 0, []
    for number in range(FIRST, total + 1, STRIDE):
        how = SIGNALS[(number - FIRST) // STRIDE % len(SIGNALS)]
        try:
            tried += interrupt(bench, change, number, how)
            print(f"{base}, {change.name}, {how}: {number} of {total}", flush=True)
        except (AssertionError, LabError) as error:
            print(f"BROKEN: {error}"[:4000], flush=True)
            broken.append(str(error)[:200])
            bench.close()
            bench = open_bench(lab, fresh_host, base, change)
    bench.close()
    print(f"{base}, {change.name}: {tried} of {total} signals, {len(broken)} broken", flush=True)
    assert broken == []
