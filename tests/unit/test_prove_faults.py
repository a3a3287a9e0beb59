"""What else breaks a promise: configuration, folders, programs and names as they are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Callable, Optional

import pytest

from sysmail.commands import apply, prove
from sysmail.host.port import Completed, FileState, Room
from sysmail.report import FAIL, UNKNOWN
from unit.fake_debian import PID, FakeDebian
from unit.test_apply import ADMIN, silent, waiting
from unit.test_prove import applied

Break = Callable[[FakeDebian], object]

MAIN = "/etc/postfix/main.cf"
MASTER = "/etc/postfix/master.cf"
QUEUE = "/var/spool/postfix"
DAEMONS = "/usr/lib/postfix/sbin"
LIBRARY = "/usr/lib/postfix/libpostfix-global.so"
UID, GID = 101, 104
OWN = {
    "mail_owner": "postfix",
    "setgid_group": "postdrop",
    "command_directory": "/usr/sbin",
    "daemon_directory": DAEMONS,
    "data_directory": "/var/lib/postfix",
    "shlib_directory": "/usr/lib/postfix",
    "meta_directory": "/etc/postfix",
}
FOLDERS = ("active", "bounce", "corrupt", "defer", "deferred", "hold", "incoming", "private")
COMMANDS = (
    *("anvil", "bounce", "cleanup", "discard", "error", "flush", "pickup", "postlogd", "proxymap"),
    *("qmgr", "scache", "showq", "smtp", "smtpd", "tlsmgr", "tlsproxy", "trivial-rewrite"),
    "verify",
)


def whole(*, policy: str = "") -> FakeDebian:
    """An applied host with the accounts, folders and programs of Postfix's package."""
    if policy:
        host = FakeDebian()
        host.put("/etc/sysmail/policy.toml", policy)
        apply.run(host, "", {}, silent)
        host.changes.clear()
    else:
        host = applied()
    host.put("/etc/passwd", f"root:x:0:0:root:/root:/bin/sh\npostfix:x:{UID}:{UID}::/:/bin/false\n")
    host.put("/etc/group", f"root:x:0:\npostdrop:x:{GID}:\n")
    stock = host.programs["postconf"]

    def postconf(argv: Sequence[str], stdin: Optional[bytes]) -> Completed:
        said = stock(argv, stdin)
        lines = "".join(f"{name} = {value}\n" for name, value in OWN.items())
        return replace(said, out=said.out + lines) if list(argv) == ["postconf"] else said

    host.programs["postconf"] = postconf
    for name in FOLDERS:
        access(host, f"{QUEUE}/{name}", "directory", 0o700, UID, 0)
    access(host, f"{QUEUE}/maildrop", "directory", 0o1730, UID, GID)
    access(host, f"{QUEUE}/public", "directory", 0o2710, UID, GID)
    access(host, "/var/lib/postfix", "directory", 0o755, UID, UID)
    for name in ("postdrop", "postqueue"):
        access(host, f"/usr/sbin/{name}", "file", 0o2755, 0, GID)
    for name in COMMANDS:
        host.put(f"{DAEMONS}/{name}", "", 0o755)
    host.put(LIBRARY, "", 0o644)
    host.put("/run/dns/resolv.conf", "nameserver 192.0.2.53\n")
    host.put_link("/etc/resolv.conf", "/run/dns/resolv.conf")
    return host


def access(host: FakeDebian, path: str, kind: str, mode: int, uid: int, gid: int) -> None:
    host.put_directory(path.rpartition("/")[0])
    host.entries[path] = FileState(kind, mode, uid, gid)


def line(text: str) -> Break:
    """Somebody adds a line to main.cf, and Postfix reads it."""

    def edit(host: FakeDebian) -> None:
        host.put(MAIN, host.text(MAIN) + text + "\n")
        host._start()

    return edit


def set_to(name: str, value: str) -> Break:
    """Somebody sets a parameter that is there already."""

    def edit(host: FakeDebian) -> None:
        lines = [x for x in host.text(MAIN).splitlines() if x.partition(" =")[0] != name]
        host.put(MAIN, "\n".join([*lines, f"{name} = {value}", ""]))
        host._start()

    return edit


def master(old: str, new: str) -> Break:
    def edit(host: FakeDebian) -> None:
        text = host.text(MASTER)
        assert old in text
        host.put(MASTER, text.replace(old, new, 1))

    return edit


def owned(path: str, mode: int, uid: int, gid: int) -> Break:
    def change(host: FakeDebian) -> None:
        host.entries[path] = replace(host.entries[path], mode=mode, uid=uid, gid=gid)

    return change


