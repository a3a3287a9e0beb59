"""Promise 4 on a booted host: what cannot be delivered comes back to admin, or prove says so."""

from __future__ import annotations

import pytest
from onhost import apply, policy, sendmail, sysmail

from lab import FreshHost, Host, Lab, Rule

GONE = Rule(recipient="gone@", reply="550 5.1.1 no such user", stage="rcpt")


@pytest.fixture
def relay(lab: Lab, fresh_host: FreshHost) -> Host:
    """A relay that tries again soon."""
    lab.mx.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    policy(host, 'admin = "ops@example.org"\n[queue]\nretry_every = "10s"\n'
                 '[limits]\nmessage_size = "50kB"\n')  # fmt: skip
    apply(host)
    return host


SENDERS = {"local": [], "null": ["-f", "<>"], "foreign": ["-f", "app@example.com"]}


@pytest.mark.parametrize("size", [10, 47_000])
@pytest.mark.parametrize("sender", sorted(SENDERS))
def test_a_refused_message_comes_back(lab: Lab, relay: Host, sender: str, size: int) -> None:
    """Whoever sent it and however near the size limit it is, admin gets a notice about it."""
    lab.mx.behave([GONE])
    token = f"{sender} {size}"
    body = ("x" * 70 + "\n") * (size // 71)
    sendmail(relay, f"Subject: lost {token}\n\n{body}", *SENDERS[sender], "gone@example.net")
    found = lab.mx.wait_for(
        lambda m: "ops@example.org" in m.recipients and f"lost {token}".encode() in m.data
    )
    assert found, "no notice"
    relay.run('for i in $(seq 100); do test -z "$(postqueue -j)" && exit 0; sleep 0.1; done; '
              "postqueue -p; exit 1")  # fmt: skip
    assert sysmail(relay, "prove").status == 0


def test_a_notice_that_is_refused_for_a_while_arrives(lab: Lab, relay: Host) -> None:
    """When admin's server answers 450 for a while the notice waits, and arrives afterwards."""
    busy = Rule(recipient="ops@", reply="450 4.2.0 greylisted", stage="rcpt")
    lab.mx.behave([GONE, busy])
    sendmail(relay, "Subject: later\n\n", "-f", "<>", "gone@example.net")
    relay.run("for i in $(seq 100); do postqueue -p | grep -q greylisted && exit 0; sleep 0.1; "
              "done; exit 1")  # fmt: skip
    status = sysmail(relay, "status")
    assert status.status == 1
    assert "greylisted" in status.report["queue"]["reasons"][0]["reason"]
    lab.mx.behave([GONE])
    lab.mx.wait_for(lambda m: "ops@example.org" in m.recipients and b"later" in m.data, timeout=60)
    assert sysmail(relay, "prove").status == 0


def test_a_notice_that_is_refused_for_good_turns_prove_red(lab: Lab, relay: Host) -> None:
    """The one loss that cannot be helped is told until a person acknowledges it."""
    lab.mx.behave([GONE, Rule(recipient="ops@", reply="550 5.1.1 go away", stage="rcpt")])
    sendmail(relay, "Subject: lost for good\n\n", "-f", "<>", "gone@example.net")
    relay.run("for i in $(seq 100); do journalctl -q -u 'postfix*' | grep -q discarded && exit 0; "
              "sleep 0.1; done; exit 1")  # fmt: skip
    ran = sysmail(relay, "prove")
    verdict = ran.verdict("nothing-lost")
    assert (ran.status, verdict["status"]) == (1, "fail")
    assert "discarded" in verdict["evidence"]
    assert "--acknowledge-losses" in verdict["remedy"]
    assert sysmail(relay, "apply").status == 1, "an unproven host is not called good"
    lab.mx.behave([])
    relay.run("sleep 1.1")
    acknowledged = sysmail(relay, "apply", "--acknowledge-losses")
    assert acknowledged.status == 0, acknowledged.failed()
    assert sysmail(relay, "prove").status == 0


def test_no_storm_of_notices(lab: Lab, relay: Host) -> None:
    """When every notice is refused there are a few of them, not thousands."""
    lab.mx.behave([Rule(reply="550 5.7.1 not from you", stage="rcpt")])
    sendmail(relay, "Subject: refused everywhere\n\n", "someone@example.net")
    relay.run("sleep 3")
    lines = relay.run("journalctl -q -u 'postfix*' | grep -c 'status=bounced'", check=False).stdout
    assert 1 <= int(lines) <= 6, lines
    relay.run('test -z "$(postqueue -j)"')


def test_an_outage_is_survived(lab: Lab, relay: Host) -> None:
    """With the network down mail waits in the queue, visible with its reason, and leaves later."""
    lab.cut(lab.mx)
    try:
        for number in range(20):
            sendmail(relay, f"Subject: outage {number}\n\n", "root")
        relay.run("for i in $(seq 400); do test $(postqueue -j | grep -c delay_reason) -ge 1 && "
                  "exit 0; sleep 0.2; done; exit 1", timeout=100)  # fmt: skip
        status = sysmail(relay, "status").report["queue"]
        assert status["count"] == 20
        assert status["oldest"] is not None
    finally:
        lab.join(lab.mx)
    sysmail(relay, "queue", "flush")
    found = lab.mx.wait_for(lambda m: "outage" in m.message["Subject"], count=20, timeout=120)
    assert len({str(m.message["Subject"]) for m in found}) == 20


@pytest.mark.parametrize(
    "break_it",
    [
        "postconf -e 'notify_classes = resource, software'",
        "postconf -e 'bounce_notice_recipient = postmaster'",
    ],
)
def test_broken_on_purpose(fresh_host: FreshHost, break_it: str) -> None:
    """prove finds that nobody would be told."""
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    host.run(f"{break_it} && postfix reload")
    ran = sysmail(host, "prove")
    assert ran.verdict("nothing-lost")["status"] == "fail"
    apply(host)
    assert sysmail(host, "prove").status == 0
