"""The roles do on every host what the command line does there, and tell the truth about it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from onhost import (
    differences,
    listeners,
    packages,
    sendmail,
    snapshot,
    sysmail,
    units,
)

from lab import Controller, Host, Lab, ansible
from lab.controller import _kill_all
from lab.debian import REPOSITORY
from lab.host import CHECKOUT
from lab.machine import wait_until
from lab.played import Played

pytestmark = pytest.mark.hosts

MAIL, SMTP, MSMTP = ROLES = ("sys_svc_mail", "sys_svc_mail_smtp", "sys_svc_mail_msmtp")
ADMIN: Mapping[str, Any] = {"admin": "ops@example.org"}
CA_FILE = "/etc/lab-ca.pem"
# Name -> base, installed packages, who logs in, the password that sudo asks for.
HOSTS: Mapping[str, tuple[str, list[str], str, str]] = {
    "web": ("debian", [], "alice", ""),
    "arch": ("arch", [], "root", ""),
    "old": ("debian11", [], "alice", ""),
    "new": ("debian13", [], "carol", "a p@ssword: 'for' \"sudo\""),
    "ready": ("debian", ["postfix", "msmtp"], "alice", ""),
}
LOOPBACK = {"127.0.0.1:25", "[::1]:25"}
BARE = ("web", "arch", "old", "new")
# What a bare host can only plan once its packages are there: the names of their units, whether
# installing has enabled them, and whether there is a queue.
LATE = ("file /etc/systemd/system/", "service enable", "queue requeue")
# Once the tool has made ready for the packages: before that it waits for whoever has the lock.
HOLD_DPKG = """
import fcntl, glob, sys, time
def ready():
    journals = glob.glob("/var/lib/sysmail/checkpoints/*/journal.json")
    return any('"state": "packages"' in open(path).read() for path in journals)
while not ready():
    time.sleep(0.005)
lock = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
MARK = "SYSMAIL_TEST_OF_ROLES"


