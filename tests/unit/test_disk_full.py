"""A disk that fills up while a transaction is under way: what Postfix then must not go through.

At every write of every change: tests/torture/test_disk_full_everywhere.py.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Callable

import pytest

from sysmail.apply.recovery import recover
from sysmail.apply.scratch import ROOT
from sysmail.commands import apply, rollback
from sysmail.errors import HostError, RefusedError, StepError, SysmailError
from sysmail.host.machine import Machine
from sysmail.host.port import Room
from unit.fake_debian import FakeDebian, main_cf_values
from unit.fake_host import Call

ADMIN = {"admin": "ops@example.com"}
QUEUE = "/var/spool/postfix"
FULL = {"disk-full": Room(9, 100), "no-inodes": Room(9, 10**12, 3)}
TRIED = "trying the new configuration beside the one in force"


def silent(_text: str) -> None:
    """Tell nobody."""


def in_force() -> FakeDebian:
    """A relay in force, for which something else is asked that needs a restart."""
    host = FakeDebian(postfix=True)
    apply.run(host, "", ADMIN, silent)
    asked = {**ADMIN, "postfix": {"inet_protocols": "ipv4"}}
    host.put("/etc/sysmail/policy.json", json.dumps(asked))
    host.changes.clear()
    return host


def stops(host: FakeDebian) -> list[Call]:
    """Whatever stopped the running Postfix."""
    return [c for c in host.changes if c.what[:2] == ("systemctl", "stop")]


def test_room_is_what_anybody_can_take(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of f_bfree ext4 keeps up to 16 MB for itself, from root too: no room, as df(1) has it."""
    said = os.statvfs_result((4096, 4096, 100_000, 4096, 0, 100, 50, 50, 0, 255))
    monkeypatch.setattr("os.statvfs", lambda _path: said)
    assert Machine().room(str(tmp_path)).free == 0


def test_the_trial_needs_no_room_for_a_message() -> None:
    """smtpd(8) says 452 below 1.5 times message_size_limit: more than /run of a small host."""
    host = in_force()
    tried: list[dict[str, str]] = []

    def look(call: Call) -> None:
        if call.what[:3] == ("postfix", "-c", f"{ROOT}/etc") and call.what[3] == "start":
            tried.append(main_cf_values(host.text(f"{ROOT}/etc/main.cf")))

    host.watch = look
    apply.run(host, "", {}, silent)
    assert [values["message_size_limit"] for values in tried] == ["1024"]
    live = main_cf_values(host.text("/etc/postfix/main.cf"))
    assert int(live["message_size_limit"]) > 10**6


@pytest.mark.parametrize("code", FULL)
def test_full_queue_is_found_before_anything_is_touched(code: str) -> None:
    """Where Postfix would not start again, nothing is begun that restarts it."""
    host = in_force()
    host.rooms[QUEUE] = FULL[code]
    with pytest.raises(RefusedError) as caught:
        apply.run(host, "", {}, silent)
    assert (caught.value.code, host.changes) == (code, [])


@pytest.mark.parametrize("code", FULL)
def test_postfix_is_not_stopped_where_it_would_not_start_again(code: str) -> None:
    """Filled up before the restart: Postfix was not asked anything yet, and all is as before."""
    host = in_force()
    before = host.world()

    def fill(text: str) -> None:
        if text == TRIED:
            host.rooms[QUEUE] = FULL[code]

    with pytest.raises(StepError) as caught:
        apply.run(host, "", {}, fill)
    assert caught.value.code == code
    assert "the host is as it was before" in caught.value.message
    assert stops(host) == []
    assert host.world() == before


@pytest.mark.parametrize("code", FULL)
def test_way_back_waits_for_room_where_postfix_has_to_restart(code: str) -> None:
    """Filled up after the restart: it runs on, with its former files, until there is room."""
    host = in_force()
    before = host.world()

    def fill(call: Call) -> None:
        if call.what[:3] == ("systemctl", "start", "postfix.service"):
            host.rooms[QUEUE] = FULL[code]
        if host.rooms and "journal.new" in call.what[0]:
            host.fail_at = len(host.changes)

    host.watch = fill
    with pytest.raises(SysmailError) as caught:
        apply.run(host, "", {}, silent)
    assert "going back is not finished" in caught.value.message
    assert "was not stopped" in caught.value.message
    assert len(stops(host)) == 1
    assert host.world()["files"]["/etc/postfix/main.cf"] == before["files"]["/etc/postfix/main.cf"]
    host.rooms.clear()
    assert recover(host, silent) == ["an apply that was cut off has been undone"]
    assert len(stops(host)) > 1
    assert host.world() == before


def test_postfix_is_not_restarted_where_nothing_of_it_was_changed() -> None:
    """A trial that fails has changed nothing: why stop what may not start again?"""
    host = in_force()
    before = host.world()
    host.scratch_starts = False
    with pytest.raises(StepError):
        apply.run(host, "", {}, silent)
    assert stops(host) == []
    assert host.world() == before


def test_a_trial_for_which_there_is_no_room_is_not_the_configurations_fault() -> None:
    """Postfix has no words for it: its log is there, too."""
    host = in_force()
    before = host.world()
    host.scratch_starts = False

    def fill(text: str) -> None:
        if text == TRIED:
            host.rooms["/run"] = FULL["disk-full"]

    with pytest.raises(StepError) as caught:
        apply.run(host, "", {}, fill)
    assert caught.value.code == "disk-full"
    assert host.world() == before


@pytest.mark.parametrize(("free", "keeps"), [(100, False), (10**6, True)])
def test_the_launcher_keeps_no_half_modules(
    monkeypatch: pytest.MonkeyPatch, free: int, *, keeps: bool
) -> None:
    """Where /run fills up Python writes half a module, and each run after that ends with it."""
    said = os.statvfs_result((4096, 4096, 10**6, free, free, 100, 50, 50, 0, 255))
    monkeypatch.setattr("os.statvfs", lambda _path: said)
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(sys, "argv", ["sysmail", "--help"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "pycache_prefix", None)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    with pytest.raises(SystemExit):
        runpy.run_path(str(Path(__file__).parents[2] / "sysmail"), run_name="__main__")
    assert (sys.pycache_prefix, sys.dont_write_bytecode) == ("/run/sysmail/pycache", not keeps)


@pytest.mark.parametrize("command", [rollback.rollback, rollback.remove])
def test_way_back_that_cannot_begin_says_what_stays(command: Callable[..., object]) -> None:
    """Its journal could not be written: the apply is in force as it was, and that is said."""
    host = FakeDebian(postfix=True)
    apply.run(host, "", ADMIN, silent)
    before = host.world()

    def fill(call: Call) -> None:
        if call.method == "write" and "journal.json" in call.what[0]:
            host.fail_at = len(host.changes)

    host.watch = fill
    with pytest.raises(HostError) as caught:
        command(host, silent, force=False)
    assert caught.value.message.endswith("; apply 1 stays in force as it was")
    assert host.world() == before
