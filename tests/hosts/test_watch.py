"""The watch on a booted host: it tells once, by a webhook and a command, and holds a runaway."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from onhost import differences, policy, queue, sendmail, snapshot, sysmail

from lab import Host, Lab
from lab.machine import wait_until

TOOL = "/opt/watched/sysmail"
DOCUMENTATION = Path(__file__).resolve().parents[2] / "docs/watch.md"
SECRET = "T0/B1/s3cretT0ken"
HOOK = "hooks.lab.test"
LIMIT = 60

SERVER = """
import http.server, json, ssl
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open("/root/hooked", "ab") as file:
            told = {"path": self.path, "headers": dict(self.headers), "body": body.decode()}
            file.write(json.dumps(told).encode() + b"\\n")
        self.send_response(200); self.end_headers()
    def log_message(self, *words):
        pass
server = http.server.HTTPServer(("127.0.0.1", 8443), Hook)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/root/hook.pem", "/root/hook.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""

POLICY = f"""
admin = "ops@example.org"
next_hop = "direct"
[queue]
retry_every = "10s"
[alert]
webhook = "https://{HOOK}:8443/{SECRET}"
ca_file = "/etc/sysmail/ca.pem"
command = ["/root/page", "a word"]
[limits]
runaway = {LIMIT}
"""


@pytest.fixture(scope="module")
def host(lab: Lab) -> Iterator[Host]:
    """A host with a web server for alerts on its loopback, and a sysmail that is root's alone."""
    made = lab.host("watched", packages=["postfix", "msmtp"])
    _copy_tool(made)
    made.run("useradd app; useradd other")
    certificate = lab.ca.issue(HOOK)
    folder = made.root / "root"
    (folder / "hook.pem").write_bytes(certificate.chain.read_bytes())
    (folder / "hook.key").write_bytes(certificate.key.read_bytes())
    (folder / "server.py").write_text(SERVER)
    (folder / "page").write_text('#!/bin/sh\n{ echo "$# $1"; env; cat; } >> /root/paged\n')
    (folder / "page").chmod(0o700)
    made.run(f"echo '127.0.0.1 {HOOK}' >> /etc/hosts")
    _serve(made)
    try:
        yield made
    finally:
        lab.join(lab.mx)
        lab.remove(made)


def _copy_tool(host: Host) -> None:
    host.run(
        "mkdir /opt/watched && cp -r /opt/sysmail/src /opt/sysmail/sysmail /opt/watched/ && "
        "chown -R root: /opt/watched && chmod -R go-w /opt/watched"
    )


def _serve(host: Host) -> None:
    host.run("systemd-run --unit=hook python3 /root/server.py")
    wait_until("the web server listens", lambda: ":8443" in host.run("ss -Hltn").stdout, 20, 0.1)


def _put_policy(lab: Lab, host: Host, text: str = POLICY) -> None:
    policy(host, text)
    (host.root / "etc/sysmail/policy.toml").chmod(0o600)
    (host.root / "etc/sysmail/ca.pem").write_bytes(lab.ca.file.read_bytes())


def _apply(host: Host) -> dict[str, Any]:
    done = host.run([TOOL, "--json", "apply"], check=False, timeout=300)
    report: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, report
    return report


def _watch(host: Host) -> str:
    """One run, as the timer makes it; what systemd says of its end."""
    # A timer starts it every five minutes, a test more often than systemd lets a unit start.
    host.run("systemctl reset-failed sysmail-watch.service", check=False)
    host.run("systemctl start sysmail-watch.service", check=False)
    said = host.run("systemctl show -p Result,ExecMainStatus --value sysmail-watch.service")
    return " ".join(said.stdout.split())


def _posts(host: Host) -> list[dict[str, Any]]:
    """What the web server got, the first request first: its path, headers and body."""
    path = host.root / "root/hooked"
    posts = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    assert all(post["path"] == f"/{SECRET}" for post in posts)
    return posts


def _hooked(host: Host) -> list[dict[str, Any]]:
    """The documents that the web server got."""
    return [json.loads(post["body"]) for post in _posts(host)]