def mode(path: str, bits: int) -> Break:
    def change(host: FakeDebian) -> None:
        host.entries[path] = replace(host.entries[path], mode=bits)

    return change


def nosuid(host: FakeDebian) -> None:
    host.rooms["/usr"] = Room(1, 10**12, nosuid=True, mount="/usr")


def foreign_sendmail(place: str) -> Break:
    return lambda host: host.put(place, "#!/bin/sh\n", 0o755)


def no_localhost(hosts: str) -> Break:
    own = "192.0.2.7 web1.example.org web1\n"
    return lambda host: host.put("/etc/hosts", own + hosts)


def lies(queue: str, age: float) -> Break:
    def lay(host: FakeDebian) -> None:
        entry = waiting()
        entry.update(queue_name=queue, arrival_time=host.clock - age)
        host.queue = [entry]

    return lay


def put_off(host: FakeDebian) -> None:
    """qmgr does what main.cf asked of it before."""
    host.clock += 3600
    entry = waiting()
    entry["recipients"] = [{"address": "a@example.net", "delay_reason": "deferred transport"}]
    host.queue = [entry]


def just_mended(host: FakeDebian) -> None:
    put_off(host)
    host.put(MAIN, host.text(MAIN))


def by_hand(host: FakeDebian) -> None:
    host.dynamic[f"/proc/{PID}/cgroup"] = lambda: b"0::/user.slice/user-0.slice/session-3.scope\n"


def not_read(host: FakeDebian) -> None:
    """The socket of a former master is there, and the one that runs has another master.cf."""
    table = host.dynamic["/proc/net/unix"]
    host.dynamic["/proc/net/unix"] = lambda: table().replace(b"private/tlsproxy", b"private/other")


LOST, LOCAL, HOP = "nothing-lost", "local-clients", "verified-next-hop"
ROWS: list[tuple[Break, str, str, str]] = [
    (lambda host: host.dynamic.pop(f"{QUEUE}/public/qmgr"), LOST, "public/qmgr", "restart postfix"),
    (not_read, LOST, "nobody listens on /var/spool/postfix/private/tlsproxy", "restart postfix"),
    (line("soft_bounce = yes"), LOST, "soft_bounce = yes", "sysmail apply"),
    (line("defer_transports = smtp"), LOST, "defer_transports = smtp", "sysmail apply"),
    (set_to("maximal_queue_lifetime", "0"), LOST, "lifetime-too-short", "sysmail apply"),
    (line("default_transport = error:no"), LOST, "mail-does-not-leave", "sysmail apply"),
    (line("smtp_bind_address = 203.0.113.9"), LOST, "no address of this host", "sysmail apply"),
    (line("relayhost = [mail.example.net]"), "verified-next-hop", "relayhost", "sysmail apply"),
    (line("debug_peer_list = x"), "no-secrets-told", "debug_peer_list", "sysmail apply"),
    (line("always_bcc = a@b.example"), "all-or-nothing", "(always_bcc)", "sysmail plan"),
    (master("qmgr      unix", "#gone     unix"), LOST, "no service qmgr", "sysmail apply"),
    (
        master("smtpd\n", "smtpd\n  -o mynetworks=0.0.0.0/0\n"),
        LOCAL,
        "the service smtp mynetworks = 0.0.0.0/0, and the policy asks for no mynetworks",
        "sysmail apply",
    ),
    (
        master("  -o notify_classes=\n", ""),
        LOST,
        "the service smtp no notify_classes, and the policy asks for notify_classes = ",
        "sysmail apply",
    ),
    (lambda host: host.take(f"{DAEMONS}/smtp"), LOST, f"no {DAEMONS}/smtp:", "package postfix"),
    (owned(f"{QUEUE}/active", 0o700, 0, 0), LOST, f"{QUEUE}/active", "`chown postfix "),
    (owned(f"{QUEUE}/private", 0o000, UID, 0), LOST, "mode 0000", "chmod 700"),
    (lambda host: host.take(f"{QUEUE}/hold"), LOST, f"no folder {QUEUE}/hold", "postfix check"),
    (owned(f"{QUEUE}/maildrop", 0o1730, UID, 0), LOCAL, "maildrop", "chown postfix:postdrop"),
    (owned(f"{QUEUE}/public", 0o2700, UID, GID), LOCAL, "public", "chmod 2710"),
    (owned("/usr/sbin/postdrop", 0o755, 0, GID), LOCAL, "setgid postdrop", "chmod g+s,o+x"),
    (owned("/var/lib/postfix", 0o755, 0, 0), LOST, "does not belong to postfix", "chown -R"),
    (lambda host: host.take("/usr/sbin/postdrop"), LOCAL, "no /usr/sbin/postdrop", "package"),
    (nosuid, LOCAL, "/usr is mounted with nosuid", "`mount -o remount,suid /usr`"),
    (mode("/etc/postfix", 0o700), LOCAL, "for root alone", "`chmod a+rx /etc/postfix`"),
    (mode("/etc/postfix/main.cf", 0o600), LOCAL, "0600", "`chmod a+r /etc/postfix/main.cf`"),
    (mode("/etc/postfix/dynamicmaps.cf", 0o640), LOCAL, "dynamicmaps.cf", "chmod a+r"),
    (mode("/var/spool", 0o700), LOCAL, "/var/spool has mode 0700", "`chmod a+rx /var/spool`"),
    (mode(QUEUE, 0o700), LOCAL, f"{QUEUE} has mode 0700", f"`chmod a+rx {QUEUE}`"),
    (mode("/usr/sbin/sendmail", 0o700), LOCAL, "sendmail has mode", "chmod a+rx /usr/sbin/sendm"),
    (mode("/usr/lib/postfix", 0o700), LOCAL, "/usr/lib/postfix has", "chmod a+rx /usr/lib/postf"),
    (mode(LIBRARY, 0o600), LOCAL, f"{LIBRARY} has mode 0600", f"`chmod a+r {LIBRARY}`"),
    (mode("/etc/passwd", 0o600), LOCAL, "/etc/passwd has mode", "`chmod a+r /etc/passwd`"),
    (mode("/etc/group", 0o600), LOCAL, "/etc/group has mode", "`chmod a+r /etc/group`"),
    (mode("/etc/hosts", 0o600), LOCAL, "find localhost", "`chmod a+r /etc/hosts`"),
    (mode("/run/dns/resolv.conf", 0o600), HOP, "no DNS server", "chmod a+r /run/dns/resolv.conf`"),
    (mode("/run/dns", 0o750), HOP, "what runs as postfix", "`chmod a+rx /run/dns`"),
    (foreign_sendmail("/usr/lib/sendmail"), "no-takeover", "/usr/lib/sendmail is not", "package"),
    (foreign_sendmail("/usr/sbin/sendmail"), "no-takeover", "is not Postfix's", "package postfix"),
    (no_localhost("192.0.2.1 localhost\n"), LOCAL, "localhost is 192.0.2.1", "127.0.0.1"),
    (no_localhost(""), LOCAL, "localhost has no address", "/etc/hosts"),
    (lies("maildrop", 3600), LOST, "1 message has been in maildrop", "postfix reload"),
    (lies("incoming", 3600), LOST, "qmgr does not take mail on", "postfix reload"),
    (put_off, LOST, "1 in the queue with the reason `deferred transport`", "postfix reload"),
    (by_hand, "all-or-nothing", "started by hand", "postfix stop"),
]


