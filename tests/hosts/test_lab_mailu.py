"""The lab's Mailu asks of clients what Mailu asks, and fails as it is told to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from lab import Delivered, Host, Lab, Mailu

pytestmark = pytest.mark.hosts

# One conversation; what is not asked for is as usual. Prints the reply of each stage.
TALK = """
import json, smtplib, ssl, sys, time
wish = json.load(sys.stdin)
said, port = {}, wish.get("port", 465)
context = ssl.create_default_context(cafile="/root/ca.pem")
begun = time.monotonic()
def note(stage, code, text):
    said[stage] = f"{code} {text.decode()}"
    said["seconds"][stage] = time.monotonic() - begun
said["seconds"] = {}
try:
    kind = smtplib.SMTP
    more = {"timeout": wish.get("timeout", 20), "local_hostname": "web.lab.test"}
    if port not in (25, 587):
        kind, more["context"] = smtplib.SMTP_SSL, context
    client = kind("mail.lab.test", port, **more)
    note("greeting", 220, b"")
    note("ehlo", *client.ehlo())
    if port == 587:
        note("starttls", *client.starttls(context=context))
        note("ehlo", *client.ehlo())
    if login := wish.get("login"):
        client.user, client.password = login
        mechanism = wish.get("mechanism", "plain")
        try:
            note("login", *client.auth(mechanism.upper(), getattr(client, "auth_" + mechanism)))
        except smtplib.SMTPAuthenticationError as problem:
            note("login", *problem.args)
    for number in range(wish.get("times", 1)):
        note("mail", *client.docmd("MAIL", f"FROM:<{wish['sender']}> {wish.get('option', '')}"))
        note("rcpt", *client.rcpt(wish["to"]))
        if said["rcpt"].startswith("250"):
            text = f"Message-ID: <{number}.{wish['subject']}@web>\\r\\nSubject: {wish['subject']}"
            note("data", *client.data(text + "\\r\\n\\r\\nhello\\r\\n"))
        client.rset()
    client.quit()
except (OSError, smtplib.SMTPException) as problem:
    said["error"] = f"{type(problem).__name__}: {problem}"
print(json.dumps(said))
"""
READ = """
import imaplib, json, ssl, sys
login = json.load(sys.stdin)
context = ssl.create_default_context(cafile="/root/ca.pem")
with imaplib.IMAP4_SSL("mail.lab.test", ssl_context=context) as client:
    client.login(*login)
    client.select()
    _, (numbers,) = client.search(None, "ALL")
    print(json.dumps([client.fetch(n, "(RFC822)")[1][0][1].decode() for n in numbers.split()]))
"""


@pytest.fixture(scope="module")
def web(lab: Lab) -> Host:
    """A client that trusts the lab's CA."""
    host = lab.host("web")
    (host.root / "root/ca.pem").write_bytes(lab.ca.file.read_bytes())
    return host


@pytest.fixture
def mailu(lab: Lab) -> Mailu:
    """The server, with empty mailboxes."""
    lab.mailu.clear()
    return lab.mailu


@pytest.fixture
def talk(mailu: Mailu, web: Host) -> Any:
    """Talk to the server as no-reply, by default with the right password."""

    def talked(**wish: Any) -> dict[str, Any]:
        usual = {
            "login": [mailu.username, mailu.password],
            "sender": mailu.username,
            "to": "somebody@example.net",
            "subject": "test",
        }
        done = web.run(["python3", "-c", TALK], input=json.dumps(usual | wish))
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    return talked


def about(*subjects: str) -> Callable[[Delivered], bool]:
    """For wait_for: what an earlier test sent may still be on its way."""
    return lambda found: found.message["Subject"] in subjects


def test_login_and_delivery(mailu: Mailu, talk: Any) -> None:
    """Both mechanisms log in; what is accepted can be read, with its envelope."""
    for mechanism in ("plain", "login"):
        said = talk(mechanism=mechanism, subject=mechanism)
        assert said["login"].startswith("235")
        assert said["data"].startswith("250")
    first, second = mailu.wait_for(about("plain", "login"), count=2)
    assert [m.message["Subject"] for m in (first, second)] == ["plain", "login"]
    assert (first.sender, first.recipients) == (mailu.username, ["somebody@example.net"])
    assert first.mailbox == "anybody"
    assert {"<0.login@web>", "<0.plain@web>"} <= set(mailu.ids())
    assert {"login", "plain"} <= set(mailu.ids("subject"))
    mailu.clear()
    assert mailu.received() == []


