"""What was cut off or failed and could not simply go back: what a later removal makes of it."""

from __future__ import annotations

import contextlib
import os
import pty
from typing import Any, Callable

import pytest

from sysmail.apply.checkpoint import Store
from sysmail.apply.recovery import recover
from sysmail.cli.progress import Progress
from sysmail.commands import rollback
from sysmail.host.port import Completed
from sysmail.session import guarded
from unit.fake_debian import FakeDebian, main_cf_values
from unit.fake_host import Call
from unit.test_apply import bare, cut_off, differences, do_apply, silent, waiting
from unit.test_mailu import ask, go, settled


def _with_exim() -> FakeDebian:
    host = ask(FakeDebian(), route="relay")
    host.install_exim4()
    return host


@pytest.mark.parametrize(
    ("begin", "change"), [(bare, do_apply), (_with_exim, go)], ids=["bare", "in place of exim4"]
)
def test_removed_after_mail_kept_a_cut_off_apply(
    begin: Callable[[], FakeDebian], change: Callable[[FakeDebian], Any]
) -> None:
    """Killed with mail in the queue it goes forward; a later removal knows what was its own."""
    before, forward = settled(begin().world()), 0
    for host, at in cut_off(begin().clone(), change):
        if "postqueue" not in host.programs:
            continue
        host.queue = [waiting()]
        told = recover(host, silent)
        if any("it stays as it is now" in note for note in told):
            forward += 1
            read = main_cf_values(host.text("/etc/postfix/main.cf"))
            assert host.running == read, f"killed at {at.method} {at.what}"
        host.queue = []
        change(host)
        rollback.remove(host, silent, force=False)
        after = settled(host.world())
        assert differences(before, after) == {}, f"killed at {at.method} {at.what}"
    assert forward > 5


def test_a_removal_that_mail_stops_leaves_a_host_that_works() -> None:
    """Killed in the middle of a removal, with mail that came: Postfix runs, at boot too."""
    applied = bare()
    do_apply(applied)
    stayed = 0
    for host, at in cut_off(applied.clone(), lambda h: rollback.remove(h, silent, force=False)):
        if "postqueue" not in host.programs:
            continue
        host.queue = [waiting()]
        if not any("it stays as it is now" in note for note in recover(host, silent)):
            continue
        stayed += 1
        what = f"killed at {at.method} {at.what}"
        assert (host.enabled, host.running is not None) == (True, True), what
        assert Store(host).load()[-1].packages_removing is None, what
    assert stayed


def test_a_package_manager_that_fails_leaves_postfix_in_force() -> None:
    """What cannot be removed goes on taking mail, and the next command does not try it again."""
    host = bare()
    do_apply(host)
    before = host.world()
    apt = host.programs["apt-get"]

    def failing(argv: list[str], stdin: bytes) -> Completed:
        if argv[1] == "purge":
            return Completed(
                tuple(argv), 100, "E: Sub-process /usr/bin/dpkg returned an error\n", ""
            )
        return apt(argv, stdin)

    host.programs["apt-get"] = failing  # type: ignore[assignment]
    report = guarded("remove", lambda: rollback.remove(host, silent, force=False))
    assert [error.code for error in report.errors] == ["packages-not-removed"]
    assert [c.state for c in Store(host).load()] == ["done"]
    assert host.running is not None
    assert "authorized_submit_users" not in host.text("/etc/postfix/main.cf")
    assert recover(host, silent) == []
    host.programs["apt-get"] = apt
    assert differences(before["files"], host.world()["files"]) == {}
    assert rollback.remove(host, silent, force=False).exit_code == 0


def test_what_a_person_installs_while_apt_waits_is_theirs() -> None:
    """By hand, one of those that Postfix needs: an installation that ended has marked its own."""
    host = bare()
    host.packages["libgsasl18"] = "ii "
    there: list[Call] = []

    def meanwhile(call: Call) -> None:
        if call.method == "dpkg" and call.what[0] == "unpack" and not there:
            there.append(call)
            host.packages["ssl-cert"] = "ii "
            host.automatic.discard("ssl-cert")

    host.watch = meanwhile
    do_apply(host)
    host.watch = lambda _call: None
    assert there
    assert "ssl-cert" not in (Store(host).load()[0].packages_brought or [])


def test_a_way_back_that_was_cut_off_is_told_as_that() -> None:
    """A removal of two applies, killed anywhere: what recovery says is what it did."""
    applied = bare()
    do_apply(applied)
    do_apply(applied, sender="no-reply@example.org")
    told: set[str] = set()
    for host, _ in cut_off(applied.clone(), lambda h: rollback.remove(h, silent, force=True)):
        told |= set(recover(host, silent))
    assert {note for note in told if "cut off" in note} == {
        f"the way back from apply {number}, which was cut off, is at its end" for number in (1, 2)
    }


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_nobody_listens_any_more(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A terminal that was closed, or `| head -1`, is no reason to stop in the middle."""
    theirs, ours = os.pipe() if kind == "pipe" else pty.openpty()
    stream = os.fdopen(ours, "w", buffering=1)
    monkeypatch.setattr("sys.stderr", stream)
    progress = Progress(quiet=False)
    os.close(theirs)
    progress.say("going back to how the host was")
    progress.say("removing postfix")
    progress.done()
    with contextlib.suppress(OSError):
        stream.close()  # it tries to write once more
