"""The promises on the route mailu, each broken on purpose."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Callable, Optional

import pytest

from sysmail.cli.prometheus import as_prometheus
from sysmail.commands import deliver, prove, queue, status
from sysmail.entrances import Entrance
from sysmail.host.port import Completed
from sysmail.msmtp import DIRECTORY
from sysmail.msmtp import PASSWORD as PASSWORD_FILE
from sysmail.msmtpd import UNIT_FILE
from sysmail.prove import CHECKS
from sysmail.report import FAIL, PASS, UNKNOWN
from unit.fake_debian import FakeDebian
from unit.fake_host import ScriptedSession
from unit.test_apply import OFFERS, waiting
from unit.test_mailu import MAILU, PASSWORD, ask, go
from unit.test_prove import backup_of, no_queue, password_in_arguments

Break = Callable[[FakeDebian], object]


def applied() -> FakeDebian:
    """A host on which msmtp took the place of a Postfix that was there."""
    host = ask(FakeDebian(postfix=True))
    assert go(host).exit_code == 0
    host.changes.clear()
    return host


def edited(path: str, old: str, new: str) -> Break:
    def edit(host: FakeDebian) -> None:
        there = host.text(path)
        assert old in there
        host.put(path, there.replace(old, new), host.entries[path].mode)

    return edit


def postfix_again(host: FakeDebian) -> None:
    """Somebody installs Postfix: msmtp-mta goes, and msmtpd runs on until the next boot."""
    host._dpkg_install(["postfix"])
    host.enabled = True
    host.changes.clear()


def postfix_runs(host: FakeDebian) -> None:
    host.msmtpd.stop_all()
    postfix_again(host)
    assert host.running is not None


def mail_in_postfix(host: FakeDebian) -> None:
    postfix_again(host)
    host.enabled = False
    host.queue = [waiting()]


def queue_that_nobody_can_list(host: FakeDebian) -> None:
    mail_in_postfix(host)
    no_queue(host)


def listens_outside(host: FakeDebian) -> None:
    tcp = host.dynamic["/proc/net/tcp"]
    host.dynamic["/proc/net/tcp"] = lambda: (
        tcp() + b"   1: 00000000:0019 00000000:0000 0A 0:0 0:0 0 0 0 4712 1 0\n"
    )
    host.sockets[801].add(4712)


def one_stopped(host: FakeDebian) -> None:
    host.msmtpd.act("stop", ["sysmail-msmtpd@::1.service"])


def disabled(host: FakeDebian) -> None:
    host.msmtpd.enabled.clear()


def greets_late(host: FakeDebian) -> None:
    """Whoever connects to msmtpd is sent away."""
    host.msmtpd.stop_all()
    for address in ("127.0.0.1", "::1"):
        host.servers[address, 25] = lambda: ScriptedSession({}, greeting="421 too many")


def serverinfo_fails(host: FakeDebian) -> None:
    """What Python's TLS library accepts, msmtp's own does not."""
    real = host.programs["msmtp"]

    def msmtp(argv: Sequence[str], stdin: Optional[bytes]) -> Completed:
        if "--serverinfo" in argv:
            said = "msmtp: TLS certificate verification failed: not trusted\nmsmtp: more\n"
            return Completed(tuple(argv), 74, "", said)
        return real(argv, stdin)

    host.programs["msmtp"] = msmtp


def sendmail_is(path: str) -> Break:
    def link(host: FakeDebian) -> None:
        host.put(path, "#!")
        host.put_link("/usr/sbin/sendmail", path)

    return link


def mailbox_written(host: FakeDebian) -> None:
    host.clock += 3600
    host.put("/var/mail/root", "From x\n")


def answers(**replies: str) -> Break:
    def server(host: FakeDebian) -> None:
        host.servers[MAILU] = lambda: ScriptedSession({**OFFERS, **replies})

    return server


RC = f"{DIRECTORY}/msmtprc"
SUBMIT = f"{DIRECTORY}/submit"

BROKEN: list[tuple[str, Break, str, str]] = [
    ("loopback-only", postfix_again, FAIL, "Postfix would start at boot"),
    ("loopback-only", postfix_runs, FAIL, "Postfix runs"),
    ("loopback-only", lambda host: host.msmtpd.stop_all(), FAIL, "127.0.0.1 and ::1 port 25"),
    ("loopback-only", one_stopped, FAIL, "no msmtpd listens on ::1 port 25"),
    ("loopback-only", listens_outside, FAIL, "0.0.0.0 port 25"),
    ("local-clients", lambda host: host.msmtpd.stop_all(), FAIL, "127.0.0.1"),
    ("local-clients", one_stopped, FAIL, "::1"),
    ("local-clients", greets_late, FAIL, "421 too many"),
    (
        "local-clients",
        lambda host: host.servers.update({("192.0.2.7", 25): lambda: ScriptedSession({})}),
        FAIL,
        "192.0.2.7 port 25",
    ),
    ("no-mailboxes", edited(SUBMIT, "ops@example.com", "me@example.com"), FAIL, SUBMIT),
    ("no-mailboxes", edited("/etc/msmtprc", "localhost", "evil"), FAIL, "/etc/msmtprc"),
    ("no-mailboxes", mailbox_written, FAIL, "/var/mail/root"),
    ("nothing-lost", mail_in_postfix, FAIL, "wait"),
    ("nothing-lost", queue_that_nobody_can_list, UNKNOWN, "queue"),
    ("verified-next-hop", edited(RC, "tls_certcheck on", "tls_certcheck off"), FAIL, RC),
    ("verified-next-hop", edited(RC, "host mail", "host evil"), FAIL, RC),
    ("verified-next-hop", edited(UNIT_FILE, "DynamicUser=yes", "User=root"), FAIL, UNIT_FILE),
    ("verified-next-hop", serverinfo_fails, FAIL, "certificate verification failed: not trusted"),
    ("verified-next-hop", lambda host: host.servers.clear(), FAIL, "is down"),
    ("verified-next-hop", answers(AUTH="535 no"), FAIL, "cannot be used"),
    ("accepted-senders", edited(RC, "from u@", "from root@"), FAIL, RC),
    ("accepted-senders", edited(SUBMIT, "sender=u@example.org", "sender=$1"), FAIL, SUBMIT),
    ("all-or-nothing", disabled, FAIL, "msmtpd"),
    ("all-or-nothing", lambda host: host.take(UNIT_FILE), FAIL, UNIT_FILE),
    ("all-or-nothing", edited("/etc/msmtprc", "localhost", "evil"), FAIL, "/etc/msmtprc"),
    ("no-takeover", sendmail_is("/usr/bin/other"), FAIL, "sendmail is /usr/bin/other, not msmtp"),
    ("no-takeover", lambda host: host.take("/usr/sbin/sendmail"), FAIL, "sendmail is nothing"),
    ("no-takeover", lambda host: host.packages.update(exim4="ii "), FAIL, "exim4"),
    (
        "no-secrets-told",
        lambda host: host.put(PASSWORD_FILE, host.text(PASSWORD_FILE), 0o644),
        FAIL,
        "0644",
    ),
    (
        "no-secrets-told",
        lambda host: host.put(PASSWORD_FILE, host.text(PASSWORD_FILE), 0o600, 65534),
        FAIL,
        PASSWORD_FILE,
    ),
    ("no-secrets-told", password_in_arguments, FAIL, "process 4242"),
    ("reversible", lambda host: host.put(backup_of(host), "damaged"), FAIL, "damaged"),
]


@pytest.mark.parametrize(
    ("check", "break_it", "status_", "evidence"),
    BROKEN,
    ids=[f"{row[0]}-{n}" for n, row in enumerate(BROKEN)],
)
def test_broken_promise_is_seen(check: str, break_it: Break, status_: str, evidence: str) -> None:
    """A promise that is broken on purpose is told with evidence and remedy, and not repaired."""
    host = applied()
    good = {v.check: v for v in prove.run(host, "", {}).verdicts}
    assert {v.status for v in good.values()} == {PASS}, good
    assert {v.remedy for v in good.values()} == {""}
    break_it(host)
    report = prove.run(host, "", {})
    found = {v.check: v for v in report.verdicts}[check]
    assert (found.status, evidence in found.evidence) == (status_, True), found
    assert found.remedy
    assert report.exit_code in (1, 3)
    assert PASSWORD not in json.dumps(report.as_data())
    assert host.changes == []


def test_every_promise_is_broken_by_a_test() -> None:
    """No check is without a test that makes it fail or unknown on this route."""
    assert {row[0] for row in BROKEN if row[2] != PASS} == set(CHECKS)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda host: host.msmtpd.stop_all(),
        disabled,
        one_stopped,
        edited(RC, "tls_certcheck on", "tls_certcheck off"),
        edited(SUBMIT, "ops@example.com", "me@example.com"),
        edited(UNIT_FILE, "DynamicUser=yes", "User=root"),
        lambda host: host.put(PASSWORD_FILE, host.text(PASSWORD_FILE), 0o644),
        lambda host: host.put(PASSWORD_FILE, "wrong\n", 0o600),
        lambda host: host.take(PASSWORD_FILE),
        postfix_again,
        postfix_runs,
        mail_in_postfix,
    ],
)
def test_apply_repairs_what_was_broken(break_it: Break) -> None:
    """The remedy that is told works: apply brings back what was broken, and all is proven."""
    host = applied()
    before = host.msmtpd.world()
    break_it(host)
    report = go(host)
    assert (report.outcome, report.exit_code) == ("applied", 0), report
    assert host.msmtpd.world() == before
    assert (host.queue, host.running) == ([], None)
    assert prove.run(host, "", {}).outcome == "proven"


def test_password_is_explained_without_one() -> None:
    """A Mailu that asks for no login is proven without a password."""
    hop = {"host": "mail.example.org", "tls": "none", "port": 2525}
    host = ask(FakeDebian(), mailu=hop, sender="u@example.org")
    host.servers["mail.example.org", 2525] = lambda: ScriptedSession({})
    report = go(host)
    assert (report.exit_code, PASSWORD_FILE in host.entries) == (0, False)
    found = {v.check: v.evidence for v in report.verdicts}
    assert "without TLS" in found["verified-next-hop"]
    assert found["no-secrets-told"] == "this policy has no secret"


def test_without_admin_the_proof_says_so() -> None:
    """Without admin, mail for local users is refused on this route too, and the proof says it."""
    host = ask(FakeDebian(), admin="")
    found = {v.check: v for v in go(host).verdicts}
    assert found["no-mailboxes"].status == PASS
    assert "refused" in found["no-mailboxes"].evidence


TAKEN = (
    "host=mail.example.org tls=on auth=on user=u@example.org from=u@example.org "
    "recipients=ops@example.com mailsize=10 smtpstatus=250 smtpmsg='250 2.0.0 Ok: queued as 4X' "
    "exitcode=EX_OK"
)
REFUSED = TAKEN.replace("250", "553").replace("EX_OK", "EX_UNAVAILABLE")


def entries(*lines: str, uid: int = 62000, start: float = 1) -> str:
    """What the journal prints of lines that a process of this user logged, one each second."""
    rows = [
        {"MESSAGE": line, "_UID": str(uid), "__REALTIME_TIMESTAMP": str(int((turn + start) * 1e6))}
        for turn, line in enumerate(lines)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_what_others_log_as_msmtp_is_not_believed() -> None:
    """A line that a user's own program wrote says nothing about Mailu."""
    host = applied()
    host.answer("journalctl", entries(TAKEN) + entries(REFUSED, uid=1000))
    found = status.run(host)
    assert (found.outcome, found.details["deliveries"]["refused"]) == ("healthy", 0)
    host.answer("journalctl", entries(REFUSED) + entries(TAKEN, uid=1000) + "7\n{\n")
    assert [problem.code for problem in status.run(host).errors] == ["mail-refused"]


