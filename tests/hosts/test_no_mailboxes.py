"""Promise 3 on booted hosts: mail for local users reaches admin, or is refused or waits visibly."""

from __future__ import annotations

import pytest
from onhost import apply, queue, send_smtp, sendmail, spool_files, sysmail

from lab import FreshHost, Host, Lab

REASON = "set admin in the policy of sysmail"

LOCAL = [
    "root", "cron", "Root", "root+disk", "root@localhost", "nobody@localhost.localdomain",
    "root@[127.0.0.1]", "root@[127.9.9.9]", "root@[IPv6:::1]", "postmaster", "root@{fqdn}",
    "alice@{fqdn}", "alice+tag@{fqdn}", "postmaster@{fqdn}", "root@{name}", "ROOT@LOCALHOST",
]  # fmt: skip


def _spelled(host: Host) -> list[str]:
    name = host.fqdn.partition(".")[0]
    return [each.format(fqdn=host.fqdn, name=name) for each in LOCAL]


@pytest.mark.parametrize("base", ["debian", "arch"])
def test_every_local_spelling_reaches_admin(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """However a local user is written, by sendmail or by SMTP, admin gets the mail."""
    lab.mx.clear()
    host = fresh_host(base, packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    recipients = _spelled(host)
    for number, recipient in enumerate(recipients):
        sendmail(host, f"Subject: sendmail {number}\n\n", recipient)
        said = send_smtp(host, recipient, f"Subject: smtp {number}\n\n")
        assert said.startswith("250"), f"{recipient}: {said}"
    found = lab.mx.wait_for(lambda _m: True, count=2 * len(recipients))
    assert {address for m in found for address in m.recipients} == {"ops@example.org"}
    subjects = sorted(str(m.message["Subject"]) for m in found)
    assert subjects == sorted(
        f"{way} {number}" for way in ("sendmail", "smtp") for number in range(len(recipients))
    )
    assert spool_files(host) == []


def test_a_new_account_is_local_at_once(lab: Lab, fresh_host: FreshHost) -> None:
    """Mail for a user who was added after apply reaches admin, without another apply."""
    lab.mx.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    host.run(["useradd", "carol"])
    sendmail(host, "Subject: for carol\n\n", f"carol@{host.fqdn}")
    found = lab.mx.wait_for(lambda m: m.message["Subject"] == "for carol")
    assert found[0].recipients == ["ops@example.org"]


def test_without_admin_smtp_refuses_and_sendmail_waits(lab: Lab, fresh_host: FreshHost) -> None:
    """Without admin SMTP refuses at RCPT and sendmail waits, both saying why; then it leaves."""
    lab.mx.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    first = sysmail(host, "apply")
    assert first.status == 0, first.report
    recipients = _spelled(host)
    for recipient in recipients:
        said = send_smtp(host, recipient)
        assert said.startswith("554"), f"{recipient}: {said}"
        assert REASON in said
    sendmail(host, "Subject: waits\n\n", "root")
    sendmail(host, "Subject: waits too\n\n", f"alice@{host.fqdn}")
    host.run("for i in $(seq 100); do postqueue -p | grep -c 'set admin' | grep -q 2 && exit 0; "
             "sleep 0.1; done; exit 1")  # fmt: skip
    waiting = queue(host)
    assert len(waiting) == 2
    assert all(REASON in r["reason"] for m in waiting for r in m["recipients"])
    ran = sysmail(host, "prove")
    assert ran.status == 1
    assert "2 messages for local users wait" in ran.verdict("no-mailboxes")["evidence"]
    assert lab.mx.messages() == []

    apply(host, "--admin", "ops@example.org")
    found = lab.mx.wait_for(lambda _m: True, count=2)
    assert {a for m in found for a in m.recipients} == {"ops@example.org"}
    assert sorted(m.message["Subject"] for m in found) == ["waits", "waits too"]
    assert sysmail(host, "prove").status == 0


@pytest.mark.parametrize("admin", ["ops@shop.test", "ops@example.org", ""])
def test_people_of_the_hosts_domain_keep_their_mail(
    lab: Lab, fresh_host: FreshHost, admin: str
) -> None:
    """On a host called like its owner's domain people there get their mail; accounts are local."""
    lab.mx.clear()
    host = fresh_host(packages=["postfix", "msmtp"], fqdn="shop.test")
    lab.dns.add("shop.test", "MX", "mx.lab.test")
    ran = sysmail(host, "apply", *(["--admin", admin] if admin else []))
    assert ran.status == 0, ran.report
    for person in ("dave@shop.test", "info@shop.test"):
        assert send_smtp(host, person, f"Subject: to {person}\n\n").startswith("250")
        sendmail(host, f"Subject: again {person}\n\n", person)
    found = lab.mx.wait_for(lambda _m: True, count=4)
    for message in found:
        assert message.recipients == [message.message["Subject"].split()[1]]
    if admin:
        sendmail(host, "Subject: an account\n\n", "alice@shop.test")
        got = lab.mx.wait_for(lambda m: m.message["Subject"] == "an account")[0]
        assert got.recipients == [admin]


@pytest.mark.parametrize(
    "break_it",
    [
        "postconf -e 'mydestination = localhost'",
        "postconf -e 'local_transport = local:'",
        "postconf -M 'local/unix=local unix - n n - - local'",
        "postconf -e 'virtual_alias_maps ='",
        "install -d -m 1777 /var/mail && echo 'From x' > /var/mail/alice",
    ],
)
def test_broken_on_purpose(fresh_host: FreshHost, break_it: str) -> None:
    """prove finds each way in which mail could end in, or was written to, a mailbox."""
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    host.run("sleep 1.2")
    host.run(f"{break_it} && postfix reload")
    ran = sysmail(host, "prove")
    assert ran.status == 1
    if "virtual_alias" not in break_it:
        assert ran.verdict("no-mailboxes")["status"] == "fail", ran.failed()
    if "var/mail" in break_it:
        host.run("rm /var/mail/alice")
    apply(host)
    assert sysmail(host, "prove").status == 0
