"""A fleet of twelve hosts, three of them in trouble: what a play meets where there are many."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from onhost import differences, queue, sendmail, snapshot, sysmail

from fleet import browser
from lab import Controller, Host, Lab
from lab.arrivals import wait_for_messages
from lab.machine import wait_until
from lab.played import Played

pytestmark = pytest.mark.hosts

GONE = "web7"  # cut off
SERVER = "web6"  # somebody's mail server already
BROKEN = "web5"  # dpkg cannot read its own database
FINE = (*(f"web{number}" for number in range(1, 5)), *(f"arch{number}" for number in range(1, 6)))
# Half of the fleet sends through Mailu, half by itself.
TO_MAILU = FINE[::2]
DIRECT = FINE[1::2]
CA_FILE = "/etc/sysmail/ca.pem"
TASK = "sysmail.host.sys_svc_mail : Decide which way mail leaves this host, set it up and prove it"
PING = [{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.ping": {}}]}]
PLAY = [{"hosts": "all", "gather_facts": False, "roles": ["sysmail.host.sys_svc_mail"]}]
IS_A_SERVER = (
    "this host is a mail server already: Postfix is the destination of example.com "
    "(mydestination); Postfix has virtual_alias_domains = example.net; "
    "Postfix has virtual_alias_maps = inline:{info@example.net=root}"
)
LEAVE_IT = "leave it as it is, or give --adopt to replace it (everything is kept for rollback)"
READ_ROWS = """
[...document.querySelectorAll('tbody tr')].map(row => ({
    name: row.cells[0].textContent,
    outcome: row.cells[1].textContent,
    route: row.cells[2].textContent,
    verdicts: [...row.cells].slice(3, 13).map(cell => cell.textContent),
    queue: row.cells[13].textContent,
    trouble: row.cells[15].textContent,
}))
"""


@dataclass(frozen=True)
class Fleet:
    """The hosts by name, and the policy that each is to get, as `sys_svc_mail_policy`."""

    hosts: Mapping[str, Host]
    policies: Mapping[str, Mapping[str, Any]]
    inventory: Mapping[str, Any]


@dataclass(frozen=True)
class Ran:
    """The role's play, the page of it, and what the two that must not be touched were before."""

    played: Played
    page: Path
    before: Mapping[str, Mapping[str, str]]


@pytest.fixture(scope="module")
def fleet(lab: Lab, controller: Controller) -> Iterator[Fleet]:
    """Seven Debian hosts and five with pacman, which are taken away after the module's tests."""
    wanted: dict[str, dict[str, Any]] = {f"web{number}": {} for number in range(1, 8)}
    wanted |= {f"arch{number}": {"base": "arch"} for number in range(1, 6)}
    wanted[SERVER] = {"packages": ["postfix"]}
    hosts = lab.hosts(wanted)
    try:
        policies = {name: _policy(lab, name) for name in hosts}
        inventory = {}
        for name, host in hosts.items():
            sudo = {} if host.base == "arch" else {"user": "alice"}
            variables = controller.admit(host, **sudo)
            inventory[name] = {**variables, "sys_svc_mail_policy": policies[name]}
            _trust_the_lab(lab, host)
        _serve_mail(hosts[SERVER])
        _damage_packages(hosts[BROKEN])
        controller.hang_up()
        lab.cut(hosts[GONE])
        yield Fleet(hosts, policies, {"all": {"hosts": inventory}})
    finally:
        controller.hang_up()
        for host in hosts.values():
            lab.remove(host)