def test_status_tells_what_mailu_answered() -> None:
    """status counts what Mailu took, and is unhealthy when the last message was refused."""
    host = applied()
    host.answer("journalctl", entries(REFUSED, TAKEN))
    found = status.run(host)
    assert (found.outcome, found.exit_code, found.details["queue"]["count"]) == ("healthy", 0, 0)
    assert (found.details["deliveries"]["sent"], found.details["deliveries"]["refused"]) == (1, 1)
    host.answer("journalctl", entries(TAKEN, REFUSED))
    assert [problem.code for problem in status.run(host).errors] == ["mail-refused"]
    host.answer("journalctl")
    host.msmtpd.stop_all()
    assert [problem.code for problem in status.run(host).errors] == ["not-running"]
    mail_in_postfix(host)
    assert "mail-waits" in [problem.code for problem in status.run(host).errors]
    no_queue(host)
    found = status.run(host)
    assert "queue-not-listed" in [problem.code for problem in found.errors]
    assert found.details["queue"] is None


@pytest.mark.parametrize(
    ("said", "words", "remedy"),
    [
        (("", 0, ""), "not seen in the log", "see the mail log"),
        (("", 1, "no journal"), "the journal cannot be read", "journalctl -t msmtp"),
    ],
)
def test_a_message_of_which_no_log_tells(
    said: tuple[str, int, str], words: str, remedy: str
) -> None:
    """A log without it and a log that is shut are both no proof, and are told apart."""
    host = applied()
    host.answer("journalctl", *said)
    way = Entrance("smtp", "SMTP to localhost", recipient="ops@example.com")
    how = (host.clock, 0.1, "mail.example.org")
    sent = deliver._submitted(host, way, "token", way.recipient, how)
    assert (sent.outcome, sent.verdict.status) == ("unknown", UNKNOWN)
    assert words in sent.verdict.evidence
    assert remedy in sent.verdict.remedy


def test_metrics_of_this_route() -> None:
    """The last delivery is the last that Mailu took; without a log nobody knows of any."""
    host = applied()
    host.answer("journalctl", entries(TAKEN, *[REFUSED] * 9))
    found = status.run(host)
    assert "sysmail_last_sent_timestamp_seconds 1\n" in as_prometheus(found)
    assert [row["time"] for row in found.details["deliveries"]["last"]] == [6, 7, 8, 9, 10]
    host.answer("journalctl", entries(REFUSED))
    assert "sysmail_last_sent" not in as_prometheus(status.run(host))
    host.answer("journalctl", "", 1, "no journal")
    found = status.run(host)
    assert (found.details["deliveries"], len(found.notes)) == (None, 1)
    assert "sysmail_sent" not in as_prometheus(found)
    assert "sysmail_attempts" not in as_prometheus(found)


def test_queue_of_this_route_is_empty() -> None:
    """Without a Postfix there is no queue, and listing it says just that."""
    host = applied()
    assert queue.run(host, "list", []).details["messages"] == []
