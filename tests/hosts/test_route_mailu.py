"""The route mailu on booted hosts: msmtp is sendmail, and nobody but root gets at the password."""

from __future__ import annotations

import base64
import shlex

import pytest
from onhost import apply, differences, mailu_policy, sendmail, snapshot, sysmail

from lab import FreshHost, Host, Lab

BASES = pytest.mark.parametrize("base", ["debian", "arch"])


def _try_sendmail(host: Host, *words: str, user: str | None = None) -> tuple[int, str]:
    """The exit code and what sendmail says when it refuses."""
    done = host.run(["/usr/sbin/sendmail", *words], input="Subject: t\n\n", user=user, check=False)
    return done.returncode, done.stderr


@BASES
def test_msmtp_is_sendmail(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """For root, a user and cron; local names reach admin; Mailu accepts sender and From."""
    lab.mailu.clear()
    host = fresh_host(base)
    mailu_policy(lab, host)
    apply(host)
    assert host.run("readlink -f /usr/sbin/sendmail").stdout.strip() == "/usr/bin/msmtp"
    mine = host.fqdn
    sendmail(host, "Subject: root\n\n", "x@example.net")
    sendmail(host, "Subject: alice\nFrom: Alice <alice@elsewhere.example>\n\n", "-t",
             "x@example.net", user="alice")  # fmt: skip
    cron = "From: root (Cron Daemon)\nTo: alice\nSubject: cron\n\n"
    sendmail(host, cron, "-FCronDaemon", "-oem", "alice")
    sendmail(host, "Subject: locals\n\n", "root@localhost", f"ALICE+x@{mine}", "postmaster",
             f"postmaster@{mine}", "x@example.net")  # fmt: skip
    sendmail(host, "Subject: null\n\n", "-f", "<>", "x@example.net")
    sendmail(host, "Subject: Prüfung ✓\n\n", "x@example.net", user="alice")
    found = lab.mailu.wait_for(lambda _m: True, count=7)
    by_subject = {str(m.message["Subject"]): m for m in found}
    for subject in ("root", "alice", "cron", "Prüfung ✓"):
        message = by_subject[subject]
        assert message.sender == lab.mailu.username, subject
        assert lab.mailu.username in str(message.message["From"]), subject
    assert by_subject["cron"].recipients == ["ops@example.org"]
    locals_ = sorted(r for m in found if m.message["Subject"] == "locals" for r in m.recipients)
    assert locals_ == ["ops@example.org", "x@example.net"], "admin gets one copy"
    assert by_subject["null"].sender == ""


@BASES
def test_cron_itself(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """The output of a real cron job reaches admin."""
    lab.mailu.clear()
    host = fresh_host(base)
    mailu_policy(lab, host)
    apply(host)
    host.run(["crontab", "-"], input="* * * * * echo from cron\n", user="alice")
    host.run("systemctl start cron")
    lab.mailu.wait_for(
        lambda m: b"from cron" in m.data and m.recipients == ["ops@example.org"], timeout=90
    )


_EARS = """
import socketserver
class Ears(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 ears ESMTP\\r\\n")
        for line in self.rfile:
            with open("/tmp/heard", "ab") as kept:
                kept.write(line)
            word = line[:4].upper()
            self.wfile.write({b"EHLO": b"250-ears\\r\\n250 AUTH PLAIN LOGIN\\r\\n",
                              b"AUTH": b"235 ok\\r\\n"}.get(word, b"250 ok\\r\\n"))
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", 2526), Ears).serve_forever()
"""


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@BASES
def test_nobody_but_root_gets_the_password(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """Not from a file, a process, msmtp's debug output, or by pointing msmtp elsewhere."""
    host = fresh_host(base)
    mailu_policy(lab, host)
    ran = apply(host)
    secret = lab.mailu.password
    assert secret not in ran.out
    # As it is, and as AUTH PLAIN and LOGIN send it.
    user = lab.mailu.username
    forms = [secret, *(_base64(text) for text in (secret, f"\0{user}\0{secret}"))]
    said = host.run(
        f"grep -rls -m1 {secret} /etc /run /tmp /var /home || true", user="alice"
    ).stdout
    assert said == ""
    # A server of alice's own, which offers every login and keeps what it is told.
    host.run(["sh", "-c", "cat > /tmp/ears.py"], input=_EARS, user="alice")
    ears = host.start(["python3", "/tmp/ears.py"], user="alice")
    host.run(
        "for i in $(seq 50); do ss -Hltn | grep -q ':2526 ' && exit 0; sleep 0.1; done; exit 1"
    )
    daemon = "CREDENTIALS_DIRECTORY=/etc/sysmail-msmtpd msmtp -d -C /etc/sysmail-msmtpd/msmtprc"
    credential = "CREDENTIALS_DIRECTORY=$(echo /run/credentials/sysmail-msmtpd*127*)"
    for words in (
        "msmtp --host=127.0.0.1 --port=2526 --from=alice@example.com x@example.net",
        "msmtp -d x@example.net",
        "msmtp -d --host=127.0.0.1 --port=2526 --auth=plain --user=x x@example.net",
        "msmtp -d --proxy-host=127.0.0.1 --proxy-port=2526 x@example.net",
        f"{daemon} x@example.net",
        f"{daemon} --proxy-host=127.0.0.1 --proxy-port=2526 x@example.net",
        f"{daemon} --tls=off --port=2526 x@example.net",
        f"{credential} msmtp -P -C /etc/sysmail-msmtpd/msmtprc x@example.net",
        "cat /etc/sysmail-msmtpd/password /run/credentials/*/* /etc/sysmail/password",
        "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline",
    ):
        done = host.run(words + "; true", input="Subject: t\n\n", user="alice", check=False)
        for form in forms:
            assert form not in (done.stdout + done.stderr).replace(words, ""), words
    ears.terminate()
    heard = host.run("cat /tmp/heard 2>/dev/null; true", check=False).stdout
    assert "EHLO" in heard, "it would have heard a login"
    assert not any(form in heard for form in forms)
    # As root, who may: what is in processes and in the log of everything that happened.
    told = host.run(
        "sleep 1; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'; "
        "journalctl --no-pager -a"
    ).stdout
    assert not any(form in told for form in forms)
    holders = host.run(
        "cd / && find etc run var -xdev -type f -printf '%m %u %p\\n' | sort"
    ).stdout.splitlines()
    readable = [line.split(" ", 2)[2] for line in holders if line.split()[0][-1] in "4567"]
    script = f"""
import sys
for path in sys.stdin.read().split("\\n"):
    try:
        if {secret!r}.encode() in open("/" + path, "rb").read():
            print(path)
    except OSError:
        pass
"""
    assert host.run(["python3", "-c", script], input="\n".join(readable)).stdout == ""


@BASES
def test_exit_codes_and_log(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """What cannot be sent is said with a sysexits code; the log needs no home directory."""
    host = fresh_host(base)
    mailu_policy(lab, host)
    apply(host)
    assert _try_sendmail(host, "x@example.net", user="alice")[0] == 0
    nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    host.run(
        f"HOME=/nonexistent {nobody} /usr/sbin/sendmail x@example.net",
        input="Subject: homeless\n\n",
    )
    host.run("for i in $(seq 50); do journalctl -q -t msmtp --no-pager | "
             "grep -q 'recipients=x@example.net.*exitcode=EX_OK' && exit 0; sleep 0.1; done; "
             "exit 1")  # fmt: skip
    lab.cut(lab.mailu)
    try:
        code, words = _try_sendmail(host, "x@example.net", user="alice")
        assert (code, "451" in words) == (69, True), words
        status = sysmail(host, "status")
        assert (status.status, status.codes) == (1, ["mail-refused"])
    finally:
        lab.join(lab.mailu)
    assert _try_sendmail(host, "x@example.net")[0] == 0
    assert sysmail(host, "status").status == 0
    mailu_policy(lab, host, "# without admin")
    sysmail(host, "apply")
    path = host.root / "etc/sysmail/policy.toml"
    path.write_text(path.read_text().replace('admin = "ops@example.org"\n', ""))
    apply(host)
    code, _ = _try_sendmail(host, "root", user="alice")
    assert code == 69
    log = host.run("journalctl -q -u 'sysmail-msmtpd@*' --no-pager").stdout
    assert "mail for local users has no destination: set admin" in log


@BASES
def test_a_boot_changes_nothing(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """After a power cut msmtpd is there again, and Postfix is not."""
    lab.mailu.clear()
    host = fresh_host(base, packages=["postfix", "msmtp"])
    mailu_policy(lab, host, 'route = "relay"')
    apply(host)
    mailu_policy(lab, host)
    apply(host)
    host.kill()
    host.boot()
    assert host.run("pgrep -x master || true").stdout == ""
    host.run("for i in $(seq 50); do ss -Hltn | grep -qF '[::1]:25 ' && exit 0; sleep 0.1; "
             "done; exit 1")  # fmt: skip
    ran = sysmail(host, "prove", "--to", "x@example.net")
    assert ran.status == 0, ran.failed()
    entrances = [v["check"] for v in ran.report["verdicts"] if v["check"].startswith("entrance-")]
    assert len(entrances) == 8
    assert "queued as" in ran.verdict("entrance-cron")["evidence"]
    assert len(lab.mailu.wait_for(lambda _m: True, count=8)) == 8


_BREAKS = {
    "systemctl stop sysmail-msmtpd@127.0.0.1": "loopback-only",
    "ln -sf /bin/true /usr/sbin/sendmail": "no-takeover",
    "chmod 644 /etc/sysmail-msmtpd/password": "no-secrets-told",
    "sed -i s/^sender=.*/sender=boss@example.org/ /etc/sysmail-msmtpd/submit": "accepted-senders",
    "sed -i s/^admin=.*/admin=x@example.net/ /etc/sysmail-msmtpd/submit": "no-mailboxes",
    "sed -i 's/tls_certcheck on/tls_certcheck off/' /etc/sysmail-msmtpd/msmtprc":
        "verified-next-hop",
    "sed -i s/--interface=%I/--interface=0.0.0.0/ "
    "/etc/systemd/system/sysmail-msmtpd@.service; systemctl daemon-reload; "
    "systemctl stop sysmail-msmtpd@::1; systemctl restart sysmail-msmtpd@127.0.0.1":
        "loopback-only",
}  # fmt: skip


def test_every_break_is_found_and_healed(lab: Lab, fresh_host: FreshHost) -> None:
    """Each broken on purpose: the right check is red, and `sysmail apply` heals it."""
    host = fresh_host()
    mailu_policy(lab, host)
    apply(host)
    for command, check in _BREAKS.items():
        host.run(command)
        broken = sysmail(host, "prove")
        assert broken.status == 1, command
        assert check in broken.failed(), (command, broken.failed())
        if "sendmail" in command:
            host.run("ln -sf ../bin/msmtp /usr/sbin/sendmail")  # the package's file, not ours
        apply(host)


@BASES
def test_remove_puts_the_host_back(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """A bare host, msmtp, and bare again; nothing of sysmail is left."""
    host = fresh_host(base)
    mailu_policy(lab, host)
    before = snapshot(host)
    apply(host)
    assert sysmail(host, "remove").status == 0
    assert differences(before, snapshot(host)) == []


def test_a_new_password_is_taken_over(lab: Lab, fresh_host: FreshHost) -> None:
    """Changing the password file needs one apply; the daemon then uses the new one."""
    lab.mailu.clear()
    host = fresh_host()
    mailu_policy(lab, host, "", 'username = "backup@example.org"',
                 lab.mailu.accounts["backup@example.org"])  # fmt: skip
    apply(host)
    mailu_policy(lab, host)
    apply(host)
    sendmail(host, "Subject: renewed\n\n", "x@example.net")
    found = lab.mailu.wait_for(lambda m: m.message["Subject"] == "renewed")
    assert found[0].sender == lab.mailu.username


def test_many_at_once(lab: Lab, fresh_host: FreshHost) -> None:
    """Forty programs at the same moment: what is taken with exit code 0 arrives, all of it."""
    lab.mailu.clear()
    host = fresh_host()
    mailu_policy(lab, host)
    apply(host)
    one = "printf 'Subject: many\\nX-Id: '$i'\\n\\n' | /usr/sbin/sendmail root && echo ok $i"
    said = host.run(
        f"for i in $(seq 40); do ( {one} ) & done; wait", user="alice"
    ).stdout.splitlines()
    taken = {line.split()[1] for line in said if line.startswith("ok ")}
    lab.mailu.wait_for(lambda m: m.message["Subject"] == "many", count=len(taken))
    assert {i for i in lab.mailu.ids("X-Id") if i} == taken
    assert len(taken) == 40, shlex.join(said)


FLOOD = """
import smtplib
with smtplib.SMTP("localhost", 25) as client:
    for number in range(12):
        client.sendmail("job@example.net", ["a@example.org"], "Subject: flood\\n\\n")
"""


def _found(host: Host) -> dict[str, str]:
    """What a run of the watch finds: the keys, each with its text."""
    host.run("journalctl --sync")
    report = sysmail(host, "watch").report
    return {each["key"]: each["text"] for each in report["watch"]["findings"]}


@BASES
def test_what_the_watch_sees(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """Who submits too much, and Mailu that is down until a message is taken, or it is asked."""
    host = fresh_host(base)
    mailu_policy(lab, host, "[limits]\nrunaway = 10")
    apply(host)
    assert _found(host) == {}
    sendmail(host, "Subject: one\n\n", "x@example.net")
    host.run("for i in $(seq 11); do echo | /usr/sbin/sendmail x@example.net; done", user="alice")
    host.run(["python3", "-c", FLOOD], user="alice")
    uid = host.run("id -u alice").stdout.strip()
    found = _found(host)
    assert set(found) == {f"runaway:uid {uid}", "runaway:client localhost"}
    assert found[f"runaway:uid {uid}"].startswith(f"user {uid} (alice) submitted 11 messages")
    assert found["runaway:client localhost"].startswith("client localhost submitted 12 messages")

    lab.cut(lab.mailu)
    assert _try_sendmail(host, "x@example.net")[0] != 0
    assert "refused" in _found(host)
    # As if that were long ago, and no message came since.
    host.run("journalctl --rotate && sleep 1.1 && journalctl --vacuum-time=1s")
    assert set(_found(host)) == {"refused"}
    lab.join(lab.mailu)
    sendmail(host, "Subject: two\n\n", "x@example.net")
    assert _found(host) == {}
