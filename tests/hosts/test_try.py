"""`sysmail try`: the relay shown on a host with real mail, and the host put back."""

from __future__ import annotations

import time

import pytest
from onhost import (
    SYSMAIL,
    Ran,
    apply,
    differences,
    listeners,
    packages,
    queue,
    sendmail,
    snapshot,
    sysmail,
    units,
)

from lab import FreshHost, Host, Lab
from lab.machine import wait_until

ENTRANCES = [
    "smtp-ipv4",
    "smtp-ipv6",
    "smtp-localhost",
    "sendmail-root",
    "sendmail-user",
    "msmtp",
    "cron",
    "utf8-subject",
]


def _state(host: Host) -> dict[str, str]:
    state = snapshot(host)
    for name, rows in (
        ("packages", packages(host)),
        ("listeners", listeners(host)),
        ("units", units(host)),
    ):
        state.update({f"{name} {row}": "there" for row in rows})
    return state


def _all_arrived(ran: Ran) -> None:
    assert ran.status == 0, ran.report
    rows = ran.report["messages"]
    assert [row["entrance"] for row in rows] == ENTRANCES
    assert all(row["arrived"] and row["queue_id"] and row["delay"] >= 0 for row in rows)


@pytest.mark.parametrize("base", ["debian", "arch"])
def test_bare_host_is_put_back(fresh_host: FreshHost, base: str) -> None:
    """On a bare host every entrance is shown; files, packages, units and sockets are as before."""
    host = fresh_host(base)
    before = _state(host)
    _all_arrived(sysmail(host, "try"))
    assert differences(before, _state(host)) == []
    assert not (host.root / "var/lib/sysmail").exists()


def test_cron_reaches_admin(fresh_host: FreshHost) -> None:
    """A bare root recipient is shown arriving at the try's admin."""
    host = fresh_host(packages=["postfix", "msmtp"])
    host.run("systemctl disable --now postfix; rm -rf /etc/postfix/main.cf")
    ran = sysmail(host, "try")
    _all_arrived(ran)


def test_without_systemd(fresh_host: FreshHost) -> None:
    """Where PID 1 is not systemd, as in a container, it works just the same."""
    host = fresh_host()
    before = _state(host)
    inside = (
        "mount -t tmpfs tmpfs /run && mkdir /run/lock && "
        f"test ! -e /run/systemd/system && {SYSMAIL} --json try"
    )
    done = host.run(
        ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-c", inside],
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('"arrived": true') == len(ENTRANCES)
    left = [d for d in differences(before, _state(host)) if not d.startswith("units ")]
    assert left == []


def _with_deferred_mail(lab: Lab, fresh_host: FreshHost) -> Host:
    """A host with a Postfix of its owner's that relays to a next hop that is down."""
    lab.mx.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    (host.root / "etc/postfix/main.cf").write_text(
        "compatibility_level = 3.6\ninet_interfaces = loopback-only\nmydestination =\n"
        f"myhostname = {host.fqdn}\nrelayhost = [mx.lab.test]:2525\n"
        "virtual_alias_maps = inline:{ {root = owner@example.org} }\n"
        "minimal_backoff_time = 1s\nmaximal_backoff_time = 2s\nqueue_run_delay = 1s\n"
    )
    host.run("systemctl restart postfix")
    sendmail(host, "Subject: before the try\n\n", "someone@example.net")
    sendmail(host, "Subject: root before\n\n", "root")
    deadline = time.monotonic() + 20
    while host.run("postqueue -p").stdout.count("refused") < 2:
        assert time.monotonic() < deadline, "the mail did not defer"
        time.sleep(0.2)
    return host


def test_other_mail_waits_and_leaves_afterwards(lab: Lab, fresh_host: FreshHost) -> None:
    """Deferred mail, and what sendmail and SMTP take meanwhile, stays as it is and leaves later."""
    host = _with_deferred_mail(lab, fresh_host)
    main_cf = (host.root / "etc/postfix/main.cf").read_bytes()
    trying = host.start([SYSMAIL, "--json", "try"])
    number = 0
    script = (
        "import smtplib,sys\n"
        "c = smtplib.SMTP('localhost', 25, timeout=20)\n"
        "c.sendmail('app@example.com', ['someone@example.net'],"
        " 'Subject: smtp meanwhile %s\\n\\n' % sys.argv[1])\n"
    )
    accepted: list[str] = []
    while trying.poll() is None:
        number += 1
        sendmail(host, f"Subject: sendmail meanwhile {number}\n\n", "root")
        accepted.append(f"sendmail meanwhile {number}")
        done = host.run(["python3", "-c", script, str(number)], check=False)
        if done.returncode == 0:
            accepted.append(f"smtp meanwhile {number}")
    out, _ = trying.communicate()
    assert trying.returncode == 0, out
    assert lab.mx.messages() == [], "mail of others left, or was taken, during the try"
    assert (host.root / "etc/postfix/main.cf").read_bytes() == main_cf

    host.run("postconf -e 'relayhost = [mx.lab.test]' && postfix reload && postqueue -f")
    wanted = sorted(["before the try", "root before", *accepted])
    lab.mx.wait_for(lambda _m: True, count=len(wanted), timeout=120)
    wait_until("nothing more leaves", lambda: not queue(host), 60, 0.2)
    messages = lab.mx.messages()
    assert sorted(str(m.message["Subject"]) for m in messages) == wanted
    for message in messages:
        to_root = "sendmail" in message.message["Subject"] or "root" in message.message["Subject"]
        assert message.recipients == ["owner@example.org" if to_root else "someone@example.net"]


def test_refuses_another_mta(fresh_host: FreshHost) -> None:
    """A host whose mail program would have to be replaced is refused, untouched."""
    host = fresh_host(packages=["exim4"])
    before = _state(host)
    ran = sysmail(host, "try")
    assert (ran.status, ran.codes) == (1, ["other-mta"])
    assert "exim4" in ran.report["errors"][0]["message"]
    assert differences(before, _state(host)) == []


def test_refuses_where_sysmail_is_in_force(fresh_host: FreshHost) -> None:
    """A host whose mail sysmail keeps is not interrupted by a try."""
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    ran = sysmail(host, "try")
    assert (ran.status, ran.codes) == (1, ["policy-in-force"])
