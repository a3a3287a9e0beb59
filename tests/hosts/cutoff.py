"""A change of a host cut off with SIGKILL at a given moment, and what must hold afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onhost import apply, differences, policy, snapshot, sysmail

from lab import Host

KILLED = "/run/killed.py"
NEVER = 10**6
POLICY = 'admin = "{admin}"\n'


@dataclass(frozen=True)
class Change:
    """What is cut off: `prepare` brings the host to where `words` are run."""

    name: str
    words: tuple[str, ...]
    prepare: Callable[[Host], None]


def _first(host: Host) -> None:
    policy(host, POLICY.format(admin="ops@example.org"))


def _second(host: Host) -> None:
    _first(host)
    apply(host)
    policy(host, POLICY.format(admin="other@example.org"))


def _applied_twice(host: Host) -> None:
    _second(host)
    apply(host)


CHANGES = (
    Change("first apply", ("apply",), _first),
    Change("policy change", ("apply",), _second),
    Change("rollback", ("rollback",), _applied_twice),
    Change("try", ("try",), lambda _host: None),
)


def install_killer(host: Host) -> None:
    """Put the script that kills into the host."""
    source = Path(__file__).with_name("killed.py").read_text()
    host.run(["sh", "-c", f"cat > {KILLED}"], input=source)


def count(host: Host, change: Change) -> int:
    """How many changes it makes when nobody kills it; the host is brought back afterwards."""
    change.prepare(host)
    done = host.run(["python3", KILLED, str(NEVER), "before", *change.words], check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"changes (\d+)", done.stderr)
    assert found, done.stderr
    clear(host)
    return int(found.group(1))


def cut_off(host: Host, change: Change, number: int, moment: str) -> None:
    """Cut it off, let the next command recover, and look: as before, or as asked, never half."""
    change.prepare(host)
    before = snapshot(host)
    done = host.run(["python3", KILLED, str(number), moment, *change.words], check=False)
    where = f"{change.name}, killed {moment} change {number}"
    assert done.returncode != 0 or "changes" in done.stderr, where
    recovered = sysmail(host, "status")
    assert not recovered.codes or "journal-damaged" not in recovered.codes, where
    after = snapshot(host)
    if change.name != "rollback" and "changes" not in done.stderr:
        changed = [line for line in differences(before, after) if "etc/" in line]
        # Killed after its commit it is in force; else the host is as it was.
        if changed:
            assert sysmail(host, "plan").status == 0, f"{where}: {changed}"
    assert not [path for path in after if path.endswith(".sysmail-new")], where
    assert not (host.root / "run/sysmail/scratch").exists(), where
    if change.name != "try":
        apply(host)
    clear(host)


def clear(host: Host) -> None:
    """Back to a host that sysmail has not touched."""
    host.run("rm -rf /etc/sysmail")
    removed = sysmail(host, "remove")
    assert removed.status == 0 or removed.codes == ["nothing-to-undo"], removed.report
