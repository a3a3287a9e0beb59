"""A package of somebody else's that cannot be set up: apt fails at it, whatever it is asked."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from sysmail.apply import packages
from sysmail.apply.recovery import recover
from sysmail.commands import apply, rollback, status
from sysmail.errors import RefusedError, StepError
from unit.fake_debian import FakeDebian
from unit.fake_host import Call, Died
from unit.make import ROWS
from unit.test_apply import bare, differences, do_apply, silent

OTHER = "brokenpkg"


def exim4() -> FakeDebian:
    host = FakeDebian()
    host.install_exim4()
    return host


HOSTS = [bare, exim4]


def without_other(world: dict[str, Any]) -> dict[str, Any]:
    """All of a host but the other package, which is none of ours."""
    return {**world, "packages": {k: v for k, v in world["packages"].items() if k != OTHER}}


def breaks_at(host: FakeDebian, *what: str) -> None:
    """Let the other package break at the first change that begins with these words."""

    def watch(call: Call) -> None:
        if (call.method, *call.what)[: len(what)] == what:
            host.somebody_breaks(OTHER)

    host.watch = watch


@pytest.mark.parametrize("make", HOSTS)
def test_apply_refuses_before_anything_is_changed(make: Callable[[], FakeDebian]) -> None:
    """Named, with what to do, where packages would come: apt would fail half-way."""
    host = make()
    host.somebody_breaks(OTHER)
    with pytest.raises(RefusedError, match=f"{OTHER}.*; nothing was changed") as caught:
        do_apply(host)
    assert (caught.value.code, host.changes) == ("packages-half-installed", [])
    assert "`dpkg --configure -a`" in caught.value.remedy
    assert f"`apt-get purge {OTHER}`" in caught.value.remedy


@pytest.mark.parametrize("make", HOSTS)
@pytest.mark.parametrize("back", [rollback.rollback, rollback.remove])
def test_way_back_refuses_before_anything_is_changed(
    make: Callable[[], FakeDebian], back: Callable[..., Any]
) -> None:
    """So do rollback and remove where packages would go; once it is whole, they work."""
    host = make()
    before = host.world()
    do_apply(host)
    host.changes.clear()
    host.somebody_breaks(OTHER)
    with pytest.raises(RefusedError, match=OTHER) as caught:
        back(host, silent, force=False)
    assert (caught.value.code, host.changes) == ("packages-half-installed", [])
    assert status.run(host).exit_code == 0
    host.packages.pop(OTHER)
    host.broken.clear()
    back(host, silent, force=False)
    assert differences(before, host.world()) == {}


def test_nothing_is_refused_where_no_package_is_touched() -> None:
    """A change of the policy alone, and its rollback, need no package manager."""
    host = bare()
    do_apply(host)
    host.somebody_breaks(OTHER)
    assert do_apply(host, admin="other@example.com").exit_code == 0
    assert rollback.rollback(host, silent, force=False).exit_code == 0


def test_our_own_package_may_be_half_installed_where_it_goes() -> None:
    """An upgrade of Postfix that failed does not keep it from being removed."""
    host = bare()
    before = host.world()
    do_apply(host)
    host.broken.add("postfix")
    host.packages["postfix"] = "iF "
    assert rollback.remove(host, silent, force=False).exit_code == 0
    assert differences(before, host.world()) == {}


def test_our_own_package_that_was_cut_off_is_made_whole_by_the_next_apply() -> None:
    """As where mail that waited kept a cut-off apply: there is nobody else's package then."""
    host = bare()
    do_apply(host)
    host.packages["postfix"] = "iU "
    del host.packages["msmtp"]
    assert do_apply(host).exit_code == 0
    assert host.packages["msmtp"] == "ii "


def test_packages_of_an_ansible_that_was_cut_off_are_made_whole_too() -> None:
    """What the host was prepared for, and what came along, is not known to be ours yet."""
    host = bare()
    assert apply.run(host, "", {"admin": "ops@example.com"}, silent, hand_over=True).exit_code == 2
    host._dpkg_install(["ssl-cert", "postfix"])
    host.packages.update({"postfix": "iU ", "ssl-cert": "iU "})
    assert do_apply(host).exit_code == 0
    assert host.packages["msmtp"] == "ii "


