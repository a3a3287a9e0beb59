"""The promises, each broken on purpose; and what status and queue tell of the same host."""

from __future__ import annotations

import json
import re
import time
from typing import Any, Callable

import pytest

from sysmail.commands import apply, prove, queue, status
from sysmail.errors import HostError, RefusedError, UsageError
from sysmail.host.port import Completed
from sysmail.prove import CHECKS
from sysmail.report import FAIL, PASS, PROMISES, UNKNOWN
from unit.fake_debian import PID, FakeDebian
from unit.fake_host import ScriptedSession
from unit.test_apply import ADMIN, HOSTS, OFFERS, fresh, silent, waiting, with_login

Break = Callable[[FakeDebian], object]
NO_ADMIN = "mail for local users has no destination: set admin in the policy of sysmail"
LOST = (
    "Nov 22 10:41:00 web1 postfix/bounce[93]: 4XwYz1dQz3mL:"
    " undeliverable postmaster notification discarded"
)


def applied(login: bool = False) -> FakeDebian:  # noqa: FBT002
    """A host on which the policy is in force."""
    host = fresh(HOSTS["bare, with a login" if login else "bare"])
    if login:
        with_login(host)
    apply.run(host, "", {} if login else ADMIN, silent)
    host.changes.clear()
    return host


def replace(path: str, old: str, new: str) -> Break:
    """Somebody edits a file; Postfix reads it again."""

    def edit(host: FakeDebian) -> None:
        text = host.text(path)
        assert old in text
        host.put(path, text.replace(old, new), host.entries[path].mode)
        host._start()

    return edit


def parameter(old: str, new: str) -> Break:
    return replace("/etc/postfix/main.cf", old, new)


def no_queue(host: FakeDebian) -> None:
    host.answer("postqueue", "", 69, "postqueue: fatal: Queue report unavailable")


def stuck(host: FakeDebian) -> None:
    entry = waiting()
    entry["recipients"] = [{"address": "root@localhost", "delay_reason": NO_ADMIN}]
    host.queue = [entry]


def password_in_arguments(host: FakeDebian) -> None:
    host.dynamic["/proc/4242/cmdline"] = lambda: b"swaks\0-ap\0correct horse battery\0"


def foreign_socket(host: FakeDebian) -> None:
    """Another program listens on ::1 beside a Postfix that does not."""
    tcp6 = host.dynamic["/proc/net/tcp6"]
    host.dynamic["/proc/net/tcp6"] = lambda: (
        tcp6()
        + (
            b"   1: 00000000000000000000000000000000:0019 " + b"0" * 32 + b":0000 0A"
            b" 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n"
        )
    )
    host.owners[4711] = "exim4 (pid 812)"


def other_port(host: FakeDebian) -> None:
    """Postfix also listens for submission, on every address."""
    tcp = host.dynamic["/proc/net/tcp"]
    host.dynamic["/proc/net/tcp"] = lambda: (
        tcp()
        + (
            b"   1: 00000000:024B 00000000:0000 0A 00000000:00000000 00:00000000 00000000"
            b"     0        0 4712 1 0\n"
        )
    )
    host.sockets[PID].add(4712)


def backup_of(host: FakeDebian) -> str:
    """Where the former content of some file is kept."""
    return next(path for path in host.entries if re.search(r"/checkpoints/0001/[0-9]+$", path))


def sendmail_of_msmtp(host: FakeDebian) -> None:
    host.take("/usr/sbin/sendmail")
    host.put_link("/usr/sbin/sendmail", "/usr/bin/msmtp")
    host.put("/usr/bin/msmtp", "")


def open_relay(host: FakeDebian) -> None:
    """A client with the host's outside address may relay."""
    host._may_relay = lambda client: client in ("127.0.0.1", "::1", "192.0.2.7")  # type: ignore[method-assign]


def refused_locally(host: FakeDebian) -> None:
    host._may_relay = lambda client: client != "::1"  # type: ignore[method-assign]