def _events(host: Host) -> list[str]:
    """The events that the web server got; the command must have got the same."""
    hooked = [alert["event"] for alert in _hooked(host)]
    paged = (host.root / "root/paged").read_text() if (host.root / "root/paged").exists() else ""
    told = [json.loads(line) for line in paged.splitlines() if line.startswith("{")]
    assert [alert["event"] for alert in told] == hooked
    assert paged.count("1 a word\n") == len(told)
    return hooked


def test_the_copy(lab: Lab, host: Host) -> None:
    """A sysmail that others can write is not what the timer runs: that is recovery's copy."""
    _put_policy(lab, host)
    host.run("chmod o+w /opt/watched")
    try:
        _apply(host)
    finally:
        host.run("chmod o-w /opt/watched")
    command = host.run("systemctl show -p ExecStart --value sysmail-watch.service").stdout
    assert " -I /var/lib/sysmail/recover.pyz watch --quiet" in command, command
    assert _watch(host) == "success 0"
    assert json.loads(_memory(host)[0])["proved"] > 0
    assert _watch(host) == "success 0"
    assert sysmail(host, "remove", "--force").status == 0
    assert host.run("test -e /var/lib/sysmail", check=False).returncode == 1


def test_the_watch(lab: Lab, host: Host) -> None:
    """From an apply to its removal: quiet while all is well, and told once of each thing."""
    before = snapshot(host)
    _put_policy(lab, host)
    with_policy = snapshot(host)
    assert "watch start" in [step["name"] for step in _apply(host)["steps"]]
    assert host.run("systemctl is-enabled sysmail-watch.timer").stdout.strip() == "enabled"

    # All is well: nothing changes, nobody is told.
    assert _watch(host) == "success 0"
    well = snapshot(host), _memory(host)
    assert _watch(host) == "success 0"
    assert (differences(well[0], snapshot(host)), _memory(host)) == ([], well[1])
    assert _events(host) == []

    # From here on the timer's own runs are far away: each run puts the next one off.
    wait_until("the timer has run it", lambda: _triggered(host), 90, 0.5)

    # Broken: told once. Worse: told again. Healed: told once.
    host.run("postconf -e inet_interfaces=all && systemctl restart postfix")
    assert _watch(host) == "success 1"
    assert _watch(host) == "success 1"
    assert _events(host) == ["trouble"], [a["text"] for a in _hooked(host)]
    found = {each["key"]: each["text"] for each in _hooked(host)[-1]["findings"]}
    assert "which others can reach" in found["promise:loopback-only"]
    assert _hooked(host)[-1]["host"] == host.fqdn
    host.run("mkdir -p /var/spool/postfix/corrupt && touch /var/spool/postfix/corrupt/4XwYh2bQz3mK")
    assert _watch(host) == "success 1"
    assert _events(host) == ["trouble", "worse"]
    host.run("rm /var/spool/postfix/corrupt/4XwYh2bQz3mK")
    _apply(host)
    assert _watch(host) == "success 0"
    assert _watch(host) == "success 0"
    assert _events(host) == ["trouble", "worse", "well"]

    _check_undelivered(host)
    _check_secret(host)
    _check_runaway(lab, host)

    assert sysmail(host, "remove", "--force").status == 0
    after = snapshot(host)
    own = {path for path in after if path.startswith(("root/", "etc/sysmail"))}
    for taken in (before, after, with_policy):
        for path in own:
            taken.pop(path, None)
    assert differences(with_policy, after) == []
    # The main.cf that was edited above, which the way back replaced.
    assert host.run("ls -A /var/lib/sysmail").stdout.split() == ["kept"]
    assert "sysmail-watch" not in host.run("systemctl list-units --all --no-legend").stdout


def _memory(host: Host) -> tuple[str, float]:
    path = host.root / "var/lib/sysmail/watch.json"
    return path.read_text(), path.stat().st_mtime


