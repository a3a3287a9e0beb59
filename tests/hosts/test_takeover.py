"""Somebody's mail server is recognised and left alone; a distribution's default is none."""

from __future__ import annotations

import re

import pytest
from onhost import Ran, apply, differences, listeners, packages, sendmail, snapshot, sysmail

from lab import FreshHost, Host, Lab

ADMIN = ("--admin", "ops@example.org")


def _refused(host: Host, code: str, *words: str) -> str:
    """Plan and apply refuse with the same words, and nothing is touched."""
    before, had = snapshot(host), packages(host)
    said = ""
    for command in ("plan", "apply"):
        ran = sysmail(host, command, *ADMIN, *words)
        assert (ran.status, ran.codes) == (1, [code]), ran.out
        error = ran.report["errors"][0]
        said = f"{error['message']} / {error['remedy']}"
    assert differences(before, snapshot(host)) == []
    assert packages(host) == had
    return said


def _notes(ran: Ran) -> str:
    return "\n".join(ran.report.get("notes", []))


CHOICES = ("No configuration", "Internet Site", "Satellite system", "Local only")


def test_debians_choices_are_no_mail_server(fresh_host: FreshHost) -> None:
    """Whatever a person answered when Postfix was installed, untouched since it is taken over."""
    host = fresh_host()
    host.run("apt-get -q update")
    for choice in CHOICES:
        host.run(
            f"echo 'postfix postfix/main_mailer_type select {choice}' | debconf-set-selections && "
            "DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends postfix"
        )
        ran = sysmail(host, "plan", *ADMIN)
        assert (ran.status, ran.codes) == (2, []), f"{choice}: {ran.out}"
        if choice != CHOICES[-1]:
            host.run("DEBIAN_FRONTEND=noninteractive apt-get -qy purge postfix")
    ran = apply(host, *ADMIN)  # "Local only" leaves default_transport = error behind
    assert ran.outcome == "applied"


@pytest.mark.parametrize(
    ("base", "package"), [("debian", "exim4"), ("arch", "postfix"), ("arch", "msmtp-mta")]
)
def test_untouched_is_no_mail_server(fresh_host: FreshHost, base: str, package: str) -> None:
    """As their packages leave them, other mail programs and Arch's Postfix are no mail server."""
    host = fresh_host(base, packages=[package])
    ran = sysmail(host, "plan", *ADMIN)
    assert (ran.status, ran.codes) == (2, []), ran.out


# What somebody does to a Postfix, and what is said of it.
POSTFIXES = {
    "home_mailbox": ("postconf -e 'home_mailbox = Maildir/'", "home_mailbox = Maildir/"),
    "virtual mailboxes": (
        "postconf -e 'virtual_mailbox_domains = customer.example'",
        "virtual_mailbox_domains = customer.example",
    ),
    "virtual aliases": (
        "postconf -e 'virtual_alias_maps = inline:{a@shop.example=alice}'",
        "virtual_alias_maps = inline:{a@shop.example=alice}",
    ),
    "Cyrus": (
        "postconf -e 'mailbox_transport = lmtp:unix:/run/cyrus/socket/lmtp'",
        "mailbox_transport = lmtp:unix:/run/cyrus/socket/lmtp",
    ),
    "submission": (
        "postconf -M 'submission/inet=submission inet n - y - - smtpd'",
        "submission smtpd (master.cf)",
    ),
    "smtps": ("postconf -M '465/inet=465 inet n - y - - smtpd'", "465 smtpd (master.cf)"),
    "a network": (
        "postconf -e 'mynetworks = 127.0.0.0/8 192.0.2.0/24'",
        "takes mail of 192.0.2.0/24 (mynetworks)",
    ),
    "an address": (
        "postconf -e 'inet_interfaces = 10.77.0.1, localhost'",
        "listens on 10.77.0.1 (inet_interfaces)",
    ),
    "a milter": (
        "postconf -e 'smtpd_milters = inet:localhost:8891'",
        "smtpd_milters = inet:localhost:8891",
    ),
}