@pytest.fixture(scope="module")
def first(controller: Controller, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The first run of the role, with modules in files, told as much of as anybody asks for."""
    page = tmp_path_factory.mktemp("first") / "page.html"
    before = _states(fleet, [SERVER, BROKEN])
    return Ran(_play(controller, fleet.inventory, page), page, before)


@pytest.fixture(scope="module")
def second(
    controller: Controller, fleet: Fleet, first: Ran, tmp_path_factory: pytest.TempPathFactory
) -> Ran:
    """The same once more, over pipelines."""
    assert first.played.results
    page = tmp_path_factory.mktemp("second") / "page.html"
    names = [name for name in fleet.hosts if name != GONE]
    before = _states(fleet, names)
    return Ran(_play(controller, fleet.inventory, page, pipelining=True), page, before)


def _play(controller: Controller, inventory: Mapping[str, Any], page: Path, **how: Any) -> Played:
    env = {"ANSIBLE_CALLBACKS_ENABLED": "results,sysmail.host.page", "SYSMAIL_PAGE": f"{page}"}
    return controller.play(PLAY, inventory, "-vvv", env=env, **how)


def _states(fleet: Fleet, names: list[str]) -> dict[str, dict[str, str]]:
    with ThreadPoolExecutor(2) as pool:
        states = pool.map(lambda name: _state(fleet.hosts[name]), names)
        return dict(zip(names, states, strict=True))


def _state(host: Host) -> dict[str, str]:
    """The files, the packages, and since when Postfix runs."""
    databases = "sha256sum /var/lib/dpkg/status; ls /var/lib/dpkg/info; ls -R /var/lib/pacman/local"
    return {
        **snapshot(host),
        "packages": host.run(f"{{ {databases}; }} 2>/dev/null | sha256sum").stdout,
        "master": host.run("pgrep -x master", check=False).stdout,
        "journal": f"{(host.root / 'var/lib/sysmail').exists()}",
    }


def _kinds(played: Played) -> dict[str, str]:
    """What each host's last task came to."""
    return {name: played.of(name)[-1].kind for name in played.stats}


def _policy(lab: Lab, name: str) -> dict[str, Any]:
    policy: dict[str, Any] = {"admin": "ops@example.org", "route": "relay"}
    if name in TO_MAILU:
        policy["mailu"] = {
            "host": lab.mailu.host,
            "username": lab.mailu.username,
            "password": lab.mailu.password,
            "ca_file": CA_FILE,
        }
    return policy


def _trust_the_lab(lab: Lab, host: Host) -> None:
    file = host.root / CA_FILE.lstrip("/")
    file.parent.mkdir(exist_ok=True)
    shutil.copy(lab.mailu.ca_file, file)


def _serve_mail(host: Host) -> None:
    """A Postfix that somebody set up by hand to receive mail for two domains."""
    host.run(["postconf", "-e", "inet_interfaces = all", "mydestination = example.com, localhost",
              "virtual_alias_domains = example.net",
              "virtual_alias_maps = inline:{info@example.net=root}"])  # fmt: skip
    host.run("systemctl restart postfix")


def _damage_packages(host: Host) -> None:
    """As after a disk that was full: the end of dpkg's database is garbage."""
    with (host.root / "var/lib/dpkg/status").open("a") as status:
        status.write("\nPackage: half\nStat")


def test_all_but_the_one_that_is_cut_off_are_reached(controller: Controller, fleet: Fleet) -> None:
    """A play works on eleven hosts and names the twelfth; nobody waits for it but the play."""
    played = controller.play(PING, fleet.inventory, pipelining=True)
    assert played.unreachable() == [GONE], played.out
    reached = [name for name in fleet.hosts if name != GONE]
    assert [len(played.modules(name)) for name in reached] == [1] * 11
    assert played.failed() == {}


def test_the_three_are_in_the_trouble_that_is_meant(fleet: Fleet) -> None:
    """The mail server is one for sysmail, and dpkg fails on the host with the damaged database."""
    refused = sysmail(fleet.hosts[SERVER], "apply", "--admin", "ops@example.org")
    assert (refused.status, refused.codes) == (1, ["mail-server"])
    broken = fleet.hosts[BROKEN].run("dpkg --audit", check=False)
    assert broken.returncode != 0
    assert "status" in broken.stderr


def test_each_host_ends_with_its_own_outcome(fleet: Fleet, first: Ran) -> None:
    """Nine are set up, two fail with a code of their own, and one is unreachable."""
    played = first.played
    assert played.status != 0
    assert _kinds(played) == {
        **dict.fromkeys(FINE, "ok"),
        SERVER: "failed",
        BROKEN: "failed",
        GONE: "unreachable",
    }
    assert sorted(played.stats) == sorted(fleet.hosts)
    assert played.changed() == sorted(FINE)
    for name, code in ((SERVER, "mail-server"), (BROKEN, "packages-not-installed")):
        errors = played.of(name, TASK)[0].result["report"]["errors"]
        assert [error["code"] for error in errors] == [code]
    assert played.failed()[SERVER].startswith(IS_A_SERVER)


def test_nobodys_trouble_stops_the_others(first: Ran) -> None:
    """Every healthy host has its own next hop, and all ten promises hold on it."""
    for name in FINE:
        (done,) = first.played.of(name, TASK)
        report = done.result["report"]
        assert (done.changed, report["outcome"]) == (True, "applied"), name
        hop = "mailu" if name in TO_MAILU else "direct"
        assert (report["route"]["name"], report["route"]["next_hop"]) == ("relay", hop)
        assert [verdict["status"] for verdict in report["verdicts"]] == ["pass"] * 10, name


def test_host_with_a_broken_package_database_says_so(first: Ran) -> None:
    """Its failure has the words of apt or dpkg about the database, and what to do."""
    (error,) = first.played.of(BROKEN, TASK)[0].result["report"]["errors"]
    assert error["message"].startswith("ansible.builtin.apt: ")
    assert "/var/lib/dpkg/status" in error["message"]
    assert error["message"].endswith("; the host is as it was before")
    assert error["remedy"] == "install them by hand to see all of it"


def test_hosts_that_fail_are_as_before(fleet: Fleet, first: Ran) -> None:
    """Not even the tool stays on them, and the mail server that was there runs on."""
    now = _states(fleet, list(first.before))
    for name, before in first.before.items():
        assert differences(before, now[name]) == [], name
    assert first.before[SERVER]["master"]


def test_second_run_changes_nothing(fleet: Fleet, second: Ran) -> None:
    """No task reports a change, no file differs, no Postfix is restarted, outcomes are the same."""
    assert second.played.changed() == []
    assert _kinds(second.played) == {
        **dict.fromkeys(FINE, "ok"),
        SERVER: "failed",
        BROKEN: "failed",
        GONE: "unreachable",
    }
    names = list(second.before)
    now = _states(fleet, names)
    for name in names:
        assert differences(second.before[name], now[name]) == [], name
    assert all(now[name]["master"] for name in FINE)


def test_second_run_is_one_module_a_host(second: Ran) -> None:
    """A host that has everything is asked once, and no module is carried there in a file."""
    for name in FINE:
        assert second.played.modules(name) == ["sysmail"], name
        assert second.played.files(name) == [], name


def test_facts_are_not_gathered(first: Ran, second: Ran) -> None:
    """No run executes the module that gathers facts, on no host and by no name."""
    for played in (first.played, second.played):
        ran = {done.name for done in played.on_hosts if done.kind == "module"}
        assert ran <= {"sysmail", "ansible.builtin.apt", "community.general.pacman"}
        assert "sysmail" in ran


def test_mail_of_every_healthy_host_arrives_once(lab: Lab, fleet: Fleet, second: Ran) -> None:
    """What an ordinary user sends is counted where it is received, at Mailu or at the exchanger."""
    assert second.played.results
    ids = {name: f"<{name}@fleet.invalid>" for name in FINE}
    for name in FINE:
        message = f"Message-ID: {ids[name]}\nSubject: from {name}\n\nhello\n"
        sendmail(fleet.hosts[name], message, "someone@example.org", user="alice")

    def at_mailu() -> list[str]:
        return sorted(found for found in lab.mailu.ids() if "@fleet.invalid" in found)

    def at_mx() -> list[tuple[str, str]]:
        found = ((each.message["Message-ID"], each.peer) for each in lab.mx.messages())
        return sorted((str(id_), peer) for id_, peer in found if "@fleet.invalid" in str(id_))

    wait_for_messages(at_mailu, bool, len(TO_MAILU), 60)
    wait_for_messages(at_mx, bool, len(DIRECT), 60)
    sent_all = "all mail has left every host"
    wait_until(sent_all, lambda: not any(queue(fleet.hosts[name]) for name in FINE), 30, 0.5)
    assert at_mailu() == sorted(ids[name] for name in TO_MAILU)
    came = dict(at_mx())
    assert len(at_mx()) == len(came)
    assert sorted(came) == sorted(ids[name] for name in DIRECT)
    for name in DIRECT:
        assert came[ids[name]] in (fleet.hosts[name].address, fleet.hosts[name].address6)


def test_page_has_every_host_with_its_outcome(first: Ran, second: Ran) -> None:
    """In a browser the page has each host, its route, its verdicts, what failed, what to do."""
    for ran, changed in ((first, " changed"), (second, "")):
        rows = _read(ran.page)
        assert {name: row["outcome"] for name, row in rows.items()} == {
            **dict.fromkeys(FINE, f"proven{changed}"),
            SERVER: "failed",
            BROKEN: "failed",
            GONE: "unreachable",
        }
        for name in FINE:
            row = rows[name]
            hop = "mailu" if name in TO_MAILU else "direct"
            assert (row["route"], row["verdicts"]) == (f"relay → {hop}", ["pass"] * 10), name
            assert (row["queue"], row["trouble"]) == ("0", "")
        assert rows[SERVER]["trouble"] == f"mail-server {IS_A_SERVER}{LEAVE_IT}"
        assert rows[BROKEN]["trouble"].startswith("packages-not-installed ansible.builtin.apt: ")
        assert "/var/lib/dpkg/status" in rows[BROKEN]["trouble"]
        assert rows[BROKEN]["trouble"].endswith("install them by hand to see all of it")
        assert "Failed to connect to the host via ssh" in rows[GONE]["trouble"]
        assert rows[GONE]["trouble"].endswith("then run the playbook again")


def _read(page: Path) -> dict[str, Any]:
    """The rows of a page, as a browser shows them."""
    with browser.start() as running:
        tab = running.page()
        tab.open(page.as_uri())
        rows: list[dict[str, Any]] = tab.run(READ_ROWS)
    assert len(rows) == len({row["name"] for row in rows})
    return {row["name"]: row for row in rows}


def test_password_is_told_to_nobody(
    lab: Lab, controller: Controller, fleet: Fleet, first: Ran, second: Ran, tmp_path: Path
) -> None:
    """It is in no output at -vvv and on no page, not even where the policy beside it is wrong."""
    name = TO_MAILU[0]
    wrong = {**fleet.policies[name], "admn": "ops@example.org"}
    own = {**fleet.inventory["all"]["hosts"][name], "sys_svc_mail_policy": wrong}
    page = tmp_path / "page.html"
    refused = _play(controller, {"all": {"hosts": {name: own}}}, page, pipelining=True)
    assert "admn" in refused.failed()[name]
    assert refused.modules(name) == []
    for ran in (first, second, Ran(refused, page, {})):
        said = ran.played.out + ran.played.err
        assert "EXEC ssh" in said or ran.played is refused
        assert lab.mailu.password not in said
        assert lab.mailu.password not in ran.page.read_text()