def _triggered(host: Host) -> bool:
    """Whether the timer has run the watch, and that run is over."""
    said = host.run("systemctl show -p LastTriggerUSec --value sysmail-watch.timer").stdout
    state = host.run("systemctl show -p ActiveState --value sysmail-watch.service").stdout
    return said.strip() not in ("", "n/a") and state.strip() == "inactive"


def _check_undelivered(host: Host) -> None:
    """An alert that reached nobody is seen in status and prove, and comes with the next run."""
    events = _events(host)
    host.run("systemctl stop hook postfix; mv /root/page /root/page.away")
    assert _watch(host) == "exit-code 3"
    ran = sysmail(host, "status")
    told = [
        each["message"] for each in ran.report["errors"] if each["code"] == "alert-not-delivered"
    ]
    assert len(told) == 2, ran.report
    assert "alert-not-delivered" in sysmail(host, "prove").codes
    host.run("mv /root/page.away /root/page")
    _serve(host)
    assert _watch(host) == "success 1"
    assert _events(host) == [*events, "trouble"]
    assert "alert-not-delivered" not in sysmail(host, "status").codes
    host.run("systemctl start postfix")
    wait_until("Postfix runs", lambda: sysmail(host, "prove").status == 0, 30, 0.5)
    assert _watch(host) == "success 0"
    assert _events(host) == [*events, "trouble", "well"]


def _check_secret(host: Host) -> None:
    """The address of the webhook is in no report, no log and no file that others can read."""
    said = [sysmail(host, *words) for words in (["status"], ["prove"], ["plan"], ["watch"])]
    log = host.run("journalctl --no-pager -o json-pretty").stdout
    assert all("s3cret" not in ran.out + ran.err for ran in said)
    assert "s3cret" not in log
    assert "s3cret" not in (host.root / "root/paged").read_text()
    readable = host.run(
        "grep -rl s3cretT0ken /etc /var/lib /run /usr/local 2>/dev/null | "
        "xargs -r stat -c '%a %n' | grep -v '^600 '",
        check=False,
    ).stdout
    assert readable == ""
    checkpoints = "/var/lib/sysmail/checkpoints"
    assert host.run(f"grep -r s3cretT0ken {checkpoints}", check=False).returncode == 1


def _check_runaway(lab: Lab, host: Host) -> None:
    """What one user sends beyond the limit is held in one run; another's mail goes on."""
    lab.mx.clear()
    events = _events(host)
    lab.cut(lab.mx)
    count = 3 * LIMIT
    send = "printf 'Subject: mass %s\\n\\n' $i | /usr/sbin/sendmail a@example.org"
    script = f"for i in $(seq {count}); do {send}; done"
    host.run(["sh", "-c", script], user="app", timeout=300)
    sendmail(host, "Subject: of somebody else\n\n", "b@example.org", user="other")
    wait_until("all is in the queue", lambda: len(queue(host)) == count + 1, 60, 0.5)

    assert _watch(host) == "success 1"
    held = [m for m in queue(host) if m["queue"] == "hold"]
    assert len(held) == count - LIMIT
    assert {m["sender"].partition("@")[0] for m in held} == {"app"}
    assert _events(host) == [*events, "trouble"]
    (finding,) = _hooked(host)[-1]["findings"]
    assert "(app)" in finding["text"]
    assert str(count) in finding["text"]
    reasons = {
        row["reason"]: row["count"] for row in sysmail(host, "status").report["queue"]["reasons"]
    }
    assert reasons["held"] == count - LIMIT

    lab.join(lab.mx)
    host.run("postqueue -f")
    lab.mx.wait_for(lambda m: m.message["Subject"] == "of somebody else")
    wait_until("the rest has left", lambda: len(queue(host)) == count - LIMIT, 90, 0.5)
    assert sysmail(host, "queue", "release", "all").status == 0
    wait_until("nothing was lost", lambda: queue(host) == [], 120, 0.5)
    subjects = [received.message["Subject"] for received in lab.mx.messages()]
    assert sorted(s for s in subjects if s.startswith("mass")) == sorted(
        f"mass {number}" for number in range(1, count + 1)
    )


