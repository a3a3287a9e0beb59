"""Installing and removing packages: a second try with fresh lists, and the manager's own words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Optional

import pytest

from sysmail.apply import packages
from sysmail.distro import DISTROS, Distro
from sysmail.errors import StepError
from sysmail.host.port import Completed
from unit.fake_host import FakeHost
from unit.make import ROWS

APT = ROWS["apt"]


class Manager:
    """A package manager that fails at the given calls, and knows what is installed."""

    def __init__(self, host: FakeHost, distro: Distro, *failing: str) -> None:
        self.installed: set[str] = set()
        self.verbs: list[str] = []
        self._failing = list(failing)
        host.programs[distro.query[0]] = self._query
        host.programs[distro.install[0]] = self._call

    def _query(self, argv: Sequence[str], _stdin: Optional[bytes]) -> Completed:
        return Completed(tuple(argv), 0, "".join(f"ii  {n} 1\n" for n in self.installed), "")

    def _call(self, argv: Sequence[str], _stdin: Optional[bytes]) -> Completed:
        verb = argv[1]
        self.verbs.append(verb)
        if verb in self._failing:
            self._failing.remove(verb)
            said = "Reading package lists...\nE: Unable to locate package postfix\nbye\n"
            return Completed(tuple(argv), 100, said, "")
        if verb == "install":
            self.installed |= set(argv[len(APT.install) :])
        elif verb == "purge":
            self.installed -= set(argv[len(APT.uninstall) :])
        return Completed(tuple(argv), 0, "Setting up postfix (3.7.11) ...\nmore\n", "")


def test_old_package_lists_are_renewed() -> None:
    """Where an installation fails, the package lists are renewed and it is tried once more."""
    host = FakeHost()
    manager = Manager(host, APT, "install")
    said: list[str] = []
    packages.install(host, APT, ["postfix", "msmtp"], said.append)
    assert manager.verbs == ["install", "update", "install"]
    assert manager.installed == {"postfix", "msmtp"}
    assert said[0] == "renewing the package lists"
    assert said[-1] == "Setting up postfix (3.7.11) ..."
    assert "more" not in said


def test_lists_are_not_renewed_without_need() -> None:
    """An installation that works asks the network for no lists."""
    host = FakeHost()
    manager = Manager(host, APT)
    packages.install(host, APT, ["postfix"], print)
    assert manager.verbs == ["install"]


def test_second_failure_is_told_in_the_managers_words() -> None:
    """What fails twice is told by the line that the package manager marks as its error."""
    host = FakeHost()
    Manager(host, APT, "install", "install")
    with pytest.raises(StepError, match="E: Unable to locate package postfix") as caught:
        packages.install(host, APT, ["postfix"], print)
    assert caught.value.code == "packages-not-installed"
    assert "apt-get install" in caught.value.remedy


def test_success_without_the_package_is_a_failure() -> None:
    """A manager that reports success and installed nothing is not believed."""
    host = FakeHost()
    host.answer("dpkg-query")
    host.answer("apt-get", "all done\n")
    with pytest.raises(StepError, match="msmtp") as caught:
        packages.install(host, APT, ["msmtp"], print)
    assert caught.value.code == "packages-not-installed"


def test_installation_asks_nobody() -> None:
    """Installing answers no question and starts nothing by itself that could ask one."""
    host = FakeHost()
    Manager(host, APT)
    packages.install(host, APT, ["postfix"], print)
    call = next(c for c in host.changes if c.what[:2] == ("apt-get", "install"))
    assert call.env["DEBIAN_FRONTEND"] == "noninteractive"
    assert "--no-install-recommends" in call.what
    assert "Dpkg::Options::=--force-confold" in call.what


def test_only_what_is_there_is_removed() -> None:
    """Exactly the named packages that are there are removed; with none of them nothing is run."""
    host = FakeHost()
    manager = Manager(host, APT)
    manager.installed = {"postfix", "other"}
    packages.uninstall(host, APT, ["postfix", "msmtp"], print)
    assert manager.installed == {"other"}
    manager.verbs.clear()
    packages.uninstall(host, APT, ["postfix", "msmtp"], print)
    assert manager.verbs == []


def test_removal_that_fails_is_told() -> None:
    """A removal that fails is told in the package manager's words."""
    host = FakeHost()
    manager = Manager(host, APT, "purge", "purge")
    manager.installed = {"postfix"}
    with pytest.raises(StepError, match="E: Unable") as caught:
        packages.uninstall(host, APT, ["postfix"], print)
    assert caught.value.code == "packages-not-removed"


def test_both_sides_are_downloaded_before_one_replaces_the_other() -> None:
    """What comes and what goes is downloaded first, so that the way back needs no network."""
    host = FakeHost()
    Manager(host, APT)
    packages.fetch(host, APT, ["msmtp-mta"], ["postfix"], print)
    calls = [call.what for call in host.changes if call.what[0] != "sync"]
    assert [call[-1] for call in calls] == ["msmtp-mta", "postfix"]
    assert host.changes[-1].what[0] == "sync"
    assert all({"--download-only", "--reinstall"} <= set(call) for call in calls)


def test_download_that_fails_replaces_nothing() -> None:
    """Where one side cannot be downloaded, that is told, and nothing is installed."""
    host = FakeHost()
    manager = Manager(host, APT, "install", "install")
    with pytest.raises(StepError, match="E: Unable to locate") as caught:
        packages.fetch(host, APT, ["msmtp-mta"], ["postfix"], print)
    assert caught.value.code == "packages-not-downloaded"
    assert manager.verbs == ["install", "update", "install"]


def test_replacing_uses_the_managers_own_way() -> None:
    """Packages that exclude others are installed by the command that lets those go."""
    host = FakeHost()
    pacman = ROWS["pacman"]
    host.programs["pacman"] = lambda argv, _in: Completed(tuple(argv), 0, "msmtp-mta 1\n", "")
    packages.install(host, pacman, ["msmtp-mta"], print, ["postfix"])
    packages.install(host, pacman, ["msmtp-mta"], print)
    assert [call.what for call in host.changes if call.what[0] != "sync"] == [
        (*pacman.replace, "msmtp-mta"),
        (*pacman.install, "msmtp-mta"),
    ]


@pytest.mark.parametrize("state", ["rc", "ic", "pc"])
def test_configuration_that_is_left_is_removed_too(state: str) -> None:
    """Removing also takes what dpkg keeps of a package that was replaced: its configuration.

    Where apt-get was killed between removing and purging, dpkg still wants it installed.
    """
    host = FakeHost()
    host.answer("dpkg-query", f"{state}  postfix 3.7.11\nii  other 1\nun  msmtp 1\n")
    host.answer("apt-get")
    packages.uninstall(host, APT, ["postfix", "msmtp", "absent"], print)
    assert [call.what for call in host.changes] == [(*APT.uninstall, "postfix")]


@pytest.mark.parametrize("row", DISTROS, ids=lambda row: row.name)
def test_no_row_removes_more_than_it_is_told(row: Distro) -> None:
    """No distribution's removal takes along what nobody named."""
    words = {*row.uninstall, *row.install}
    assert not words & {"autoremove", "--auto-remove", "--autoremove", "-Rns", "-Rs", "--cascade"}
    assert row.postfix
    assert row.ca_file.startswith("/")