def test_postfix_as_a_mail_server(fresh_host: FreshHost) -> None:
    """Mailboxes, domains, clients and listeners that somebody set up are each found."""
    host = fresh_host(packages=["postfix", "msmtp"])
    host.run("cp -a /etc/postfix /root/stock")
    for name, (change, says) in POSTFIXES.items():
        host.run(change)
        ran = sysmail(host, "plan", *ADMIN)
        assert (ran.status, ran.codes) == (1, ["mail-server"]), f"{name}: {ran.out}"
        assert says in ran.report["errors"][0]["message"], name
        assert sysmail(host, "plan", *ADMIN, "--adopt").status == 2, name
        host.run("cp -a /root/stock/* /etc/postfix/")
    assert sysmail(host, "plan", *ADMIN).status == 2


DOVECOT = """
protocols = lmtp
mail_location = maildir:~/Maildir
auth_username_format = %n
service lmtp {
  unix_listener /var/spool/postfix/private/dovecot-lmtp {
    mode = 0600
    user = postfix
    group = postfix
  }
}
"""


def _delivered(host: Host, subject: str) -> None:
    sendmail(host, f"Subject: {subject}\n\n", "alice")
    host.run(
        f"for i in $(seq 100); do grep -qrs 'Subject: {subject}' /home/alice/Maildir/new && exit 0;"
        " sleep 0.1; done; postqueue -p; exit 1"
    )


def test_dovecot_is_adopted_and_comes_back(lab: Lab, fresh_host: FreshHost) -> None:
    """With --adopt its mailboxes stay as they are, mail leaves the host, and rollback is exact."""
    lab.mx.clear()
    host = fresh_host(packages=["postfix", "msmtp", "dovecot-lmtpd"])
    (host.root / "etc/dovecot/local.conf").write_text(DOVECOT)
    host.run(
        "postconf -e 'mailbox_transport = lmtp:unix:private/dovecot-lmtp' && "
        "systemctl restart dovecot postfix"
    )
    _delivered(host, "before")
    assert "mailbox_transport = lmtp:unix:private/dovecot-lmtp" in _refused(host, "mail-server")
    before = snapshot(host)
    open_to = listeners(host)

    ran = apply(host, *ADMIN, "--adopt")
    assert "adopted: Postfix has mailbox_transport" in _notes(ran)
    assert "rollback" in _notes(ran)
    sendmail(host, "Subject: to admin\n\n", "alice")
    found = lab.mx.wait_for(lambda m: m.message["Subject"] == "to admin")
    assert found[0].recipients == ["ops@example.org"]
    assert sysmail(host, "rollback").status == 0
    assert differences(before, snapshot(host)) == []
    assert listeners(host) == open_to
    _delivered(host, "after")


def test_a_public_exim4_is_adopted_and_comes_back(lab: Lab, fresh_host: FreshHost) -> None:
    """An exim4 for a network is refused; with --adopt it is replaced, and remove brings it back."""
    lab.mx.clear()
    host = fresh_host(packages=["exim4"])
    host.run(
        "sed -i \"s/^dc_eximconfig_configtype=.*/dc_eximconfig_configtype='smarthost'/;"
        "s/^dc_smarthost=.*/dc_smarthost='mx.lab.test'/;"
        "s/^dc_other_hostnames=.*/dc_other_hostnames='shop.example'/;"
        "s/^dc_local_interfaces=.*/dc_local_interfaces=''/\" /etc/exim4/update-exim4.conf.conf && "
        "update-exim4.conf && systemctl restart exim4"
    )
    host.run("for i in $(seq 50); do ss -Hltn | grep -q 0.0.0.0:25 && exit 0; sleep 0.1; done")
    said = _refused(host, "mail-server")
    assert "exim4 listens on every interface" in said
    assert "shop.example (dc_other_hostnames)" in said
    assert re.search(r"exim4 \(pid \d+\) listens on 0\.0\.0\.0 port 25", said)
    before, open_to = snapshot(host), listeners(host)
    ran = apply(host, *ADMIN, "--adopt")
    assert "adopted: exim4 listens on every interface" in _notes(ran)
    assert "0.0.0.0:25" not in listeners(host)
    assert sysmail(host, "remove").status == 0
    cache = "var/spool/exim4/db/"
    changed = [line for line in differences(before, snapshot(host)) if cache not in line]
    assert changed == []
    assert listeners(host) == open_to


