"""What a mail server is, and what a distribution's untouched default is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable

import pytest

from sysmail.commands import apply, plan, rollback
from sysmail.errors import RefusedError
from sysmail.facts import collect
from sysmail.facts.collect import collect_forwards
from sysmail.facts.model import Facts, Listener, PostfixFacts
from sysmail.host.port import Completed
from sysmail.takeover import findings, since, staying
from unit.cases import cases
from unit.fake_debian import FakeDebian
from unit.make import ROWS, facts
from unit.test_apply import ADMIN, bare, do_apply, in_force, silent, untouched_postfix
from unit.test_mailu import ask, go

SAVED = "-A DOCKER -p tcp -m tcp --dport 25 -j DNAT --to-destination 172.18.0.2:25\n"


def _facts(case: Mapping[str, Any]) -> Facts:
    main_cf = case.get("main_cf")
    exim = case.get("exim", {})
    changes: dict[str, Any] = {
        name: case[name] for name in ("nodename", "fqdn", "sendmail") if name in case
    }
    return facts(
        distro=ROWS[case.get("distro", "apt")],
        packages=dict.fromkeys(case.get("packages", []), "1"),
        postfix=None
        if main_cf is None
        else PostfixFacts(
            "3.7.11", main_cf, own=frozenset(main_cf), services=tuple(case.get("services", []))
        ),
        master_running=case.get("running", False),
        listeners=tuple(
            Listener(
                each["address"],
                25,
                1,
                each.get("owner", ""),
                each.get("contained", False),
                each.get("beside", False),
            )
            for each in case.get("listen", [])
        ),
        exim_role=exim.get("dc_eximconfig_configtype", ""),
        exim_settings=exim,
        exim_by_hand=case.get("by_hand", False),
        root_readers=tuple(case.get("root_readers", [])),
        exim_macros=tuple(case.get("macros", [])),
        mailboxes=tuple(case.get("mailboxes", [])),
        forwards=tuple(case.get("forwards", [])),
        **changes,
    )


@pytest.mark.parametrize(("_folder", "case"), cases("takeover"))
def test_findings_cases(_folder: str, case: dict[str, Any]) -> None:
    """What was found is what a person finds; of an untouched default it is nothing."""
    about = _facts(case)
    assert findings(about, allowed=case.get("allowed", ())) == case["expected"]
    if "staying" in case:
        assert [listener.address for listener in staying(about)] == case["staying"]


def _listening(host: FakeDebian, owner: str) -> None:
    host.dynamic["/proc/net/tcp"] = lambda: (
        b"x\n 0: 00000000:0019 00000000:0000 0A 0:0 0:0 0 0 0 4711 1 0\n"
    )
    host.owners[4711] = owner


def test_a_port_that_stays_is_refused_with_adopt_too() -> None:
    """A container's port is named; the remedy does not promise that --adopt would help."""
    host = bare()
    _listening(host, "docker-proxy (pid 812)")
    runs: list[Callable[[], object]] = [
        lambda: plan.run(host, "", ADMIN),
        lambda: apply.run(host, "", ADMIN, silent),
    ]
    for run in runs:
        with pytest.raises(RefusedError, match="container's published port") as caught:
            run()
        assert caught.value.code == "mail-server"
        assert "docker-proxy (pid 812) stays" in caught.value.remedy
    with pytest.raises(RefusedError, match=r"docker-proxy \(pid 812\) listens") as caught:
        apply.run(host, "", ADMIN, silent, adopt=True)
    assert (caught.value.code, host.changes) == ("port-25-taken", [])


