"""What a run of the role that changes nothing costs, beside a play that only pings.

The hosts, the controller and the ssh connections are the same, and the two plays take turns. Wall
time is what a person waits; the controller's processor time is what limits how many hosts one
controller can take care of. Where controller and hosts share the processors, as in the lab, the
hosts' own time is in the wall time too.
"""

from __future__ import annotations

import json
import resource
import statistics
import time
from dataclasses import dataclass, field

from lab import Lab

ROUNDS = 9
FLEETS = (1, 12)
BOUND = 1.2
PACKAGES = ("postfix", "msmtp")
PLAYS: dict[str, dict[str, object]] = {
    "ping": {"tasks": [{"ansible.builtin.ping": None}]},
    "role": {"roles": ["sysmail.host.sys_svc_mail"]},
}


@dataclass
class Times:
    """Seconds of each round: on the clock, and of the controller's processor."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)


def section(lab: Lab) -> list[str]:
    """Print the figures of each fleet; return those out of bounds."""
    hosts = lab.hosts(
        {
            f"host{n}": {"base": "arch" if n % 3 == 2 else "debian", "packages": list(PACKAGES)}
            for n in range(max(FLEETS))
        }
    )
    for host in hosts.values():
        lab.controller.admit(host)
    broken: list[str] = []
    medians: dict[tuple[int, str], tuple[float, float]] = {}
    for size in FLEETS:
        names = list(hosts)[:size]
        for pipelining in (True, False):
            found = _measure(lab, names, pipelining=pipelining)
            broken += _print(size, found, pipelining=pipelining)
            if pipelining:
                for play, times in found.items():
                    key = (size, play)
                    medians[key] = (
                        statistics.median(times.wall),
                        statistics.median(times.processor),
                    )
    _growth(medians)
    return broken


def _measure(lab: Lab, names: list[str], *, pipelining: bool) -> dict[str, Times]:
    inventory = lab.controller.inventory(sys_svc_mail_policy={"admin": "ops@example.org"})
    everything = inventory["all"]["hosts"]
    inventory["all"]["hosts"] = {name: everything[name] for name in names}
    found = {play: Times() for play in PLAYS}
    for number in range(ROUNDS + 1):
        for play, how in PLAYS.items():
            book = json.dumps([{"hosts": "all", "gather_facts": False, **how}])
            before, started = _children(), time.monotonic()
            played = lab.controller.play(book, inventory, pipelining=pipelining)
            assert played.status == 0, played.out + played.err
            # The first round brings the role into force, and opens the connections.
            if number:
                found[play].wall.append(time.monotonic() - started)
                found[play].processor.append(_children() - before)
    return found


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _print(size: int, found: dict[str, Times], *, pipelining: bool) -> list[str]:
    broken: list[str] = []
    way = "with pipelining" if pipelining else "without pipelining"
    for what in ("wall", "processor"):
        ping, role = (statistics.median(getattr(found[play], what)) for play in PLAYS)
        ratio = role / ping
        name = {"wall": "wall time", "processor": "the controller's processor time"}[what]
        print(
            f"{size} host{'s' * (size > 1)}, {way}, {name}: role {role:.2f} s, ping {ping:.2f} s: "
            f"{ratio:.2f} times (bound {BOUND})"
        )
        if ratio > BOUND:
            broken.append(f"{name} of {size} {way}")
    return broken


def _growth(medians: dict[tuple[int, str], tuple[float, float]]) -> None:
    """What one more host costs."""
    few, many = min(FLEETS), max(FLEETS)
    for play in PLAYS:
        wall, processor = (
            (medians[many, play][which] - medians[few, play][which]) / (many - few)
            for which in (0, 1)
        )
        print(
            f"{play}: each further host {wall:.3f} s, of the controller's processor "
            f"{processor:.3f} s"
        )
