"""Hosts that are not as one expects: each works, or is told precisely what to do."""

from __future__ import annotations

import pytest
from onhost import apply, send_smtp, sendmail, snapshot, sysmail

from lab import FreshHost, Lab


@pytest.mark.parametrize("base", ["debian", "arch"])
def test_ipv6_disabled(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """Where the kernel has no IPv6 the relay listens on 127.0.0.1 alone, and is proven."""
    lab.mx.clear()
    host = fresh_host(base, packages=["postfix", "msmtp"], ipv6=False)
    ran = apply(host, "--admin", "ops@example.org")
    assert "::1" not in ran.verdict("loopback-only")["evidence"]
    assert send_smtp(host, "root", "Subject: v4\n\n").startswith("250")
    lab.mx.wait_for(lambda m: m.message["Subject"] == "v4")


def test_seed_letter(fresh_host: FreshHost) -> None:
    """Who wants the seed's letter, IPv4 only, sets inet_protocols, and the checks follow."""
    host = fresh_host(packages=["postfix", "msmtp"])
    folder = host.root / "etc/sysmail"
    folder.mkdir()
    (folder / "policy.toml").write_text(
        'admin = "ops@example.org"\n[postfix]\ninet_protocols = "ipv4"\n'
    )
    ran = apply(host)
    assert ran.verdict("loopback-only")["evidence"].startswith("listens on 127.0.0.1 port 25, and")


def test_no_fqdn(lab: Lab, fresh_host: FreshHost) -> None:
    """A host without a full name is told to give one; with --hostname it works."""
    lab.mx.clear()
    host = fresh_host(
        packages=["postfix", "msmtp"],
        fqdn="lonely",
        hosts_file="127.0.0.1 localhost\n::1 localhost\n",
    )
    before = snapshot(host)
    ran = sysmail(host, "apply", "--admin", "ops@example.org")
    assert (ran.status, ran.codes) == (1, ["no-fqdn"])
    assert "--hostname" in ran.report["errors"][0]["remedy"]
    assert snapshot(host) == before
    apply(host, "--admin", "ops@example.org", "--hostname", "lonely.example.org")
    sendmail(host, "Subject: named\n\n", "root")
    found = lab.mx.wait_for(lambda m: m.message["Subject"] == "named")[0]
    assert found.sender == "root@lonely.example.org"
    assert found.helo == "lonely.example.org"


def test_empty_inet_protocols(fresh_host: FreshHost) -> None:
    """A Postfix that runs and listens nowhere, as Debian can leave it, is brought up."""
    host = fresh_host(packages=["postfix", "msmtp"])
    host.run("postconf -e 'inet_protocols =' && systemctl restart postfix", check=False)
    assert ":25 " not in host.run(["ss", "-Hltn"]).stdout
    apply(host, "--admin", "ops@example.org")


def test_active_in_name_only(fresh_host: FreshHost) -> None:
    """systemd says active while postfix@- has failed: prove sees it, apply heals it."""
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    host.run(
        "postconf -e 'inet_interfaces = 203.0.113.9' && systemctl restart postfix", check=False
    )
    assert host.run(["systemctl", "is-active", "postfix"]).stdout.strip() == "active"
    ran = sysmail(host, "prove")
    assert ran.status == 1
    assert "does not run" in ran.verdict("loopback-only")["evidence"]
    apply(host)


def test_master_killed(fresh_host: FreshHost) -> None:
    """A master that was killed is seen, though its pid file and systemd's state are as before."""
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    host.run("kill -9 $(cat /var/spool/postfix/pid/master.pid)")
    assert sysmail(host, "prove").status == 1
    apply(host)


def test_port_25_taken(fresh_host: FreshHost) -> None:
    """Another program on port 25 is named, and nothing is touched."""
    host = fresh_host()
    script = "import socket,time; s=socket.create_server(('127.0.0.1',25)); time.sleep(600)"
    server = host.start(["python3", "-c", script])
    host.run("for i in $(seq 50); do ss -Hltn | grep -q :25 && exit 0; sleep 0.1; done; exit 1")
    before = snapshot(host)
    ran = sysmail(host, "apply", "--admin", "ops@example.org", "--adopt")
    assert (ran.status, ran.codes) == (1, ["port-25-taken"]), ran.report
    assert "python3" in ran.report["errors"][0]["message"]
    assert snapshot(host) == before
    server.kill()


def test_a_mail_server_is_refused(fresh_host: FreshHost) -> None:
    """A Postfix with domains and mailboxes of its own is told what was found, and left alone."""
    host = fresh_host(packages=["postfix", "msmtp"])
    host.run(
        "postconf -e 'virtual_mailbox_domains = customer.example' 'mydestination = shop.example'"
    )
    before = snapshot(host)
    ran = sysmail(host, "apply", "--admin", "ops@example.org")
    assert (ran.status, ran.codes) == (1, ["mail-server"])
    message = ran.report["errors"][0]["message"]
    assert "customer.example" in message
    assert "shop.example" in message
    assert snapshot(host) == before
    apply(host, "--admin", "ops@example.org", "--adopt")
    assert sysmail(host, "rollback").status == 0
    after = snapshot(host)
    assert before["etc/postfix/main.cf"] == after["etc/postfix/main.cf"]


def test_an_old_postfix_is_refused(fresh_host: FreshHost) -> None:
    """A Postfix that is too old is told with the version that is needed."""
    host = fresh_host(packages=["postfix", "msmtp"])
    # No old Postfix is to be had here: only what postconf says of itself is changed.
    host.run(
        "mv /usr/sbin/postconf /usr/sbin/postconf.real && printf '%s\\n' '#!/bin/sh' "
        '\'postconf.real "$@" | sed "s/^mail_version = .*/mail_version = 2.11.3/"\' '
        "> /usr/sbin/postconf && chmod 755 /usr/sbin/postconf"
    )
    ran = sysmail(host, "apply", "--admin", "ops@example.org")
    assert (ran.status, ran.codes) == (1, ["postfix-too-old"])
    assert "3.4" in ran.report["errors"][0]["message"]
