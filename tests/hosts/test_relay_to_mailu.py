"""The relay with next hop mailu: one queue in front of Mailu, few connections, accepted senders."""

from __future__ import annotations

import re

import pytest
from onhost import apply, mailu_policy, sendmail, sysmail

from lab import FreshHost, Lab

BASES = pytest.mark.parametrize("base", ["debian", "arch"])


@BASES
def test_senders(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """Local senders leave as the login, in envelope and header; the null sender stays null."""
    lab.mailu.clear()
    host = fresh_host(base, packages=["postfix", "msmtp"])
    mailu_policy(lab, host, 'route = "relay"')
    ran = apply(host)
    assert ran.report["route"]["next_hop"] == "mailu"
    assert lab.mailu.password not in ran.out
    sendmail(host, "From: root (Cron Daemon)\nSubject: root\n\n", "x@example.net")
    sendmail(host, "Subject: alice\n\n", "x@example.net", user="alice")
    sendmail(host, "Subject: null\n\n", "-f", "<>", "x@example.net")
    host.run(["msmtp", "x@example.net"], input="Subject: msmtp\n\n", user="alice")
    found = {str(m.message["Subject"]): m for m in lab.mailu.wait_for(lambda _m: True, count=4)}
    for subject in ("root", "alice", "msmtp"):
        assert found[subject].sender == lab.mailu.username, subject
        assert lab.mailu.username in str(found[subject].message["From"]), subject
    assert found["null"].sender == ""


@BASES
def test_connections_are_reused(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """A backlog of 300 leaves over far fewer connections, each of them verified."""
    lab.mailu.clear()
    host = fresh_host(base, packages=["postfix", "msmtp"])
    mailu_policy(lab, host, 'route = "relay"')
    apply(host)
    lab.mailu.stop()
    try:
        script = "for i in $(seq 300); do printf 'X-Id: '$i'\\n\\n' | sendmail root; done"
        host.run(script, user="alice", timeout=300)
        before = len(re.findall(r"\]: connect from", lab.mailu.log()))
    finally:
        lab.mailu.start()
    lab.mailu.wait_for(lambda _m: True, count=300, timeout=120)
    assert sorted(map(int, lab.mailu.ids("X-Id"))) == list(range(1, 301))
    connections = len(re.findall(r"\]: connect from", lab.mailu.log())) - before
    assert connections < 100, connections
    said = host.run("journalctl -q --no-pager -u 'postfix*' | grep -c 'TLS connection reused'")
    assert int(said.stdout) > 0
    assert sysmail(host, "prove").status == 0
