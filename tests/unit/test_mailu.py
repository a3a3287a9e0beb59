"""The route mailu as whole commands: to it, away from it, and back, whatever fails in between."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Callable

import pytest

from sysmail.apply.checkpoint import Store
from sysmail.commands import apply, plan, prove, rollback, status
from sysmail.errors import SysmailError
from sysmail.msmtp import PASSWORD as PASSWORD_FILE
from sysmail.report import Report
from unit.fake_debian import FakeDebian
from unit.fake_host import ScriptedSession
from unit.test_apply import (
    OFFERS,
    cut_off,
    differences,
    everything_told,
    fresh,
    is_told,
    put_back,
    silent,
    waiting,
)

PASSWORD = "correct horse battery"
HOP = {
    "host": "mail.example.org",
    "username": "u@example.org",
    "password_file": "/etc/sysmail/password",
}
MAILU = ("mail.example.org", 465)


def ask(host: FakeDebian, password: str = PASSWORD, **policy: Any) -> FakeDebian:
    """The host with a policy that configures Mailu, a password, and that Mailu."""
    asked = {"admin": "ops@example.com", "mailu": HOP, **policy}
    host.put("/etc/sysmail/policy.json", json.dumps(asked))
    host.put("/etc/sysmail/password", password + "\n", 0o600)
    host.servers[MAILU] = lambda: ScriptedSession(OFFERS)
    return host


def go(host: FakeDebian) -> Report:
    return apply.run(host, "", {}, silent)


def bare() -> FakeDebian:
    return ask(FakeDebian())


def relay() -> FakeDebian:
    """The relay with Mailu as its next hop is in force, and the policy now leaves the choice."""
    host = ask(FakeDebian(), route="relay")
    assert go(host).exit_code == 0
    return ask(host)


def relay_with_queue() -> FakeDebian:
    """The same with two messages that wait."""
    host = relay()
    host.queue = [waiting(), {**waiting(), "queue_id": "4XwYh2bQz3mL"}]
    return host


def direct_with_queue() -> FakeDebian:
    """A relay that sends to recipients itself is in force, and mail waits in it."""
    host = FakeDebian()
    apply.run(host, "", {"admin": "ops@example.com"}, silent)
    host.queue = [waiting()]
    return ask(host)


def mailu() -> FakeDebian:
    """The route mailu is in force, and the policy now asks for the relay."""
    host = bare()
    assert go(host).exit_code == 0
    return ask(host, route="relay")


def mailu_after_relay() -> FakeDebian:
    """The route mailu came after a relay, whose package is there as its configuration only."""
    host = relay()
    assert go(host).exit_code == 0
    return ask(host, route="relay")


def other_password() -> FakeDebian:
    """The route mailu is in force, and its password is another now."""
    host = bare()
    go(host)
    return ask(host, "another horse battery")


WAYS: dict[str, Callable[[], FakeDebian]] = {
    "bare to mailu": bare,
    "relay to mailu": relay,
    "relay with mail to mailu": relay_with_queue,
    "direct relay with mail to mailu": direct_with_queue,
    "mailu to relay": mailu,
    "mailu to relay again": mailu_after_relay,
    "mailu to another password": other_password,
}


def settled(world: dict[str, Any]) -> dict[str, Any]:
    """A world without what may differ where mail has left and packages have been purged.

    A package that was gone but for its configuration may be gone altogether, with its empty
    directories: sysmail keeps the files that it needs to go back in its own journal.
    """
    packages = {name: state for name, state in world["packages"].items() if state != "rc "}
    empty = ("/var/spool/postfix", "/etc/postfix/sysmail", "/etc/postfix")
    files = {path: state for path, state in world["files"].items() if path not in empty}
    return {**world, "packages": packages, "files": files, "queue": []}


def mail(host: FakeDebian) -> list[str]:
    """Every message that was accepted: those that wait, and those that left."""
    return sorted(entry["queue_id"] for entry in [*host.queue, *host.left])


def in_force(host: FakeDebian) -> str:
    found = Store(host).in_force()
    return found.route["name"] if found is not None else ""


# To it and back.


def test_bare_host_gets_the_route_mailu() -> None:
    """Where Mailu answers, msmtp is sendmail, msmtpd listens, and no Postfix comes at all."""
    host = fresh(bare)
    shown = plan.run(host, "", {})
    report = go(host)
    assert (report.outcome, report.exit_code) == ("applied", 0), report
    assert [step.name for step in shown.steps] == [step.name for step in report.steps]
    assert report.route is not None
    assert (report.route.name, report.route.next_hop) == ("mailu", "")
    assert {v.status for v in report.verdicts} == {"pass"}
    assert host.packages["msmtp-mta"] == "ii "
    assert "postfix" not in host.packages
    assert host.msmtpd.world()["running"] == {
        address: {"port": 25, "password": PASSWORD + "\n"} for address in ("127.0.0.1", "::1")
    }
    assert host.msmtpd.enabled == {"127.0.0.1", "::1"}
    assert host.entries[PASSWORD_FILE].mode == 0o600
    assert host.link("/usr/sbin/sendmail") == "/usr/bin/msmtp"
    host.changes.clear()
    assert (go(host).outcome, host.changes) == ("unchanged", [])
    assert status.run(host).outcome == "healthy"


def test_relay_comes_back() -> None:
    """From Mailu to the relay: after the download msmtpd stops for good, and Postfix comes."""
    host = fresh(mailu_after_relay)
    report = go(host)
    assert (report.outcome, report.exit_code, in_force(host)) == ("applied", 0, "relay")
    names = [step.name for step in report.steps]
    assert names[:2] == ["packages download", "submission stop"]
    assert names.index("packages") in (2, 3), "only a closed main.cf may come before"
    assert (host.msmtpd.running, host.msmtpd.enabled) == ({}, set())
    assert (host.enabled, host.packages["postfix"]) == (True, "ii ")
    assert not [path for path in host.entries if path.startswith("/etc/sysmail-msmtpd/")]
    assert host.exposed == []
    host.changes.clear()
    assert (go(host).outcome, host.changes) == ("unchanged", [])


@pytest.mark.parametrize("name", WAYS)
def test_rollback_of_each_way(name: str) -> None:
    """rollback puts back the route that was in force, with all that it needs."""
    host = fresh(WAYS[name])
    before, accepted = host.world(), mail(host)
    assert go(host).exit_code == 0
    assert rollback.rollback(host, silent, force=False).outcome == "rolled-back"
    assert differences(settled(before), settled(host.world())) == {}
    assert mail(host) == accepted


@pytest.mark.parametrize("name", WAYS)
def test_remove_after_each_way(name: str) -> None:
    """remove gives back the host as sysmail found it, whatever routes there were."""
    host = fresh(WAYS[name])
    assert go(host).exit_code == 0
    rollback.remove(host, silent, force=False)
    untouched = FakeDebian()
    for path in [path for path in host.entries if path.startswith("/etc/sysmail")]:
        untouched.entries[path] = host.entries[path]
    assert differences(untouched.world(), host.world()) == {}
    assert not [path for path in host.entries if path.startswith("/var/lib/sysmail")]


def test_remove_of_a_postfix_that_was_there() -> None:
    """A Postfix that sysmail found, and that msmtp replaced, is there and runs again."""
    host = ask(FakeDebian(postfix=True))
    before = host.world()
    assert go(host).exit_code == 0
    assert host.packages["postfix"] == "rc "
    rollback.remove(host, silent, force=False)
    assert differences(settled(before), settled(host.world())) == {}


# Whatever fails.


@pytest.mark.parametrize("name", WAYS)
def test_death_at_every_change_is_undone(name: str) -> None:
    """Killed at any change, the next command puts everything back, and no mail is lost."""
    host = fresh(WAYS[name])
    before, accepted = settled(host.world()), mail(host)
    for cut, at in cut_off(host, go):
        put_back(cut)
        moment = f"killed at {at.method} {at.what}"
        assert differences(before, settled(cut.world())) == {}, moment
        assert (mail(cut), cut.exposed) == (accepted, []), moment


@pytest.mark.parametrize("name", ["relay with mail to mailu", "mailu to relay again"])
def test_death_in_recovery_is_undone(name: str) -> None:
    """Killed also in the middle of the recovery, the command after that puts everything back."""
    host = fresh(WAYS[name])
    before, accepted = settled(host.world()), mail(host)
    cuts = cut_off(host, go)
    for first, at in cuts[10 :: len(cuts) // 13]:
        for second, then in cut_off(first, put_back):
            put_back(second)
            moments = f"killed at {at.method} {at.what} and {then.method} {then.what}"
            assert differences(before, settled(second.world())) == {}, moments
            assert mail(second) == accepted, moments


@pytest.mark.parametrize("name", ["relay with mail to mailu", "mailu to relay again"])
def test_apply_after_a_death_gets_there(name: str) -> None:
    """The apply after one that was killed brings the host to what is asked."""
    host = fresh(WAYS[name])
    cuts = cut_off(host, go)
    accepted = mail(host)
    wanted = settled(host.world())
    for cut, at in cuts[3 :: len(cuts) // 9]:
        put_back(cut)
        assert go(cut).exit_code == 0, at
        assert differences(wanted, settled(cut.world())) == {}, at
        assert mail(cut) == accepted, at


@pytest.mark.parametrize("name", WAYS)
def test_failure_at_every_change_is_undone(name: str) -> None:
    """Whichever change fails, apply goes on to the end, or puts everything back."""
    applied = failed = 0
    for moment in range(1, 900):
        host = fresh(WAYS[name])
        before, accepted = settled(host.world()), mail(host)
        host.fail_at = moment
        report = None
        with contextlib.suppress(SysmailError):
            report = go(host)
        if report is None:
            at = host.changes[moment - 1]
            if at.method in ("unlink", "rmdir"):
                host.take("/run/sysmail/scratch")
            put_back(host)
            assert differences(before, settled(host.world())) == {}, f"{at.method} {at.what}"
            failed += 1
        else:
            assert report.exit_code == 0, host.changes[moment - 1]
            applied += 1
        assert mail(host) == accepted
        if len(host.changes) < moment:
            break
    assert failed > 6
    assert applied


def test_password_is_never_told() -> None:
    """On every way the password is in no report, argument or environment, and in no open file."""
    for make in WAYS.values():
        host = fresh(make)
        said: list[str] = []
        password = host.text("/etc/sysmail/password").strip()
        reports = [plan.run(host, "", {}), apply.run(host, "", {}, said.append)]
        reports += [prove.run(host, "", {}), status.run(host)]
        reports.append(rollback.rollback(host, said.append, force=False))
        assert is_told(password, everything_told(host, reports, said)) is None
        for path, state in host.entries.items():
            if password.encode() in state.data:
                assert state.mode & 0o077 == 0, path


def test_no_empty_directory_stays_when_the_route_is_left() -> None:
    """With the last file of the route mailu its directory goes, and comes back with a rollback."""
    host = mailu()
    before = host.tree()
    go(host)
    assert not [path for path in host.entries if path.startswith("/etc/sysmail-msmtpd")]
    rollback.rollback(host, silent, force=False)
    assert host.entries["/etc/sysmail-msmtpd"] == before["/etc/sysmail-msmtpd"]
    rollback.remove(host, silent, force=False)
    assert not [path for path in host.entries if path.startswith("/etc/sysmail-msmtpd")]