@pytest.fixture
def watched(lab: Lab, host: Host) -> Iterator[Host]:
    """The host with the watch in force and a first run behind it, and nobody told of anything."""
    # Whoever submitted much in another test did so in the last ten minutes.
    host.run("journalctl --rotate && sleep 1.1 && journalctl --vacuum-time=1s")
    _put_policy(lab, host)
    _apply(host)
    # Each run puts the timer's next one off, which is five minutes away then.
    wait_until("the timer has run it", lambda: _triggered(host), 90, 0.5)
    for name in ("hooked", "paged"):
        (host.root / "root" / name).unlink(missing_ok=True)
    yield host
    lab.join(lab.mx)
    host.run("postsuper -d ALL", check=False)
    assert sysmail(host, "remove", "--force").status == 0


CORRUPT = "/var/spool/postfix/corrupt"
BREAK = f"mkdir -p {CORRUPT} && touch {CORRUPT}/4XwYh2bQz3mK"
HEAL = f"rm {CORRUPT}/4XwYh2bQz3mK"


def test_the_shapes(lab: Lab, watched: Host) -> None:
    """ntfy, Slack and Telegram each get an alert as they take it, and that all is well."""
    for form, more in (("ntfy", ""), ("slack", ""), ("telegram", 'telegram_chat = "-100123"')):
        _put_policy(lab, watched, POLICY.replace("[alert]", f'[alert]\nformat = "{form}"\n{more}'))
        _apply(watched)
        # Each is a first incident: what comes back within a day is not told well at once.
        watched.run("rm -f /var/lib/sysmail/watch.json")
        watched.run(BREAK)
        assert _watch(watched) == "success 1"
        watched.run(HEAL)
        assert _watch(watched) == "success 0"
    ntfy, _, slack, _, telegram, well = _posts(watched)
    assert ntfy["headers"]["Title"] == f"{watched.fqdn}: mail is in trouble"
    assert (ntfy["headers"]["Priority"], ntfy["headers"]["Tags"]) == ("high", "warning")
    assert "damaged queue files" in ntfy["body"]
    assert list(json.loads(slack["body"])) == ["text"]
    assert "damaged queue files" in json.loads(slack["body"])["text"]
    assert json.loads(telegram["body"])["chat_id"] == "-100123"
    assert "damaged queue files" in json.loads(telegram["body"])["text"]
    assert "mail is well again" in json.loads(well["body"])["text"]


def test_three_days_with_the_next_hop_down(lab: Lab, watched: Host) -> None:
    """A run each three hours for three days by the watch's own clock: a few alerts, then one."""
    watched.run("apt-get -qy install faketime", timeout=200)
    lab.cut(lab.mx)
    sendmail(watched, "Subject: it waits\n\n", "a@example.org", user="app")
    wait_until("it waits", lambda: len(queue(watched)) == 1, 30, 0.2)
    for hours in range(3, 73, 3):
        ran = watched.run(["faketime", "-f", f"+{hours}h", TOOL, "watch"], check=False)
        assert ran.returncode == 1, (hours, ran.stdout, ran.stderr)
        assert "has waited for" in ran.stdout, (hours, ran.stdout, ran.stderr)
    told = _events(watched)
    assert told[0] == "trouble"
    assert 3 <= len(told) <= 7, told
    assert set(told[1:]) == {"worse"}
    lab.join(lab.mx)
    watched.run("postqueue -f")
    wait_until("it has left", lambda: queue(watched) == [], 60, 0.5)
    assert watched.run(["faketime", "-f", "+73h", TOOL, "watch"]).returncode == 0
    assert _events(watched) == [*told, "well"]


FLOOD = """
import smtplib
with smtplib.SMTP("localhost", 25) as client:
    for number in range({count}):
        client.sendmail(f"job{{number}}@example.net", ["a@example.org"], "Subject: flood\\n\\n")
"""


