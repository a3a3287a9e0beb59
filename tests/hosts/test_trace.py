"""`trace` on booted hosts: messages followed from their entrance to the MX's own answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from onhost import SYSMAIL, apply, policy, queue, send_smtp, sendmail, sysmail

from lab import FreshHost, Host, Lab, Rule
from lab.machine import wait_until

POLICY = 'admin = "ops@example.org"\n[queue]\nretry_every = "10s"\n'
RULES = [
    Rule(recipient="late@", reply="450 4.2.0 come again"),
    Rule(recipient="gone@", reply="550 5.1.1 no such user"),
]


def _settled(host: Host, query: str, exit_code: int) -> Mapping[str, Any]:
    """The only message of a trace, once it has come to what is expected of it."""

    def there() -> bool:
        ran = sysmail(host, "trace", query)
        found[:] = ran.report["messages"]
        ended = bool(found) and all(message["ended"] for message in found)
        return ended and all(n["message"] for n in found[0]["notices"]) and ran.status == exit_code

    found: list[Mapping[str, Any]] = []
    wait_until(f"{query} is told with exit code {exit_code}", there)
    assert len(found) == 1, found
    return found[0]


def _tried(host: Host) -> bool:
    """Whether the second message was put off."""
    ran = sysmail(host, "trace", "two@app")
    return any(message["deferrals"] for message in ran.report["messages"])


def _told(message: Mapping[str, Any]) -> str:
    return "\n".join(step["text"] for step in message["story"])


@pytest.mark.parametrize("log", ["journal", "maillog_file"])
def test_from_the_entrance_to_the_answer(lab: Lab, fresh_host: FreshHost, log: str) -> None:
    """Delivered, deferred and bounced ones are told by queue id, Message-ID and recipient alike."""
    lab.mx.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    policy(host, POLICY)
    apply(host)
    if log == "maillog_file":
        host.run("postconf -e maillog_file=/var/log/postfix.log && systemctl restart postfix")
    lab.mx.behave(RULES)
    try:
        sendmail(host, "Message-ID: <one@app>\nSubject: 1\n\n", "ok@example.net", user="alice")
        answer = send_smtp(host, "late@example.net", "Message-ID: <two@app>\n\n", address="::1")
        assert answer.startswith("250"), answer
        sendmail(host, "Message-ID: <three@app>\nSubject: 3\n\n", "gone@example.net")
        wait_until("the second waits", lambda: _tried(host))
        assert sysmail(host, "trace", "two@app").status == 3
        lab.mx.behave(RULES[1:])
        host.run(["postqueue", "-f"])
        one = _settled(host, "<one@app>", 0)
        two = _settled(host, "two@app", 0)
        three = _settled(host, "gone@example.net", 1)
    finally:
        lab.mx.behave([])
    # Each is the same message, however it is asked for.
    for message, names in (
        (one, ("one@app", "ok@example.net")),
        (two, (two["queue_id"], "late@example.net")),
        (three, (three["queue_id"], "<three@app>")),
    ):
        for name in names:
            again = sysmail(host, "trace", name).report["messages"]
            assert [m["queue_id"] for m in again] == [message["queue_id"]], name
            assert again[0]["story"] == message["story"], name
    uid = int(host.run("id -u alice").stdout)
    assert (one["entrance"]["uid"], one["entrance"]["user"]) == (uid, "alice")
    assert f"taken from sendmail of uid {uid} (alice)" in _told(one)
    taken = one["recipients"][0]
    assert taken["relay"].startswith("mx.lab.test[")
    assert taken["tls"]["version"].startswith("TLSv1.")
    assert two["entrance"]["client"] == "localhost[::1]"
    assert all("come again" in deferral["reason"] for deferral in two["deferrals"])
    assert two["deferrals"][0]["recipients"] == ["late@example.net"]
    notices = [n for n in three["notices"] if n["to"] == "sender"]
    assert notices[0]["about"] == "non-delivery"
    assert notices[0]["message"]["outcome"] == "delivered"
    ids = {n["queue_id"] for n in three["notices"]}
    assert any(any(each.encode() in m.data for each in ids) for m in lab.mx.messages())
    about = sysmail(host, "trace", notices[0]["queue_id"])
    assert about.report["messages"][0]["notice_about"]["queue_id"] == three["queue_id"]
    _screens(host, log)


def _screens(host: Host, log: str) -> None:
    """What the commands say besides."""
    nothing = sysmail(host, "trace", "nobody@nowhere.example")
    assert (nothing.status, nothing.codes) == (3, ["message-not-found"])
    sent = sysmail(host, "status").report["deliveries"]
    assert sent["attempts"]["bounced"] == 1
    assert sent["attempts"]["deferred"] >= 1
    assert sent["attempts"]["sent"] == sent["sent"] >= 3
    metrics = host.run([SYSMAIL, "status", "--prometheus"], check=False).stdout
    assert 'sysmail_attempts_last_day{status="bounced"} 1\n' in metrics
    assert len(host.run([SYSMAIL, "status"], check=False).stdout.splitlines()) < 24
    if log == "journal":
        _nothing_is_dropped(host)
        return
    host.run("cd /var/log && mv postfix.log postfix.log.1 && gzip postfix.log.1")
    host.run("postfix reload && touch /var/log/postfix.log")
    assert sysmail(host, "trace", "one@app").status == 0


def _nothing_is_dropped(host: Host) -> None:
    """systemd knows the units' own rate limit: ten thousand in 30 s would not be enough."""
    units = host.run("systemctl list-units --plain --no-legend 'postfix*'").stdout.split()
    units = [word for word in units if re.fullmatch(r"postfix(@-)?\.service", word)]
    shown = host.run(
        ["systemctl", "show", "-p", "Type,LogRateLimitIntervalUSec,LogRateLimitBurst", *units]
    ).stdout
    blocks = [block for block in shown.split("\n\n") if "Type=forking" in block]
    assert blocks
    for block in blocks:
        assert "LogRateLimitIntervalUSec=1s" in block
        assert "LogRateLimitBurst=1000000" in block
    report = json.loads(host.run([SYSMAIL, "--json", "status"], check=False).stdout)
    assert report["suppressed"] == 0


