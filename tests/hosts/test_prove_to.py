"""`prove` by real messages on booted hosts: entrances, notices and the mailbox behind them."""

from __future__ import annotations

import pytest
from onhost import SYSMAIL, apply, differences, mailu_policy, sysmail
from world import world

from lab import FreshHost, Host, Lab, Rule

ENTRANCES = 8


@pytest.mark.parametrize("base", ["debian", "arch"])
def test_every_entrance_is_followed(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """A message through each entrance is followed by its queue id to the answer of the MX."""
    lab.mx.clear()
    host = fresh_host(base, packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    ran = sysmail(host, "prove", "--to", "someone@example.net")
    assert ran.status == 0, ran.failed()
    rows = [v for v in ran.report["verdicts"] if v["check"].startswith("entrance-")]
    assert len(rows) == ENTRANCES
    messages = lab.mx.wait_for(lambda _m: True, count=ENTRANCES)
    for row in rows:
        queue_id = row["evidence"].split()[0]
        assert any(queue_id.encode() in m.data for m in messages), row
        assert "mx.lab.test" in row["evidence"]
        assert "TLSv1." in row["evidence"]
    for row in ran.report["sent"]:
        assert row["outcome"] == "delivered"
        assert row["delivery"]["tls"]["version"].startswith("TLSv1.")
        assert row["delivery"]["relay"].startswith("mx.lab.test[")
        # Nobody has verified it, and its name is told all the same.
        assert row["delivery"]["tls"]["subject"] == "mx.lab.test"
        assert row["delivery"]["delay"] >= 0
        assert any(row["message_id"].encode() in m.data for m in messages), row


@pytest.mark.parametrize("log", ["journal", "maillog_file"])
def test_to_mailu(lab: Lab, fresh_host: FreshHost, log: str) -> None:
    """With a login: the certificate's name, which was verified, and Mailu's own queue id."""
    lab.mailu.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    mailu_policy(lab, host, 'route = "relay"')
    apply(host)
    if log == "maillog_file":
        host.run("postconf -e maillog_file=/var/log/postfix.log && systemctl restart postfix")
    ran = sysmail(host, "prove", "--to", "x@example.net")
    assert not [name for name in ran.failed() if name.startswith("entrance-")], ran.failed()
    there = lab.mailu.log()
    rows = ran.report["sent"]
    assert len(rows) == ENTRANCES
    for row in rows:
        session = row["delivery"]["tls"]
        assert (session["trust"], session["certificate"]) == ("verified", lab.mailu.host), row
        assert row["delivery"]["remote_queue_id"] in there
        assert row["delivery"]["remote_queue_id"]
        evidence = ran.verdict(f"entrance-{row['entrance']}")["evidence"]
        assert f"certificate verified for {lab.mailu.host}" in evidence
        assert row["delivery"]["remote_queue_id"] in evidence


@pytest.mark.parametrize("route", ["relay", "mailu"])
def test_arrival(lab: Lab, fresh_host: FreshHost, route: str) -> None:
    """What Mailu took is found in the login's mailbox and is gone again; all else stays there."""
    lab.mailu.clear()
    host = fresh_host(packages=["postfix", "msmtp"] if route == "relay" else [])
    mailu_policy(lab, host, f'route = "{route}"')
    apply(host)
    host.run(["/usr/sbin/sendmail", "-i", lab.mailu.username], input="Subject: stays\n\n")
    lab.mailu.wait_for(lambda m: b"stays" in m.data)
    ran = sysmail(host, "prove", "--arrival")
    assert ran.status == 0, (ran.failed(), ran.report["errors"])
    evidence = ran.verdict("arrival")["evidence"]
    own = [row for row in ran.report["sent"] if row["to"] == lab.mailu.username]
    assert (
        f"{len(own)} of {len(own)} messages found in the mailbox {lab.mailu.username}" in evidence
    )
    assert "and removed again" in evidence
    assert {row["folder"] for row in ran.report["arrival"]["messages"]} == {"INBOX"}
    assert all(row["removed"] for row in ran.report["arrival"]["messages"])
    left = [m for m in lab.mailu.received() if m.mailbox == lab.mailu.username]
    assert [m.message["Subject"] for m in left] == ["stays"]
    assert lab.mailu.password not in ran.out + ran.err


def test_arrival_that_fails(lab: Lab, fresh_host: FreshHost) -> None:
    """What is diverted on the way is missed; a mailbox that cannot be seen is unknown, and why."""
    lab.mailu.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    mailu_policy(lab, host, 'route = "relay"')
    apply(host)
    elsewhere = sysmail(host, "prove", "--arrival", "--to", "x@example.net")
    assert (elsewhere.status, elsewhere.verdict("arrival")["status"]) == (1, "fail")
    assert "0 of" in elsewhere.verdict("arrival")["evidence"]
    host.run("for f in -4 -6; do ip $f rule add ipproto tcp dport 993 unreachable; done")
    unseen = sysmail(host, "prove", "--arrival")
    assert (unseen.status, unseen.codes) == (3, ["port-closed"])
    assert unseen.verdict("arrival")["status"] == "unknown"
    assert unseen.verdict("entrance-smtp-ipv4")["status"] == "pass"


def test_notices(lab: Lab, fresh_host: FreshHost) -> None:
    """The notices about what must fail are followed until admin's server takes them."""
    lab.mx.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    ran = sysmail(host, "prove", "--bounce")
    assert ran.status == 0, ran.failed()
    for check, told in (("bounce", "sender"), ("bounce-null-sender", "postmaster")):
        row = next(row for row in ran.report["bounced"] if row["check"] == check)
        notice = next(n for n in row["notices"] if n["to"] == told)
        assert notice["outcome"] == "delivered"
        assert notice["delivery"]["address"] == "ops@example.org"
        assert notice["queue_id"] in ran.verdict(check)["evidence"]
        assert any(notice["queue_id"].encode() in m.data for m in lab.mx.messages())
    lab.mx.behave([Rule(recipient="ops@", reply="550 5.1.1 no such user", stage="rcpt")])
    try:
        lost = sysmail(host, "prove", "--bounce")
    finally:
        lab.mx.behave([])
    assert lost.status == 1
    assert lost.verdict("bounce")["status"] == "fail"
    assert "no such user" in lost.verdict("bounce")["evidence"]


def test_notices_that_cannot_be(lab: Lab, fresh_host: FreshHost) -> None:
    """Without the row in the tables, without admin, on hold: a code of its own, nothing sent."""
    lab.mx.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    host.run("sed -i /always-fails/d /etc/postfix/sysmail/wait && postfix reload")
    assert sysmail(host, "prove", "--bounce").codes == ["bounce-not-set-up"]
    apply(host, "--admin", "ops@example.org")
    assert sysmail(host, "prove", "--bounce").status == 0
    lab.mx.clear()
    refused = sysmail(host, "prove", "--bounce", "--next-hop", "hold")
    assert (refused.status, refused.codes) == (1, ["bounce-on-hold"])
    assert sysmail(host, "prove", "--bounce", "--admin", "").codes == ["bounce-without-admin"]
    assert sysmail(host, "prove", "--arrival").codes == ["arrival-without-login"]
    assert lab.mx.messages() == []


def test_prove_changes_nothing(lab: Lab, fresh_host: FreshHost) -> None:
    """Files with their contents, queue, units, processes, sockets and packages are as before."""
    host = fresh_host(packages=["postfix", "msmtp"])
    mailu_policy(lab, host, 'route = "relay"')
    apply(host)
    host.run("systemctl stop cron; echo 'From root' > /var/mail/kept")
    before = everything(host)
    assert sysmail(host, "prove").status in (0, 1)
    assert differences(before, everything(host)) == []
    # Nor where nothing is as it should be.
    host.run("systemctl stop postfix 'postfix@-'; postconf -e inet_interfaces=all")
    before = everything(host)
    assert sysmail(host, "prove").status == 1
    assert sysmail(host, "status").status == 1
    assert sysmail(host, "trace", "nobody@example.net").status == 3
    assert differences(before, everything(host)) == []


_ENDED = """
for i in $(seq 600); do
    test $(journalctl -q -u 'postfix*' | grep -c 'smtpd.*: connect from') -eq \
        $(journalctl -q -u 'postfix*' | grep -c 'smtpd.*: disconnect from') && exit 0
    sleep 0.1
done
exit 1
"""


@pytest.mark.parametrize("base", ["debian", "debian11"])
def test_proofs_of_a_broken_host_send_nothing(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """What smtpd refuses a proof is told by the proof: not by transcripts to admin, not as lost."""
    host = fresh_host(base, packages=[] if base == "debian11" else ["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    host.run("postconf -e default_transport=error:x && postfix reload")
    lab.mx.clear()
    before = host.run("journalctl -q -u 'postfix*' | grep -c postfix/cleanup", check=False).stdout
    refused = sysmail(host, "prove")
    assert (refused.status, "x" in refused.failed()["local-clients"]) == (1, True)
    assert sysmail(host, "watch").status == 1
    # smtpd writes a transcript before it logs that a session ended.
    host.run(_ENDED, timeout=120)
    assert host.run("postqueue -j").stdout == ""
    log = host.run("journalctl -q -u 'postfix*'").stdout
    assert "NOQUEUE: reject: RCPT" in log
    assert "notification discarded" not in log
    assert log.count("postfix/cleanup") == int(before), log
    assert lab.mx.messages() == []
    apply(host, "--admin", "ops@example.org")


_LOOK = r"""
cd /
find etc usr/local var/lib/sysmail var/mail root home boot -xdev \
    -printf '%p\t%y %m %U:%G %s %T@ %l\n' | sort
find var/lib var/spool run srv -xdev \
    \( -path 'run/systemd/*' -o -path run/log -o -path run/udev -o -path run/sysmail/pycache \) \
    -prune \
    -o -printf '%p\t%y %m %U:%G %s %l\n' | sort
find etc var/lib var/spool root run -xdev \
    \( -path 'run/systemd/*' -o -path run/log -o -path run/sysmail/pycache \) -prune \
    -o -type f -print0 | xargs -0 sha256sum | awk '{print $2 "\thash " $1}' | sort
systemctl list-units --all --plain --no-legend | awk '{print "unit " $1 "\t" $3, $4}' | sort
ps -e -o ppid=,args= | awk '$2 !~ /^(ps|sh|awk|sort|smtpd|anvil|trivial-rewrite|proxymap)$/ \
    && $2 !~ /^\[/ {print $2 "\truns"}' | sort
"""


def everything(host: Host) -> dict[str, str]:
    """What a reader must leave alone: `world`, and times, contents, processes and states beside it.

    But for what Postfix starts for whoever speaks to it, and Python's cache of the tool.
    """
    found = dict(world(host))
    for line in host.run(_LOOK).stdout.splitlines():
        path, _, rest = line.partition("\t")
        found[f"seen {path}"] = found.get(f"seen {path}", "") + rest
    return found


def test_a_refusal_is_told(lab: Lab, fresh_host: FreshHost) -> None:
    """When the next hop refuses, the verdicts carry its answer and the exit code is 1."""
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    lab.mx.behave([Rule(recipient="gone@", reply="550 5.1.1 no such user", stage="rcpt")])
    ran = sysmail(host, "prove", "--to", "gone@example.net")
    assert ran.status == 1
    refused = ran.verdict("entrance-smtp-ipv4")
    assert refused["status"] == "fail"
    assert "no such user" in refused["evidence"]


def test_bad_address(fresh_host: FreshHost) -> None:
    """What cannot be an address is refused with 64."""
    host = fresh_host()
    for bad in ("nobody", "a@b@c.example", "x@localhost", "a@example.org\nBcc: x@example.net"):
        assert sysmail(host, "prove", "--to", bad).status == 64, bad


def test_status_as_metrics(fresh_host: FreshHost) -> None:
    """status --prometheus prints gauges, healthy on a healthy host and not on a stopped one."""
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    said = host.run([SYSMAIL, "status", "--prometheus"]).stdout.splitlines()
    assert {"sysmail_healthy 1", "sysmail_queue_messages 0"} <= set(said)
    assert all(line.startswith(("# HELP ", "# TYPE ", "sysmail_")) for line in said)
    host.run("systemctl stop postfix")
    stopped = host.run([SYSMAIL, "status", "--prometheus"], check=False)
    assert (stopped.returncode, "sysmail_healthy 0" in stopped.stdout) == (1, True)
