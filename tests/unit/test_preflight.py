"""What would hinder a change is found before anything is touched; a journal that is none, too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmail.apply import guard
from sysmail.apply.checkpoint import HOME, Store
from sysmail.apply.recovery import recover
from sysmail.cli.main import main
from sysmail.commands import apply, rollback, status, try_
from sysmail.errors import RefusedError, StepError, SysmailError
from sysmail.host.machine import Machine
from sysmail.host.port import Room
from sysmail.host.storage import mount_point
from unit.fake_debian import FakeDebian
from unit.fake_host import Call, Died
from unit.test_guard import boots

ADMIN = {"admin": "ops@example.com"}
ROOMY = 10**12


def silent(_text: str) -> None:
    """Tell nobody."""


def in_force() -> FakeDebian:
    host = FakeDebian(postfix=True)
    apply.run(host, "", ADMIN, silent)
    host.changes.clear()
    return host


HINDRANCES: dict[str, tuple[str, Room, str, str]] = {
    "read-only /etc": ("/etc", Room(2, ROOMY, read_only=True), "file-system-read-only", "EROFS"),
    "immutable": (
        "/etc/postfix/main.cf",
        Room(1, ROOMY, immutable="/etc/postfix/main.cf"),
        "file-immutable",
        "EPERM",
    ),
    "mounted": ("/etc/postfix/main.cf", Room(1, ROOMY, mounted=True), "file-mounted", "EBUSY"),
    "full": ("/etc/postfix", Room(3, 100), "disk-full", "0 kB free"),
    "full /var": ("/var", Room(3, 100), "disk-full", "/var/lib/sysmail"),
    "no inodes": ("/etc", Room(3, ROOMY, 2), "no-inodes", "room for 2 more files"),
}


@pytest.mark.parametrize("name", HINDRANCES)
@pytest.mark.parametrize("command", ["apply", "rollback", "remove"])
def test_hindrance_is_told_and_nothing_changes(name: str, command: str) -> None:
    """Refused with the path and the reason, by whatever would change it."""
    host = in_force()
    path, room, code, words = HINDRANCES[name]
    host.rooms[path] = room
    if "postfix/main.cf" in path:
        host.put(path, "changed by somebody, so that it is written\n")
        host.changes.clear()
    runs: dict[str, Callable[[], object]] = {
        "apply": lambda: apply.run(host, "", {"admin": "o@example.com"}, silent),
        "rollback": lambda: rollback.rollback(host, silent, force=True),
        "remove": lambda: rollback.remove(host, silent, force=True),
    }
    with pytest.raises(RefusedError) as caught:
        runs[command]()
    assert caught.value.code == code
    assert words in caught.value.message
    assert "nothing was changed" in caught.value.message
    assert host.changes == []


def test_remedy_names_what_is_to_be_remounted() -> None:
    """mount(8) takes the mount point, not a folder below it."""
    host = in_force()
    host.rooms["/etc"] = Room(2, ROOMY, read_only=True, mount="/etc")
    with pytest.raises(RefusedError) as caught:
        apply.run(host, "", {"admin": "o@example.com"}, silent)
    assert "`mount -o remount,rw /etc`" in caught.value.remedy


@pytest.mark.parametrize(
    ("hook", "refused"),
    [
        ("mount -o remount,rw /usr", False),
        ("/bin/mount /usr -o rw,remount || true", False),
        ("mount -o remount,rw /boot", True),
        ("mount -o remount,rw /usr/local", True),
        ("echo remount,rw", True),
        ("", True),
    ],
)
@pytest.mark.parametrize("command", ["apply", "remove"])
def test_read_only_usr_that_apt_remounts(hook: str, command: str, *, refused: bool) -> None:
    """Debian's manual shows how: apt makes /usr writable by itself while packages change."""
    host = FakeDebian()
    if command == "remove":
        apply.run(host, "", ADMIN, silent)
        host.changes.clear()
    told = f'DPkg::Pre-Invoke "";\nDPkg::Pre-Invoke:: "{hook}";\nDPkg::Post-Invoke:: "true";\n'
    host.answer("apt-config", told)
    host.rooms["/usr"] = Room(7, ROOMY, read_only=True, mount="/usr")
    runs: dict[str, Callable[[], object]] = {
        "apply": lambda: apply.run(host, "", ADMIN, silent),
        "remove": lambda: rollback.remove(host, silent, force=False),
    }
    if not refused:
        runs[command]()
        return
    with pytest.raises(RefusedError) as caught:
        runs[command]()
    assert caught.value.code == "file-system-read-only"
    assert "`mount -o remount,rw /usr`" in caught.value.remedy
    assert host.changes == []


