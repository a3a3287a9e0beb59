"""What Mailu answers, and for how long it does not: which route that gives, and what is refused."""

from __future__ import annotations

from typing import Callable

import pytest

from sysmail.commands import apply
from sysmail.errors import HostError
from unit.fake_debian import FakeDebian
from unit.fake_host import ScriptedSession
from unit.test_apply import OFFERS, differences, fresh, silent, waiting
from unit.test_mailu import MAILU, ask, bare, go, in_force, mailu


def down(host: FakeDebian) -> FakeDebian:
    del host.servers[MAILU]
    return host


def test_short_outage_changes_no_route() -> None:
    """A Mailu that is down for minutes is not left; apply says so with exit code 3."""
    host = down(fresh(lambda: ask(mailu())))
    before = host.world()
    report = go(host)
    assert (report.outcome, report.exit_code, report.changed) == ("next-hop-down", 3, False)
    assert report.route is not None
    assert "changes no route" in report.route.reason
    assert "msmtp has no queue" in report.errors[0].message
    host.clock += 1500
    report = go(host)
    assert report.route is not None
    assert "(for 25 minutes now)" in report.route.reason
    assert differences(before, host.world()) == {}


def test_long_outage_leaves_for_the_relay_and_comes_back() -> None:
    """After an hour the relay takes over, with a queue; once Mailu answers again, it goes back."""
    host = down(fresh(lambda: ask(mailu())))
    assert go(host).exit_code == 3
    host.clock += 4000
    report = go(host)
    assert (report.outcome, report.exit_code, in_force(host)) == ("next-hop-down", 3, "relay")
    assert report.route is not None
    assert "has not answered for 66 minutes" in report.route.reason
    assert "mail waits in the queue" in report.errors[0].message
    host.queue = [waiting()]
    ask(host)
    report = go(host)
    assert (report.exit_code, in_force(host), host.queue) == (0, "mailu", [])
    assert report.route is not None
    assert "it answers again" in report.route.reason
    host.clock += 7200
    down(host)
    assert "changes no route" in str(go(host).route)


def test_outages_are_not_added_up() -> None:
    """Two short outages with a good hour between them are two short ones."""
    host = down(fresh(lambda: ask(mailu())))
    go(host)
    host.clock += 1800
    ask(host)
    assert go(host).exit_code == 0
    host.clock += 3000
    down(host)
    assert go(host).exit_code == 3
    assert in_force(host) == "mailu"


def test_outage_goes_on_through_a_changed_policy() -> None:
    """A changed policy does not make an outage young again."""
    host = down(fresh(lambda: ask(mailu())))
    go(host)
    host.clock += 3000
    down(ask(host, admin="other@example.com"))
    assert go(host).exit_code == 3
    host.clock += 700
    report = go(host)
    assert report.route is not None
    assert (in_force(host), "61 minutes" in report.route.reason) == ("relay", True)


def test_mailu_that_is_down_at_first_gives_the_relay() -> None:
    """At the first apply a Mailu that is down gives the relay, whose queue is for that."""
    host = down(fresh(bare))
    report = go(host)
    assert (report.exit_code, in_force(host)) == (3, "relay")
    assert report.route is not None
    assert "cannot be used now" in report.route.reason


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        ({"AUTH": "535 no such login"}, "login-refused"),
        ({"MAIL FROM": "553 5.7.1 sender address rejected: not owned by user"}, "sender-not-owned"),
        ({"EHLO": "250-x\n250-SIZE 1000\n250 AUTH PLAIN"}, "message-size-too-small"),
    ],
)
@pytest.mark.parametrize("make", [bare, lambda: ask(mailu())], ids=["bare", "in force"])
def test_mailu_that_is_wrong_changes_nothing(
    make: Callable[[], FakeDebian], replies: dict[str, str], code: str
) -> None:
    """What is set up wrong is told with its own code, and nothing on the host changes."""
    host = make().clone()
    host.servers[MAILU] = lambda: ScriptedSession({**OFFERS, **replies})
    with pytest.raises(HostError) as caught:
        go(host)
    assert caught.value.code == code
    assert "nothing was changed" in caught.value.message
    assert host.changes == []


def test_forced_route_that_is_down_is_told() -> None:
    """route = "mailu" with a Mailu that never answered is an error, and no relay instead."""
    host = down(ask(FakeDebian(), route="mailu"))
    with pytest.raises(HostError) as caught:
        go(host)
    assert (caught.value.code, host.changes) == ("port-closed", [])


def test_port_of_mailus_own_container() -> None:
    """Where Mailu's own container owns port 25 of this host, msmtpd listens beside it."""
    host = fresh(bare)
    tcp = host.dynamic["/proc/net/tcp"]
    host.dynamic["/proc/net/tcp"] = lambda: (
        tcp() + b" 1: 00000000:0019 00000000:0000 0A 0:0 0:0 0 0 0 4711 1 0\n"
    )
    host.owners[4711] = "docker-proxy (pid 812)"
    host.servers["127.0.0.1", 25] = lambda: ScriptedSession({})
    report = go(host)
    assert report.route is not None
    assert "docker-proxy (pid 812) owns port 25" in report.route.reason
    assert {what["port"] for what in host.msmtpd.running.values()} == {10025}
    assert "port 10025" in host.text("/etc/msmtprc")
    assert report.exit_code == 0, report
    host.changes.clear()
    assert (go(host).outcome, host.changes) == ("unchanged", [])


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_mailu_that_is_this_hosts_own_port(name: str) -> None:
    """A Mailu that is port 25 of this very host would get its own mail again and again."""
    host = FakeDebian()
    apply.run(host, "", {"admin": "ops@example.com"}, silent)
    ask(host, mailu={"host": name, "tls": "none", "port": 25}, route="mailu")
    with pytest.raises(HostError) as caught:
        go(host)
    assert caught.value.code == "next-hop-is-self"


def test_an_outage_that_nobody_can_look_back_on() -> None:
    """Where the log cannot be read, nobody knows that Mailu took nothing: it is not left yet."""
    host = down(fresh(lambda: ask(mailu())))
    go(host)
    host.clock += 4000
    host.answer("journalctl", "", 1, "No journal files were opened due to insufficient permissions")
    assert go(host).exit_code == 3
    assert in_force(host) == "mailu"