@pytest.mark.parametrize("ends", [True, False])
def test_package_that_is_just_set_up_is_waited_for(*, ends: bool) -> None:
    """While a package manager is at work, packages are half installed; that is no fault."""

    class Installing(FakeDebian):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if ends:
                self.held.clear()
                self.packages[OTHER] = "ii "

    host = Installing()
    do_apply(host)
    host.packages[OTHER] = "iU "
    host.held.add("/var/lib/dpkg/lock-frontend")
    if ends:
        assert rollback.remove(host, silent, force=False).exit_code == 0
        return
    with pytest.raises(RefusedError) as caught:
        rollback.remove(host, silent, force=False)
    assert caught.value.code == "package-manager-busy"


@pytest.mark.parametrize("make", HOSTS)
def test_installation_is_judged_by_our_own_packages(make: Callable[[], FakeDebian]) -> None:
    """Where it breaks while ours come, apt has done our part: the apply goes on, and says so."""
    host = make()
    said: list[str] = []
    breaks_at(host, "dpkg", "unpack", "postfix")
    assert apply.run(host, "", {"admin": "ops@example.com"}, said.append).exit_code == 0
    assert any(OTHER in line for line in said), said
    assert not any(call.what[:2] == ("apt-get", "update") for call in host.changes)


@pytest.mark.parametrize("make", HOSTS)
def test_failed_apply_goes_all_the_way_back(make: Callable[[], FakeDebian]) -> None:
    """Where it breaks while ours come, and Postfix does not start then: nothing of ours stays."""
    host = make()
    before = host.world()
    breaks_at(host, "dpkg", "unpack", "postfix")
    host.starts = False
    with pytest.raises(StepError) as caught:
        do_apply(host)
    assert caught.value.code == "service-not-started"
    assert caught.value.message.endswith("; the host is as it was before")
    assert any(OTHER in note for note in caught.value.notes), caught.value.notes
    assert differences(before, without_other(host.world())) == {}


@pytest.mark.parametrize("make", HOSTS)
def test_removal_that_meets_it_comes_to_its_end(make: Callable[[], FakeDebian]) -> None:
    """Broken once the removal has begun: all of ours goes, and a note names the other package."""
    host = make()
    before = host.world()
    do_apply(host)
    breaks_at(host, "run", "systemctl", "stop")
    report = rollback.remove(host, silent, force=False)
    assert any(OTHER in note and "dpkg --configure -a" in note for note in report.notes)
    assert differences(before, without_other(host.world())) == {}


@pytest.mark.parametrize("make", HOSTS)
def test_recovery_comes_to_its_end_wherever_it_was_cut_off(make: Callable[[], FakeDebian]) -> None:
    """Ours are half done, and the other is broken besides: all of ours goes."""
    moment, notes = 0, list[str]()
    while True:
        moment += 1
        host = make()
        before = host.world()
        host.die_at = moment
        try:
            do_apply(host)
        except Died:
            host.revive()
            host.somebody_breaks(OTHER)
            notes += recover(host, silent)
            assert differences(before, without_other(host.world())) == {}, moment
            continue
        break
    assert moment > 20
    assert any(OTHER in note for note in notes)


def test_failure_of_our_own_is_still_one() -> None:
    """What is not whole of ours fails the installation, whatever else is broken."""
    host = bare()
    before = host.world()
    host.broken.add("postfix")
    breaks_at(host, "dpkg", "unpack", "postfix")
    with pytest.raises(StepError) as caught:
        do_apply(host)
    assert caught.value.code == "packages-not-installed"
    assert differences(before, without_other(host.world())) == {}


def test_removal_that_fails_for_ours_is_still_told() -> None:
    """dpkg(1) is asked for ours alone; what it cannot remove either is told."""
    host = bare()
    do_apply(host)
    host.somebody_breaks(OTHER)
    dpkg = host.programs["dpkg"]

    def program(argv: Any, stdin: Any) -> Any:
        done = dpkg(["dpkg", "--configure", "-a"], stdin)
        return type(done)(tuple(argv), 1, "dpkg: error processing package postfix:\n why\n", "")

    host.programs["dpkg"] = program
    with pytest.raises(StepError, match="why") as caught:
        packages.uninstall(host, ROWS["apt"], ["postfix", "msmtp"], silent)
    assert caught.value.code == "packages-not-removed"