def test_thousands_with_a_sender_each(lab: Lab, watched: Host) -> None:
    """Beyond the limit all is held in one run, whatever the senders; what is let go stays so."""
    lab.cut(lab.mx)
    sendmail(watched, "Subject: of somebody else\n\n", "b@example.org", user="other")
    count = 2000
    watched.run(["python3", "-c", FLOOD.format(count=count)], user="app", timeout=300)
    wait_until("all is in the queue", lambda: len(queue(watched)) == count + 1, 60, 0.5)
    assert _watch(watched) == "success 1"
    held = [m for m in queue(watched) if m["queue"] == "hold"]
    assert len(held) == count - LIMIT
    assert not [m for m in held if m["sender"].startswith("other@")]
    (finding,) = _hooked(watched)[-1]["findings"]
    assert finding["key"] in ("runaway:client 127.0.0.1", "runaway:client ::1")
    assert f"submitted {count} messages" in finding["text"]

    assert sysmail(watched, "queue", "release", "all").status == 0
    assert _watch(watched) == "success 1"
    assert [m for m in queue(watched) if m["queue"] == "hold"] == []


def test_forged_lines(lab: Lab, watched: Host) -> None:
    """What a user logs under Postfix's name holds nobody's mail and turns nothing red."""
    lab.cut(lab.mx)
    sendmail(watched, "Subject: real\n\n", "b@example.org", user="other")
    wait_until("it is in the queue", lambda: len(queue(watched)) == 1, 30, 0.2)
    real = queue(watched)[0]["queue_id"]
    uid = watched.run("id -u other").stdout.strip()
    forge = (
        f"for i in $(seq {2 * LIMIT}); do echo 4XwYh2bQz$((i + 1000)): uid={uid} from='<other>'; "
        f"done | logger -t postfix/pickup; echo {real}: uid={uid} from='<other>' | "
        "logger -t postfix/pickup; echo warning: 4XwYh2bQz3mA: undeliverable postmaster "
        "notification discarded | logger -t postfix/bounce"
    )
    watched.run(["sh", "-c", forge], user="app")
    logged = "journalctl -q -t postfix/pickup _UID=$(id -u app) | wc -l"
    wait_until("it is logged", lambda: int(watched.run(logged).stdout) > 2 * LIMIT, 30, 0.2)
    assert _watch(watched) == "success 0"
    assert [m["queue"] for m in queue(watched) if m["queue"] == "hold"] == []
    assert _events(watched) == []


def test_a_memory_that_cannot_be_written(watched: Host) -> None:
    """On a read-only disk each thing is told once, and that it cannot be remembered there."""
    home = "/var/lib/sysmail"
    watched.run(f"mount --bind {home} {home} && mount -o remount,ro,bind {home}")
    watched.run(BREAK)
    try:
        for _ in range(3):
            assert _watch(watched) == "success 1"
        assert _events(watched) == ["trouble"]
        keys = {each["key"] for each in _hooked(watched)[0]["findings"]}
        assert keys == {"memory", "promise:nothing-lost"}
    finally:
        watched.run(f"umount {home}; {HEAL}")
    assert _watch(watched) == "success 0"
    assert _watch(watched) == "success 0"
    assert _events(watched) == ["trouble", "well"]
    assert watched.run("test -e /run/sysmail/watch.json", check=False).returncode == 1


def test_the_queue_grows(lab: Lab, watched: Host) -> None:
    """More messages than are allowed wait, and more come: told once, and once when they left."""
    _put_policy(lab, watched, POLICY.replace("[alert]", "[alert]\nqueue = 5"))
    _apply(watched)
    lab.cut(lab.mx)
    for number in range(6):
        sendmail(watched, f"Subject: {number}\n\n", "a@example.org", user="app")
    wait_until("six wait", lambda: len(queue(watched)) == 6, 30, 0.2)
    # They may get fewer by the next run.
    assert _watch(watched) == "success 0"
    assert _events(watched) == []
    sendmail(watched, "Subject: one more\n\n", "a@example.org", user="app")
    wait_until("seven wait", lambda: len(queue(watched)) == 7, 30, 0.2)
    assert _watch(watched) == "success 1"
    assert _watch(watched) == "success 1"
    assert _events(watched) == ["trouble"]
    (finding,) = _hooked(watched)[0]["findings"]
    assert finding["key"] == "queue"
    assert finding["text"].startswith("7 messages wait")

    lab.join(lab.mx)
    watched.run("postqueue -f")
    wait_until("they have left", lambda: queue(watched) == [], 60, 0.5)
    assert _watch(watched) == "success 0"
    assert _watch(watched) == "success 0"
    assert _events(watched) == ["trouble", "well"]


