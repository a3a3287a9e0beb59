"""After an outage of Mailu: how soon the first message of a backlog leaves, and how fast the rest.

The services of Mailu are stopped, the queue is filled, and after a while they are
started again. The rest is compared with the same host's rate when as many messages
are released from hold while Mailu is up.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from pair import MESSAGES, RECIPIENT, SIZE, WAITING, Relay, ours

from lab import Delivered, Lab

RETRY_EVERY = 10
"""Seconds; what the lab's policy says."""
MARGIN = 1.0
"""Seconds that a connection, a login and a message may take."""
FULL_SPEED = 0.8
LONGER = (0, 2, 4, 6, 8)
"""Seconds that outages last once all has been tried: they end at any moment between two tries."""

_FILL = (
    "import os, subprocess, time\n"
    + WAITING
    + """
subprocess.run(["smtp-source", "-s", "5", "-m", "{messages}", "-l", "{size}", "-f", "{sender}",
                "-t", "{recipient}", "localhost:25"], check=True)
def tried():
    found = os.walk("/var/spool/postfix/defer")
    return sum(len(files) for _, _, files in found)
while tried() < {messages}:
    time.sleep(0.1)
assert waiting() == {messages}
"""
)


@dataclass(frozen=True)
class Returned:
    """Seconds from Mailu's return to the first message, and the rate from the first to the last."""

    first: float
    rate: float


def outage(relay: Relay, longer: float) -> Returned:
    """Stop Mailu, fill the queue until all has been tried, wait, start it, wait for all mail."""
    relay.mailu.clear()
    relay.mailu.stop()
    relay.host.run(
        ["python3", "-c", _FILL.format(
            messages=MESSAGES, size=SIZE, sender=relay.mailu.username, recipient=RECIPIENT
        )],
        timeout=300,
    )  # fmt: skip
    time.sleep(longer)
    relay.mailu.start()
    back = time.time()
    found = relay.mailu.wait_for(lambda _message: True, count=MESSAGES, timeout=300)
    assert len(found) == MESSAGES, len(found)
    return Returned(found[0].time - back, rate(found))


def section(lab: Lab) -> list[str]:
    """Measure and print; what is out of bounds."""
    relay = ours(lab)
    firsts: list[float] = []
    ratios: list[float] = []
    for longer in LONGER:
        relay.fill()
        relay.drain()
        held = rate(relay.mailu.received())
        returned = outage(relay, longer)
        firsts.append(returned.first)
        ratios.append(returned.rate / held)
    first, ratio = max(firsts), statistics.median(ratios)
    print(
        f"first message of {MESSAGES} after Mailu's return: {first:.1f} s at the latest in "
        f"{len(firsts)} outages, retry_every is {RETRY_EVERY} s (bound {RETRY_EVERY + MARGIN:g} s)"
    )
    print(
        f"the rest of them: {ratio:.2f} times the rate of a queue that never waited for Mailu, "
        f"{min(ratios):.2f} to {max(ratios):.2f} (bound {FULL_SPEED:g})"
    )
    broken = ["first after an outage"] if first > RETRY_EVERY + MARGIN else []
    return broken + (["drain after an outage"] if ratio < FULL_SPEED else [])


def rate(found: list[Delivered]) -> float:
    """Messages per second from the first to the last, oldest first."""
    return (len(found) - 1) / (found[-1].time - found[0].time)