def test_what_it_offers(talk: Any) -> None:
    """EHLO at 465 has what Mailu's has: PLAIN and LOGIN, DSN and 8BITMIME, no SMTPUTF8."""
    lines = talk()["ehlo"].removeprefix("250 ").splitlines()
    assert {"AUTH PLAIN LOGIN", "8BITMIME", "DSN", "SIZE 50000000", "PIPELINING"} <= set(lines)
    assert not {"SMTPUTF8", "CHUNKING", "STARTTLS"} & {line.split()[0] for line in lines}
    assert talk(option="SMTPUTF8")["mail"].startswith("555")


def test_wrong_logins_are_refused_and_counted(mailu: Mailu, talk: Any) -> None:
    """A wrong password and an unknown login are 535; without a login nothing is relayed."""
    before = mailu.failed_logins()
    for login in ([mailu.username, "wrong"], ["nobody@example.org", mailu.password]):
        assert talk(login=login)["login"].startswith("535 5.7.8")
    assert mailu.failed_logins() - before == 2
    assert "Access denied" in talk(login=None)["rcpt"]
    mailu.refuse_logins(on=True)
    try:
        assert talk()["login"].startswith("535 5.7.8")
    finally:
        mailu.refuse_logins(on=False)
    assert talk()["data"].startswith("250")


def test_the_sender_must_be_the_logins(talk: Any) -> None:
    """Its address, an alias that reaches it, or null; others' addresses and unknown ones are not.

    An address that nobody has in a domain of the server's own is refused before that is asked.
    """
    for sender in ("alerts@example.org", "no-reply+x@example.org", ""):
        assert talk(sender=sender)["data"].startswith("250"), sender
    for sender in ("ops@example.org", "root@web.lab.test", "x@example.com"):
        refused = talk(sender=sender)["rcpt"]
        assert refused.startswith("553 5.7.1"), refused
        assert "Sender address rejected: not owned by user no-reply@example.org" in refused
    unlisted = talk(sender="boss@example.org")["rcpt"]
    assert unlisted.startswith("550 5.1.0"), unlisted


def test_null_sender_and_alias_arrive(mailu: Mailu, talk: Any) -> None:
    """The null sender is kept, and mail to an alias is in the mailbox it reaches."""
    talk(sender="", to="alerts@example.org", subject="null")
    (found,) = mailu.wait_for(about("null"))
    assert (found.sender, found.mailbox) == ("", mailu.username)
    assert (found.recipients, found.delivered_to) == (["alerts@example.org"], mailu.username)


def test_port_587_is_off_until_switched_on(mailu: Mailu, talk: Any) -> None:
    """Then it is STARTTLS with the same login, and no login before TLS."""
    assert "ConnectionRefused" in talk(port=587)["error"]
    mailu.submission_587(on=True)
    try:
        assert talk(port=587)["data"].startswith("250")
    finally:
        mailu.submission_587(on=False)
    assert "ConnectionRefused" in talk(port=587)["error"]


def test_port_25_has_no_login_and_relays_for_nobody(mailu: Mailu, talk: Any) -> None:
    """Mail to its own domains is welcome; anywhere else only with RELAYNETS."""
    said = talk(port=25, login=None)
    assert "AUTH" not in said["ehlo"]
    assert said["data"].startswith("250")
    elsewhere = {"port": 25, "login": None, "to": "x@elsewhere.example"}
    assert "Relay access denied" in talk(**elsewhere)["rcpt"]
    mailu.relaynets(on=True)
    try:
        assert talk(**elsewhere)["rcpt"].startswith("250")
    finally:
        mailu.relaynets(on=False)


def test_rate_limit(mailu: Mailu, talk: Any) -> None:
    """After so many messages a login gets 450, another does not, until the limit is lifted."""
    mailu.rate_limit(messages=2)
    try:
        assert talk(times=2)["data"].startswith("250")
        for _ in range(2):
            refused = talk()["rcpt"]
            assert refused.startswith("450 4.2.1"), refused
            assert "too many emails too fast" in refused
        other = "backup@example.org"
        login = [other, mailu.accounts[other]]
        assert talk(sender=other, login=login)["data"].startswith("250")
    finally:
        mailu.rate_limit(messages=None)
    assert talk()["data"].startswith("250")