def test_the_last_good_proof_is_too_old(lab: Lab, watched: Host) -> None:
    """Nothing waits, but for two days nobody has seen that mail would leave: told once."""
    _put_policy(lab, watched, POLICY.replace("[alert]", '[alert]\nproof_age = "2d"'))
    _apply(watched)
    assert _watch(watched) == "success 0"
    assert json.loads(_memory(watched)[0])["proved"] > 0
    watched.run("apt-get -qy install faketime", timeout=200)
    lab.cut(lab.mx)

    def after(hours: int) -> int:
        ran = watched.run(["faketime", "-f", f"+{hours}h", TOOL, "watch"], check=False)
        assert "Traceback" not in ran.stderr, ran.stderr
        return ran.returncode

    # Asked once a day, and down: that alone is no trouble while nothing waits.
    assert [after(25), after(47)] == [0, 0]
    assert _events(watched) == []
    assert [after(49), after(50)] == [1, 1]
    assert _events(watched) == ["trouble"]
    (finding,) = _hooked(watched)[0]["findings"]
    assert finding["key"] == "proof"
    assert finding["text"] == "the last good proof is 2 days old"
    lab.join(lab.mx)
    assert [after(52), after(53)] == [0, 0]
    assert _events(watched) == ["trouble", "well"]


WITHOUT_SYSTEMD = """
mount -t tmpfs tmpfs /run && mkdir /run/lock && test ! -e /run/systemd/system || exit 2
/usr/local/bin/sysmail apply && /usr/local/bin/sysmail prove || exit 3
crontab /root/crontab || exit 4

# cron by a clock on which the minute of the line is seconds away, until so many alerts came.
until_told() {
    FAKETIME="+$((300 - ($(date +%s) + 3) % 300))s" \
        LD_PRELOAD=$(dpkg -L libfaketime | grep '/libfaketime.so.1$') cron -f &
    for _ in $(seq 600); do
        test "$(grep -cs '^{' /root/paged)" = "$1" && break
        sleep 0.2
    done
    kill $! && wait $!
}

BREAK
until_told 1
HEAL
until_told 2
"""


def test_the_line_for_cron(lab: Lab) -> None:
    """Where PID 1 is not systemd, the documented line tells of trouble and of its end."""
    (line,) = re.findall(
        r"^    (\S+ \* .*sysmail watch.*)$", DOCUMENTATION.read_text(), re.MULTILINE
    )
    host = lab.host("crontab", packages=["postfix", "msmtp"])
    try:
        _copy_tool(host)
        host.run("ln -s /opt/watched/sysmail /usr/local/bin/sysmail")
        host.run("systemctl stop cron postfix; apt-get -qy install faketime", timeout=200)
        folder = host.root / "root"
        (folder / "crontab").write_text(f"{line}\n")
        (folder / "page").write_text("#!/bin/sh\ncat >> /root/paged\n")
        (folder / "page").chmod(0o700)
        policy(host, 'admin = "ops@example.org"\n[alert]\ncommand = ["/root/page"]\n')
        script = WITHOUT_SYSTEMD.replace("BREAK", BREAK).replace("HEAL", HEAL)
        words = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", script]
        done = host.run(words, check=False, timeout=600)
        paged = folder / "paged"
        told = (
            [json.loads(each) for each in paged.read_text().splitlines()] if paged.exists() else []
        )
        assert [each["event"] for each in told] == ["trouble", "well"], done.stdout + done.stderr
        assert [each["key"] for each in told[0]["findings"]] == ["promise:nothing-lost"]
    finally:
        lab.remove(host)
