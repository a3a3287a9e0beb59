"""Other mail programs: replaced with what they are, never with their mail, and put back."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from look import Look
from onhost import (
    SYSMAIL,
    Ran,
    apply,
    differences,
    listeners,
    mailu_policy,
    sendmail,
    snapshot,
    sysmail,
)

from lab import FreshHost, Host, Lab, Rule

ADMIN = ("--admin", "ops@example.org")


@dataclass(frozen=True)
class Neighbour:
    """A mail program with a queue, set up to send by way of the lab's MX.

    `messages` prints a file for each message in its queue. `drain` is what its remedy says,
    `drop` deletes what waits. `runs` are its units.
    """

    name: str
    set_up: str
    messages: str
    drain: str
    drop: str
    runs: str = ""


EXIM = Neighbour(
    "exim4",
    "sed -i \"s/^dc_eximconfig_configtype=.*/dc_eximconfig_configtype='satellite'/;"
    "s/^dc_smarthost=.*/dc_smarthost='mx.lab.test'/\" /etc/exim4/update-exim4.conf.conf && "
    "update-exim4.conf && systemctl restart exim4",
    "find /var/spool/exim4/input -name '*-H'",
    "exim -qff",
    "exim -Mrm $(exim -bp | awk '$3 ~ /^[0-9A-Za-z-]+$/ {print $3}')",
    "exim4.service exim4-base.timer",
)
NULLMAILER = Neighbour(
    "nullmailer",
    "echo mx.lab.test > /etc/nullmailer/remotes && systemctl restart nullmailer",
    "find /var/spool/nullmailer/queue /var/spool/nullmailer/failed -type f",
    "systemctl restart nullmailer",
    "rm /var/spool/nullmailer/queue/*",
    "nullmailer.service",
)
DMA = Neighbour(
    "dma",
    "echo SMARTHOST mx.lab.test >> /etc/dma/dma.conf",
    "find /var/spool/dma -name 'Q*'",
    "dma -q",
    "rm /var/spool/dma/[QM]*",
)
# The time at which cron last ran `dma -q1`, every five minutes.
FLUSH = "var/spool/dma/flush"
SECRET = "the owner's password"
MSMTPRC = (
    "account default\nhost mx.lab.test\nfrom owner@example.com\nuser owner\n"
    f'password "{SECRET}"\nauth off\n'
)


def _until(command: str) -> str:
    """Try until it works: exim says that a message is locked while it tries to send it."""
    return f"for i in $(seq 100); do {command} && exit 0; sleep 0.2; done; exit 1"


def _wait_for(host: Host, neighbour: Neighbour, count: int, seconds: int = 20) -> None:
    host.run(
        f"for i in $(seq {seconds * 5}); do test $({neighbour.messages} | wc -l) = {count} && "
        f"exit 0; sleep 0.2; done; {neighbour.messages}; exit 1"
    )


def _arrives(lab: Lab, host: Host, subject: str) -> list[str]:
    """The recipients of mail for root that a program of the host sends."""
    sendmail(host, f"Subject: {subject}\n\n", "root")
    return lab.mx.wait_for(lambda m: m.message["Subject"] == subject)[0].recipients


def _refused(ran: Ran, code: str) -> str:
    assert (ran.status, ran.codes) == (1, [code]), ran.out
    error = ran.report["errors"][0]
    return f"{error['message']} {error['remedy']}"


def _steps(ran: Ran) -> str:
    return "\n".join(step["summary"] for step in ran.report["steps"])


@pytest.mark.parametrize("neighbour", [EXIM, NULLMAILER, DMA], ids=lambda n: n.name)
def test_with_a_queue(lab: Lab, fresh_host: FreshHost, neighbour: Neighbour) -> None:
    """Refused as long as mail waits; drained as the remedy says it is replaced, and put back."""
    lab.mx.clear()
    host = fresh_host(packages=[neighbour.name])
    host.run(neighbour.set_up)
    lab.cut(lab.mx)
    try:
        sendmail(host, "Subject: waits\n\n", "x@example.net")
        sendmail(host, "Subject: waits too\n\n", "x@example.net", user="alice")
        host.run("sleep 5")  # both were tried by then, and failed
        if neighbour is EXIM:
            frozen = "exim -Mf $(exim -bp | awk '/root@/ {print $3}')"  # tried no more
            host.run(_until(frozen))
        before = snapshot(host)
        for command in ("plan", "apply"):
            said = _refused(sysmail(host, command, *ADMIN), "neighbour-mail-waits")
            assert f"2 messages wait in the queue of {neighbour.name}" in said
            assert f"`{neighbour.drain}`" in said
        assert differences(before, snapshot(host)) == []
        _wait_for(host, neighbour, 2)
    finally:
        lab.join(lab.mx)
    host.run(neighbour.drain)
    _wait_for(host, neighbour, 0, 45)
    assert {str(m.message["Subject"]) for m in lab.mx.messages()} == {"waits", "waits too"}

    look = Look.at(host, neighbour.runs)
    planned = sysmail(host, "plan", *ADMIN)
    assert planned.status == 2
    assert re.search(f"install postfix, msmtp in place of {neighbour.name}", _steps(planned))
    apply(host, *ADMIN)
    assert _arrives(lab, host, "by the relay") == ["ops@example.org"]
    assert sysmail(host, "remove").status == 0
    look.assert_same(host, neighbour.runs, FLUSH)
    sendmail(host, "Subject: as before\n\n", "x@example.net")
    lab.mx.wait_for(lambda m: m.message["Subject"] == "as before")


@pytest.mark.parametrize("neighbour", [EXIM, NULLMAILER, DMA], ids=lambda n: n.name)
def test_mail_at_the_last_moment(lab: Lab, fresh_host: FreshHost, neighbour: Neighbour) -> None:
    """What a neighbour accepts while it is about to go brings it back, with that mail."""
    lab.mx.clear()
    host = fresh_host(packages=[neighbour.name])
    host.run(neighbour.set_up)
    # apt runs this when everything is downloaded, right before dpkg; the first time only.
    late = "test -e /run/late || { touch /run/late; printf 'Subject: late\\\\n\\\\n' | "
    (host.root / "etc/apt/apt.conf.d/99late").write_text(
        f'DPkg::Pre-Invoke {{ "{late} /usr/sbin/sendmail x@example.net; }}"; }};\n'
    )
    look = Look.at(host, neighbour.runs)
    lab.mx.behave([Rule(reply="450 4.3.0 later", stage="rcpt")])
    said = _refused(sysmail(host, "apply", *ADMIN), "neighbour-mail-waits")
    assert f"{neighbour.name} accepted 1 message" in said
    assert "the host is as it was before" in said
    _wait_for(host, neighbour, 1)
    host.run(_until(neighbour.drop))  # the other thing that the remedy offers
    _wait_for(host, neighbour, 0)
    lab.mx.behave([])
    host.run("rm -rf /var/spool/exim4/msglog/*")
    look.assert_same(host, neighbour.runs, FLUSH)
    apply(host, *ADMIN)


@pytest.mark.parametrize("base", ["debian", "arch"])
def test_msmtp_mta(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """Somebody's msmtp as sendmail is replaced by the relay, or set up for Mailu, and put back."""
    lab.mx.clear()
    lab.mailu.clear()
    host = fresh_host(base, packages=["msmtp-mta"])
    (host.root / "etc/msmtprc").write_text(MSMTPRC)
    (host.root / "etc/msmtprc").chmod(0o640)
    look = Look.at(host)
    planned = sysmail(host, "plan", *ADMIN)
    assert "in place of msmtp-mta" in _steps(planned)
    for words in (["plan"], ["--json", "plan"]):
        said = host.run(["/opt/sysmail/sysmail", *words, *ADMIN], check=False)
        assert "not shown" in said.stdout
        assert SECRET not in said.stdout + said.stderr
    assert SECRET not in apply(host, *ADMIN).out
    assert _arrives(lab, host, "by the relay") == ["ops@example.org"]
    assert sysmail(host, "remove").status == 0
    look.assert_same(host)

    mailu_policy(lab, host)
    look = Look.at(host)
    ran = apply(host)
    assert ran.report["route"]["name"] == "mailu"
    assert "install" not in _steps(ran), "msmtp is sendmail already"
    sendmail(host, "Subject: by Mailu\n\n", "root", user="alice")
    found = lab.mailu.wait_for(lambda m: m.message["Subject"] == "by Mailu")
    assert found[0].recipients == ["ops@example.org"]
    assert sysmail(host, "remove").status == 0
    look.assert_same(host)
    sendmail(host, "Subject: as before\n\n", "x@example.net")
    again = lab.mx.wait_for(lambda m: m.message["Subject"] == "as before")
    assert again[0].sender == "owner@example.com"


