"""The whole matrix of tests/hosts/test_killed.py: every moment of every change on both bases.

A part of it: see moments.py; pytest's -k chooses bases and changes.
"""

from __future__ import annotations

import pytest
from cutoff import CHANGES, Change, interrupt, kill, moment_names, open_bench

from lab import FreshHost, Lab
from torture.everywhere import everywhere
from torture.moments import chosen

WAYS = ("kill", "kill-all")
SIGNALS = ("int", "term", "hup", "int-int")
BASES = pytest.mark.parametrize("base", ["debian", "arch"])
EACH = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)


@BASES
@EACH
def test_killed_at_every_moment(lab: Lab, fresh_host: FreshHost, base: str, change: Change) -> None:
    """SIGKILL at each moment leaves a host that the next command repairs; no mail is lost."""
    everywhere(
        f"{base}, {change.name}, killed",
        lambda: open_bench(lab, fresh_host, base, change),
        lambda bench: moment_names(bench, change),
        chosen,
        lambda bench, number, turn: kill(bench, change, number, WAYS[turn % len(WAYS)], turn),
    )


@BASES
@EACH
def test_interrupted_at_every_moment(
    lab: Lab, fresh_host: FreshHost, base: str, change: Change
) -> None:
    """A signal at each moment: at once as before, nothing is left for the next command."""
    everywhere(
        f"{base}, {change.name}, interrupted",
        lambda: open_bench(lab, fresh_host, base, change),
        lambda bench: moment_names(bench, change),
        chosen,
        lambda bench, number, turn: interrupt(bench, change, number, SIGNALS[turn % len(SIGNALS)]),
    )
