"""The mail programs that distributions bring: their queues, and whether they are replaced."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable, Optional

import pytest

from sysmail.commands import apply, plan, rollback
from sysmail.distro import DISTROS
from sysmail.errors import RefusedError, StepError
from sysmail.facts import collect
from sysmail.facts.model import Listener
from sysmail.neighbours import NEIGHBOURS, neighbour_of
from sysmail.takeover import findings, is_loopback, other_mtas, replaceable
from unit.fake_debian import FakeDebian
from unit.make import facts
from unit.test_apply import ADMIN, cut_off, differences, put_back, silent
from unit.test_mailu import ask, go, settled

EXIM_SPOOL = "/var/spool/exim4/input"
ID = "1tEXIM-0000Ab-1x"

# package, files of its spool, how many messages these are
QUEUES: list[tuple[str, list[str], int]] = [
    ("exim4", [], 0),
    ("exim4", [f"{EXIM_SPOOL}/{ID}-H", f"{EXIM_SPOOL}/{ID}-D"], 1),
    ("exim4-daemon-light", [f"{EXIM_SPOOL}/{n}/{n}-H" for n in "aBc"], 3),
    ("exim4", [f"{EXIM_SPOOL}/a/{ID}-H", f"{EXIM_SPOOL}/a/{ID}-D", f"{EXIM_SPOOL}/b-H"], 2),
    ("exim4", [f"{EXIM_SPOOL}/{ID}-D", f"/var/spool/exim4/msglog/{ID}"], 0),
    ("exim", [f"/var/spool/exim/input/{ID}-H"], 1),
    ("nullmailer", ["/var/spool/nullmailer/queue/1731.1", "/var/spool/nullmailer/failed/2"], 2),
    ("nullmailer", ["/var/spool/nullmailer/tmp/3", "/var/spool/nullmailer/trigger"], 0),
    ("dma", ["/var/spool/dma/Q1f2", "/var/spool/dma/M1f2", "/var/spool/dma/flush"], 1),
    ("dma", ["/var/spool/dma/M1f2", "/var/spool/dma/tmp_x"], 0),
    ("msmtp-mta", [f"{EXIM_SPOOL}/{ID}-H"], 0),
]


@pytest.mark.parametrize(("package", "files", "count"), QUEUES)
def test_queue_is_counted(package: str, files: list[str], count: int) -> None:
    """Every message is counted once, also where the spool is split into directories."""
    host = FakeDebian()
    host.packages[package] = "ii "
    for path in files:
        host.put(path, "x")
    assert collect(host).neighbour_mail == {package: count}


def test_only_installed_programs_are_counted() -> None:
    """A spool that a removed package left behind is nobody's queue."""
    host = FakeDebian()
    host.packages["exim4"] = "rc "
    host.put(f"{EXIM_SPOOL}/{ID}-H", "x")
    assert collect(host).neighbour_mail == {}


def test_every_package_has_its_program() -> None:
    """Every package that is known as a mail program belongs to exactly one, and each is listed."""
    names = [package for found in NEIGHBOURS for package in found.packages]
    assert len(names) == len(set(names))
    for row in DISTROS:
        assert set(row.other_mtas) == set(names)
    for name in names:
        assert name in neighbour_of(name).packages
    for found in NEIGHBOURS:
        assert bool(found.queue) == bool(found.message) == bool(found.drain)
        assert found.replaceable or not found.queue
    with pytest.raises(KeyError):
        neighbour_of("postfix")


@pytest.mark.parametrize(
    ("package", "path", "drain"),
    [
        ("exim4-daemon-light", f"{EXIM_SPOOL}/x/{ID}-H", "exim -qff"),
        ("nullmailer", "/var/spool/nullmailer/queue/1", "systemctl restart nullmailer"),
        ("dma", "/var/spool/dma/Q1", "dma -q"),
    ],
)
@pytest.mark.parametrize("route", ["mailu", "relay"])
def test_mail_in_its_queue_is_never_thrown_away(
    package: str, path: str, drain: str, route: str
) -> None:
    """Mail that waits in a program that would be replaced: refused, with how to drain it."""
    host = ask(FakeDebian(), route=route)
    host.packages[package] = "ii "
    host.put(path, "x")
    runs: list[Callable[[], object]] = [
        lambda: plan.run(host, "", {}),
        lambda: go(host),
        lambda: apply.run(host, "", {}, silent, adopt=True),
    ]
    for run in runs:
        with pytest.raises(RefusedError) as caught:
            run()
        assert caught.value.code == "neighbour-mail-waits"
        assert caught.value.message.startswith("1 message waits in the queue of " + package)
        assert drain in caught.value.remedy
    assert host.changes == []


@pytest.mark.parametrize("route", ["mailu", "relay"])
def test_default_exim4_is_replaced_and_comes_back(route: str) -> None:
    """Debian's default exim4 on loopback is shown in the plan, replaced, and put back whole."""
    host = ask(FakeDebian(), route=route)
    host.install_exim4()
    before = host.world()
    shown = plan.run(host, "", {})
    packages = [step.summary for step in shown.steps if step.name == "packages"]
    assert len(packages) == 1
    assert "in place of exim4, exim4-daemon-light" in packages[0]
    report = go(host)
    assert (report.outcome, report.exit_code) == ("applied", 0), report
    assert host.packages["exim4-daemon-light"] == "rc "
    assert (host.exim_runs, host.exposed) == (False, [])
    host.changes.clear()
    assert (go(host).outcome, host.changes) == ("unchanged", [])
    rollback.remove(host, silent, force=False)
    assert differences(settled(before), settled(host.world())) == {}
    assert "'local'" in host.text("/etc/exim4/update-exim4.conf.conf")