def test_greylist(mailu: Mailu, talk: Any) -> None:
    """The first attempt is 450 and counts for its triplet alone; after a while it passes."""
    mailu.greylist(on=True, seconds=6)
    try:
        for port in (465, 25):
            login = None if port == 25 else [mailu.username, mailu.password]
            wish = {"port": port, "login": login, "to": f"grey{port}@example.net"}
            assert "Greylisted" in talk(**wish)["rcpt"]
            assert talk(**wish)["rcpt"].startswith("450")
            time.sleep(6)
            assert talk(**wish)["data"].startswith("250")
    finally:
        mailu.greylist(on=False)


def test_imap_reads_what_was_delivered(mailu: Mailu, talk: Any, web: Host) -> None:
    """With the same login, verified, and what was read there is still found here."""
    talk(to="ops@example.org", subject="ops", times=2)
    mailu.wait_for(about("ops"), count=2)
    login = ["ops@example.org", mailu.accounts["ops@example.org"]]
    read = json.loads(web.run(["python3", "-c", READ], input=json.dumps(login)).stdout)
    assert ["Subject: ops" in text for text in read] == [True, True]
    again = mailu.wait_for(about("ops"), count=2)
    assert [m.mailbox for m in again] == ["ops@example.org"] * 2
    assert mailu.ids("Subject").count("ops") == 2
    login[1] = "wrong"
    assert web.run(["python3", "-c", READ], input=json.dumps(login), check=False).returncode


@pytest.mark.parametrize("fault", ["untrusted", "expired", "misnamed"])
def test_bad_certificates(lab: Lab, mailu: Mailu, talk: Any, web: Host, fault: str) -> None:
    """Clients that verify refuse it, for SMTP and for IMAP."""
    name = "other.lab.test" if fault == "misnamed" else mailu.host
    days = -1 if fault == "expired" else 30
    login = json.dumps([mailu.username, mailu.password])
    mailu.present(lab.ca.issue(name, days=days, trusted=fault != "untrusted"))
    try:
        assert "CERTIFICATE_VERIFY_FAILED" in talk()["error"]
        read = web.run(["python3", "-c", READ], input=login, check=False)
        assert "CERTIFICATE_VERIFY_FAILED" in read.stderr
    finally:
        mailu.own_certificate()
    assert talk()["data"].startswith("250")


def test_slow(mailu: Mailu, talk: Any) -> None:
    """It waits before the greeting and before each answer but that to the login."""
    mailu.slow(1)
    try:
        seconds = talk()["seconds"]
    finally:
        mailu.slow(0)
    # Lower bounds only: how much longer it takes is the machine's business.
    assert seconds["greeting"] > 1
    assert seconds["data"] > 5
    assert talk()["seconds"]["data"] < seconds["data"]


def test_a_port_at_a_distance(mailu: Mailu, talk: Any) -> None:
    """Each answer takes a round trip longer, and nothing is lost."""
    port = mailu.delayed_port(20)
    assert mailu.delayed_port(20) == port
    said = talk(port=port, times=10, subject="far")
    assert said["data"].startswith("250")
    assert said["seconds"]["rcpt"] - said["seconds"]["mail"] > 0.04
    assert len(mailu.wait_for(about("far"), count=10)) == 10


def test_stopped_and_started(lab: Lab, mailu: Mailu, talk: Any) -> None:
    """Stopped it refuses connections; cut off it does not answer; both are over when undone."""
    mailu.stop()
    try:
        assert "ConnectionRefused" in talk()["error"]
    finally:
        mailu.start()
    lab.cut(mailu)
    try:
        assert "Error" in talk(timeout=1)["error"]
    finally:
        lab.join(mailu)
    assert talk()["data"].startswith("250")


def test_size_limit(mailu: Mailu, talk: Any) -> None:
    """Larger messages are refused at once, and EHLO says how large they may be."""
    mailu.size_limit(10_000)
    try:
        said = talk(option="SIZE=10001")
    finally:
        mailu.size_limit(None)
    assert "SIZE 10000" in said["ehlo"]
    assert said["mail"].startswith("552 5.3.4")
    assert "SIZE 50000000" in talk()["ehlo"]


def test_full_disk(mailu: Mailu, talk: Any) -> None:
    """With no space for its queue it says so, and has it again."""
    mailu.fill_disk(on=True)
    try:
        assert "100%" in mailu.machine.run("df /var/spool/postfix").stdout
        assert talk()["mail"].startswith("452 4.3.1")
    finally:
        mailu.fill_disk(on=False)
    assert talk(subject="space")["data"].startswith("250")
    mailu.wait_for(about("space"))
