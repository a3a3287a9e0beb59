"""Commands that go back, cut off at any change; and what the command after a cut-off one says."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Sequence
from typing import Callable

import pytest

from sysmail import signals
from sysmail.apply import Store, retire
from sysmail.apply.scratch import take_away
from sysmail.cli.main import main
from sysmail.commands import apply, rollback
from sysmail.host.port import Completed
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
