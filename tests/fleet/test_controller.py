"""The controller keeps what it promises: everything the tests with playbooks stand on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from lab import Controller, Host, Lab, LabError, NotOfferedError, ansible
from lab.bases import layers
from lab.clean import traces
from lab.machine import wait_until

pytestmark = pytest.mark.hosts

BASES = ("debian", "arch", "debian11", "debian13")
PASSWORD = "a p@ssword: 'for' \"sudo\""
# Who logs in -> the password that sudo asks for.
USERS = {"root": "", "alice": "", "carol": PASSWORD}
PING = """
- hosts: all
  gather_facts: false
  tasks:
    - name: ping
      ansible.builtin.ping:
    - name: who
      ansible.builtin.command: id -un
      changed_when: false
"""


@pytest.fixture(scope="module")
def fleet(lab: Lab) -> Mapping[str, Host]:
    """A host of every base there is; a release that the mirror has not got is left out."""
    offered: dict[str, dict[str, Any]] = {}
    for base in BASES:
        try:
            layers(base)
        except NotOfferedError:
            continue
        offered[f"on-{base}"] = {"base": base}
    return {host.base: host for host in lab.hosts(offered).values()}


@pytest.fixture(scope="module")
def ways(controller: Controller, fleet: Mapping[str, Host]) -> Mapping[str, dict[str, Any]]:
    """Every way into every host: inventory name -> variables."""
    return {
        f"{base}-{user}": controller.admit(host, user, sudo)
        for base, host in fleet.items()
        for user, sudo in USERS.items()
    }


@pytest.mark.parametrize("pipelining", [False, True])
@pytest.mark.parametrize("series", ansible.series())
def test_every_ansible_reaches_every_host(
    controller: Controller, ways: Mapping[str, dict[str, Any]], series: str, pipelining: bool
) -> None:
    """As root and through sudo, with and without a password, modules run, and no more of them."""
    # What differs between series is in the modules, and not in the ways in.
    tried = [name for name in ways if series == ansible.newest() or name.endswith("-carol")]
    inventory = {"all": {"hosts": {name: ways[name] for name in tried}}}
    played = controller.play(PING, inventory, series=series, pipelining=pipelining)
    assert played.status == 0, played.out + played.err
    assert sorted(played.stats) == sorted(tried)
    for name in tried:
        ping, who = played.of(name)
        assert (ping.action, ping.kind, ping.result["ping"]) == (
            "ansible.builtin.ping",
            "ok",
            "pong",
        )
        assert who.result["stdout"] == "root"
        assert played.modules(name) == ["ansible.builtin.ping", "ansible.legacy.command"]
        assert len(played.files(name)) == (0 if pipelining else 2)
    assert (played.changed(), played.failed(), played.unreachable()) == ([], {}, [])
    assert PASSWORD not in played.out + played.err


def test_modules_are_counted_as_the_host_counts_them(
    controller: Controller, fleet: Mapping[str, Host], ways: Mapping[str, dict[str, Any]]
) -> None:
    """What is said to have run on a host is what its own journal has, the parts of actions too."""
    host = fleet["debian"]
    cursor = host.run("journalctl -qn0 --show-cursor").stdout.strip().removeprefix("-- cursor: ")
    book = """
- hosts: debian-root
  tasks:
    - name: copy
      ansible.builtin.copy: {content: "x", dest: /root/copied, mode: "0644"}
    - name: nothing
      ansible.builtin.command: "true"
      when: false
    - name: here
      ansible.builtin.ping:
      delegate_to: localhost
      become: false