@pytest.mark.parametrize(
    ("break_it", "check", "says", "remedy"), ROWS, ids=[f"{row[1]}-{row[2]}" for row in ROWS]
)
def test_found_by_its_check(break_it: Break, check: str, says: str, remedy: str) -> None:
    """Each is told by the promise that it breaks, and nothing is changed."""
    host = whole()
    if break_it is by_hand:
        host.put("/usr/lib/systemd/system/postfix@.service", "")
    assert prove.run(host, "", ADMIN).outcome == "proven"
    break_it(host)
    verdict = {v.check: v for v in prove.run(host, "", ADMIN).verdicts}[check]
    assert (verdict.status, says in verdict.evidence) == (FAIL, True), verdict
    assert remedy in verdict.remedy
    assert host.changes == []


@pytest.mark.parametrize(
    "harmless",
    [
        lies("maildrop", 60),
        lies("deferred", 3600),
        no_localhost("127.0.0.1 localhost\n"),
        no_localhost("::1 LOCALHOST # ours\n"),
        mode("/etc/postfix", 0o711),
        mode("/usr/sbin/sendmail", 0o711),
        mode("/var/spool", 0o1711),
        just_mended,
    ],
)
def test_no_false_alarm(harmless: Break) -> None:
    """What is as it should be, or only waits its turn, is no fault."""
    host = whole()
    harmless(host)
    assert prove.run(host, "", ADMIN).outcome == "proven"


def test_an_address_in_upper_case_is_the_same() -> None:
    """An own address that mail is to leave from may be written in any way."""
    host = whole(policy='admin = "ops@example.org"\n[postfix]\nsmtp_bind_address6 = "0:0::0:1"\n')
    assert [v for v in prove.run(host, "", {}).verdicts if v.status == FAIL] == []