def test_a_port_beside_a_postfix_that_runs_is_refused() -> None:
    """A container on another address than Postfix is named, before anything is changed."""
    host = untouched_postfix()
    host._start()
    own = host.dynamic["/proc/net/tcp"]
    host.dynamic["/proc/net/tcp"] = lambda: (
        own() + b" 9: 010200C0:0019 00000000:0000 0A 0:0 0:0 0 0 0 4711 1 0\n"
    )
    host.owners[4711] = "docker-proxy (pid 812)"
    with pytest.raises(RefusedError, match="holds a container's published port, listens") as caught:
        apply.run(host, "", ADMIN, silent)
    assert caught.value.code == "mail-server"
    assert "192.0.2.1 port 25" in caught.value.message
    assert "127.0.0.1" not in caught.value.message
    with pytest.raises(RefusedError, match=r"docker-proxy \(pid 812\) listens") as caught:
        apply.run(host, "", ADMIN, silent, adopt=True)
    assert (caught.value.code, host.changes) == ("port-25-taken", [])


def test_a_postfix_that_was_started_anew_is_not_beside_itself() -> None:
    """A socket that was there at the first look alone is nobody's."""
    host = untouched_postfix()
    host._start()
    own, looks = host.dynamic["/proc/net/tcp"], iter([1])
    host.dynamic["/proc/net/tcp"] = lambda: (
        own() + b" 9: 010200C0:0019 00000000:0000 0A 0:0 0:0 0 0 0 4711 1 0\n" * next(looks, 0)
    )
    assert not any(each.beside for each in collect(host).listeners)


def test_whose_pid_namespace_is_another_is_in_a_container() -> None:
    """A program with a PID namespace of its own runs in a container; one with ours does not."""
    for theirs, contained in (("4026531836", False), ("4026539999", True)):
        host = bare()
        _listening(host, "master (pid 812)")
        host.put_link("/proc/self/ns/pid", "pid:[4026531836]")
        host.put_link("/proc/812/ns/pid", f"pid:[{theirs}]")
        found = collect(host).listeners_on(25)
        assert [(each.owner, each.contained) for each in found] == [("master (pid 812)", contained)]


def _answers(said: str) -> Any:
    return lambda argv, _stdin: Completed(tuple(argv), 0, said, "")


def test_packet_filter_is_only_asked_where_that_changes_nothing() -> None:
    """iptables-save loads NAT into a kernel that has none: it is asked where NAT is in use."""
    host = bare()
    host.programs["iptables-save"] = _answers(SAVED)
    assert collect_forwards(host) == ()
    host.put("/proc/net/ip_tables_names", "filter\nnat\n")
    assert collect_forwards(host) == ("172.18.0.2:25",)
    host = bare()
    host.programs["iptables-save"] = _answers(SAVED)
    host.put("/usr/sbin/xtables-nft-multi", "")
    host.put_link("/usr/sbin/iptables-save", "/usr/sbin/xtables-nft-multi")
    assert collect_forwards(host) == ("172.18.0.2:25",)


def test_adopt_says_what_it_adopts() -> None:
    """plan and apply with --adopt name what was found, and that it is kept."""
    host = untouched_postfix()
    host.put("/etc/postfix/main.cf", "home_mailbox = Maildir/\ninet_interfaces = all\n")
    host._start()
    reports = [
        plan.run(host, "", ADMIN, adopt=True),
        apply.run(host, "", ADMIN, silent, adopt=True),
    ]
    for report in reports:
        assert "adopted: Postfix has home_mailbox = Maildir/" in report.notes
        assert "rollback" in report.notes[-1]
        assert report.errors == ()


EXIM = "/etc/exim4/update-exim4.conf.conf"


def _exim4_came(host: FakeDebian, role: str = "internet") -> FakeDebian:
    """A person installs exim4, with which a Postfix or msmtp-mta goes."""
    host._dpkg_install(["exim4", "exim4-daemon-light"])
    host.install_exim4(role)
    host.changes.clear()
    return host


def _edited(host: FakeDebian, **parameters: str) -> FakeDebian:
    """The owner edits the main.cf of sysmail's, and Postfix runs with it."""
    added = "".join(f"{name} = {value}\n" for name, value in parameters.items())
    kept = [x for x in host.text("/etc/postfix/main.cf").splitlines() if x.split()[:1]]
    kept = [x for x in kept if x.split()[0] not in parameters]
    host.put("/etc/postfix/main.cf", "\n".join(kept) + "\n" + added)
    host._start()
    host.changes.clear()
    return host


