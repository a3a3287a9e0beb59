"""Mailu or the relay: what is decided, why, and that a short outage changes nothing."""

from __future__ import annotations

import json
import re

import pytest
from onhost import apply, mailu_policy, queue, sendmail, snapshot, sysmail

from lab import FreshHost, Host, Lab

JOURNALS = "var/lib/sysmail/checkpoints"


def _route(report: object) -> tuple[str, str, str]:
    assert isinstance(report, dict)
    route = report["route"]
    return route["name"], route["next_hop"], route["reason"]


def _remember_outage(host: Host, seconds: float) -> None:
    """Make the outage that sysmail has seen begin so much earlier."""
    path = sorted((host.root / JOURNALS).glob("*/journal.json"))[-1]
    data = json.loads(path.read_text())
    assert data["mailu_down_since"] > 0, "the outage was not remembered"
    data["mailu_down_since"] -= seconds
    path.write_text(json.dumps(data))


def test_auto_takes_a_mailu_that_answers(lab: Lab, fresh_host: FreshHost) -> None:
    """Plan and apply say in one sentence what was decided and why; a second apply is a no-op."""
    lab.mailu.clear()
    host = fresh_host()
    mailu_policy(lab, host)
    planned = sysmail(host, "plan")
    assert planned.status == 2
    name, hop, reason = _route(planned.report)
    assert (name, hop) == ("mailu", "")
    assert "it answers" in reason
    assert lab.mailu.host in reason
    ran = apply(host)
    assert _route(ran.report) == (name, hop, reason)
    again = sysmail(host, "apply")
    assert (again.status, again.report["changed"]) == (0, False)


def test_auto_takes_the_relay_while_mailu_is_off(lab: Lab, fresh_host: FreshHost) -> None:
    """The relay's queue waits for Mailu; once it answers, the queue leaves and msmtp takes over."""
    lab.mailu.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    mailu_policy(lab, host)
    lab.mailu.stop()
    try:
        ran = sysmail(host, "apply")
        assert (ran.status, ran.outcome, ran.codes) == (3, "next-hop-down", ["port-closed"])
        name, hop, reason = _route(ran.report)
        assert (name, hop) == ("relay", "mailu")
        assert "cannot be used now" in reason
        sendmail(host, "Subject: early\n\n", "root")
        again = sysmail(host, "apply")
        assert (again.status, again.report["changed"]) == (3, False)
        assert sysmail(host, "prove").failed().keys() == {"verified-next-hop"}
    finally:
        lab.mailu.start()
    ran = apply(host)
    name, _, reason = _route(ran.report)
    assert name == "mailu"
    assert "answers again" in reason
    lab.mailu.wait_for(lambda m: m.message["Subject"] == "early")
    assert queue(host) == []


def test_a_short_outage_does_not_flip(lab: Lab, fresh_host: FreshHost) -> None:
    """Down: the route stays, exit 3, nothing changes. Down for more than an hour: the relay."""
    lab.mailu.clear()
    host = fresh_host()
    mailu_policy(lab, host)
    apply(host)
    lab.cut(lab.mailu)
    try:
        before = snapshot(host)
        for _ in range(2):
            ran = sysmail(host, "apply")
            assert (ran.status, ran.outcome, ran.report["changed"]) == (3, "next-hop-down", False)
            name, _, reason = _route(ran.report)
            assert name == "mailu"
            assert "changes no route" in reason
            assert "msmtp has no queue" in ran.report["errors"][0]["message"]
        assert snapshot(host) == before
        assert sysmail(host, "plan").status == 0
        assert sysmail(host, "prove").failed().keys() == {"verified-next-hop"}
        _remember_outage(host, 3700)
        ran = sysmail(host, "apply")
        assert ran.status == 3, ran.report
        name, hop, reason = _route(ran.report)
        assert (name, hop) == ("relay", "mailu")
        assert re.search(r"has not answered for 6\d minutes", reason)
        sendmail(host, "Subject: waits\n\n", "root")
        assert len(queue(host)) == 1
    finally:
        lab.join(lab.mailu)
    assert _route(apply(host).report)[0] == "mailu"
    lab.mailu.wait_for(lambda m: m.message["Subject"] == "waits")


def test_an_outage_that_ends_is_forgotten(lab: Lab, fresh_host: FreshHost) -> None:
    """Two short outages do not add up to a long one."""
    host = fresh_host()
    mailu_policy(lab, host)
    apply(host)
    for _ in range(2):
        lab.cut(lab.mailu)
        try:
            assert sysmail(host, "apply").status == 3
            _remember_outage(host, 3000)
            assert sysmail(host, "apply").report["route"]["name"] == "mailu"
        finally:
            lab.join(lab.mailu)
        assert apply(host).report["changed"] is False