def test_a_policy_that_was_not_applied_is_told_as_that() -> None:
    """Where the policy changed nobody set a parameter otherwise."""
    host = whole(policy='admin = "ops@example.org"\n')
    assert prove.run(host, "", {}).outcome == "proven"
    host.put("/etc/sysmail/policy.toml", 'admin = "ops@example.org"\n[queue]\nlifetime = "2d"\n')
    failed = {v.check: v.evidence for v in prove.run(host, "", {}).verdicts if v.status == FAIL}
    assert list(failed) == ["all-or-nothing"]
    assert failed["all-or-nothing"].startswith("the policy was changed since it was applied")
    assert "maximal_queue_lifetime" in failed["all-or-nothing"]


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda host: host.take("/bin/page"), "is not there"),
        (mode("/bin/page", 0o644), "is no program"),
    ],
)
def test_an_alert_command_that_would_not_run(break_it: Break, says: str) -> None:
    """It is told while all is well: by then it is too late."""
    host = whole(policy='admin = "ops@example.org"\n[alert]\ncommand = ["/bin/page", "mail"]\n')
    assert prove.run(host, "", {}).outcome == "proven"
    break_it(host)
    verdict = {v.check: v for v in prove.run(host, "", {}).verdicts}["all-or-nothing"]
    assert (verdict.status, says in verdict.evidence) == (FAIL, True)
    assert "put /bin/page back" in verdict.remedy


def test_a_masked_unit_is_told() -> None:
    """An apply cannot enable it: what does is told first."""
    host = whole()
    host.put_link("/etc/systemd/system/postfix.service", "/dev/null")
    verdict = {v.check: v for v in prove.run(host, "", ADMIN).verdicts}["all-or-nothing"]
    assert (verdict.status, "is masked" in verdict.evidence) == (FAIL, True)
    assert "`systemctl unmask postfix.service`" in verdict.remedy


def test_the_cause_comes_before_what_became_of_mail() -> None:
    """Where both are seen, a person reads first what to mend."""
    host = whole()
    set_to("mydestination", "web1.example.org")(host)
    host.queue = []
    verdict = {v.check: v for v in prove.run(host, "", ADMIN).verdicts}["no-mailboxes"]
    cause, symptom = "local-mail-destroyed", "Postfix has mydestination"
    assert verdict.evidence.index(cause) < verdict.evidence.index(symptom)


def test_several_faults_of_one_promise_are_counted() -> None:
    """The first is told, with how many there are besides."""
    host = whole()
    for name in ("active", "defer", "hold"):
        owned(f"{QUEUE}/{name}", 0o700, 0, 0)(host)
    verdict = {v.check: v for v in prove.run(host, "", ADMIN).verdicts}[LOST]
    assert verdict.evidence.endswith("; and 2 more like it")


def test_a_configuration_that_cannot_be_read() -> None:
    """Postfix's own words are told, and its defaults are not taken for what somebody set."""
    host = whole()
    stock = host.programs["postconf"]
    words = "postconf: fatal: /etc/postfix/main.cf, line 3: missing '=' after attribute name: \"x\""

    def postconf(argv: Sequence[str], stdin: Optional[bytes]) -> Completed:
        if list(argv) == ["postconf"]:
            return Completed(tuple(argv), 1, "", words)
        return stock(argv, stdin)

    host.programs["postconf"] = postconf
    verdicts = {v.check: v for v in prove.run(host, "", ADMIN).verdicts}
    assert verdicts[LOST].status == FAIL
    assert "main.cf, line 3: missing '='" in verdicts[LOST].evidence
    assert {verdicts[c].status for c in ("loopback-only", "no-takeover")} == {UNKNOWN}


def test_a_password_in_a_parameter_is_not_told() -> None:
    """A table that is written out in main.cf may hold a login."""
    host = whole()
    secret = "s3cr3t-w0rd"
    table = f"inline:{{ {{ [mail.example.net] = user:{secret} }} }}"
    line(f"smtp_sasl_password_maps = {table}")(host)
    line(f"smtp_sasl_auth_cache_name = {table}")(host)
    report = prove.run(host, "", ADMIN)
    assert report.outcome == "broken"
    assert secret not in str(report.as_data())


def test_what_an_apply_did_not_break_does_not_undo_it() -> None:
    """A host whose programs lost their modes gets its new policy, and is told what is wrong."""
    host = whole()
    owned("/usr/sbin/postdrop", 0o755, 0, GID)(host)
    report = apply.run(host, "", {**ADMIN, "sender": "no-reply@example.org"}, silent)
    assert (report.outcome, report.exit_code) == ("not-proven", 1)
    assert "no-reply@example.org" in host.text("/etc/postfix/sysmail/generic")
    failed = [v.check for v in report.verdicts if v.status == FAIL]
    assert failed == [LOCAL]