@pytest.mark.parametrize(("megabytes", "fits"), [(18, True), (15, False)])
@pytest.mark.parametrize("replaced", [True, False])
def test_room_for_packages_is_asked_once(megabytes: int, *, fits: bool, replaced: bool) -> None:
    """One file system holds /usr and /var, and packages are downloaded, then installed: once."""
    host = FakeDebian()
    if replaced:
        host.install_exim4()
    host.rooms["/"] = Room(1, megabytes * 1024**2)
    host.rooms["/var/spool"] = Room(2, ROOMY)  # what mail needs is the proof's
    if fits:
        assert apply.run(host, "", ADMIN, silent).exit_code == 0
        return
    with pytest.raises(RefusedError) as caught:
        apply.run(host, "", ADMIN, silent)
    assert (caught.value.code, host.changes) == ("disk-full", [])


def test_a_run_without_changes_needs_no_room() -> None:
    """Where all is as asked, a full disk is no reason to fail."""
    host = in_force()
    host.rooms["/"] = Room(1, 0, 0, read_only=True)
    host.rooms["/var/spool"] = Room(2, ROOMY)  # what mail needs is the proof's
    assert apply.run(host, "", ADMIN, silent).outcome == "unchanged"


@pytest.mark.parametrize("path", ["/var/lib/dpkg/lock-frontend", "/var/lib/apt/lists/lock"])
def test_package_manager_at_work_is_named(path: str) -> None:
    """Whoever holds a lock of apt is named, also where no package would be installed."""
    host = in_force()
    host.held.add(path)
    started = host.clock
    runs: list[Callable[[], object]] = [
        lambda: apply.run(host, "", {"admin": "o@example.com"}, silent),
        lambda: rollback.rollback(host, silent, force=False),
    ]
    for run in runs:
        with pytest.raises(RefusedError, match=r"apt-get \(pid 4711\) holds " + path) as caught:
            run()
        assert caught.value.code == "package-manager-busy"
    assert host.changes == []
    assert host.clock > started, "it waits for a while"


@pytest.mark.parametrize("name", ["read-only /etc", "full /var", "no inodes"])
def test_try_finds_hindrances_too(name: str) -> None:
    """A try changes as much as an apply, so it looks for the same before."""
    host = FakeDebian()
    path, room, code, _ = HINDRANCES[name]
    host.rooms[path] = room
    with pytest.raises(RefusedError) as caught:
        try_.run(host, silent)
    assert caught.value.code == code
    assert host.changes == []


def test_try_waits_for_the_package_manager() -> None:
    """And is refused where that does not end; where it does, what it has installed is seen."""
    host = FakeDebian()
    host.held.add("/var/lib/dpkg/lock-frontend")
    with pytest.raises(RefusedError) as caught:
        try_.run(host, silent)
    assert (caught.value.code, host.changes) == ("package-manager-busy", [])

    class Installing(FakeDebian):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            self.held.clear()
            if "exim4" not in self.packages:
                self.install_exim4()

    installing = Installing()
    installing.held.add("/var/lib/dpkg/lock-frontend")
    with pytest.raises(RefusedError) as caught:
        try_.run(installing, silent)
    assert (caught.value.code, installing.changes) == ("other-mta", [])


