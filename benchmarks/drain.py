"""How fast the relay empties its queue into Mailu, against stock Postfix in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from pair import MESSAGES, Drained, Relay, ours, stock

from lab import Lab

ROUNDS = 5
DELAY = 20
"""Milliseconds that the proxy in front of Mailu adds each way."""
BOUND = 1.3
BOUND_WITH_DELAY = 3.0


def section(lab: Lab) -> list[str]:
    """Measure and print; what is out of bounds."""
    theirs, mine = stock(lab), ours(lab)
    broken: list[str] = []
    for port, where, bound in (
        (465, "", BOUND),
        (lab.mailu.delayed_port(DELAY), f", {DELAY} ms away each way", BOUND_WITH_DELAY),
    ):
        theirs.to_port(port)
        mine.to_port(port)
        rounds = [_both(theirs, mine, turn) for turn in range(ROUNDS)]
        ratio = statistics.median(a.seconds / b.seconds for a, b in rounds)
        print(
            f"{MESSAGES} messages to Mailu{where}: {_said(b for _, b in rounds)} "
            f"against {_said(a for a, _ in rounds)} for stock Postfix: "
            f"{ratio:.1f} times as fast (bound {bound:g})"
        )
        if ratio < bound:
            broken.append(f"drain{where}")
    return broken


def _both(theirs: Relay, mine: Relay, turn: int) -> tuple[Drained, Drained]:
    """Drain one after the other, each time beginning with the other one."""
    done: dict[str, Drained] = {}
    for relay in (theirs, mine) if turn % 2 == 0 else (mine, theirs):
        relay.fill()
        done[relay.host.name] = relay.drain()
    return done[theirs.host.name], done[mine.host.name]


def _said(drains: Iterable[Drained]) -> str:
    found = list(drains)
    rate = statistics.median(drained.rate for drained in found)
    connections = statistics.median(drained.connections for drained in found)
    at_once = max(drained.at_once for drained in found)
    return f"{rate:.0f} a second over {connections:.0f} connections, {at_once} at once"
