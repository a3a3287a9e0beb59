"""How fast `sysmail prove` is without sending, on each kind of healthy host."""

from __future__ import annotations

import json
import statistics

from broken_hosts import KINDS
from onhost import apply

from lab import Host, Lab

SYSMAIL = "/opt/sysmail/sysmail"
BOUND = 1.0
RUNS = 15
_KINDS = ("relay", "relay with login", "route mailu")

_TIMED = r"""
import json, resource, subprocess, sys, time
def once():
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(sys.argv[2:], stdout=subprocess.PIPE)
    taken, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout
    return taken, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
once()
print(json.dumps([once() for _ in range(int(sys.argv[1]))]))
"""


def timed(host: Host) -> tuple[float, float]:
    """Seconds of the clock and of the processor, each the median."""
    words = ["python3", "-c", _TIMED, str(RUNS), SYSMAIL, "--json", "prove"]
    rows = json.loads(host.run(words, timeout=600).stdout)
    return statistics.median(r[0] for r in rows), statistics.median(r[1] for r in rows)


def section(lab: Lab) -> list[str]:
    """Measure and print; what is out of bounds."""
    broken: list[str] = []
    for kind in _KINDS:
        host = KINDS[kind](lab)
        apply(host)
        taken, busy = timed(host)
        print(
            f"prove, {kind}: {taken * 1000:.0f} ms, of them {busy * 1000:.0f} ms of the processor "
            f"(bound {BOUND:g} s)"
        )
        if taken > BOUND:
            broken.append(f"prove, {kind}")
        lab.remove(host)
    return broken