def test_way_back_that_is_hindered_is_told_and_gone_on_with() -> None:
    """Both failures are told; what is left is done by the next command once it can be."""
    host = FakeDebian(postfix=True)
    before = host.world()
    full = [False]

    def fail(_call: Call) -> None:
        host.fail_at = len(host.changes) if full[0] else 0

    host.watch = fail

    def say(text: str) -> None:
        full[0] = full[0] or text == "start Postfix with this configuration"

    with pytest.raises(SysmailError) as caught:
        apply.run(host, "", ADMIN, say)
    assert "going back is not finished" in caught.value.message
    assert "goes on with the way back" in caught.value.remedy
    host.watch = lambda _call: None
    host.fail_at = 0
    told = recover(host, silent)
    assert told == ["an apply that was cut off has been undone"]
    assert host.world()["files"] == before["files"]


@pytest.mark.parametrize("command", ["rollback", "remove"])
def test_interrupt_on_the_way_back_waits_until_it_is_done(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C in a rollback: what was begun is finished, and the report says so."""
    for moment in (1, 2, 4, 8, 12):
        host = FakeDebian(postfix=True)
        before = host.world()
        apply.run(host, "", ADMIN, silent)
        host.changes.clear()

        def interrupt(_call: Call, host: FakeDebian = host, moment: int = moment) -> None:
            if len(host.changes) == moment:
                os.kill(os.getpid(), signal.SIGINT)

        host.watch = interrupt
        assert main(["--json", command], host) == 0
        assert json.loads(capsys.readouterr().out)["changed"] is True
        assert len(host.changes) > moment
        assert host.world() == before


def test_unit_that_does_not_start_leaves_postfix_running() -> None:
    """Where the former configuration does not start as a unit, Postfix is started beside it."""
    host = FakeDebian(postfix=True)
    before = host.world()
    systemctl, broken = host.programs["systemctl"], [False]

    def program(argv: Any, stdin: Any) -> Any:
        if broken[0] and argv[1] in ("start", "restart", "reload"):
            done = systemctl(["systemctl", "is-active"], stdin)
            return type(done)(tuple(argv), 1, "", "Job for postfix.service failed.")
        return systemctl(argv, stdin)

    def say(text: str) -> None:
        broken[0] = broken[0] or text == "start Postfix with this configuration"

    def run_scope(_argv: Any, _stdin: Any) -> Any:
        host._start()
        return systemctl(["systemctl", "is-active"], None)

    host.programs["systemctl"], host.programs["systemd-run"] = program, run_scope
    with pytest.raises(StepError) as caught:
        apply.run(host, "", ADMIN, say)
    assert caught.value.code == "service-not-started"
    assert host.world() == before


WRONG: dict[str, Callable[[dict[str, Any]], object]] = {
    "no number": lambda data: data.pop("number"),
    "another number": lambda data: data.update(number=2),
    "a number below one": lambda data: data.update(number=0),
    "true as a number": lambda data: data.update(number=True),
    "unknown state": lambda data: data.update(state="gone"),
    "files that are none": lambda data: data.update(files=[1]),
    "a relative path": lambda data: data["files"][0].update(path="etc/passwd"),
    "a hash that is none": lambda data: data["files"][0].update(after="x"),
    "a backup elsewhere": lambda data: data["files"][0]["before"].update(backup="../../x"),
    "an owner that is none": lambda data: data["files"][0]["before"].update(uid="root"),
    "an owner that no system has": lambda data: data["files"][0]["before"].update(uid=2**32),
    "a mode that no file has": lambda data: data["files"][0]["before"].update(mode=0o100644),
    "access that no file has": lambda data: data["files"][0].update(access=[-1, 0, 0]),
    "a path that cannot be": lambda data: data["files"][0].update(path="/etc/\ud800"),
    "a folder that cannot be": lambda data: data.update(directories=["/etc/a\0b"]),
    "an option for a package": lambda data: data.update(packages_brought=["--purge"]),
    "a package without a name": lambda data: data.update(packages_before=[""]),
    "a time without an end": lambda data: data.update(time=10**400),
    "a time after the last year": lambda data: data.update(time=1e12),
    "a step without a name": lambda data: data.update(steps=[{"summary": "x"}]),
    "a step with more": lambda data: data.update(
        steps=[{"name": "x", "summary": "y", "changed": True, "more": 1}]
    ),
    "an endless time": lambda data: data.update(time=float("nan")),
    "half a route": lambda data: data.update(route={"name": "relay"}),
    "packages that are none": lambda data: data.update(packages_brought=[1]),
    "units that are none": lambda data: data.update(units_before={"x": {"enabled": 1}}),
}


@pytest.mark.parametrize("name", WRONG)
def test_journal_with_wrong_values_is_damaged(name: str) -> None:
    """JSON of the wrong kind is no journal: told, and nothing of it is carried out."""
    host = in_force()
    path = f"{HOME}/checkpoints/0001/journal.json"
    data = json.loads(host.text(path))
    data["files"].sort(key=lambda each: each["before"] is None)
    WRONG[name](data)
    host.put(path, json.dumps(data), 0o600)
    runs: list[Callable[[], object]] = [
        lambda: status.run(host),
        lambda: apply.run(host, "", ADMIN, silent),
        lambda: rollback.remove(host, silent, force=True),
        lambda: recover(host, silent),
    ]
    for run in runs:
        with pytest.raises(SysmailError) as caught:
            run()
        assert caught.value.code == "journal-damaged"
    assert [call for call in host.changes if call.method != "rmtree"] == []


def test_names_of_any_bytes_are_no_damage() -> None:
    """A file name need not be UTF-8: what was remembered of one is put back."""
    host = in_force()
    path = f"{HOME}/checkpoints/0001/journal.json"
    data = json.loads(host.text(path))
    data["directories"].append("/etc/postfix/caf\udce9")
    host.put(path, json.dumps(data), 0o600)
    assert Store(host).load()[0].directories[-1] == "/etc/postfix/caf\udce9"
    guard.tell(boots(host), ["/etc/postfix/caf\udce9 is kept"])
    assert guard.told(host) == ["/etc/postfix/caf\\udce9 is kept"]


def test_interrupted_recovery_says_that_it_is_not_over(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ctrl-C while it begins, or waits for a package manager: nothing is as it was before."""
    host = FakeDebian()
    host.die_at = 40
    with pytest.raises(Died):
        apply.run(host, "", ADMIN, silent)
    host.revive()

    def interrupt(_call: Call) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    host.watch = interrupt
    host.put(f"{HOME}/checkpoints/0001/journal.json.sysmail-new", "x")
    assert main(["--json", "status"], host) == 1
    error = json.loads(capsys.readouterr().out)["errors"][0]
    assert error["code"] == "interrupted"
    assert "as it was before" not in error["message"]
    assert "not undone yet" in error["message"]
    host.watch = lambda _call: None
    host.revive()
    assert recover(host, silent) == ["an apply that was cut off has been undone"]


def test_former_contents_without_a_journal_are_not_thrown_away() -> None:
    """A checkpoint that has lost its journal is damaged; one that was only begun is taken away."""
    host = in_force()
    host.put_directory(f"{HOME}/checkpoints/0002")
    assert recover(host, silent) == []
    assert f"{HOME}/checkpoints/0002" not in host.entries
    host.take(f"{HOME}/checkpoints/0001/journal.json")
    with pytest.raises(SysmailError) as caught:
        recover(host, silent)
    assert caught.value.code == "journal-damaged"
    assert f"{HOME}/checkpoints/0001/000" in host.entries


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


NAMES = """number kind state time files route service submission steps packages_brought
    units_before directories policy""".split()


@given(name=st.sampled_from(NAMES), value=JSON)
def test_any_value_in_a_journal_is_taken_or_told(name: str, value: Any) -> None:
    """Whatever stands in a journal, reading it works or is an error with a code."""
    host = FakeDebian()
    data = {"number": 1, "kind": "apply", "state": "done", name: value}
    host.put(f"{HOME}/checkpoints/0001/journal.json", json.dumps(data), 0o600)
    try:
        Store(host).load()
    except SysmailError as error:
        assert error.code == "journal-damaged"  # noqa: PT017 - either way is fine


def test_room_of_a_real_folder(tmp_path: Path) -> None:
    """The nearest folder that is there counts for what is not there yet."""
    room = Machine().room(str(tmp_path / "a/b/c"))
    assert room.device == tmp_path.stat().st_dev
    assert room.free > 0
    assert (room.read_only, room.immutable, room.mounted) == (False, "", False)
    assert Machine().room("/proc/self/status").mounted is False


def test_mount_point_of_a_read_only_place() -> None:
    """Known where it is asked for; whatever becomes of a folder meanwhile is a told failure."""
    room = Machine().room("/sys/kernel/x/y")
    if room.read_only:
        assert room.mount.startswith("/sys")
    assert mount_point("/proc/self/status") == "/proc"
    assert mount_point("/") == "/"


def test_holder_of_a_lock_is_named(tmp_path: Path) -> None:
    """Another process that holds a lock is named with its process id; nobody is nobody."""
    path = tmp_path / "lock"
    path.touch()
    assert Machine().holder(str(path)) == ""
    script = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); "
        "print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert Machine().holder(str(path)).endswith(f"(pid {other.pid})")
        assert Machine().user_of(str(path)).endswith(f"(pid {other.pid})")
        other.communicate()


