"""Commands that go back, cut off at any change; and what the command after a cut-off one says."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Sequence
from typing import Callable

import pytest

from sysmail import signals
from sysmail.apply import guard, retire
from sysmail.apply.checkpoint import Store
from sysmail.apply.edits import BESIDE, KEPT
from sysmail.apply.recovery import recover
from sysmail.apply.scratch import take_away
from sysmail.cli.main import main
from sysmail.commands import apply, rollback
from sysmail.errors import HostError
from sysmail.host.port import Completed
from sysmail.session import guarded
from unit.fake_debian import FakeDebian, main_cf_values
from unit.fake_host import Call, Died
from unit.test_apply import ADMIN, HOSTS, bare, cut_off, differences, fresh, put_back, silent

Command = Callable[[FakeDebian], object]


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    """pytest's own handlers come back, whatever a command did to them."""
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    former = [signal.getsignal(name) for name in names]
    yield
    for name, handler in zip(names, former):
        signal.signal(name, handler)


def do_apply(host: FakeDebian) -> object:
    return apply.run(host, "", ADMIN, silent)


def do_rollback(host: FakeDebian) -> object:
    return rollback.rollback(host, silent, force=True)


def do_remove(host: FakeDebian) -> object:
    return rollback.remove(host, silent, force=True)


def once(name: str) -> FakeDebian:
    host = fresh(HOSTS[name])
    do_apply(host)
    return host


def twice(name: str) -> FakeDebian:
    host = once(name)
    apply.run(host, "", {"admin": "other@example.com"}, silent)
    return host


WAYS_BACK = [
    (f"{made.__name__}, {name}, {back.__name__}", made, name, back)
    for name in ("bare", "untouched Postfix", "edited Postfix")
    for made, back in ((once, do_rollback), (twice, do_rollback), (twice, do_remove))
]


@pytest.mark.parametrize(("made", "name", "back"), [w[1:] for w in WAYS_BACK], ids=lambda _x: "")
def test_death_on_the_way_back(made: Callable[[str], FakeDebian], name: str, back: Command) -> None:
    """Killed at any change of a rollback or removal: as before, or as after that many applies."""
    host = made(name).clone()
    worlds = [host.world()]
    asked = host.clone()
    back(asked)
    worlds.append(asked.world())
    if Store(asked).load() == [] and len(Store(host).load()) > 1:
        between = host.clone()
        do_rollback(between)  # a removal that ended after one of its applies
        worlds.append(between.world())
    for cut, at in cut_off(host, back):
        put_back(cut)
        found = [differences(world, cut.world()) for world in worlds]
        assert {} in found, f"killed at {at.method} {at.what}: {found}"
        assert Store(cut).is_clean(), f"killed at {at.method} {at.what}"


def test_death_while_packages_go_that_came_along() -> None:
    """apt-get forgets that they only came along before it removes them: no person asked for them.

    But for the one that a person did ask for.
    """
    host = bare()
    host.automatic |= {"libgsasl18", "ssl-cert"}
    do_apply(host)
    host.automatic.discard("libgsasl18")
    for cut, at in cut_off(host, do_remove):
        put_back(cut)
        if not Store(cut).load():
            found = cut.packages.keys() & {"postfix", "msmtp", "libgsasl18", "ssl-cert"}
            assert found == {"libgsasl18"}, f"killed at {at.method} {at.what}"


@pytest.mark.parametrize("command", [do_apply, do_rollback, do_remove])
def test_no_empty_directory_is_left(command: Command) -> None:
    """Also where nothing but a directory of sysmail's was there yet, or still: it goes."""
    host = bare() if command is do_apply else once("bare").clone()
    for cut, at in cut_off(host, command):
        put_back(cut)
        kept = [path for path in cut.entries if path.startswith("/var/lib/sysmail")]
        assert bool(kept) == bool(Store(cut).load()), f"killed at {at.method} {at.what}: {kept}"


def test_half_a_journal_beside_a_whole_one() -> None:
    """What a write that was cut off left beside a journal that is in force goes."""
    host = once("untouched Postfix")
    left = "/var/lib/sysmail/checkpoints/0001/journal.json.sysmail-new"
    host.put(left, "{", 0o600)
    assert not Store(host).is_clean()
    put_back(host)
    assert left not in host.entries
    assert Store(host).is_clean()


NEXT = [["status"], ["plan"], ["prove"], ["queue", "list"], ["rollback"], ["remove"]]