BROKEN: list[tuple[str, Break, str, str]] = [
    ("loopback-only", lambda host: host._stop(), FAIL, "does not run"),
    ("loopback-only", parameter("= loopback-only", "= all"), FAIL, "0.0.0.0 port 25"),
    ("loopback-only", parameter("inet_protocols = all", "inet_protocols = ipv4"), FAIL, "::1"),
    ("loopback-only", foreign_socket, FAIL, "exim4 (pid 812)"),
    ("loopback-only", other_port, FAIL, "0.0.0.0 port 587"),
    ("local-clients", lambda host: host._stop(), FAIL, "does not run"),
    ("local-clients", open_relay, FAIL, "192.0.2.7"),
    ("local-clients", refused_locally, FAIL, "::1"),
    ("no-mailboxes", parameter("mydestination =", "mydestination = web1"), FAIL, "mydestination"),
    ("no-mailboxes", parameter("error:local delivery disabled", "local"), FAIL, "local_transport"),
    (
        "no-mailboxes",
        lambda host: host.put(
            "/etc/postfix/master.cf",
            host.text("/etc/postfix/master.cf") + "local unix - n n - - local\n",
        ),
        FAIL,
        "local",
    ),
    ("no-mailboxes", lambda host: host.put("/var/mail/root", "From x\n"), PASS, "ops@"),
    ("no-mailboxes", stuck, FAIL, "1 message for local users wait"),
    ("no-mailboxes", no_queue, UNKNOWN, "queue"),
    ("nothing-lost", parameter("resource, software, bounce, ", ""), FAIL, "bounce"),
    (
        "nothing-lost",
        parameter("2bounce_notice_recipient = ops@example.com", "2bounce_notice_recipient = root"),
        FAIL,
        "2bounce_notice_recipient",
    ),
    ("nothing-lost", lambda host: host.log.append(LOST), FAIL, "discarded: 1,"),
    ("nothing-lost", no_queue, UNKNOWN, "queue"),
    ("nothing-lost", lambda host: host.programs.pop("journalctl"), UNKNOWN, "log"),
    (
        "nothing-lost",
        lambda host: host.put("/var/spool/postfix/corrupt/4A", "x"),
        FAIL,
        "damaged queue files",
    ),
    ("accepted-senders", parameter("smtp_generic_maps =", "x ="), FAIL, "smtp_generic_maps"),
    (
        "accepted-senders",
        lambda host: host.put("/etc/postfix/sysmail/generic", "/./ x@y\n"),
        FAIL,
        "generic",
    ),
    ("all-or-nothing", lambda host: host.put("/etc/msmtprc", "x"), FAIL, "/etc/msmtprc"),
    (
        "all-or-nothing",
        lambda host: host.take("/etc/postfix/sysmail/wait"),
        FAIL,
        "/etc/postfix/sysmail/wait",
    ),
    ("no-takeover", lambda host: host.packages.update(exim4="ii "), FAIL, "exim4"),
    ("no-takeover", sendmail_of_msmtp, FAIL, "msmtp"),
    (
        "no-secrets-told",
        lambda host: host.entries.update({"/var/lib/sysmail": host.entries["/var"]}),
        FAIL,
        "0755",
    ),
    (
        "reversible",
        lambda host: host.put(backup_of(host), "damaged"),
        FAIL,
        "damaged",
    ),
]
BROKEN_LOGIN: list[tuple[str, Break, str, str]] = [
    (
        "verified-next-hop",
        parameter("smtp_tls_security_level = secure", "smtp_tls_security_level = may"),
        FAIL,
        "'may'",
    ),
    ("verified-next-hop", parameter("relayhost = [mail", "relayhost = [evil"), FAIL, "evil"),
    (
        "verified-next-hop",
        lambda host: host.take("/usr/lib/x86_64-linux-gnu/sasl2"),
        FAIL,
        "PLAIN",
    ),
    ("verified-next-hop", lambda host: host.servers.clear(), FAIL, "is down"),
    (
        "verified-next-hop",
        lambda host: host.servers.update(
            {("mail.example.org", 465): lambda: ScriptedSession({**OFFERS, "AUTH": "535 no"})}
        ),
        FAIL,
        "cannot be used",
    ),
    (
        "no-secrets-told",
        lambda host: host.put(
            "/etc/postfix/sysmail/sasl_password",
            host.text("/etc/postfix/sysmail/sasl_password"),
            0o644,
        ),
        FAIL,
        "0644",
    ),
    ("no-secrets-told", password_in_arguments, FAIL, "process 4242"),
]
ALL = [(False, *row) for row in BROKEN] + [(True, *row) for row in BROKEN_LOGIN]


@pytest.mark.parametrize(
    ("login", "check", "break_it", "status_", "evidence"),
    ALL,
    ids=[f"{row[1]}-{row[4]}" for row in ALL],
)
def test_broken_promise_is_seen(
    login: bool,
    check: str,
    break_it: Break,
    status_: str,
    evidence: str,
) -> None:
    """A promise that is broken on purpose is told with evidence and remedy, and not repaired."""
    host = applied(login)
    flags = {} if login else ADMIN
    good = {v.check: v for v in prove.run(host, "", flags).verdicts}
    assert (good[check].status, good[check].remedy) == (PASS, "")
    break_it(host)
    report = prove.run(host, "", flags)
    found = {v.check: v for v in report.verdicts}[check]
    assert (found.status, evidence in found.evidence) == (status_, True), found
    assert bool(found.remedy) == (status_ != PASS)
    worst = {v.status for v in report.verdicts}
    assert report.exit_code == (1 if FAIL in worst else 3 if UNKNOWN in worst else 0)
    assert status_ == PASS or report.exit_code != 0
    assert "correct horse battery" not in json.dumps(report.as_data())
    assert host.changes == []