def test_second_name_and_rename(tmp_path: Path) -> None:
    """A file keeps its content under a second name, and is put back by a rename."""
    path, second = tmp_path / "file", tmp_path / "file.sysmail-old"
    assert Machine().keep(str(path), str(second)) is False
    path.write_text("old")
    assert Machine().keep(str(path), str(second)) is True
    Machine().write(str(path), b"new", 0o644, os.getuid(), os.getgid())
    Machine().rename(str(second), str(path))
    assert (path.read_text(), second.exists()) == ("old", False)
    with pytest.raises(SysmailError) as caught:
        Machine().rename(str(second), str(path))
    assert caught.value.code == "file-not-written"


@pytest.mark.parametrize("make", [FakeDebian, lambda: FakeDebian(postfix=True), in_force])
def test_masked_unit_is_found_before_anything_is_touched(make: Callable[[], FakeDebian]) -> None:
    """Whoever masked it wants no Postfix to start: told, with what would let it."""
    host = make()
    host.masked = True
    runs: list[Callable[[], object]] = [lambda: apply.run(host, "", ADMIN, silent)]
    if make is not in_force:
        runs.append(lambda: try_.run(host, silent))
    for run in runs:
        with pytest.raises(RefusedError) as caught:
            run()
        assert (caught.value.code, host.changes) == ("service-masked", [])
        assert caught.value.message.startswith("postfix.service is masked")
        assert "`systemctl unmask postfix`" in caught.value.remedy