def _refused(host: FakeDebian, code: str, *, adopt: bool = False) -> str:
    """Plan and apply refuse in the same words, and nothing is changed; what they say."""
    said: set[str] = set()
    runs: list[Callable[[], object]] = [
        lambda: plan.run(host, "", {}, adopt=adopt),
        lambda: apply.run(host, "", {}, silent, adopt=adopt),
    ]
    for run in runs:
        with pytest.raises(RefusedError) as caught:
            run()
        assert caught.value.code == code
        said.add(f"{caught.value.message} / {caught.value.remedy}")
    assert host.changes == []
    assert len(said) == 1
    return said.pop()


@pytest.mark.parametrize("route", ["relay", "mailu"])
def test_a_server_that_came_since_is_refused(route: str) -> None:
    """With a policy in force, an exim4 that somebody set up as a server is left alone too."""
    host = ask(FakeDebian(), route=route)
    assert go(host).outcome == "applied"
    _exim4_came(host)
    assert "dc_eximconfig_configtype = internet" in _refused(host, "mail-server")
    assert apply.run(host, "", {}, silent, adopt=True).outcome == "applied"
    assert go(host).outcome == "unchanged"
    assert apply.run(host, "", {"admin": "later@example.com"}, silent).outcome == "applied"


def test_a_default_that_came_since_is_replaced() -> None:
    """An exim4 as its package leaves it is no server, with a policy in force as before one."""
    host = _exim4_came(in_force(), "local")
    assert plan.run(host, "", {}).notes[1:] == ()
    assert apply.run(host, "", {}, silent).outcome == "applied"


@pytest.mark.parametrize("adopt", [False, True])
def test_another_mta_that_came_since_is_refused(*, adopt: bool) -> None:
    """A program whose queue nobody looks into is not replaced later either."""
    host = in_force()
    host._remove_files("postfix")
    host.packages.update(postfix="rc ", opensmtpd="ii ")
    host.changes.clear()
    assert "opensmtpd" in _refused(host, "other-mta", adopt=adopt)


def test_a_postfix_that_came_since_is_refused() -> None:
    """Where msmtp is sendmail, a Postfix that somebody installed and set up is theirs."""
    host = ask(FakeDebian(), route="mailu")
    go(host)
    host._dpkg_install(["postfix"])
    host.put("/etc/postfix/main.cf", "home_mailbox = Maildir/\n")
    host.changes.clear()
    assert "home_mailbox = Maildir/" in _refused(host, "mail-server")


def test_a_relay_that_became_a_server_is_refused() -> None:
    """sysmail's Postfix, opened to the network for somebody's domain, is a mail server now."""
    host = _edited(in_force(), inet_interfaces="all", virtual_mailbox_domains="shop.example")
    said = _refused(host, "mail-server")
    assert "virtual_mailbox_domains = shop.example" in said
    assert "(inet_interfaces)" in said
    assert apply.run(host, "", {}, silent, adopt=True).outcome == "applied"
    assert host._listening() == ("127.0.0.1", "::1")
    assert do_apply(host).outcome == "applied"


def test_defaults_of_a_main_cf_that_nobody_can_read_are_no_server() -> None:
    """postconf(1) then tells what is built in: every interface, and clients of every network."""
    host = _edited(in_force(), inet_interfaces="all", virtual_mailbox_domains="shop.example")
    known = collect(host)
    assert known.postfix is not None
    assert since(known, relay=True) != []
    unread = replace(known.postfix, complaint="postconf: fatal: main.cf, line 1: missing '='")
    assert since(replace(known, postfix=unread), relay=True) == []


@pytest.mark.parametrize(
    "edit",
    [
        {"smtp_helo_timeout": "60s"},
        {"inet_interfaces": "all"},
        {"relay_domains": "customer.example"},
        {"mydestination": "localhost"},
        {"content_filter": "scan:[127.0.0.1]:10024"},
    ],
)
def test_a_mere_edit_is_no_server(edit: Mapping[str, str]) -> None:
    """What serves nobody, or what nobody outside can reach, apply puts right and keeps a copy."""
    host = _edited(in_force(), **edit)
    assert plan.run(host, "", {}).outcome == "changes"
    report = apply.run(host, "", {}, silent)
    assert report.outcome == "applied"
    assert "/etc/postfix/main.cf was edited by somebody" in " ".join(report.notes)


