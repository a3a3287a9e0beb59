"""The next hops smarthost and hold on booted hosts, with a real submission server."""

from __future__ import annotations

import shutil

import pytest
from onhost import apply, policy, queue, send_smtp, sendmail, snapshot, sysmail

from lab import FreshHost, Host, Lab, Rule

PASSWORD = "/etc/sysmail/password"


def _smarthost(  # noqa: PLR0913 - what differs is named
    lab: Lab, host: Host, *, port: int = 465, tls: str = "implicit", login: bool = True,
    password: str = "", extra: str = "", ca: bool = True,
) -> None:  # fmt: skip
    """Write a policy for the lab's submission server, its CA and the password."""
    folder = host.root / "etc/sysmail"
    folder.mkdir(exist_ok=True)
    shutil.copy(lab.smarthost.ca_file, folder / "ca.pem")
    secret = folder / "password"
    secret.write_text((password or lab.smarthost.password) + "\n")
    secret.chmod(0o600)
    lines = [
        'admin = "ops@example.org"',
        f'sender = "{lab.smarthost.username}"',
        extra,
        "[smarthost]",
        f'host = "{lab.smarthost.host}"',
        f"port = {port}",
        f'tls = "{tls}"',
    ]
    if login:
        lines += [f'username = "{lab.smarthost.username}"', f'password_file = "{PASSWORD}"']
    if tls != "none" and ca:
        lines.append('ca_file = "/etc/sysmail/ca.pem"')
    policy(host, "\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("port", "tls", "login"),
    [(465, "implicit", True), (587, "starttls", True), (25, "starttls", False),
     (25, "none", False)],
)  # fmt: skip
@pytest.mark.parametrize("base", ["debian", "arch"])
def test_smarthost(
    lab: Lab, fresh_host: FreshHost, base: str, port: int, tls: str, login: bool
) -> None:
    """Mail of every local sender leaves, with and without TLS and login."""
    lab.mx.clear()
    host = fresh_host(base, packages=["postfix", "msmtp"])
    _smarthost(lab, host, port=port, tls=tls, login=login)
    lab.smarthost.strict(on=login)
    ran = apply(host)
    assert ran.report["route"]["next_hop"] == "smarthost"
    sendmail(host, "Subject: root\n\n", "x@example.net")
    sendmail(host, "Subject: alice\n\n", "x@example.net", user="alice")
    sendmail(host, "Subject: null\n\n", "-f", "<>", "x@example.net")
    found = {str(m.message["Subject"]): m for m in lab.mx.wait_for(lambda _m: True, count=3)}
    assert found["root"].sender == found["alice"].sender == lab.smarthost.username
    assert found["null"].sender in {"", "<>"}
    assert all("smarthost.lab.test" in str(m.message["Received"]) for m in found.values())
    if login:
        kept = host.root / "etc/postfix/sysmail/sasl_password"
        assert kept.stat().st_mode & 0o777 == 0o600
        assert lab.smarthost.password not in ran.out
    again = sysmail(host, "apply")
    assert (again.status, again.report["changed"]) == (0, False)


@pytest.mark.parametrize(
    ("break_it", "code"),
    [
        ("password", "login-refused"),
        ("ca", "certificate-not-trusted"),
        ("name", "name-not-resolved"),
        ("port", "port-closed"),
        ("sender", "sender-not-owned"),
        ("tls", "not-tls"),
    ],
)
def test_found_before_anything_changes(
    lab: Lab, fresh_host: FreshHost, break_it: str, code: str
) -> None:
    """A smarthost that cannot be used is found at apply, by its own code; nothing is touched."""
    host = fresh_host(packages=["postfix", "msmtp"])
    lab.smarthost.strict(on=True)
    _smarthost(lab, host, password="wrong" if break_it == "password" else "", ca=break_it != "ca")
    path = host.root / "etc/sysmail/policy.toml"
    text = path.read_text()
    changes = {
        "name": (lab.smarthost.host, "nowhere.lab.test"),
        "port": ("port = 465", "port = 466"),
        "sender": (f'sender = "{lab.smarthost.username}"', 'sender = "boss@example.org"'),
        # Implicit TLS where the server speaks SMTP first.
        "tls": ("port = 465", "port = 2525"),
    }
    if break_it in changes:
        path.write_text(text.replace(*changes[break_it]))
    if break_it == "tls":
        speak = (
            "import socket\n"
            "s = socket.create_server(('::', 2525), family=socket.AF_INET6, dualstack_ipv6=True)\n"
            "while True:\n"
            "    c, _ = s.accept(); c.sendall(b'220 plain ESMTP\\r\\n' * 40); c.close()\n"
        )
        lab.smarthost.machine.start(["python3", "-c", speak])
        lab.smarthost.machine.run(
            "for i in $(seq 50); do ss -Hltn | grep -q :2525 && exit 0; sleep 0.1; done; exit 1"
        )
    before = snapshot(host)
    ran = sysmail(host, "apply")
    assert (ran.status, ran.codes) == (1, [code]), ran.report["errors"]
    assert ran.report["errors"][0]["remedy"]
    assert lab.smarthost.password not in ran.out
    assert snapshot(host) == before