def _install(host: Host, *packages: str) -> None:
    host.run(
        "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -qy install "
        f"--no-install-recommends {' '.join(packages)}"
    )


def test_a_server_that_came_since_is_left_alone(fresh_host: FreshHost) -> None:
    """What somebody set up after an apply is refused by the next one; --adopt replaces it."""
    host = fresh_host()
    apply(host, *ADMIN)
    _install(host, "exim4-daemon-light")
    assert "postfix" not in packages(host)
    ran = sysmail(host, "plan", *ADMIN)
    assert (ran.status, ran.codes) == (2, []), f"its default is no mail server: {ran.out}"
    host.run(
        "sed -i \"s/^dc_eximconfig_configtype=.*/dc_eximconfig_configtype='internet'/;"
        "s/^dc_other_hostnames=.*/dc_other_hostnames='shop.example'/;"
        "s/^dc_local_interfaces=.*/dc_local_interfaces=''/\" /etc/exim4/update-exim4.conf.conf && "
        "update-exim4.conf && systemctl restart exim4"
    )
    host.run("for i in $(seq 50); do ss -Hltn | grep -q 0.0.0.0:25 && exit 0; sleep 0.1; done")
    said = _refused(host, "mail-server")
    assert "shop.example (dc_other_hostnames)" in said
    assert "0.0.0.0:25" in listeners(host)
    ran = apply(host, *ADMIN, "--adopt")
    assert "adopted: exim4 is the destination of shop.example" in _notes(ran)
    assert "0.0.0.0:25" not in listeners(host)
    assert apply(host, *ADMIN).outcome == "unchanged"


def test_remove_after_somebody_replaced_postfix(fresh_host: FreshHost) -> None:
    """What is left of our Postfix goes, and the exim4 in its place keeps what it uses."""
    host = fresh_host()
    apply(host, *ADMIN)
    _install(host, "exim4-daemon-light")
    ran = sysmail(host, "remove")
    assert ran.status == 0, ran.out
    assert "/etc/mailname stay, for exim4-daemon-light" in _notes(ran)
    assert host.run("dpkg -l | grep '^rc' || true").stdout == ""
    assert not (host.root / "etc/postfix").exists()
    assert (host.root / "etc/aliases").exists()
    assert "127.0.0.1:25" in listeners(host)


def test_a_relay_that_became_a_server_is_left_alone(fresh_host: FreshHost) -> None:
    """sysmail's Postfix is its owner's once it serves a domain to the network."""
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, *ADMIN)
    host.run(
        "postconf -e inet_interfaces=all virtual_mailbox_domains=shop.example "
        "virtual_mailbox_base=/srv/mail && systemctl restart postfix"
    )
    assert "virtual_mailbox_domains = shop.example" in _refused(host, "mail-server")
    host.run("postconf -X virtual_mailbox_domains && postconf -X virtual_mailbox_base")
    assert apply(host, *ADMIN).outcome == "applied", "a mere edit is put right"


def test_a_queue_elsewhere_is_refused(fresh_host: FreshHost) -> None:
    """Mail in a queue that main.cf would no longer name stays where its owner sees it."""
    host = fresh_host(packages=["postfix", "msmtp"])
    host.run(
        "systemctl stop postfix && mkdir -p /srv/spool && "
        "cp -a /var/spool/postfix /srv/spool/postfix && "
        "postconf -e queue_directory=/srv/spool/postfix defer_transports=smtp && postfix start"
    )
    sendmail(host, "Subject: waits\n\n", "someone@example.org")
    for words in ((), ("--adopt",)):
        assert "/srv/spool/postfix" in _refused(host, "queue-elsewhere", *words)
    assert "someone@example.org" in host.run("postqueue -p").stdout


@pytest.mark.parametrize("package", ["opensmtpd", "sendmail"])
def test_other_servers_are_refused(fresh_host: FreshHost, package: str) -> None:
    """OpenSMTPD and Sendmail are named and left alone, also with --adopt, and that is said."""
    host = fresh_host(packages=[package])
    runs = listeners(host)
    assert "127.0.0.1:25" in runs
    said = _refused(host, "other-mta")
    assert package in said
    assert _refused(host, "other-mta", "--adopt") == said
    assert "also with --adopt" in said
    assert listeners(host) == runs


