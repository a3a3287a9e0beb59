"""Mail that cannot leave now: it waits, is visible with its reason, and goes later."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from onhost import apply, mailu_policy, queue, send_smtp, sendmail, sysmail

from lab import FreshHost, Host, Lab
from lab.machine import LabError, wait_until


def _reasons(host: Host) -> str:
    """What `sysmail status` says that mail waits for."""
    rows = sysmail(host, "status").report["queue"]["reasons"]
    return " ".join(row["reason"] for row in rows)


def _relay(lab: Lab, fresh_host: FreshHost) -> Host:
    """A host with the relay in front of a Mailu that has no messages."""
    lab.mailu.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    mailu_policy(lab, host, 'route = "relay"')
    apply(host)
    return host


def _rate_limit(lab: Lab, *, on: bool) -> None:
    lab.mailu.rate_limit(messages=0 if on else None)


def _greylist(lab: Lab, *, on: bool) -> None:
    lab.mailu.greylist(on=on, seconds=5)


def _full_disk(lab: Lab, *, on: bool) -> None:
    lab.mailu.fill_disk(on=on)


def _refused_login(lab: Lab, *, on: bool) -> None:
    lab.mailu.refuse_logins(on=on)


@pytest.mark.parametrize(
    ("hinder", "reason"),
    [
        (_rate_limit, "too many emails"),
        (_full_disk, "nsufficient system storage"),
        (_refused_login, "authentication failed"),
    ],
)
def test_mailu_does_not_take_it_now(
    lab: Lab, fresh_host: FreshHost, hinder: Callable[..., None], reason: str
) -> None:
    """A rate limit, a full disk, a changed password over there: waits, is shown, and leaves."""
    host = _relay(lab, fresh_host)
    hinder(lab, on=True)
    try:
        sendmail(host, "Subject: hindered\n\n", "root")
        wait_until("the reason is shown", lambda: reason in _reasons(host), 40, 0.5)
        wait_until("status is red", lambda: sysmail(host, "status").status == 1, 20, 0.3)
        assert len(queue(host)) == 1
        assert lab.mailu.received() == []
    finally:
        hinder(lab, on=False)
    lab.mailu.wait_for(lambda m: m.message["Subject"] == "hindered", timeout=90)
    wait_until("the queue is empty", lambda: queue(host) == [], 20, 0.2)
    assert sysmail(host, "status").status == 0


def test_greylisting(lab: Lab, fresh_host: FreshHost) -> None:
    """The first attempt is put off, a later one is taken, by itself."""
    host = _relay(lab, fresh_host)
    _greylist(lab, on=True)
    try:
        sendmail(host, "Subject: grey\n\n", "someone@example.net")
        wait_until("the reason is shown", lambda: "Greylisted" in _reasons(host), 20, 0.3)
        lab.mailu.wait_for(lambda m: m.message["Subject"] == "grey", timeout=60)
    finally:
        _greylist(lab, on=False)


def test_a_slow_next_hop(lab: Lab, fresh_host: FreshHost) -> None:
    """A Mailu that takes its time gets everything, once; programs do not wait for it."""
    host = _relay(lab, fresh_host)
    lab.mailu.slow(3)
    try:
        for number in range(10):
            sendmail(host, f"Subject: slow {number}\n\n", "root")
        lab.mailu.wait_for(lambda _m: True, count=10, timeout=180)
    finally:
        lab.mailu.slow(0)
    wait_until("the queue is empty", lambda: queue(host) == [], 60, 0.3)
    assert len(lab.mailu.ids()) == 10


def test_the_own_disk_is_full(lab: Lab, fresh_host: FreshHost) -> None:
    """SMTP is told so (452), sendmail's mail waits in maildrop; with room again it leaves."""
    lab.mailu.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    mailu_policy(lab, host, 'route = "relay"')
    # The queue on a small file system of its own, as on hosts with a partition for it.
    host.run(
        "systemctl stop postfix; cp -a /var/spool/postfix /root/spool && "
        "mount -t tmpfs -o size=160m,mode=0755 tmpfs /var/spool/postfix && "
        "cp -a /root/spool/. /var/spool/postfix/ && rm -r /root/spool"
    )
    apply(host)
    host.run("dd if=/dev/zero of=/var/spool/postfix/filler bs=64k 2>/dev/null; true")
    try:
        answer = send_smtp(host, "root", sender="root@localhost")
        assert answer.startswith("452"), answer
        _room_for_one(host, "Subject: small\n\n")
        proof = sysmail(host, "prove")
        assert proof.status != 0
        assert [m["queue"] for m in queue(host)] == ["maildrop"], host.run(
            "df /var/spool/postfix"
        ).stdout
    finally:
        host.run("rm /var/spool/postfix/filler")
    lab.mailu.wait_for(lambda m: m.message["Subject"] == "small", timeout=120)
    assert send_smtp(host, "root", "Subject: again\n\n", "root@localhost").startswith("250")
    lab.mailu.wait_for(lambda m: m.message["Subject"] == "again")
    assert sysmail(host, "prove").status == 0


def _room_for_one(host: Host, message: str) -> None:
    """Room for a message in maildrop, and none for it in another queue besides."""
    for _ in range(5):
        host.run("truncate -s -4k /var/spool/postfix/filler")
        try:
            sendmail(host, message, "root")
        except LabError as error:
            # Something else of Postfix took the page.
            if "No space left on device" not in str(error):
                raise
        else:
            return
    raise AssertionError("there was never room")