def test_every_promise_is_broken_by_a_test() -> None:
    """No check is without a test that makes it fail or unknown."""
    assert {row[1] for row in ALL if row[3] != PASS} == set(CHECKS)


def test_reversible_needs_a_checkpoint() -> None:
    """Without any checkpoint there is nothing that could be put back, and that is told."""
    report = prove.run(FakeDebian(postfix=True), "", ADMIN)
    verdicts = {v.check: v for v in report.verdicts}
    assert verdicts["reversible"].status == verdicts["all-or-nothing"].status == FAIL
    assert list(verdicts) == list(CHECKS)


def test_mailbox_that_was_written_after_the_apply() -> None:
    """A mailbox that is written after sysmail took over breaks the promise of none."""
    host = applied()
    host.clock += 3600
    host.put("/var/mail/root", "From x\n")
    verdicts = {v.check: v for v in prove.run(host, "", ADMIN).verdicts}
    assert verdicts["no-mailboxes"].status == FAIL
    assert "/var/mail/root" in verdicts["no-mailboxes"].evidence


def test_mailbox_in_which_somebody_reads_old_mail() -> None:
    """Reading and deleting old mail writes the file too; a message that came since is told."""

    def separator(when: float) -> str:
        return f"From root@web1 {time.strftime('%a %b %e %H:%M:%S %Y', time.localtime(when))}\n"

    host = applied()
    before, after = host.clock - 86400, host.clock + 1800
    host.clock += 3600
    old = separator(before) + "Subject: old\n\nFrom here on all is well\n"
    for content, told in ((old, PASS), (old + separator(after), FAIL), ("no mail\n", FAIL)):
        host.put("/var/mail/root", content)
        verdicts = {v.check: v for v in prove.run(host, "", ADMIN).verdicts}
        assert verdicts["no-mailboxes"].status == told, content


def test_without_admin_mail_for_root_is_refused() -> None:
    """Without admin the promise holds as long as SMTP refuses mail for root."""
    host = FakeDebian()
    assert apply.run(host, "", {}, silent).exit_code == 0
    verdicts = {v.check: v for v in prove.run(host, "", {}).verdicts}
    assert "refused" in verdicts["no-mailboxes"].evidence
    host.running = {
        k: v for k, v in (host.running or {}).items() if k != "smtpd_recipient_restrictions"
    }
    verdicts = {v.check: v for v in prove.run(host, "", {}).verdicts}
    assert verdicts["no-mailboxes"].status == FAIL


def test_a_log_that_nobody_keeps_is_unknown() -> None:
    """Postfix runs, and no line of it is in the log: a lost notice would not be seen."""
    host = applied()
    host.logs = False
    found = {v.check: v for v in prove.run(host, "", ADMIN).verdicts}["nothing-lost"]
    assert (found.status, "no line of it" in found.evidence) == (UNKNOWN, True)
    assert "Storage=none" in found.remedy
    host.take("/dev/log")
    found = {v.check: v for v in prove.run(host, "", ADMIN).verdicts}["nothing-lost"]
    assert found.remedy == "`ln -s /run/systemd/journal/dev-log /dev/log`"


def test_acknowledged_loss_no_longer_breaks_the_promise() -> None:
    """A loss stays visible through other changes, until it is acknowledged."""
    host = applied()
    host.log.append(LOST)
    asked: list[str] = []
    journal = host.programs["journalctl"]

    def since(argv: Any, stdin: Any) -> Completed:
        if "--since" not in argv:
            return journal(argv, stdin)
        moment = argv[argv.index("--since") + 1]
        asked.append(moment)
        empty = Completed(tuple(argv), 1, "", "")
        return journal(argv, stdin) if float(moment[1:]) < host.clock - 100 else empty

    host.programs["journalctl"] = since
    host.clock += 3600
    assert prove.run(host, "", ADMIN).outcome == "broken"
    changed = apply.run(host, "", {**ADMIN, "sender": "no-reply@example.org"}, silent)
    assert (changed.outcome, changed.exit_code) == ("not-proven", 1)
    known = apply.run(host, "", {}, silent, acknowledge=True)
    assert known.exit_code == 0
    assert prove.run(host, "", {}).outcome == "proven"
    assert len(set(asked)) >= 2


