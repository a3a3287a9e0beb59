"""The host part of promise 7: the power goes at sampled moments, the seed is printed."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from cutoff import KILLED
from onhost import apply, listeners, policy, sysmail
from power import CHANGES, Change, Powered

from lab import FreshHost, Lab

SEED = int(os.environ.get("SYSMAIL_SEED") or random.SystemRandom().randrange(10**6))
SAMPLES = 1
# The others, and the other changes on a pacman host, are in tests/torture.
TRIED = [("debian", change) for change in CHANGES] + [("arch", CHANGES[0])]


@pytest.mark.parametrize(
    ("base", "change"), TRIED, ids=[f"{base}, {change.name}" for base, change in TRIED]
)
def test_the_power_goes_at_sampled_moments(
    lab: Lab, fresh_host: FreshHost, base: str, change: Change
) -> None:
    """A unit at boot brings the host to the old or the new before Postfix starts, never open."""
    print(f"SYSMAIL_SEED={SEED}")
    powered = Powered(lab, fresh_host, base, change)
    total = len(powered.moments())
    assert total > 20
    chosen = random.Random(f"{SEED} {base} {change.name}")  # noqa: S311 - a sample, not a secret
    for _ in range(SAMPLES):
        powered.cut(chosen.randint(1, total))
    powered.clear()


def test_a_damaged_journal_keeps_no_host_from_booting(lab: Lab, fresh_host: FreshHost) -> None:
    """The unit has failed, its log says what to do, and Postfix runs on loopback alone."""
    host = fresh_host(packages=["postfix", "msmtp"])
    policy(host, 'admin = "old@example.org"\n')
    apply(host)
    policy(host, 'admin = "new@example.org"\n')
    source = Path(__file__).with_name("killed.py").read_text()
    host.run(["sh", "-c", f"cat > {KILLED}"], input=source)
    killed = host.run(["python3", KILLED, "60", "kill", "apply"], check=False)
    assert killed.returncode != 0
    folder = "/var/lib/sysmail/checkpoints/0002"
    host.run(f"truncate -s 20 {folder}/journal.json")
    host.kill()
    with lab.knock(host) as knocker:
        host.boot()
        knocks = knocker.stop()
    assert (knocks.attempts > 0, knocks.successes) == (True, 0)
    assert "sysmail-recover.service" in host.run("systemctl --failed --no-legend").stdout
    log = host.run("journalctl -b -u sysmail-recover -o cat --no-pager").stdout
    assert f"move {folder} away" in log
    assert sorted(a for a in listeners(host) if a.endswith(":25")) == ["127.0.0.1:25", "[::1]:25"]
    assert sysmail(host, "status").codes == ["journal-damaged"]
    host.run(f"mv {folder} /root/damaged")
    apply(host)
    host.run("systemctl start sysmail-recover")
    assert not host.run("systemctl --failed --no-legend").stdout
