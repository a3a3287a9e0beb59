"""Packages that somebody else installs while sysmail is at work, or was cut off, are theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import Callable

import pytest

from sysmail import distro
from sysmail.apply.checkpoint import Store
from sysmail.apply.recovery import recover
from sysmail.commands import rollback
from unit.fake_debian import FakeDebian
from unit.fake_host import Call
from unit.test_apply import COMMANDS, bare, cut_off, do_apply, put_back, silent
from unit.test_mailu import go, relay

OURS = {"postfix", "ssl-cert", "msmtp", "libgsasl18"}


def _theirs(host: FakeDebian) -> None:
    """By hand one that needs another, which comes along, and one that came with neither."""
    host.somebody_installs("figlet", "libfiglet")
    host.packages["figlet-fonts"] = "ii "
    host.automatic.add("figlet-fonts")  # recommended by one of theirs: nothing depends on it


def test_what_came_after_a_kill_stays() -> None:
    """Killed anywhere in the first install; what came before the next command is not ours."""
    installing = 0
    for cut, at in cut_off(bare(), COMMANDS["apply"]):
        came = OURS & cut.packages.keys()
        _theirs(cut)
        recover(cut, silent)
        what = f"killed at {at.method} {at.what}"
        assert {"figlet", "libfiglet", "figlet-fonts"} <= cut.packages.keys(), what
        assert OURS & cut.packages.keys() == set(), what
        installing += bool(came)
    assert installing > 10


def test_what_is_needed_after_a_kill_stays() -> None:
    """Whatever needs a Postfix that a killed apply brought keeps it, closed."""
    kept = 0
    for cut, at in cut_off(bare(), COMMANDS["apply"]):
        if cut.packages.get("postfix") != "ii ":
            continue
        cut.somebody_installs("mailutils")
        cut.needs["mailutils"] = "postfix"
        told = recover(cut, silent)
        what = f"killed at {at.method} {at.what}"
        assert "postfix stays installed: mailutils needs it" in told, what
        assert {"postfix", "mailutils"} <= cut.packages.keys(), what
        assert cut.exposed == [], what
        assert Store(cut).load() == [], what
        kept += 1
    assert kept > 10


@pytest.mark.parametrize("moment", ["unpack", "configure"])
def test_what_came_meanwhile_is_not_taken_for_ours(moment: str) -> None:
    """apt-get waits for somebody else's lock; what that one installed stays at the removal."""
    host = bare()

    def watch(call: Call) -> None:
        if call.what == (moment, "postfix"):
            _theirs(host)

    host.watch = watch
    do_apply(host)
    checkpoint = Store(host).load()[0]
    assert set(checkpoint.packages_brought or ()) == OURS
    rollback.remove(host, silent, force=False)
    assert {"figlet", "libfiglet", "figlet-fonts"} <= host.packages.keys()
    assert OURS & host.packages.keys() == set()


def test_an_owners_wish_to_remove_what_nobody_needs_is_not_ours_to_fulfil() -> None:
    """APT::Get::AutomaticRemove in the host's apt.conf: our calls remove what they name alone."""
    host = bare()
    host.removes_automatically = True
    host.packages["old-library"] = "ii "
    host.automatic.add("old-library")
    do_apply(host)
    assert "old-library" in host.packages
    rollback.remove(host, silent, force=False)
    assert "old-library" in host.packages
    assert OURS & host.packages.keys() == set()


def test_a_postfix_that_stays_keeps_its_services() -> None:
    """Who keeps Postfix finds the master.cf of its package, and not none at all."""
    host = bare()
    do_apply(host)
    do_apply(host, sender="no-reply@example.org")
    host.somebody_installs("mailutils")
    host.needs["mailutils"] = "postfix"
    rollback.remove(host, silent, force=False)
    assert host.text("/etc/postfix/master.cf") == "# the package's master.cf\n"
    assert host.running is None


def _locking(monkeypatch: pytest.MonkeyPatch) -> str:
    """A package manager whose lock is that a file is there, as pacman's is; its path."""
    lock = "/var/lib/manager/db.lck"
    row = replace(distro.APT, locks=(lock,), lock_files=(lock,))
    monkeypatch.setattr(distro, "DISTROS", (row,))
    return lock


@pytest.mark.parametrize("command", [go, lambda host: rollback.rollback(host, silent, force=True)])
def test_a_lock_that_a_cut_off_download_left_is_ours(
    monkeypatch: pytest.MonkeyPatch, command: Callable[[FakeDebian], object]
) -> None:
    """Cut off while packages are downloaded, the next command lets the manager in again."""
    lock = _locking(monkeypatch)
    host = relay()
    if command is not go:
        go(host)
    downloads = 0
    for cut, at in cut_off(host, command):
        if "--download-only" in at.what:
            downloads += 1
            cut.put(lock, "")
            put_back(cut)
            assert lock not in cut.entries
            assert Store(cut).is_clean()
    assert downloads


def test_a_lock_of_somebody_else_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing of ours was cut off, nobody's lock is taken away."""
    lock = _locking(monkeypatch)
    host = relay()
    go(host)
    host.put(lock, "")
    put_back(host)
    assert lock in host.entries
