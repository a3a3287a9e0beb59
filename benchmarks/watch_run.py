"""What a run of the watch costs: processor time on a healthy host with a policy in force."""

from __future__ import annotations

import json
import statistics

from onhost import policy, queue

from lab import Host, Lab
from lab.machine import wait_until

TOOL = "/opt/watched/sysmail"
BOUND = 0.3
"""Seconds of processor time, of a run with all that it asks."""

RUNS = 15
BUSY = 2000
"""Messages that left in the ten minutes before: what the watch reads of the log."""

# Timed inside the host, in turn; the processor time is of the command and its children.
_TAKEN = r"""
import json, resource, subprocess, sys, time
runs, commands = int(sys.argv[1]), sys.argv[2:]
def used():
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime
def once(command):
    started, before = time.perf_counter(), used()
    done = subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE)
    assert done.returncode == 0, (command, done.returncode, done.stdout)
    return used() - before, time.perf_counter() - started
for command in commands:
    once(command)
print(json.dumps([[once(command) for command in commands] for _ in range(runs)]))
"""

_POLICY = """
admin = "ops@example.org"
next_hop = "direct"
[alert]
command = ["/bin/true"]
[limits]
runaway = 1000000
"""

_SEND = """
import smtplib
with smtplib.SMTP("localhost", 25) as client:
    for number in range({count}):
        client.sendmail("job@example.net", ["a@example.org"], "Subject: x\\n\\n")
"""


def section(lab: Lab) -> list[str]:
    """Measure and print; what is out of bounds."""
    host = lab.host("watched", packages=["postfix", "msmtp"])
    # A sysmail that root alone can write is what the timer runs.
    host.run(
        "mkdir /opt/watched && cp -r /opt/sysmail/src /opt/sysmail/sysmail /opt/watched/ && "
        "chown -R root: /opt/watched && chmod -R go-w /opt/watched"
    )
    policy(host, _POLICY)
    host.run([TOOL, "apply"], timeout=300)
    broken = [] if _show(host, "a healthy host") else ["watch"]
    host.run(["python3", "-c", _SEND.format(count=BUSY)], timeout=300)
    wait_until("all has left", lambda: not queue(host), 120, 0.5)
    if not _show(host, f"{BUSY} messages in the last ten minutes"):
        broken.append("watch, busy")
    return broken


def _show(host: Host, name: str) -> bool:
    command = f"{TOOL} watch --quiet"
    said = host.run(["python3", "-c", _TAKEN, str(RUNS), command, "python3 -c pass"], timeout=600)
    rows = json.loads(said.stdout)
    spent = statistics.median(watch[0] for watch, _ in rows)
    wall = statistics.median(watch[1] for watch, _ in rows)
    bare = statistics.median(python[0] for _, python in rows)
    print(
        f"watch, {name}: {spent:.3f} s of processor time (bound {BOUND:g} s), {wall:.2f} s in all; "
        f"python3 with nothing: {bare:.3f} s"
    )
    return bool(spent <= BOUND)