@pytest.mark.parametrize("back", [rollback.rollback, rollback.remove])
def test_masked_unit_hinders_a_way_back_that_starts_postfix(back: Callable[..., Any]) -> None:
    """Where it ran before; where it goes with its package, it need not start."""
    host = in_force()
    host.masked = True
    with pytest.raises(RefusedError) as caught:
        back(host, silent, force=False)
    assert (caught.value.code, host.changes) == ("service-masked", [])
    bare = FakeDebian()
    before = bare.world()
    apply.run(bare, "", ADMIN, silent)
    bare.masked = True
    assert back(bare, silent, force=False).exit_code == 0
    assert bare.world() == before


def test_unit_that_is_masked_until_the_next_boot() -> None:
    """That mask is in /run, where systemctl(1) looks with an option alone."""
    host = FakeDebian()
    host.masked = True
    systemctl = host.programs["systemctl"]

    def program(argv: Any, stdin: Any) -> Any:
        done = systemctl(argv, stdin)
        out = done.out.replace("UnitFileState=masked", "UnitFileState=masked-runtime")
        return type(done)(done.argv, done.status, out, done.err)

    host.programs["systemctl"] = program
    with pytest.raises(RefusedError) as caught:
        apply.run(host, "", ADMIN, silent)
    assert "`systemctl unmask --runtime postfix`" in caught.value.remedy