@pytest.mark.parametrize("route", ["mailu", "relay"])
def test_mail_that_comes_while_it_is_replaced_stops_that(route: str) -> None:
    """A message that arrives in the last moment brings the program back, and is still there."""
    host = ask(FakeDebian(), route=route)
    host.install_exim4()
    before = host.world()

    def arrive(call: Any) -> None:
        if call.method == "dpkg" and call.what[0] == "remove":
            host.put(f"{EXIM_SPOOL}/{ID}-H", "late")

    host.watch = arrive
    with pytest.raises(StepError) as caught:
        go(host)
    host.watch = lambda _call: None
    assert caught.value.code == "neighbour-mail-waits"
    assert host.text(f"{EXIM_SPOOL}/{ID}-H") == "late"
    host.take(f"{EXIM_SPOOL}/{ID}-H")
    assert differences(settled(before), settled(host.world())) == {}


def test_exim4_of_a_mail_server_is_refused() -> None:
    """exim4 that takes mail from the internet is somebody's mail server: only --adopt replaces."""
    host = ask(FakeDebian())
    host.install_exim4("internet")
    runs: list[Callable[[], object]] = [lambda: plan.run(host, "", {}), lambda: go(host)]
    for run in runs:
        with pytest.raises(RefusedError, match="dc_eximconfig_configtype = internet") as caught:
            run()
        assert (caught.value.code, host.changes) == ("mail-server", [])
    assert apply.run(host, "", {}, silent, adopt=True).outcome == "applied"


@pytest.mark.parametrize("package", ["sendmail", "opensmtpd", "courier-mta", "qmail"])
def test_program_that_nobody_can_drain_is_refused(package: str) -> None:
    """A program whose queue sysmail cannot see is refused, also with --adopt."""
    host = FakeDebian()
    host.packages[package] = "ii "
    with pytest.raises(RefusedError, match=package) as caught:
        apply.run(host, "", ADMIN, silent, adopt=True)
    assert (caught.value.code, host.changes) == ("other-mta", [])


ON_LOOPBACK = (Listener("127.0.0.1", 25, 7), Listener("::1", 25, 8))
OUTSIDE = (Listener("0.0.0.0", 25, 9),)


@pytest.mark.parametrize(
    ("packages", "role", "listeners", "found"),
    [
        ([], "", (), None),
        ([], "", ON_LOOPBACK, "another program listens on 127.0.0.1 port 25"),
        (["exim4-daemon-light"], "local", ON_LOOPBACK, None),
        (["exim4-daemon-light"], "satellite", ON_LOOPBACK, None),
        (["exim4-daemon-light"], "local", OUTSIDE, "another program listens on 0.0.0.0 port 25"),
        (["exim4-daemon-light"], "internet", (), "dc_eximconfig_configtype = internet"),
        (["opensmtpd"], "", ON_LOOPBACK, "another program listens on 127.0.0.1 port 25"),
        ([], "internet", (), None),
    ],
)
def test_findings_about_neighbours(
    packages: list[str], role: str, listeners: tuple[Listener, ...], found: Optional[str]
) -> None:
    """What a default neighbour listens on goes with it; what others can reach is a mail server."""
    about = facts(packages=dict.fromkeys(packages, "1"), exim_role=role, listeners=listeners)
    said = findings(about)
    assert bool(said) == bool(found)
    assert (found or "") in "; ".join(said)
    if "configtype" not in (found or "configtype"):
        assert findings(about, ports=False) == []


def test_which_programs_can_be_replaced() -> None:
    """Of the installed programs, those whose queue can be seen or that have none."""
    names = ("exim4", "nullmailer", "sendmail", "vim", "msmtp-mta")
    about = facts(packages=dict.fromkeys(names, "1"))
    assert set(other_mtas(about)) == {"exim4", "nullmailer", "sendmail", "msmtp-mta"}
    assert set(replaceable(about)) == {"exim4", "nullmailer", "msmtp-mta"}
    assert other_mtas(replace(about, distro=None)) == ()


@pytest.mark.parametrize(
    ("address", "inner"),
    [("127.0.0.1", True), ("127.0.0.53", True), ("::1", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_is_what_only_this_host_reaches(address: str, inner: bool) -> None:
    """Loopback is 127/8 and ::1; the wildcard addresses are not."""
    assert is_loopback(Listener(address, 25, 1)) == inner


@pytest.mark.parametrize("package", ["ssmtp", "nullmailer", "msmtp-mta"])
def test_listener_beside_a_neighbour_that_never_listens(package: str) -> None:
    """Only exim4 listens itself: beside the others, whoever has port 25 is another program."""
    about = facts(packages={package: "1"}, listeners=ON_LOOPBACK)
    assert "another program listens on 127.0.0.1 port 25" in findings(about)


@pytest.mark.parametrize("route", ["mailu", "relay"])
def test_death_while_it_is_replaced_is_undone(route: str) -> None:
    """Killed at any change of a replacement, the next command puts the neighbour back, running."""
    host = ask(FakeDebian(), route=route)
    host.install_exim4()
    host = host.clone()
    before = settled(host.world())
    for cut, at in cut_off(host, go):
        put_back(cut)
        assert differences(before, settled(cut.world())) == {}, f"killed at {at.method} {at.what}"
        assert cut.exposed == []