def test_a_listener_that_stays_on_port_25(lab: Lab, fresh_host: FreshHost) -> None:
    """Mailu's own front on this host owns port 25: msmtp it is, and msmtpd has another port."""
    lab.mailu.clear()
    host = fresh_host()
    front = (
        "import socket\n"
        "s = socket.create_server(('', 25))\n"
        "while True:\n"
        "    c, _ = s.accept(); c.sendall(b'220 front ESMTP Mailu\\r\\n'); c.close()\n"
    )
    host.start(["python3", "-c", front])
    host.run("for i in $(seq 50); do ss -Hltn | grep -q ':25 ' && exit 0; sleep 0.1; done; exit 1")
    refused = sysmail(host, "apply", "--admin", "ops@example.org")
    assert (refused.status, refused.codes) == (1, ["mail-server"])
    mailu_policy(lab, host)
    ran = apply(host)
    name, _, reason = _route(ran.report)
    assert name == "mailu"
    assert "owns port 25 of this host" in reason
    sendmail(host, "Subject: beside\n\n", "root", user="alice")
    lab.mailu.wait_for(lambda m: m.message["Subject"] == "beside")
    again = sysmail(host, "apply")
    assert (again.status, again.report["changed"]) == (0, False)
    mailu_policy(lab, host, 'route = "relay"')
    forced = sysmail(host, "apply")
    assert (forced.status, forced.codes) == (1, ["port-25-taken"])


def test_forced_routes(lab: Lab, fresh_host: FreshHost) -> None:
    """A forced route is obeyed, also against what auto would decide, or refused with the reason."""
    host = fresh_host(packages=["postfix", "msmtp"])
    mailu_policy(lab, host, 'route = "relay"')
    assert _route(apply(host).report)[:2] == ("relay", "mailu")
    mailu_policy(lab, host, 'next_hop = "hold"')
    assert _route(apply(host).report)[:2] == ("relay", "hold")
    mailu_policy(lab, host, 'route = "mailu"')
    lab.mailu.stop()
    try:
        before = snapshot(host)
        ran = sysmail(host, "apply")
        assert (ran.status, ran.codes) == (1, ["port-closed"])
        assert "nothing was changed" in ran.report["errors"][0]["message"]
        assert snapshot(host) == before
    finally:
        lab.mailu.start()
    assert _route(apply(host).report)[:2] == ("mailu", "")


_BREAKS = {
    "name": "name-not-resolved",
    "port": "port-closed",
    "tls": "not-tls",
    "untrusted": "certificate-not-trusted",
    "misnamed": "certificate-wrong-name",
    "expired": "certificate-expired",
    "password": "login-refused",
    "sender": "sender-not-owned",
    "no-login": "no-relaying",
    "size": "message-size-too-small",
}


@pytest.mark.parametrize("route", ['route = "mailu"', 'route = "relay"'])
def test_found_before_anything_changes(lab: Lab, fresh_host: FreshHost, route: str) -> None:
    """Each way in which Mailu cannot be used has its code, and nothing on the host changes."""
    host = fresh_host(packages=["postfix", "msmtp"])
    mailu_policy(lab, host, route)  # once, so that the folder is there
    for broken, code in _BREAKS.items():
        tables = {
            "name": 'host = "nowhere.lab.test"',
            "port": "port = 2525",
            "tls": 'port = 22\ntls = "implicit"',
            "no-login": 'port = 25\ntls = "starttls"\nusername = none\npassword_file = none',
        }
        top = route + ('\nsender = "boss@example.org"' if broken == "sender" else "")
        password = "wrong" if broken == "password" else ""
        mailu_policy(lab, host, top, tables.get(broken, ""), password)
        if broken == "no-login":
            mailu_policy(lab, host, top + '\nadmin = "x@elsewhere.example"', tables["no-login"])
        try:
            _break(lab, broken)
            before = snapshot(host)
            ran = sysmail(host, "apply")
            assert (ran.status, ran.codes) == (1, [code]), (broken, ran.report["errors"])
            assert ran.report["errors"][0]["remedy"]
            assert lab.mailu.password not in ran.out
            assert snapshot(host) == before, broken
        finally:
            _mend(lab, broken)


def _break(lab: Lab, what: str) -> None:
    if what == "untrusted":
        lab.mailu.present(lab.ca.issue(lab.mailu.host, trusted=False))
    elif what == "misnamed":
        lab.mailu.present(lab.ca.issue("other.lab.test"))
    elif what == "expired":
        lab.mailu.present(lab.ca.issue(lab.mailu.host, days=-1))
    elif what == "size":
        lab.mailu.size_limit(1_000_000)


def _mend(lab: Lab, what: str) -> None:
    if what in {"untrusted", "misnamed", "expired"}:
        lab.mailu.own_certificate()
    elif what == "size":
        lab.mailu.size_limit(None)


def test_a_next_hop_that_is_this_relay(lab: Lab, fresh_host: FreshHost) -> None:
    """By its own name, which resolves to an address of its own, it is found too."""
    host = fresh_host(packages=["postfix", "msmtp"])
    mailu_policy(
        lab,
        host,
        'route = "relay"',
        f'host = "{host.fqdn}"\nport = 25\ntls = "starttls"\nusername = none\npassword_file = none',
    )
    before = snapshot(host)
    ran = sysmail(host, "apply")
    assert (ran.status, ran.codes) == (1, ["next-hop-is-self"])
    assert snapshot(host) == before
