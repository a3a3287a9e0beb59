"""`prove --to` on booted hosts: each entrance followed to the next hop's own answer."""

from __future__ import annotations

import pytest
from onhost import SYSMAIL, apply, sysmail

from lab import FreshHost, Lab, Rule

ENTRANCES = 8


@pytest.mark.parametrize("base", ["debian", "arch"])
def test_every_entrance_is_followed(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """A message through each entrance is followed by its queue id to the answer of the MX."""
    lab.mx.clear()
    host = fresh_host(base, packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    ran = sysmail(host, "prove", "--to", "someone@example.net")
    assert ran.status == 0, ran.failed()
    rows = [v for v in ran.report["verdicts"] if v["check"].startswith("entrance-")]
    assert len(rows) == ENTRANCES
    messages = lab.mx.wait_for(lambda _m: True, count=ENTRANCES)
    for row in rows:
        queue_id = row["evidence"].split()[0]
        assert any(queue_id.encode() in m.data for m in messages), row
        assert "mx.lab.test" in row["evidence"]


def test_a_refusal_is_told(lab: Lab, fresh_host: FreshHost) -> None:
    """When the next hop refuses, the verdicts carry its answer and the exit code is 1."""
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    lab.mx.behave([Rule(recipient="gone@", reply="550 5.1.1 no such user", stage="rcpt")])
    ran = sysmail(host, "prove", "--to", "gone@example.net")
    assert ran.status == 1
    refused = ran.verdict("entrance-smtp-ipv4")
    assert refused["status"] == "fail"
    assert "no such user" in refused["evidence"]


def test_bad_address(fresh_host: FreshHost) -> None:
    """What cannot be an address is refused with 64."""
    host = fresh_host()
    for bad in ("nobody", "a@b@c.example", "x@localhost", "a@example.org\nBcc: x@example.net"):
        assert sysmail(host, "prove", "--to", bad).status == 64, bad


def test_status_as_metrics(fresh_host: FreshHost) -> None:
    """status --prometheus prints gauges, healthy on a healthy host and not on a stopped one."""
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    said = host.run([SYSMAIL, "status", "--prometheus"]).stdout.splitlines()
    assert {"sysmail_healthy 1", "sysmail_queue_messages 0"} <= set(said)
    assert all(line.startswith(("# HELP ", "# TYPE ", "sysmail_")) for line in said)
    host.run("systemctl stop postfix")
    stopped = host.run([SYSMAIL, "status", "--prometheus"], check=False)
    assert (stopped.returncode, "sysmail_healthy 0" in stopped.stdout) == (1, True)