def test_what_was_adopted_is_not_refused_later() -> None:
    """Mailboxes and rules that were there when a person said --adopt say nothing afterwards."""
    host = untouched_postfix()
    host.put("/etc/postfix/main.cf", "home_mailbox = Maildir/\ninet_interfaces = all\n")
    host.put("/var/mail/carol", "From x\n")
    host._start()
    assert apply.run(host, "", ADMIN, silent, adopt=True).outcome == "applied"
    assert apply.run(host, "", {"admin": "later@example.com"}, silent).outcome == "applied"
    rollback.remove(host, silent, force=False)
    assert "home_mailbox" in host.text("/etc/postfix/main.cf")


ELSEWHERE = "/srv/spool/postfix"


@pytest.mark.parametrize("adopt", [False, True])
@pytest.mark.parametrize("before", [untouched_postfix, in_force])
def test_a_queue_elsewhere_is_refused(before: Callable[[], FakeDebian], *, adopt: bool) -> None:
    """Nobody would look into a queue that main.cf no longer names; --adopt is no way to lose it."""
    host = _edited(before(), queue_directory=ELSEWHERE)
    pid_file = "/pid/master.pid"
    host.dynamic[ELSEWHERE + pid_file] = host.dynamic["/var/spool/postfix" + pid_file]
    said = _refused(host, "queue-elsewhere", adopt=adopt)
    assert ELSEWHERE in said
    assert "/var/spool/postfix" in said
    assert "postqueue" in said


@pytest.mark.parametrize("name", ["/var/spool/postfix", ELSEWHERE])
def test_a_queue_in_its_place_is_no_obstacle(name: str) -> None:
    """The queue's own place may be named, as Arch's package does, also by way of a link."""
    host = _edited(untouched_postfix(), queue_directory=name)
    host.put_link(ELSEWHERE, "/var/spool/postfix")
    assert plan.run(host, "", ADMIN).outcome == "changes"


def test_an_installers_alias_is_no_mail_server() -> None:
    """Debian's first user is root's alias: a cron mail of root's in that mailbox says nothing."""
    host = bare()
    host.install_exim4()
    host.put("/etc/aliases", "postmaster: root\nroot: alice\n")
    host.put("/var/mail/alice", "From root@web1\n")
    assert apply.run(host, "", ADMIN, silent).outcome == "applied"
    assert host.text("/var/mail/alice") == "From root@web1\n"


def test_remove_takes_what_is_left_of_a_replaced_postfix() -> None:
    """Somebody put exim4 in our Postfix's place: its remains go, and what exim4 uses stays."""
    host = bare()
    do_apply(host)
    _exim4_came(host, "local")
    report = rollback.remove(host, silent, force=False)
    assert "postfix" not in host.packages
    assert not [path for path in host.tree() if path.startswith(("/etc/postfix", "/var/spool/p"))]
    assert host.packages["exim4-daemon-light"] == "ii "
    assert host.text("/etc/aliases") == "postmaster: root\n"
    assert "/etc/aliases, /etc/mailname stay, for exim4, exim4-daemon-light" in " ".join(
        report.notes
    )


def test_remove_throws_no_mail_of_a_replaced_postfix_away() -> None:
    """Mail in the queue of a Postfix that somebody removed is not purged with its remains."""
    host = bare()
    do_apply(host)
    message = "/var/spool/postfix/deferred/4/4ABC"
    host.put(message, "x")
    _exim4_came(host, "local")
    report = rollback.remove(host, silent, force=False)
    assert (host.packages["postfix"], host.text(message)) == ("rc ", "x")
    assert "1 message is in /var/spool/postfix" in " ".join(report.notes)
