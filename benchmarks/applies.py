"""How fast `sysmail apply` is: a first one, and one that has nothing to change."""

from __future__ import annotations

import json
import statistics

from lab import Host, Lab

SYSMAIL = "/opt/sysmail/sysmail"
NO_CHANGE_BOUND = 6.0
FIRST_APPLY_SECONDS = 5.0
RUNS = 15

# Timed inside the host, in turn, so that the machine's mood hits both alike.
_PAIRED = r"""
import json, subprocess, sys, time
runs, first, second = int(sys.argv[1]), sys.argv[2], sys.argv[3]
def once(command):
    started = time.perf_counter()
    done = subprocess.run(["sh", "-c", command], stdout=subprocess.DEVNULL)
    assert done.returncode == 0, (command, done.returncode)
    return time.perf_counter() - started
once(first); once(second)
rows = [(once(first), once(second)) for _ in range(runs)]
print(json.dumps(rows))
"""

_SHARES = {
    "python3 with nothing": "python3 -c pass",
    "loading sysmail": "python3 /opt/sysmail/sysmail --version",
    "the package list": "dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\\n'",
    "postconf": "postconf",
    "postconf -m": "postconf -m",
    "the service query": "systemctl show -p Id,LoadState,ActiveState,UnitFileState "
    "postfix.service postfix@-.service",
    "the queue": "postqueue -j",
    "the log": "journalctl -q --no-pager -u 'postfix*' -g discarded || true",
}
_BARE = "python3 -c 'import json, subprocess, argparse'; postconf -n; systemctl is-active postfix"


def paired(host: Host, first: str, second: str) -> tuple[float, float, float]:
    """The medians of both commands in seconds, and the median of their ratios pair by pair."""
    said = host.run(["python3", "-c", _PAIRED, str(RUNS), first, second], timeout=600).stdout
    rows = [(float(a), float(b)) for a, b in json.loads(said)]
    return (
        statistics.median(a for a, _ in rows),
        statistics.median(b for _, b in rows),
        statistics.median(a / b for a, b in rows),
    )


def first_apply(lab: Lab) -> float:
    """Seconds of a first apply, until proven, on hosts that have the packages: the median of 3."""
    taken: list[float] = []
    for number in range(3):
        host = lab.host(f"first{number}", packages=["postfix", "msmtp"])
        script = (
            "import subprocess,sys,time; t=time.perf_counter();"
            f"r=subprocess.run(['{SYSMAIL}','--json','apply','--admin','ops@example.org'],"
            "stdout=subprocess.PIPE); assert r.returncode == 0, r.stdout;"
            "print(time.perf_counter()-t)"
        )
        taken.append(float(host.run(["python3", "-c", script]).stdout))
        lab.remove(host)
    return statistics.median(taken)


def section(lab: Lab) -> list[str]:
    """Measure and print; what is out of bounds."""
    broken: list[str] = []
    seconds = first_apply(lab)
    print(f"first apply, packages present, until proven: {seconds:.1f} s (bound 5 s)")
    if seconds > FIRST_APPLY_SECONDS:
        broken.append("first apply")
    host = lab.host("bench", packages=["postfix", "msmtp"])
    host.run([SYSMAIL, "apply", "--admin", "ops@example.org"])
    ours, bare, ratio = paired(host, f"{SYSMAIL} --json apply", _BARE)
    print(
        f"no-change apply with its proof: {ours * 1000:.0f} ms against {bare * 1000:.0f} ms "
        f"for bare python3, postconf -n and one service query: {ratio:.1f} times (bound 6)"
    )
    if ratio > NO_CHANGE_BOUND:
        broken.append("no-change apply")
    print("parts of it, each timed alone:")
    for name, command in _SHARES.items():
        alone, _, _ = paired(host, command, "true")
        print(f"  {alone * 1000:6.1f} ms  {name}")
    resident = host.run(["pgrep", "-fa", "sysmail"], check=False).stdout.strip()
    print(f"resident processes of sysmail: {resident or 'none'}")
    if resident:
        broken.append("resident process")
    return broken
