"""Recovery at boot: what is placed for it and when, and that it waits for nothing that waits."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from sysmail.apply.checkpoint import Store
from sysmail.apply.guard import LINK, TOOL, UNIT, place
from sysmail.apply.packages import BOOT_LOCK_SECONDS, BOOT_SECONDS, INSTALL_SECONDS
from sysmail.apply.recovery import recover
from sysmail.cli.main import main
from sysmail.commands import apply, rollback
from sysmail.errors import HostError
from unit.fake_debian import FakeDebian
from unit.fake_host import Call, Died, FakeHost
from unit.test_apply import HOSTS, cut_off, differences, do_apply, fresh, silent

CGROUP = "/proc/self/cgroup"
JOURNAL = "/var/lib/sysmail/checkpoints/0001/journal.json"


def boots(host: FakeDebian) -> FakeDebian:
    """Nothing runs, and what is called now is called by the unit."""
    if host.running is not None:
        host._stop()
    host.exim_runs = False
    host.dynamic[CGROUP] = lambda: b"0::/system.slice/sysmail-recover.service\n"
    return host


def is_up(host: FakeDebian) -> FakeDebian:
    host.dynamic.pop(CGROUP, None)
    return host


def test_it_is_there_before_the_first_journal_and_gone_after_the_last() -> None:
    """From the journal's first moment to its last a boot would find the unit and its tool."""
    host = FakeDebian()
    before = host.tree()
    lacking: list[Call] = []

    def watch(call: Call) -> None:
        there = {LINK, UNIT, TOOL} <= set(host.entries)
        if JOURNAL in host.entries and not there:
            lacking.append(call)

    host.watch = watch
    do_apply(host)
    assert {LINK, UNIT, TOOL} <= set(host.entries)
    assert (host.entries[TOOL].mode, host.entries["/var/lib/sysmail"].mode) == (0o600, 0o700)
    assert host.entries[LINK].target == UNIT
    rollback.remove(host, silent, force=False)
    assert lacking == []
    assert differences(before, host.tree()) == {}
    assert host.changes[-2].what == ("systemctl", "daemon-reload")


def test_it_stays_while_a_checkpoint_does() -> None:
    """After a rollback to an earlier apply it is there, and no run without changes writes it."""
    host = FakeDebian()
    do_apply(host)
    do_apply(host, admin="other@example.com")
    rollback.rollback(host, silent, force=False)
    assert {LINK, UNIT, TOOL} <= set(host.entries)
    host.changes.clear()
    assert do_apply(host).outcome == "unchanged"
    assert [call for call in host.changes if call.what[0] in (LINK, UNIT, TOOL)] == []


@pytest.mark.parametrize("path", [TOOL, UNIT, LINK])
def test_another_tool_brings_its_own(path: str) -> None:
    """What an older tool placed, or somebody took away, is as it should be for the next change."""
    host = FakeDebian()
    do_apply(host)
    placed = host.entries[path]
    host.take(path)
    if path != LINK:
        host.put(path, "of an older sysmail")
    do_apply(host, admin="other@example.com")
    assert (host.entries[path].data, host.entries[path].target) == (placed.data, placed.target)
    assert host.entries[path].mode == placed.mode


def test_nothing_without_systemd() -> None:
    """There is nothing that could run it."""
    host = FakeHost()
    place(host)
    assert host.changes == []
    host.put_directory("/run/systemd/system")
    host.put_directory("/etc/systemd/system")
    place(host)
    assert host.changes != []


def test_killed_while_it_comes_or_goes() -> None:
    """Whatever a killed process left of it, the next command takes it away."""
    host = FakeDebian()
    before = host.tree()
    for command in (do_apply, lambda each: rollback.remove(each, silent, force=False)):
        for cut, at in cut_off(host, command):
            main(["status"], cut)
            if not Store(cut).load():
                left = {**cut.tree()}
                for lock in [path for path in left if path.startswith("/run/")]:
                    del left[lock]
                wanted = {path: s for path, s in before.items() if not path.startswith("/run/")}
                assert differences(wanted, left) == {}, f"killed at {at.method} {at.what}"


def test_a_first_change_that_cannot_begin_leaves_nothing() -> None:
    """A disk that is full while the unit is placed: nothing of it stays."""
    for moment in range(1, 8):
        host = FakeDebian()
        before = host.tree()
        host.fail_at = moment
        with pytest.raises(HostError):
            do_apply(host)
        assert differences(before, host.tree()) == {}, moment


@pytest.mark.parametrize("name", ["bare", "edited Postfix", "in force"])
def test_recovery_at_boot_waits_for_nothing(name: str) -> None:
    """Cut off anywhere, it puts the host back, and starts what ran without waiting for it."""
    host = fresh(HOSTS[name])
    before = host.world()
    for cut, at in cut_off(host, do_apply):
        boots(cut)
        recover(cut, silent)
        moment = f"cut at {at.method} {at.what}"
        if before["running"] is not None and cut.running is None:
            cut._start()  # nothing was to be undone: the boot itself starts it
        assert differences(before, is_up(cut).world()) == {}, moment
        assert (cut.exposed, cut.smtp_asked) == ([], []), moment
        for call in cut.changes:
            if call.what[:2] in (("systemctl", "start"), ("systemctl", "restart")):
                assert call.what[2] == "--no-block", moment
            if call.what[0] == "apt-get":
                assert call.env["SYSTEMD_OFFLINE"] == "1", moment