@pytest.mark.parametrize("words", NEXT, ids=" ".join)
def test_any_command_says_what_it_recovered(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that then fails itself says all the same that it recovered the host."""
    host = fresh(HOSTS["bare"])
    before = host.world()
    host.die_at = 40
    with pytest.raises(Died):
        do_apply(host)
    host.revive()
    main(["--json", *words], host)
    report = json.loads(capsys.readouterr().out)
    assert any("cut off has been undone" in note for note in report["notes"])
    assert differences(before, host.world()) == {}


def test_interrupted_at_every_change(capsys: pytest.CaptureFixture[str]) -> None:
    """A signal at any change: as before at once, nothing to recover; or it was done already."""
    done = interrupted = 0
    for moment in range(1, 500):
        host = fresh(HOSTS["bare"])
        before = host.world()
        if not _signalled(host, moment):
            break
        report = json.loads(capsys.readouterr().out)
        at = host.changes[moment - 1]
        if report["outcome"] == "interrupted":
            interrupted += 1
            assert report["errors"][0]["code"] == "interrupted"
            assert differences(before, host.world()) == {}, f"at {at.method} {at.what}"
            assert Store(host).is_clean()
            assert Store(host).load() == []
        else:
            done += 1
            assert report["outcome"] == "applied"
            assert [c.state for c in Store(host).load()] == ["done"], f"at {at.method} {at.what}"
    assert interrupted > 20
    assert 0 < done < interrupted


def _signalled(host: FakeDebian, moment: int) -> bool:
    """Apply with SIGTERM at one of its changes, and again seven changes later; whether it came."""

    def watch(_call: Call) -> None:
        if len(host.changes) in (moment, moment + 7):
            os.kill(os.getpid(), signal.SIGTERM)

    host.watch = watch
    main(["--json", "apply", "--admin", "ops@example.com"], host)
    return len(host.changes) >= moment


def test_signals_are_held_and_come_back() -> None:
    """Inside `held` a signal does nothing; outside it interrupts, once."""
    signals.catch()
    with signals.held():
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(signals.Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)  # the way back is not cut off


@pytest.mark.parametrize("closed", [True, False])
def test_mail_keeps_a_postfix_that_has_no_configuration_of_ours(closed: bool) -> None:
    """The main.cf of a package that a cut-off swap left: on loopback alone, and mail waits."""
    host = FakeDebian()
    host.put_directory("/etc/postfix")
    host.put("/etc/postfix/main.cf", "compatibility_level = 3.7\n")
    if closed:
        retire.close_sendmail(host)
    retire.open_sendmail(host)
    kept = main_cf_values(host.text("/etc/postfix/main.cf"))
    assert kept["inet_interfaces"] == "loopback-only"
    assert kept["default_transport"].startswith("retry:")
    # Nothing is picked up: cleaned with that main.cf, a sender would be one that nobody owns.
    assert {"inet", "pickup/unix"} <= set(kept["master_service_disable"].split(", "))
    assert "authorized_submit_users" not in kept


def _read_only(host: FakeDebian, *beginnings: str) -> None:
    """From now on nothing can be written there."""
    write, mkdir, rename = host.write, host.mkdir, host.rename

    def refuse(path: str) -> None:
        if path.startswith(beginnings):
            raise HostError("file-not-written", f"{path} could not be written: EROFS", "remount")

    def write_(path: str, *rest: object, **named: object) -> None:
        refuse(path)
        write(path, *rest, **named)  # type: ignore[arg-type]

    def mkdir_(path: str, *rest: object, **named: object) -> None:
        refuse(path)
        mkdir(path, *rest, **named)  # type: ignore[arg-type]

    def rename_(path: str, name: str) -> None:
        refuse(name)
        rename(path, name)

    host.write, host.mkdir, host.rename = write_, mkdir_, rename_  # type: ignore[method-assign]


def test_a_way_back_is_not_blocked_by_what_it_can_do_without() -> None:
    """Without the unit of the boot, and with no place for somebody's version, it goes on."""
    host = once("untouched Postfix").clone()
    before = host.world()
    tried = 0
    for cut, at in cut_off(host, lambda h: apply.run(h, "", {"admin": "o@example.com"}, silent)):
        checkpoint = Store(cut).load()[-1]
        path = "/etc/postfix/sysmail/recipient"
        if checkpoint.state != "open" or path not in cut.entries:
            continue
        if not any(entry["path"] == path for entry in checkpoint.files):
            continue
        tried += 1
        cut.put(path, "# mended by hand\n")
        cut.take(guard.UNIT)
        _read_only(cut, guard.UNIT, KEPT)
        told = recover(cut, silent)
        what = f"killed at {at.method} {at.what}: {told}"
        after = cut.world()
        beside = path + BESIDE
        assert cut.text(beside) == "# mended by hand\n", what
        assert any(beside in note for note in told), what
        assert any(guard.UNIT in note for note in told), what
        for missing in (guard.UNIT, beside):
            before["files"].pop(missing, None)
            after["files"].pop(missing, None)
        assert differences(before, after) == {}, what
    assert tried > 3


def test_what_a_removal_has_to_tell_is_told_by_whoever_finishes_it() -> None:
    """Cut off or failed anywhere: where an edited file is kept is said, now or by the next one."""
    host = twice("untouched Postfix")
    path = "/etc/postfix/sysmail/generic"
    host.put(path, "# mine\n")
    host = host.clone()
    kept = 0
    for cut, at in cut_off(host, do_remove):
        if not Store(cut).load():
            continue  # it was over
        told = recover(cut, silent)
        if Store(cut).load():
            report = rollback.remove(cut, silent, force=True)
            told += report.notes
        what = f"killed at {at.method} {at.what}: {told}"
        if KEPT + path in cut.entries:
            assert any(KEPT + path in note for note in told), what
            kept += 1
    assert kept > 10


def test_a_removal_that_fails_half_way_tells_what_it_has_to_tell() -> None:
    """The error comes with the notes so far, and the command that goes on has them all."""
    host = twice("untouched Postfix")
    path = "/etc/postfix/sysmail/generic"
    host.put(path, "# mine\n")
    host = host.clone()
    moments = len(cut_off(host.clone(), do_remove))
    told = 0
    for moment in range(1, moments, 3):
        failing = host.clone()
        failing.fail_at = moment
        report = guarded("remove", lambda each=failing: rollback.remove(each, silent, force=True))  # type: ignore[misc]
        failing.fail_at = 0
        if not report.errors or KEPT + path not in failing.entries:
            continue
        is_open = any(c.state == "undoing" for c in Store(failing).load())
        assert any(KEPT + path in note for note in report.notes), moment
        notes = [*recover(failing, silent)]
        if not is_open and not Store(failing).load():
            continue  # it failed when it was over
        if Store(failing).load():
            notes += rollback.remove(failing, silent, force=True).notes
        assert any(KEPT + path in note for note in notes), moment
        told += is_open
    assert told


SCRATCH = "/run/sysmail/scratch"


def runs(host: FakeDebian, pid: int, name: str, namespace: str, environment: str = "") -> None:
    """A process of the host, or of a container on it."""
    host.dynamic[f"/proc/{pid}/comm"] = f"{name}\n".encode
    host.dynamic[f"/proc/{pid}/environ"] = lambda: environment.encode() + b"\0"
    host.put_link(f"/proc/{pid}/ns/pid", namespace)


@pytest.mark.parametrize("name", ["postdrop", "postfix"])
def test_processes_of_containers_are_left_alone(name: str) -> None:
    """A container has a postdrop, or a sysmail, of its own: only the host's own are ended."""
    host = FakeDebian(postfix=True)
    host.put_link("/proc/self/ns/pid", "pid:[4026531836]")
    for pid, namespace in ((5001, "pid:[4026531836]"), (5002, "pid:[4026532999]")):
        runs(host, pid, name, namespace, f"MAIL_CONFIG={SCRATCH}/etc")
    ended: list[str] = []

    def shell(argv: Sequence[str], _stdin: object) -> Completed:
        ended.append(argv[2])
        host.dynamic.pop("/proc/5001/environ", None)
        return Completed(tuple(argv), 0, "", "")

    host.programs["sh"] = shell
    if name == "postdrop":
        retire.end_postdrops(host)
    else:
        host.put_directory(SCRATCH)
        take_away(host)
    assert [words.split()[2:] for words in ended] == [["5001"]]


def test_clock_that_goes_back_lets_nothing_wait_for_ever() -> None:
    """A process of the trial that cannot be ended is waited for by a clock that nobody sets."""

    class GoesBack(FakeDebian):
        def now(self) -> float:
            return super().now() - 1e6 * self.slept

        slept = 0

        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            self.slept += 1
            assert self.slept < 5000, "it waits for ever"

    host = GoesBack(postfix=True)
    runs(host, 5001, "postfix", "", f"MAIL_CONFIG={SCRATCH}/etc")
    host.put_directory(SCRATCH)
    take_away(host)
    assert SCRATCH not in host.entries
