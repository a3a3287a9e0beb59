"""An outage, kills and a power cut while ten thousand messages are submitted: all arrive."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections import Counter

import pytest
from onhost import apply, mailu_policy, sysmail

from lab import FreshHost, Host, Lab
from lab.machine import LabError, wait_until

SUBMITTER = "/opt/sysmail/tests/hosts/submitter.py"


class Submission:
    """A submitter on a host; ``taken`` are the ids that it printed, also when the host dies."""

    def __init__(self, host: Host, prefix: str, count: int) -> None:
        self._process: subprocess.Popen[str] = host.start(
            ["python3", SUBMITTER, prefix, str(count)]
        )
        self.taken: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # A line that a kill cut in half was printed, but not read.
            if line.endswith("\n"):
                self.taken.append(line.strip())

    def wait_for(self, count: int) -> None:
        """Wait until so many were taken."""
        wait_until(f"{count} messages are taken", lambda: len(self.taken) >= count, 300, 0.05)

    def end(self, timeout: float = 300) -> list[str]:
        """Wait until it has ended, and return what was taken."""
        self._process.wait(timeout)
        self._reader.join(timeout)
        return self.taken


def _kill_master(host: Host) -> float:
    """SIGKILL to Postfix's master; the moment of it."""
    host.run("kill -9 $(cat /var/spool/postfix/pid/master.pid)")
    return time.time()


def _master_is_back(host: Host, former: str) -> None:
    def back() -> bool:
        pid = host.run("cat /var/spool/postfix/pid/master.pid", check=False).stdout.strip()
        listens = "127.0.0.1:25 " in host.run("ss -Hltn").stdout
        return pid not in {"", former} and listens

    wait_until("master runs again, without a person", back, 60, 0.2)


def _master(host: Host) -> str:
    return host.run("cat /var/spool/postfix/pid/master.pid").stdout.strip()


@pytest.mark.parametrize(("base", "count"), [("debian", 10_000), ("arch", 2_000)])
def test_all_arrive(lab: Lab, fresh_host: FreshHost, base: str, count: int) -> None:
    """Each id that an entrance took arrives; what arrives twice was in flight at a kill."""
    lab.mailu.clear()
    host = fresh_host(base, packages=["postfix", "msmtp"], durable=True)
    mailu_policy(lab, host, 'route = "relay"')
    apply(host)
    lab.cut(lab.mailu)
    taken: list[str] = []
    try:
        first = Submission(host, "a", count // 2)
        first.wait_for(count // 8)
        former = _master(host)
        _kill_master(host)
        _master_is_back(host, former)
        taken += first.end()

        second = Submission(host, "b", count)
        second.wait_for(count // 8)
        host.kill()  # every process at once; the file system as it is
        taken += second.end()
        host.boot()
        former = ""
        _master_is_back(host, former)
        third = Submission(host, "c", max(count - len(taken), 0))
        taken += third.end()
    finally:
        lab.join(lab.mailu)
    assert len(taken) >= count
    assert len(set(taken)) == len(taken)

    # A kill while the queue drains: what is in flight then is delivered twice.
    lab.mailu.wait_for(lambda _m: True, count=count // 4, timeout=120)
    former = _master(host)
    killed = _kill_master(host)
    _master_is_back(host, former)
    wait_until("the queue is empty", lambda: _waiting(host) == 0, 600, 1)

    arrived = _arrived(lab, set(taken))
    lost = sorted(set(taken) - set(arrived))
    assert lost == [], f"{len(lost)} of {len(taken)} were lost"
    twice = {name for name, times in arrived.items() if times > 1}
    limit = int(host.run("postconf -h smtp_destination_concurrency_limit").stdout)
    print(f"{len(taken)} taken, {len(arrived)} arrived, {len(twice)} twice (at most {limit})")
    assert len(twice) <= limit
    moments: dict[str, list[float]] = {}
    for message in lab.mailu.received():
        name = str(message.message["X-Id"]) if twice else ""
        if name in twice:
            moments.setdefault(name, []).append(message.time)
    later = [name for name, times in moments.items() if min(times) > killed + 1]
    # A kill between cleanup(8) and pickup(8) leaves a message of sendmail twice in the queue: at
    # most one for each of the two kills while mail came in.
    assert len(later) <= 2, f"{later} came twice, and not because of a kill"
    assert all(name.startswith(("a-sendmail-", "b-sendmail-")) for name in later), later
    assert all(len(times) == 2 for times in moments.values())
    assert sysmail(host, "prove").status == 0
    _assert_logged(host, len(taken))


def _assert_logged(host: Host, count: int) -> None:
    """The journal has each delivery: all since the last boot, and what a kill cut off once more."""
    logged = host.run("journalctl -b -u 'postfix*' -o cat --grep 'status=sent' | wc -l").stdout
    assert int(logged) >= count, f"the journal has {logged} of {count} deliveries"
    assert sysmail(host, "status").report["suppressed"] == 0


def _arrived(lab: Lab, expected: set[str]) -> Counter[str]:
    """The ids in the mailbox; what Mailu has taken may wait in its own queue for a while."""
    with contextlib.suppress(LabError):
        wait_until("all are there", lambda: expected <= set(lab.mailu.ids("X-Id")), 300, 3)
    return Counter(lab.mailu.ids("X-Id"))


def _waiting(host: Host) -> int:
    queue = sysmail(host, "queue", "list").report["messages"]
    return len(queue)