def test_recovery_at_boot_can_be_cut_off() -> None:
    """The power goes again while it is at work: the boot after that goes on with it."""
    host = fresh(HOSTS["bare"])
    before = host.world()
    cuts = cut_off(host, do_apply)
    for first, at in cuts[10 :: len(cuts) // 4]:
        for second, then in cut_off(boots(first), lambda found: recover(found, silent)):
            recover(boots(second), silent)
            moments = f"cut at {at.method} {at.what} and {then.method} {then.what}"
            assert differences(before, is_up(second).world()) == {}, moments


def cut_in_the_middle() -> FakeDebian:
    host = FakeDebian()
    host.die_at = 40
    with pytest.raises(Died):
        do_apply(host)
    host.revive()
    return host


def test_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The unit's log says what it did, and so does the next command, and no other."""
    host = boots(cut_in_the_middle())
    assert main(["recover"], host) == 0
    assert "an apply that was cut off has been undone" in capsys.readouterr().out
    for expected in (["recovered at boot: an apply that was cut off has been undone"], []):
        main(["--json", "status"], is_up(host))
        assert json.loads(capsys.readouterr().out).get("notes", []) == expected


def test_recover_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    """The command does the same where no systemd runs it, and says when there is nothing to do."""
    host = cut_in_the_middle()
    for outcome, changed in (("recovered", True), ("nothing-to-recover", False)):
        assert main(["--json", "recover"], host) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["outcome"], report["changed"]) == (outcome, changed)
        assert "recovered at boot" not in str(report)


def test_damaged_journal(capsys: pytest.CaptureFixture[str]) -> None:
    """The unit fails with the remedy in its log, and starts nothing."""
    host = boots(cut_in_the_middle())
    host.put(JOURNAL, '{"number": 1, "ki')
    assert main(["recover"], host) == 1
    assert "move /var/lib/sysmail/checkpoints/0001 away" in capsys.readouterr().out
    assert host.running is None
    assert [call for call in host.changes if call.method == "run"] == []


def installing_apt_is_cut_off() -> FakeDebian:
    """Killed when its apt-get has just ended, before what came was written down."""
    came = [cut for cut, _ in cut_off(FakeDebian(), do_apply) if "msmtp" in cut.packages]
    assert Store(came[0]).load()[-1].packages_brought is None
    return came[0]


@pytest.mark.parametrize("handed_over", [False, True])
def test_recovery_at_boot_waits_minutes_for_a_package_manager(*, handed_over: bool) -> None:
    """It may wait for us, as for the start of a service: then recovery fails, closed, and soon."""
    host = installing_apt_is_cut_off()
    if handed_over:
        host.put(JOURNAL, host.text(JOURNAL).replace('over": false', 'over": true'), 0o600)
        assert Store(host).load()[-1].handed_over
    boots(host).held.add("/var/lib/dpkg/lock-frontend")
    started, before = host.clock, host.tree()
    with pytest.raises(HostError) as caught:
        recover(host, silent)
    assert caught.value.code == "package-manager-busy"
    assert 120 <= host.clock - started <= 300
    assert differences(before, host.tree()) == {}
    host.held.clear()
    assert recover(is_up(host), silent) != []


def test_the_unit_may_take_longer_than_it_waits() -> None:
    """systemd does not end it while it waits, nor while the packages go that came."""
    host = FakeDebian()
    do_apply(host)
    minutes = re.search(r"^TimeoutStartSec=(\d+)min$", host.text(UNIT), re.MULTILINE)
    assert minutes is not None
    work = 2 * (INSTALL_SECONDS + BOOT_LOCK_SECONDS)
    assert int(minutes.group(1)) * 60 > BOOT_SECONDS + work


def test_package_manager_at_boot_waits_less_for_its_lock() -> None:
    """What apt-get itself waits for its lock is minutes otherwise, at each call."""
    host = boots(installing_apt_is_cut_off())
    recover(host, silent)
    calls = [call.what for call in host.changes if call.what[0] == "apt-get"]
    assert calls
    for call in calls:
        assert f"DPkg::Lock::Timeout={BOOT_LOCK_SECONDS:.0f}" in call


def test_what_ansible_prepared_is_undone_at_boot() -> None:
    """No package manager outlives a boot, so nothing is waited for."""
    host = FakeDebian()
    before = host.world()
    report = apply.run(host, "", {"admin": "ops@example.com"}, silent, hand_over=True)
    assert report.outcome == "packages-wanted"
    put = host.clone()
    recover(put, silent)
    assert [checkpoint.state for checkpoint in Store(put).load()] == ["packages"]
    recover(boots(host), silent)
    assert differences(before, is_up(host).world()) == {}


@pytest.mark.parametrize(
    ("states", "runs"),
    [
        (["done"], False),
        (["done", "done"], False),
        (["done", "open"], True),
        (["packages"], True),
        (["undoing", "done"], True),
        (["done", None], True),
        ([], True),
    ],
)
def test_condition_of_the_unit(tmp_path: Path, states: list[str | None], runs: bool) -> None:
    """The shell of the unit finds each journal that is not done, and none where all are."""
    host = FakeDebian()
    do_apply(host)
    line = re.search(r"ExecCondition=/bin/sh -c '(.*?)'\n", host.text(UNIT), re.DOTALL)
    assert line is not None
    script = line.group(1).replace("\\\n", " ").replace("$$", "$")
    for number, state in enumerate(states):
        folder = tmp_path / "checkpoints" / f"{number:04d}"
        folder.mkdir(parents=True)
        if state is not None:
            text = host.text(JOURNAL).replace('\n "state": "done"', f'\n "state": "{state}"')
            assert json.loads(text)["state"] == state
            (folder / "journal.json").write_text(text)
    script = script.replace("/var/lib/sysmail", str(tmp_path))
    done = subprocess.run(["/bin/sh", "-c", script], check=False)
    assert done.returncode == (0 if runs else 1)