"""
    played = controller.play(book, {"all": {"hosts": {"debian-root": ways["debian-root"]}}})
    assert played.status == 0, played.out + played.err
    said = host.run(["journalctl", "-q", "-o", "cat", "--output-fields=SYSLOG_IDENTIFIER",
                     "--after-cursor", cursor, "-g", "Invoked with"])  # fmt: skip
    ran = [line.removeprefix("ansible-") for line in said.stdout.splitlines() if line]
    assert ran == played.modules("debian-root")
    assert ran[0] == "ansible.legacy.setup"
    assert "ansible.legacy.copy" in ran
    assert played.modules("") == ["ansible.builtin.ping"]
    assert [r.kind for r in played.of("debian-root", "nothing")] == ["skipped"]


def test_a_host_that_is_cut_off_is_unreachable(
    lab: Lab, controller: Controller, fleet: Mapping[str, Host], ways: Mapping[str, dict[str, Any]]
) -> None:
    """It is reported as that, with nothing run on it; the others go on, and it can come back."""
    inventory = {"all": {"hosts": {name: ways[name] for name in ("debian-root", "arch-alice")}}}
    controller.hang_up()
    lab.cut(fleet["arch"])
    try:
        played = controller.play(PING, inventory)
    finally:
        lab.join(fleet["arch"])
    assert (played.status, played.unreachable()) == (4, ["arch-alice"]), played.out
    assert (played.modules("arch-alice"), len(played.modules("debian-root"))) == ([], 2)
    assert played.stats["arch-alice"]["unreachable"] == 1
    assert controller.play(PING, inventory).status == 0


def test_failures_are_told_apart(
    controller: Controller, fleet: Mapping[str, Host], ways: Mapping[str, dict[str, Any]]
) -> None:
    """A failed task fails the run with its message, an ignored one does not; --check is obeyed."""
    book = """
- hosts: all
  gather_facts: false
  tasks:
    - name: passed over
      ansible.builtin.command: "false"
      ignore_errors: true
    - name: file
      ansible.builtin.copy: {content: "x", dest: /root/checked, mode: "0644"}
    - name: end
      ansible.builtin.fail: {msg: "on purpose"}
"""
    inventory = {"all": {"hosts": {"debian-root": ways["debian-root"]}}}
    played = controller.play(book, inventory, "--diff", check=True)
    assert (played.status, played.failed()) == (2, {"debian-root": "on purpose"})
    assert [r.kind for r in played.of("debian-root")] == ["skipped", "ok", "failed"]
    assert played.changed() == ["debian-root"]
    assert not (fleet["debian"].root / "root/checked").exists()
    played = controller.play(book, inventory)
    (over,) = played.of("debian-root", "passed over")
    assert (over.kind, over.ignored) == ("failed", True)
    assert (fleet["debian"].root / "root/checked").exists()


@pytest.mark.parametrize(
    ("base", "module", "package"),
    [
        ("debian", "ansible.builtin.apt", "acl"),
        ("debian11", "ansible.builtin.apt", "ca-certificates"),
        ("debian13", "ansible.builtin.apt", "ca-certificates"),
        ("arch", "community.general.pacman", "s-nail"),
    ],
)
def test_packages_are_installed_offline(
    controller: Controller,
    fleet: Mapping[str, Host],
    ways: Mapping[str, dict[str, Any]],
    base: str,
    module: str,
    package: str,
) -> None:
    """Ansible's own modules install from the repository inside the host, and once is enough."""
    if base not in fleet:
        pytest.skip(f"the mirror does not offer {base}")
    name = f"{base}-alice"
    task: dict[str, Any] = {"name": "install", module: {"name": package, "update_cache": True}}
    inventory = {"all": {"hosts": {name: ways[name]}}}
    book = [{"hosts": "all", "gather_facts": False, "tasks": [task]}]
    played = controller.play(book, inventory)
    assert (played.status, played.changed()) == (0, [name]), played.out + played.err
    query = f"pacman -Q {package}" if base == "arch" else f"dpkg-query -W {package}"
    assert package in fleet[base].run(query).stdout
    # (pacman's module takes a refresh of the database for a change, so the second time has none.)
    del task[module]["update_cache"]
    again = controller.play(book, inventory)
    assert (again.status, again.changed()) == (0, []), again.out + again.err


def test_nothing_of_a_controller_stays() -> None:
    """Connections that ssh keeps open, a play that is not done, and all files end with the lab."""
    with Lab() as own:
        own.controller.admit(own.host("x"))
        assert own.controller.play(PING).status == 0
        assert any("[mux]" in trace for trace in traces(own.id))
        slow = PING.replace("id -un", "sleep 100")
        with pytest.raises(LabError, match="not done after 5 s"):
            own.controller.play(slow, timeout=5)
        # The workers, which have left the group of the process that started them, as well.
        wait_until("the play has ended", lambda: not running(own.id), 10)
    assert traces(own.id) == []


def running(lab: str) -> list[str]:
    """The processes of a play."""
    return [trace for trace in traces(lab) if "ansible-playbook" in trace]