def test_status_tells_what_waits() -> None:
    """status counts what waits and why, and what left, and is unhealthy when mail is deferred."""
    host = applied()
    host.log.append(
        "Nov 22 10:31:06 web1 postfix/smtp[1743]: 4XwYh2bQz3mK: to=<ops@example.com>,"
        " relay=mx[192.0.2.25]:25, delay=0.7, delays=0/0/0.4/0.3, dsn=2.0.0, status=sent (250 ok)"
    )
    healthy = status.run(host)
    assert (healthy.outcome, healthy.exit_code) == ("healthy", 0)
    assert healthy.details["deliveries"]["sent"] == 1
    assert healthy.route is not None
    assert (healthy.route.name, healthy.route.next_hop) == ("relay", "direct")
    host.queue = [waiting()]
    found = status.run(host)
    assert (found.outcome, found.exit_code) == ("unhealthy", 1)
    assert [problem.code for problem in found.errors] == ["mail-waits"]
    reasons = found.details["queue"]["reasons"]
    assert [(row["reason"], row["count"]) for row in reasons] == [("it is down", 1)]
    host._stop()
    assert "not-running" in [problem.code for problem in status.run(host).errors]
    no_queue(host)
    unlisted = status.run(host)
    assert "queue-not-listed" in [problem.code for problem in unlisted.errors]
    assert (unlisted.route, unlisted.details["queue"]) == (healthy.route, None)


def test_status_of_a_bare_host() -> None:
    """On a host that sysmail never touched, status says so."""
    found = status.run(FakeDebian())
    assert [problem.code for problem in found.errors] == ["not-applied", "not-running"]
    assert found.exit_code == 1


def held() -> FakeDebian:
    """A host with a held and a deferred message."""
    host = applied()
    host.queue = [waiting(), {**waiting(), "queue_id": "4XwYh2bQz3mH", "queue_name": "hold"}]
    return host


def commands_of(host: FakeDebian) -> list[tuple[str, ...]]:
    return [call.what for call in host.changes if call.method == "run"]


def test_queue_list_and_show() -> None:
    """list has every message, show the content of one; neither changes anything."""
    host = held()
    host.answer("postcat", "Subject: x\n")
    report = queue.run(host, "list", [])
    assert [m["queue"] for m in report.details["messages"]] == ["hold", "deferred"]
    shown = queue.run(host, "show", ["4XwYh2bQz3mK"])
    assert shown.details["content"] == "Subject: x\n"
    assert host.changes == []


def test_queue_release_takes_what_is_held() -> None:
    """release lets a held message go, and tries it at once; all is every held one."""
    for ids in (["4XwYh2bQz3mH"], ["all"]):
        host = held()
        report = queue.run(host, "release", ids)
        assert (report.outcome, report.changed) == ("released", True)
        assert commands_of(host) == [
            ("postsuper", "-H", "4XwYh2bQz3mH"),
            ("postqueue", "-i", "4XwYh2bQz3mH"),
        ]


def test_queue_delete_takes_what_is_named() -> None:
    """delete removes what is named and nothing else."""
    host = held()
    assert queue.run(host, "delete", ["4XwYh2bQz3mK"]).outcome == "deleted"
    assert commands_of(host) == [("postsuper", "-d", "4XwYh2bQz3mK")]


@pytest.mark.parametrize(
    ("action", "ids", "code"),
    [
        ("show", ["4XwYh2bQzzzz"], "no-such-message"),
        ("delete", ["4XwYh2bQz3mK", "4XwYh2bQzzzz"], "no-such-message"),
        ("release", ["4XwYh2bQz3mK"], "not-held"),
    ],
)
def test_queue_refuses_what_is_not_there(action: str, ids: list[str], code: str) -> None:
    """A message that is not there, or not held, is told, and none is touched."""
    host = held()
    with pytest.raises(RefusedError) as caught:
        queue.run(host, action, ids)
    assert caught.value.code == code
    assert host.changes == []


@pytest.mark.parametrize("name", ["-d", "../x", "ALL", "4Xw Yh2b", "x" * 40, "", "4XwYh2bQz3mK\n"])
def test_queue_id_that_cannot_be_one(name: str) -> None:
    """What cannot be a queue id never reaches a program."""
    host = held()
    with pytest.raises(UsageError):
        queue.run(host, "delete", [name])
    assert host.changes == []


def test_queue_change_that_fails_is_told() -> None:
    """A failure of postsuper is told in its words."""
    host = held()
    host.answer("postsuper", "", 1, "postsuper: fatal: use of this command is reserved")
    with pytest.raises(HostError, match="reserved") as caught:
        queue.run(host, "delete", ["4XwYh2bQz3mK"])
    assert caught.value.code == "queue-not-changed"


def test_every_promise_has_its_check() -> None:
    """The checks are the promises, in their order."""
    assert tuple(CHECKS) == PROMISES