LISTEN = "import socket,time; s=socket.create_server(('0.0.0.0',25)); time.sleep(600)"
WAIT = "for i in $(seq 50); do ss -Hltn | grep -q ':25 ' && exit 0; sleep 0.1; done; exit 1"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        # What Docker runs for a published port (-p 25:25): a process called so, on the host.
        (["/usr/local/bin/docker-proxy", "-c", LISTEN], "docker-proxy (pid {pid}), which holds"),
        # A container with the network of the host, such as Mailu's front under host networking.
        (
            ["unshare", "--pid", "--fork", "python3", "-c", LISTEN],
            "python3 (pid {pid}), which runs in a container, listens on 0.0.0.0 port 25",
        ),
    ],
    ids=["published", "host-network"],
)
def test_a_container_on_port_25(fresh_host: FreshHost, argv: list[str], says: str) -> None:
    """A container that holds port 25 is named; --adopt does not help, and both say so."""
    host = fresh_host()
    host.run("ln -s /usr/bin/python3 /usr/local/bin/docker-proxy")
    server = host.start(argv)
    host.run(WAIT)
    pid = host.run("ss -Hltnp 'sport = :25' | grep -o 'pid=[0-9]*'").stdout.strip()[4:]
    said = _refused(host, "mail-server")
    assert says.format(pid=pid) in said
    assert "--adopt does not help" in said
    assert f"(pid {pid}) listens on 0.0.0.0" in _refused(host, "port-25-taken", "--adopt")
    server.kill()


BESIDE = LISTEN.replace("0.0.0.0", "{address}")


def test_a_container_beside_a_postfix_that_runs(fresh_host: FreshHost) -> None:
    """A port that is published on one address is found where Postfix has loopback's."""
    host = fresh_host(packages=["postfix", "msmtp"])
    host.run("postconf -e inet_interfaces=loopback-only && systemctl restart postfix")
    host.run("ln -s /usr/bin/python3 /usr/local/bin/docker-proxy")
    server = host.start(["/usr/local/bin/docker-proxy", "-c", BESIDE.format(address=host.address)])
    host.run(WAIT.replace("':25 '", f"'{host.address}:25 '"))
    runs = listeners(host)
    assert "127.0.0.1:25" in runs
    said = _refused(host, "mail-server")
    assert re.search(rf"docker-proxy \(pid \d+\), which .* on {host.address} port 25 /", said)
    assert f"listens on {host.address} port 25" in _refused(host, "port-25-taken", "--adopt")
    assert listeners(host) == runs
    server.kill()


def test_a_port_that_is_passed_on(fresh_host: FreshHost) -> None:
    """Docker without a proxy passes port 25 on in the kernel: found, and the relay stays inside."""
    host = fresh_host(packages=["nftables"])
    rules = (
        "table ip nat { chain pre { type nat hook prerouting priority dstnat; "
        "tcp dport 25 dnat to 172.18.0.2:25; }; }"
    )
    host.run(["nft", rules])
    said = _refused(host, "mail-server")
    assert "port 25 is passed on to 172.18.0.2:25" in said
    ran = apply(host, *ADMIN, "--adopt")
    assert "adopted: port 25 is passed on to 172.18.0.2:25" in _notes(ran)
    assert "172.18.0.2:25" in host.run("nft list ruleset").stdout


def test_a_sendmail_of_nobodys_package(lab: Lab, fresh_host: FreshHost) -> None:
    """A sendmail that somebody put there is found, and after --adopt and remove it is there."""
    lab.mx.clear()
    host = fresh_host()
    script = host.root / "usr/sbin/sendmail"
    script.write_text("#!/bin/sh\nexec /opt/mta/inject\n")
    script.chmod(0o750)
    host.run("ln -s /opt/mta/mailq /usr/bin/mailq")
    assert "sendmail is /usr/sbin/sendmail, of a program that" in _refused(host, "mail-server")
    apply(host, *ADMIN, "--adopt")
    assert sysmail(host, "remove").status == 0
    assert script.read_text() == "#!/bin/sh\nexec /opt/mta/inject\n"
    assert script.stat().st_mode & 0o777 == 0o750
    assert (host.root / "usr/bin/mailq").readlink().as_posix() == "/opt/mta/mailq"