WATCHED = 'admin = "ops@example.org"\n[alert]\ncommand = ["/bin/true"]\n[limits]\nrunaway = 10\n'
NOTE = "MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e\\nMESSAGE=Suppressed 9 messages from postfix"


def test_what_was_done_to_the_queue(lab: Lab, fresh_host: FreshHost) -> None:
    """Held by the watch, then deleted: both are in the story. Nobody else says what was dropped."""
    host = fresh_host(packages=["postfix"])
    policy(host, WATCHED)
    apply(host)
    lab.cut(lab.mx)
    try:
        for number in range(12):
            sendmail(host, f"Subject: {number}\n\n", "a@example.net", user="alice")
        wait_until("all wait", lambda: len(queue(host)) == 12)
        host.run("systemctl start sysmail-watch.service", check=False)
        held = [message["queue_id"] for message in queue(host) if message["queue"] == "hold"]
        assert len(held) == 2
        waits = sysmail(host, "trace", held[0])
        assert waits.status == 3
        assert "put on hold" in _told(waits.report["messages"][0])
        assert sysmail(host, "queue", "delete", held[0]).status == 0
        gone = sysmail(host, "trace", held[0])
    finally:
        lab.join(lab.mx)
    assert gone.status == 1
    assert _told(gone.report["messages"][0]).endswith("deleted from the queue by hand")
    host.run(["sh", "-c", f"printf '{NOTE}\\n' | logger --journald"], user="alice")
    assert sysmail(host, "status").report["suppressed"] == 0
    # journald's own, once it hears of the unit again.
    flood = "seq 5000; for i in $(seq 60); do sleep 1; echo $i; done"
    limit = ["-p", "LogRateLimitIntervalSec=500ms", "-p", "LogRateLimitBurst=1"]
    host.run(["systemd-run", "--unit=postfix-flood", *limit, "sh", "-c", flood])
    wait_until("what was dropped is told", lambda: sysmail(host, "status").report["suppressed"])