def test_untouched_exim_gives_way_to_mailu(lab: Lab, fresh_host: FreshHost) -> None:
    """Debian's default exim4 is no mail server: msmtp takes its place, and it comes back."""
    lab.mailu.clear()
    host = fresh_host(packages=["exim4"])
    assert "127.0.0.1:25" in listeners(host)
    mailu_policy(lab, host)
    look = Look.at(host, EXIM.runs)
    ran = apply(host)
    assert ran.report["route"]["name"] == "mailu"
    assert "port 25" not in ran.report["route"]["reason"]
    assert "install msmtp-mta in place of exim4" in _steps(ran)
    sendmail(host, "Subject: by Mailu\n\n", "root")
    found = lab.mailu.wait_for(lambda m: m.message["Subject"] == "by Mailu")
    assert found[0].recipients == ["ops@example.org"]
    assert sysmail(host, "remove").status == 0
    look.assert_same(host, EXIM.runs)
    _exim_delivers(host)


def _exim_delivers(host: Host) -> None:
    sendmail(host, "Subject: local\n\n", "alice")
    host.run(
        "for i in $(seq 50); do grep -qs 'Subject: local' /var/mail/alice && exit 0; "
        "sleep 0.1; done; exim -bp; exit 1"
    )


def test_exim_as_a_mail_server(fresh_host: FreshHost) -> None:
    """An exim4 that takes mail from the network is somebody's mail server: refused, untouched."""
    host = fresh_host(packages=["exim4"])
    host.run(
        "sed -i \"s/^dc_eximconfig_configtype=.*/dc_eximconfig_configtype='internet'/;"
        "s/^dc_local_interfaces=.*/dc_local_interfaces=''/\" /etc/exim4/update-exim4.conf.conf && "
        "update-exim4.conf && systemctl restart exim4"
    )
    host.run("for i in $(seq 50); do ss -Hltn | grep -q 0.0.0.0:25 && exit 0; sleep 0.1; done")
    look = Look.at(host, EXIM.runs)
    for command in ("plan", "apply"):
        said = _refused(sysmail(host, command, *ADMIN), "mail-server")
        assert "configtype = internet" in said
        assert "0.0.0.0" in said
    look.assert_same(host, EXIM.runs)


