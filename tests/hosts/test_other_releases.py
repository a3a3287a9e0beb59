"""An older and a newer Debian: another Postfix, another Python, another systemd."""

from __future__ import annotations

import pytest
from onhost import apply, mailu_policy, packages, send_smtp, sendmail, sysmail

from lab import FreshHost, Host, Lab, NotOfferedError


@pytest.mark.parametrize(("base", "postfix"), [("debian13", "3.10"), ("debian11", "3.5")])
def test_other_release(lab: Lab, fresh_host: FreshHost, base: str, postfix: str) -> None:
    """A bare host of it gets a relay that is proven and delivers, and is bare again afterwards."""
    lab.mx.clear()
    host = _host(fresh_host, base)
    before = packages(host)

    applied = apply(host, "--admin", "ops@example.org")
    assert [verdict["status"] for verdict in applied.report["verdicts"]] == ["pass"] * 10
    again = apply(host)
    assert (again.outcome, again.report["changed"]) == ("unchanged", False)

    version = host.run(["postconf", "-h", "mail_version"]).stdout.strip()
    assert version.startswith(f"{postfix}."), version
    main_cf = (host.root / "etc/postfix/main.cf").read_text().splitlines()
    # Postfix takes its own version as a level from 3.6 on; before that 2 is the highest.
    level = "2" if postfix == "3.5" else postfix
    assert f"compatibility_level = {level}" in main_cf

    sendmail(host, "Subject: by sendmail\n\n", "root")
    assert send_smtp(host, "root", "Subject: by SMTP\n\n", address="::1").startswith("250")
    messages = lab.mx.wait_for(lambda m: m.message["Subject"] in ("by sendmail", "by SMTP"), 2)
    assert [message.recipients for message in messages] == [["ops@example.org"]] * 2
    proof = sysmail(host, "prove", "--to", "someone@example.net", "--bounce")
    assert proof.status == 0, proof.failed()
    # Each of these versions knows the words of smtp_tls_loglevel that name a certificate.
    assert {row["delivery"]["tls"]["subject"] for row in proof.report["sent"]} == {"mx.lab.test"}

    removed = sysmail(host, "remove")
    assert removed.status == 0, removed.report
    assert packages(host) == before


@pytest.mark.parametrize("base", ["debian13", "debian11"])
def test_mailu_and_the_relay(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """Its msmtp, msmtpd and systemd do for the route mailu; there and back again."""
    lab.mailu.clear()
    host = _host(fresh_host, base)
    before = packages(host)
    mailu_policy(lab, host)
    assert apply(host).report["route"]["name"] == "mailu"
    proof = sysmail(host, "prove", "--to", "someone@example.net")
    assert proof.status == 0, proof.failed()
    sendmail(host, "Subject: as a user\n\n", "root", user="alice")
    lab.mailu.wait_for(lambda m: m.message["Subject"] == "as a user")
    mailu_policy(lab, host, 'route = "relay"')
    apply(host)
    host.run("kill -9 $(cat /var/spool/postfix/pid/master.pid)")
    host.run("for i in $(seq 100); do ss -Hltn | grep -q '127.0.0.1:25 ' && exit 0; sleep 0.1; "
             "done; exit 1")  # fmt: skip
    sendmail(host, "Subject: by the relay\n\n", "root")
    lab.mailu.wait_for(lambda m: m.message["Subject"] == "by the relay")
    assert sysmail(host, "remove").status == 0
    assert packages(host) == before


def _host(fresh_host: FreshHost, base: str) -> Host:
    """A host with that base; where the mirror has not got the release, the test is skipped."""
    try:
        return fresh_host(base)
    except NotOfferedError as problem:
        pytest.skip(f"{base}: {problem}")