class Fleet:
    """Hosts of every kind, and plays on them."""

    def __init__(self, lab: Lab, controller: Controller) -> None:
        """Boot and admit them, and remember how they were."""
        self.lab, self.controller = lab, controller
        wanted = {name: {"base": base, "packages": has} for name, (base, has, *_) in HOSTS.items()}
        self.hosts = lab.hosts(wanted)
        self.ways = {
            name: controller.admit(self.hosts[name], user, sudo)
            for name, (_, _, user, sudo) in HOSTS.items()
        }
        for host in self.hosts.values():
            shutil.copy(lab.mailu.ca_file, host.root / CA_FILE.lstrip("/"))
        self.before = self.states()

    def states(self, *names: str) -> dict[str, dict[str, str]]:
        """How the hosts are: files, packages, units, sockets, sysmail's own records."""
        return {name: state(self.hosts[name]) for name in names or self.hosts}

    def play(
        self,
        *names: str,
        roles: tuple[str, ...] = (MAIL,),
        policy: Mapping[str, Any] = ADMIN,
        args: tuple[str, ...] = (),
        groups: Mapping[str, Any] | None = None,
        absent: bool = False,
        variables: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> Played:
        """Play roles on some of the hosts, all of them unless named."""
        named = [name if "-" in name else f"sysmail.host.{name}" for name in roles]
        inventory = {
            "all": {
                "children": {
                    "fleet": {"hosts": {name: self.ways[name] for name in names or self.hosts}},
                    **(groups or {}),
                },
                "vars": {
                    "sys_svc_mail_policy": dict(policy),
                    "sys_svc_mail_state": "absent" if absent else "present",
                    **(variables or {}),
                },
            }
        }
        # With duplicates, which Ansible otherwise leaves out.
        tasks = [{"name": name, "ansible.builtin.include_role": {"name": name}} for name in named]
        book = [{"hosts": "fleet", "gather_facts": False, "tasks": tasks}]
        return self.controller.play(book, inventory, *args, **how)

    def absent(self, *names: str) -> None:
        """Make sysmail absent, whether it was there or not."""
        played = self.play(*names, absent=True, pipelining=True)
        assert (played.status, played.failed()) == (0, {}), played.out + played.err

    def mailu(self, **more: str) -> dict[str, Any]:
        """What an inventory says of Mailu."""
        mailu = self.lab.mailu
        login = {"username": mailu.username, "password": mailu.password, "ca_file": CA_FILE}
        return {"hosts": {mailu.host: {"sys_svc_mail_mailu": {**login, **more}}}}


@dataclass(frozen=True)
class First:
    """A check of hosts that know nothing of sysmail, and then the first run."""

    check: Played
    checked: Mapping[str, Mapping[str, str]]
    run: Played


@pytest.fixture(scope="module")
def fleet(lab: Lab, controller: Controller) -> Iterator[Fleet]:
    """The hosts, for the tests of this file."""
    made = Fleet(lab, controller)
    try:
        yield made
    finally:
        controller.hang_up()
        for host in made.hosts.values():
            lab.remove(host)


@pytest.fixture(scope="module")
def first(fleet: Fleet) -> First:
    """The first check and the first run, on all of them."""
    check = fleet.play(args=("--diff",), check=True)
    checked = fleet.states()
    return First(check, checked, fleet.play(args=("--diff",)))


def state(host: Host) -> dict[str, str]:
    """Everything about a host that a role may change."""
    own = """
    cd /var/lib && find sysmail -printf '%p %y %m %u\\n' 2>/dev/null
    find sysmail -type f -exec sha256sum {} + 2>/dev/null
    systemctl is-active postfix postfix@- 2>/dev/null
    true
    """
    lines = [*packages(host), *units(host), *listeners(host), *host.run(own).stdout.splitlines()]
    return {**snapshot(host), **{f"{number} {line}": "" for number, line in tally(lines)}}


def tally(lines: list[str]) -> list[tuple[int, str]]:
    """Lines with how often each was there before, so that none hides another."""
    return [(lines[:index].count(line), line) for index, line in enumerate(lines)]


def outside(state: Mapping[str, str]) -> dict[str, str]:
    """A state without sysmail's own records, which know of every run."""
    return {name: rest for name, rest in state.items() if " sysmail/" not in name}


def without_tool(state: Mapping[str, str]) -> dict[str, str]:
    """The same without the tool, which the lab has elsewhere, and which no two compile alike."""
    return {name: rest for name, rest in outside(state).items() if "usr/local/" not in name}


def reports(played: Played, name: str) -> list[Mapping[str, Any]]:
    """The reports of a host, in the order of the roles."""
    return [r.result["report"] for r in played.of(name) if "report" in r.result]


def steps(played: Played, name: str) -> list[Mapping[str, Any]]:
    """The steps of the one report of a host."""
    (report,) = reports(played, name)
    found: list[Mapping[str, Any]] = report["steps"]
    return found


def timeless(report: Mapping[str, Any]) -> str:
    """A report as the command line prints it, but for when the oldest message came."""
    queue = report.get("queue")
    whole = {**report, "queue": queue and {**queue, "oldest": None}}
    return json.dumps(whole, ensure_ascii=False)


def well(played: Played) -> Played:
    """A play in which nothing failed."""
    assert (played.status, played.failed(), played.unreachable()) == (0, {}, []), (
        played.out + played.err
    )
    return played


def checkpoints(host: Host) -> list[dict[str, Any]]:
    """The journals on a host."""
    folder = host.root / "var/lib/sysmail/checkpoints"
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/journal.json"))]


def drift(host: Host) -> None:
    """What a person may have done to main.cf."""
    main_cf = host.root / "etc/postfix/main.cf"
    main_cf.write_text(main_cf.read_text() + "# a note of mine\n")


def drop_notes(*hosts: Host) -> None:
    """What `drift` wrote is kept where sysmail goes (docs/faults.md), and nothing else is."""
    for host in hosts:
        kept = host.root / "var/lib/sysmail/kept"
        if kept.exists():
            files = [path for path in kept.rglob("*") if path.is_file()]
            assert all("# a note of mine" in path.read_text() for path in files), files
            host.run("rm -r /var/lib/sysmail/kept && rmdir /var/lib/sysmail")


# --- the first run ---


def test_a_check_writes_nothing(fleet: Fleet, first: First) -> None:
    """--check leaves hosts without sysmail as they are, the tool is not on them either."""
    well(first.check)
    for name, before in fleet.before.items():
        assert differences(before, first.checked[name]) == [], name
        assert first.check.modules(name) == ["sysmail", "sysmail"]


def test_a_check_foresees_the_first_run(fleet: Fleet, first: First) -> None:
    """What --check says is what the run does, but for what needs the packages to be there."""
    well(first.run)
    assert first.check.changed() == first.run.changed() == sorted(fleet.hosts)
    for name in BARE:
        foreseen, done = ([s["name"] for s in steps(p, name)] for p in (first.check, first.run))
        until = foreseen.index("packages") + 1
        assert steps(first.check, name)[:until] == steps(first.run, name)[:until]
        late = [[s for s in found if not s.startswith(LATE)] for found in (foreseen, done)]
        assert late[0] == late[1], name
    assert steps(first.check, "ready") == steps(first.run, "ready")
    for played in (first.check, first.run):
        assert "+inet_interfaces = loopback-only" in played.out, "no diff was printed"


@pytest.mark.parametrize("name", BARE)
def test_a_bare_host_goes_through_one_transaction(fleet: Fleet, first: First, name: str) -> None:
    """The host is prepared, the distribution's module installs, and one journal has all of it."""
    well(first.run)
    module = "community.general.pacman" if name == "arch" else "ansible.builtin.apt"
    did = first.run.modules(name)
    assert [*dict.fromkeys(did)] == ["sysmail", module]
    assert (did[:3], did[-1], did.count("sysmail")) == (
        ["sysmail", "sysmail", module],
        "sysmail",
        3,
    )
    (journal,) = checkpoints(fleet.hosts[name])
    assert (journal["number"], journal["state"]) == (1, "done")
    assert "postfix" in journal["packages_brought"]
    (result,) = [r.result for r in first.run.of(name) if "report" in r.result]
    assert result["packages"] == ["postfix", "msmtp"]
    assert [v["status"] for v in result["report"]["verdicts"]] == ["pass"] * 10


@pytest.mark.parametrize("name", ["web", "arch"])
def test_mail_arrives(lab: Lab, fleet: Fleet, first: First, name: str) -> None:
    """After the first run, mail for root on a host that was bare reaches admin."""
    well(first.run)
    sendmail(fleet.hosts[name], f"Subject: from {name}\n\nhello\n", "root")
    (message,) = lab.mx.wait_for(lambda m: m.message["Subject"] == f"from {name}")
    assert message.recipients == ["ops@example.org"]
    assert message.sender == f"root@{fleet.hosts[name].fqdn}"


# --- runs that change nothing, and hosts that have drifted ---


@pytest.mark.parametrize("pipelining", [False, True])
@pytest.mark.parametrize("series", ansible.series())
def test_a_run_that_changes_nothing(
    fleet: Fleet, first: First, series: str, pipelining: bool
) -> None:
    """With every Ansible, as root and through sudo, each role is one module and no change."""
    well(first.run)
    before = fleet.states("old", "ready")
    played = well(fleet.play(roles=(MAIL, MSMTP), series=series, pipelining=pipelining))
    assert played.changed() == []
    for name in fleet.hosts:
        assert played.modules(name) == ["sysmail", "sysmail"]
        assert len(played.files(name)) == (0 if pipelining else 2)
        for report in reports(played, name):
            assert (report["outcome"], report["steps"]) == ("unchanged", [])
            assert [v["status"] for v in report["verdicts"]] == ["pass"] * 10
    after = fleet.states("old", "ready")
    assert [differences(before[name], after[name]) for name in before] == [[], []]


def test_drift_is_foreseen_and_mended(fleet: Fleet, first: First) -> None:
    """--check tells an edited main.cf, a stopped Postfix and a host in order apart; the run too."""
    well(first.run)
    good = fleet.states("web", "arch", "ready", "new")
    drift(fleet.hosts["ready"])
    fleet.hosts["arch"].run("systemctl stop postfix")
    drift(fleet.hosts["new"])
    fleet.hosts["new"].run("systemctl stop postfix")
    before = fleet.states(*good)
    check = well(fleet.play(*good, args=("--diff",), check=True))
    checked = fleet.states(*good)
    for name, found in before.items():
        assert differences(found, checked[name]) == [], name
    run = well(fleet.play(*good, args=("--diff",)))
    assert check.changed() == run.changed() == ["arch", "new", "ready"]
    for name in good:
        assert steps(check, name) == steps(run, name)
        assert check.modules(name) == run.modules(name) == ["sysmail"]
        assert bool(steps(run, name)) == (name != "web")
    for played in (check, run):
        assert played.out.count("-# a note of mine") == 2
    after = fleet.states(*good)
    for name, found in good.items():
        assert differences(outside(found), outside(after[name])) == [], name


# --- the same, whichever way it is asked for ---


def test_the_report_is_the_command_lines(fleet: Fleet) -> None:
    """Where packages are present a role reports what `sysmail apply` prints, byte for byte."""
    host = fleet.hosts["ready"]
    found: dict[str, list[tuple[int, str]]] = {"role": [], "command line": []}
    states: list[dict[str, str]] = []
    for way, told in found.items():
        fleet.absent("ready")
        for _ in range(2):
            if way == "role":
                (result,) = [
                    r.result for r in fleet.play("ready").of("ready") if "report" in r.result
                ]
                told.append((result["exit_code"], timeless(result["report"])))
            else:
                ran = sysmail(host, "apply", "--admin", "ops@example.org")
                assert ran.out == json.dumps(ran.report, ensure_ascii=False) + "\n"
                told.append((ran.status, timeless(ran.report)))
        drift(host)
        if way == "role":
            told.append((0, timeless(reports(fleet.play("ready"), "ready")[0])))
        else:
            told.append((0, timeless(sysmail(host, "apply").report)))
        states.append(without_tool(state(host)))
    assert found["role"] == found["command line"]
    assert [json.loads(report)["outcome"] for _, report in found["role"]] == [
        "applied",
        "unchanged",
        "applied",
    ]
    assert differences(*states) == []


def test_every_order_of_the_roles_ends_the_same(fleet: Fleet) -> None:
    """Whichever role is first, and one of them twice in one play, the end is one state."""
    orders = list(permutations(ROLES))
    ends: list[dict[str, str]] = []
    for order in orders:
        fleet.absent("ready")
        played = well(fleet.play("ready", roles=(*order, order[0]), pipelining=True))
        found = reports(played, "ready")
        assert {report["route"]["name"] for report in found} == {"relay"}
        assert (found[0]["changed"], found[-1]["changed"]) == (True, False)
        ends.append(without_tool(state(fleet.hosts["ready"])))
    for order, end in zip(orders, ends, strict=True):
        assert differences(ends[0], end) == [], order


@pytest.mark.parametrize("order", [(MAIL, MSMTP, SMTP), (SMTP, MAIL, MSMTP)])
def test_the_relay_in_front_of_mailu_in_any_order(fleet: Fleet, order: tuple[str, ...]) -> None:
    """Where there is a Mailu the role for the relay decides, first or last in the play."""
    fleet.absent("arch")
    groups = {"web-app-mailu": fleet.mailu()}
    played = well(fleet.play("arch", roles=(*order, *order), groups=groups))
    found = reports(played, "arch")
    assert [(r["route"]["name"], r["changed"]) for r in found[3:]] == [("relay", False)] * 3
    assert found[-1]["route"]["next_hop"] == "mailu"
    alone = reports(well(fleet.play("arch", groups=groups)), "arch")
    assert [(r["route"]["name"], r["changed"]) for r in alone] == [("relay", False)]


@pytest.mark.parametrize(
    ("name", "role", "group", "route"),
    [("web", MAIL, "web-app-mailu", "mailu"), ("arch", SMTP, "our-mail", "relay")],
)
def test_mailu_comes_from_the_inventory(
    fleet: Fleet, name: str, role: str, group: str, route: str
) -> None:
    """A member of Mailu's group, whatever that is called, is where a bare host's mail goes."""
    mailu = fleet.lab.mailu
    fleet.absent(name)
    variables = {} if group == "web-app-mailu" else {"sys_svc_mail_mailu_group": group}
    groups = {group: fleet.mailu()}
    played = well(fleet.play(name, roles=(role,), groups=groups, variables=variables))
    (report,) = reports(played, name)
    assert (report["route"]["name"], played.changed()) == (route, [name])
    sendmail(fleet.hosts[name], f"Subject: {role} {group}\n\nhello\n", "root")
    (message,) = mailu.wait_for(lambda m: m.message["Subject"] == f"{role} {group}")
    assert (message.recipients, message.sender) == (["ops@example.org"], mailu.username)
    again = well(fleet.play(name, roles=(role,), groups=groups, variables=variables))
    assert (again.changed(), again.modules(name)) == ([], ["sysmail"])
    assert sysmail(fleet.hosts[name], "prove").status == 0
    assert mailu.password not in "".join(p.out + p.err for p in (played, again))


def test_the_seeds_names(fleet: Fleet, tmp_path: Path) -> None:
    """The hyphenated roles are found by roles_path alone, and set a bare host up."""
    collections = tmp_path / "empty"
    collections.mkdir()
    paths = {
        "ANSIBLE_COLLECTIONS_PATH": f"{collections}:{ansible.collections()}",
        "ANSIBLE_ROLES_PATH": f"{CHECKOUT / 'roles'}",
    }
    assert fleet.play("web", env=paths).status != 0, "the collection was found all the same"
    fleet.absent("web", "arch")
    hyphenated = tuple(role.replace("_", "-") for role in ROLES)
    played = well(fleet.play("web", "arch", roles=hyphenated, env=paths))
    assert played.changed() == ["arch", "web"]
    again = well(fleet.play("web", "arch", roles=hyphenated, env=paths))
    assert again.changed() == []
    assert again.modules("web") == again.modules("arch") == ["sysmail"] * 3


@pytest.mark.parametrize(
    ("series", "name"), [*zip(ansible.series()[:-1], ("old", "new"), strict=False)]
)
def test_every_ansible_installs(fleet: Fleet, series: str, name: str) -> None:
    """Older series bring the oldest and the newest Debian there and back, too."""
    well(fleet.play(name, absent=True, series=series))
    drop_notes(fleet.hosts[name])
    assert differences(fleet.before[name], fleet.states(name)[name]) == []
    played = well(fleet.play(name, series=series, pipelining=True))
    assert "ansible.builtin.apt" in played.modules(name)
    assert reports(played, name)[0]["outcome"] == "applied"
    assert played.changed() == [name]


def test_absent_puts_the_host_back(fleet: Fleet) -> None:
    """A host on which sysmail is made absent is as before, without the tool, and stays so."""
    well(fleet.play())
    check = well(fleet.play(absent=True, check=True))
    assert check.changed() == sorted(fleet.hosts)
    assert well(fleet.play(absent=True)).changed() == check.changed()
    drop_notes(*fleet.hosts.values())
    after = fleet.states()
    for name, before in fleet.before.items():
        assert differences(before, after[name]) == [], name
    for how in (True, False):
        again = well(fleet.play(absent=True, check=how))
        assert again.changed() == []
    assert [differences(fleet.before[n], s) for n, s in fleet.states().items()] == [[]] * len(HOSTS)


# --- failures ---


def test_a_wrong_password_changes_nothing(fleet: Fleet) -> None:
    """The host fails with what to do, and stays as it is: in force, or without the tool."""
    well(fleet.play("ready"))
    fleet.absent("web")
    before = fleet.states("web", "ready")
    assert differences(fleet.before["web"], before["web"]) == []
    groups = {"web-app-mailu": fleet.mailu(password="not the password")}
    played = fleet.play("web", "ready", roles=(SMTP,), groups=groups)
    assert (played.status, sorted(played.failed()), played.changed()) == (2, ["ready", "web"], [])
    for name, message in played.failed().items():
        (report,) = reports(played, name)
        assert report["errors"][0]["message"] in message
        assert report["errors"][0]["remedy"][1:] in message
        assert "nothing was changed" in message
    after = fleet.states("web", "ready")
    for name, found in before.items():
        assert differences(found, after[name]) == [], name
    assert "not the password" not in played.out + played.err


def test_a_broken_promise_fails_the_host(fleet: Fleet) -> None:
    """What a run finds broken and cannot mend fails that host alone, with the remedy."""
    well(fleet.play("ready", "arch"))
    host = fleet.hosts["ready"]
    # A program that writes mailboxes by itself, which is none of sysmail's files.
    host.run("echo From >/var/mail/root && touch -d '1 minute' /var/mail/root")
    before = fleet.states("ready", "arch")
    played = fleet.play("ready", "arch", roles=(MAIL, MSMTP))
    assert sorted(played.failed()) == ["ready"], played.out
    assert played.changed() == []
    (report,) = reports(played, "ready")
    broken = next(v for v in report["verdicts"] if v["status"] == "fail")
    message = played.failed()["ready"]
    assert message.startswith(f"{broken['check']}: {broken['evidence']}. ")
    assert broken["remedy"][1:] in message
    after = fleet.states("ready", "arch")
    for name, found in before.items():
        assert differences(found, after[name]) == [], name
    host.run("rm /var/mail/root")
    well(fleet.play("ready"))


def test_packages_that_do_not_come(fleet: Fleet) -> None:
    """Where apt fails, the host is as it was before, and the message says what apt said."""
    fleet.absent("web")
    host = fleet.hosts["web"]
    folder = host.root / REPOSITORY.lstrip("/")
    away = folder.with_name("taken-away")
    before = state(host)
    assert differences(fleet.before["web"], before) == []
    folder.rename(away)
    try:
        played = fleet.play("web")
    finally:
        away.rename(folder)
    message = played.failed()["web"]
    assert message.startswith("ansible.builtin.apt: "), message
    assert "the host is as it was before" in message
    assert played.changed() == []
    assert differences(before, state(host)) == []


@pytest.mark.parametrize("then", ["play", "apply", "rollback"])
def test_a_controller_that_dies_while_apt_runs(fleet: Fleet, then: str) -> None:
    """What a dead controller leaves is gone on with, and closed to the network meanwhile."""
    fleet.absent("web")
    host = fleet.hosts["web"]
    before = state(host)
    holder = host.start(["python3", "-c", HOLD_DPKG])
    assert holder.stdout is not None
    try:
        die_in_between(fleet, host)
        assert holder.stdout.readline() == "held\n"
        assert [c["state"] for c in checkpoints(host)] == ["packages"]
        if then == "rollback":
            # Undone now, what apt is about to install would be open to the network.
            assert sysmail(host, "rollback").codes == ["packages-pending"]
    finally:
        holder.communicate()
    if then == "play":
        played = well(fleet.play("web"))
        assert played.changed() == ["web"]
    else:
        assert sysmail(host, "apply", "--admin", "ops@example.org").status == 0
    wait_until("apt has ended", lambda: not at_work(host), 120)
    assert {where for where in listeners(host) if where.endswith(":25")} == LOOPBACK
    assert sysmail(host, "prove").status == 0
    assert [c["state"] for c in checkpoints(host)] == ["done"]
    if then == "rollback":
        assert sysmail(host, "rollback").status == 0
    fleet.absent("web")
    assert differences(before, state(host)) == []


def die_in_between(fleet: Fleet, host: Host) -> None:
    """Play, and kill all of the play once Ansible's module is at work on the host."""

    def play() -> None:
        # Its end is a kill, however it looks from here.
        fleet.play("web", env={MARK: "dies"})

    thread = threading.Thread(target=play)
    thread.start()
    try:
        wait_until("apt is at work", lambda: at_work(host), 60)
    finally:
        _kill_all(f"{MARK}=dies")
        thread.join()


def at_work(host: Host) -> bool:
    """Whether Ansible's module for packages runs on the host."""
    return "ansible" in host.run("pgrep -af '[A]nsiballZ_apt'", check=False).stdout
