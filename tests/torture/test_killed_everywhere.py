"""The whole matrix of tests/hosts/test_killed.py: every moment of every change on both bases.

A part of it: see moments.py; pytest's -k chooses bases and changes.
"""

from __future__ import annotations

from typing import Callable

import pytest
from cutoff import CHANGES, Bench, Change, interrupt, kill, moment_names, open_bench

from lab import FreshHost, Lab, LabError
from torture.moments import chosen

WAYS = ("kill", "kill-all")
SIGNALS = ("int", "term", "hup", "int-int")
BASES = pytest.mark.parametrize("base", ["debian", "arch"])
EACH = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)


@BASES
@EACH
def test_killed_at_every_moment(lab: Lab, fresh_host: FreshHost, base: str, change: Change) -> None:
    """SIGKILL at each moment leaves a host that the next command repairs; no mail is lost."""

    def once(bench: Bench, number: int, turn: int) -> bool:
        return kill(bench, change, number, WAYS[turn % len(WAYS)], turn)

    _everywhere(lambda: open_bench(lab, fresh_host, base, change), change, once)


@BASES
@EACH
def test_interrupted_at_every_moment(
    lab: Lab, fresh_host: FreshHost, base: str, change: Change
) -> None:
    """A signal at each moment: at once as before, nothing is left for the next command."""

    def once(bench: Bench, number: int, turn: int) -> bool:
        return interrupt(bench, change, number, SIGNALS[turn % len(SIGNALS)])

    _everywhere(lambda: open_bench(lab, fresh_host, base, change), change, once)


def _everywhere(
    opened: Callable[[], Bench], change: Change, once: Callable[[Bench, int, int], bool]
) -> None:
    """Each chosen moment; what breaks is told at its end, and the next one has a new host."""
    bench = opened()
    names = moment_names(bench, change)
    tried, broken = 0, []
    for turn, number in enumerate(chosen(names)):
        where = f"{bench.host.base}, {change.name}: {number} of {len(names)}, {names[number - 1]}"
        try:
            tried += once(bench, number, turn)
            print(f"{where}: held", flush=True)
        except (AssertionError, LabError) as error:
            print(f"{where}: BROKEN: {error}"[:4000], flush=True)
            broken.append(f"{where}: {error}"[:300])
            bench.close()
            bench = opened()
    bench.close()
    print(f"{change.name}: {tried} of {len(names)} tried, {len(broken)} broken", flush=True)
    assert broken == []