def _satellite(host: Host) -> None:
    """An owner's Postfix that sends everything to a relay host."""
    host.run(
        "postconf -e 'relayhost = [mx.lab.test]' 'inet_interfaces = loopback-only' "
        "'mydestination =' && systemctl restart postfix"
    )
    sendmail(host, "Subject: waits\n\n", "x@example.net")
    host.run(
        "for i in $(seq 150); do postqueue -p | grep -q mx.lab.test && exit 0; sleep 0.1; done; "
        "postqueue -p; exit 1"
    )


def test_somebodys_postfix_becomes_the_relay(lab: Lab, fresh_host: FreshHost) -> None:
    """Mail that waits in an owner's Postfix stays, and leaves the new way."""
    lab.mx.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    lab.cut(lab.mx)
    try:
        _satellite(host)
    finally:
        lab.join(lab.mx)
    apply(host, *ADMIN)
    lab.mx.wait_for(lambda m: m.message["Subject"] == "waits")


def test_somebodys_postfix_gives_way_to_mailu(lab: Lab, fresh_host: FreshHost) -> None:
    """Its mail must leave its own way first; then msmtp takes its place, and it is put back."""
    lab.mx.clear()
    lab.mailu.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    mailu_policy(lab, host)
    lab.cut(lab.mx)
    try:
        _satellite(host)
        before = snapshot(host)
        for command in ("plan", "apply"):
            said = _refused(sysmail(host, command), "neighbour-mail-waits")
            assert "1 message waits in the queue of a Postfix" in said
            assert "`postqueue -f`" in said
        assert differences(before, snapshot(host)) == []
        assert "mx.lab.test" in host.run("postqueue -p").stdout
    finally:
        lab.join(lab.mx)
    host.run("postqueue -f")
    lab.mx.wait_for(lambda m: m.message["Subject"] == "waits")
    host.run("for i in $(seq 50); do postqueue -j | grep -q . || exit 0; sleep 0.1; done; exit 1")
    look = Look.at(host, "postfix.service")
    ran = apply(host)
    assert "in place of postfix" in _steps(ran)
    sendmail(host, "Subject: by Mailu\n\n", "root")
    lab.mailu.wait_for(lambda m: m.message["Subject"] == "by Mailu")
    assert sysmail(host, "remove").status == 0
    look.assert_same(host, "postfix.service")
    sendmail(host, "Subject: as before\n\n", "x@example.net")
    lab.mx.wait_for(lambda m: m.message["Subject"] == "as before")


# Kills sysmail, apt and dpkg at once, when dpkg is called for the n-th time: n is in /run/cut-at.
CUT = """#!/bin/sh
test -e /run/cut-at || exit 0
left=$(($(cat /run/cut-at) - 1))
echo $left > /run/cut-at
test $left = 0 || exit 0
rm /run/cut-at
pid=$PPID pids=
while test $pid -gt 1; do
    pids="$pids $pid"
    test "$(cat /proc/$pid/comm)" = python3 && break
    pid=$(ps -o ppid= $pid)
done
kill -9 $pids
"""


def test_killed_while_replacing(lab: Lab, fresh_host: FreshHost) -> None:
    """Killed while apt replaces exim4, and apt with it: the next command brings exim4 back."""
    lab.mx.clear()
    host = fresh_host(packages=["exim4"])
    (host.root / "usr/local/bin/cut").write_text(CUT)
    (host.root / "usr/local/bin/cut").chmod(0o755)
    (host.root / "etc/dpkg/dpkg.cfg.d/cut").write_text("pre-invoke=/usr/local/bin/cut\n")
    look = Look.at(host, EXIM.runs)
    words = [SYSMAIL, "--json", "apply", *ADMIN]
    # Nothing is removed yet; Postfix lies there without what it depends on; it is configured.
    for number in (1, 3, 5):
        host.run(f"echo {number} > /run/cut-at")
        done = host.run(words, check=False, timeout=120)
        assert (done.returncode, done.stdout) == (-9, ""), number
        sysmail(host, "status")
        look.assert_same(host, EXIM.runs)
        _exim_delivers(host)
        host.run("rm /var/mail/alice")
    apply(host, *ADMIN)
    assert _arrives(lab, host, "in force") == ["ops@example.org"]