def test_wrong_certificates(lab: Lab, fresh_host: FreshHost) -> None:
    """An expired certificate, and one for another name, are told apart and never used."""
    host = fresh_host(packages=["postfix", "msmtp"])
    _smarthost(lab, host)
    try:
        lab.smarthost.present(lab.ca.issue("smarthost.lab.test", days=-1))
        assert sysmail(host, "apply").codes == ["certificate-expired"]
        lab.smarthost.present(lab.ca.issue("other.lab.test"))
        assert sysmail(host, "apply").codes == ["certificate-wrong-name"]
        lab.smarthost.present(lab.ca.issue("smarthost.lab.test", trusted=False))
        assert sysmail(host, "apply").codes == ["certificate-not-trusted"]
    finally:
        lab.smarthost.own_certificate()
    apply(host)


def test_a_smarthost_that_is_down(lab: Lab, fresh_host: FreshHost) -> None:
    """A next hop that was good and is down: exit 3, nothing rolled back, mail waits and leaves."""
    lab.mx.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    _smarthost(lab, host, extra='[queue]\nretry_every = "10s"')
    apply(host)
    lab.cut(lab.smarthost)
    try:
        sendmail(host, "Subject: during\n\n", "root")
        ran = sysmail(host, "apply")
        assert (ran.status, ran.outcome) == (3, "next-hop-down"), ran.report["errors"]
        assert "waits in the queue" in ran.report["errors"][0]["message"]
        changed = sysmail(host, "apply", "--admin", "other@example.org")
        assert (changed.status, changed.outcome) == (3, "next-hop-down")
        assert sysmail(host, "prove").verdict("verified-next-hop")["status"] == "fail"
    finally:
        lab.join(lab.smarthost)
    lab.mx.wait_for(lambda m: m.message["Subject"] == "during", timeout=120)
    apply(host, "--admin", "other@example.org")


def test_login_only_over_verified_tls(lab: Lab, fresh_host: FreshHost) -> None:
    """When the certificate turns bad the relay sends no login; mail waits and says why."""
    lab.mx.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    _smarthost(lab, host, extra='[queue]\nretry_every = "10s"')
    apply(host)
    logins = lab.smarthost.log().count("sasl_username=")
    try:
        lab.smarthost.present(lab.ca.issue("other.lab.test"))
        sendmail(host, "Subject: never in the clear\n\n", "root")
        host.run("for i in $(seq 100); do postqueue -p | grep -qi 'verif' && exit 0; sleep 0.2; "
                 "done; postqueue -p; exit 1")  # fmt: skip
        assert lab.smarthost.log().count("sasl_username=") == logins
        assert sysmail(host, "prove").verdict("verified-next-hop")["status"] == "fail"
    finally:
        lab.smarthost.own_certificate()
    lab.mx.wait_for(lambda m: m.message["Subject"] == "never in the clear", timeout=60)


def test_hold(lab: Lab, fresh_host: FreshHost) -> None:
    """With hold mail is accepted and nothing leaves until somebody releases it; deleted is gone."""
    lab.mx.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org", "--next-hop", "hold")
    sendmail(host, "Subject: one\n\nbody of one\n", "x@example.net")
    sendmail(host, "Subject: two\n\n", "root")
    assert send_smtp(host, "x@example.net", "Subject: three\n\n").startswith("250")
    host.run("for i in $(seq 50); do test $(postqueue -j | wc -l) = 3 && exit 0; sleep 0.1; done; "
             "exit 1")  # fmt: skip
    held = queue(host)
    assert [m["queue"] for m in held] == ["hold"] * 3
    assert sysmail(host, "prove").status == 0
    assert sysmail(host, "queue", "flush").status == 0
    host.run("sleep 1")
    assert lab.mx.messages() == []

    shown = sysmail(host, "queue", "show", held[0]["queue_id"])
    assert "body of one" in shown.report["content"]
    assert sysmail(host, "queue", "delete", held[2]["queue_id"]).status == 0
    assert sysmail(host, "queue", "release", held[0]["queue_id"]).status == 0
    assert lab.mx.wait_for(lambda _m: True)[0].message["Subject"] == "one"
    assert sysmail(host, "queue", "release", "all").status == 0
    lab.mx.wait_for(lambda m: m.message["Subject"] == "two" and m.recipients == ["ops@example.org"])
    assert queue(host) == []
    assert len(lab.mx.messages()) == 2, "what was deleted is gone"
    missing = sysmail(host, "queue", "show", held[2]["queue_id"])
    assert (missing.status, missing.codes) == (1, ["no-such-message"])
    assert sysmail(host, "queue", "show", "../../etc").status == 64


def test_notices_of_a_holding_host_are_held(lab: Lab, fresh_host: FreshHost) -> None:
    """With hold the bounce of a released message is held as well: nothing leaves by itself."""
    lab.mx.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org", "--next-hop", "hold")
    lab.mx.behave([_refuse("gone@")])
    sendmail(host, "Subject: released\n\n", "gone@example.net")
    host.run("for i in $(seq 50); do test $(postqueue -j | wc -l) = 1 && exit 0; sleep 0.1; done; "
             "exit 1")  # fmt: skip
    sysmail(host, "queue", "release", "all")
    host.run("for i in $(seq 50); do test $(postqueue -j | grep -c '\"hold\"') -ge 1 && exit 0; "
             "sleep 0.1; done; exit 1")  # fmt: skip
    host.run("sleep 1")
    assert lab.mx.messages() == []
    assert all(m["queue"] == "hold" for m in queue(host))


def _refuse(recipient: str) -> Rule:
    return Rule(recipient=recipient, reply="550 5.1.1 no such user", stage="rcpt")
