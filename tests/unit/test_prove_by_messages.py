"""``prove --to``, ``--bounce`` and ``--arrival``: what real messages show, and what is said."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Callable

import pytest

from sysmail.commands import apply, prove
from sysmail.errors import HostError, RefusedError, UsageError
from sysmail.host.port import Completed
from sysmail.report import FAIL, PASS, UNKNOWN, Report, Verdict
from unit.fake_debian import FakeDebian
from unit.fake_host import FakeMailbox, ScriptedSession
from unit.test_apply import ADMIN, PASSWORD, silent, with_login

TO = "someone@example.net"
OWN = "u@example.org"
MX = "mx.example.net[192.0.2.25]:25"
SENT = (
    f"relay={MX}, delay=0.31, delays=0.1/0/0.1/0.11, dsn=2.0.0, "
    "status=sent (250 2.0.0 Ok: queued as 8F3D92A0C1)"
)
GONE = f"relay={MX}, delay=0.3, delays=0.1/0/0.1/0.1, dsn=5.1.1, status=bounced (550 5.1.1 unknown)"
BUSY = f"relay={MX}, delay=0.3, delays=0.1/0/0.1/0.1, dsn=4.2.0, status=deferred (450 4.2.0 later)"
FAILS = (
    "relay=none, delay=0.1, delays=0.1/0/0/0, dsn=5.1.1, status=bounced (this address always fails)"
)
TLS = "Untrusted TLS connection established to mx.example.net[192.0.2.25]:25: TLSv1.3 with cipher X"

SHOWN = (
    "mx.example.net[192.0.2.25]:25: subject_CN=mx.own.name, issuer_CN=Somebody, fingerprint=AA:BB"
)

Fate = Callable[[str], str]


class Relaying(FakeDebian):
    """A host whose Postfix logs what became of each message: ``fate`` says it by Message-ID.

    ``notices`` are the results of the notices to the sender and to the postmaster.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fate: Fate = lambda _name: SENT
        self.notices: Mapping[str, str] = {}
        self.arrived: list[str] = []

    def deliver(self, sender: str, message: bytes) -> bool:
        """What the log says of a message, and what its failure causes."""
        text = message.decode()
        name = re.search(r"^Message-ID: (<\S+>)$", text, re.MULTILINE)
        to = re.search(r"^To: (\S+)$", text, re.MULTILINE)
        if name is None or to is None:
            return super().deliver(sender, message)
        queue_id = f"4XwYz{len(self.log):04d}z3m"
        result = self.fate(name[1])
        self.say("cleanup", f"{queue_id}: message-id={name[1]}")
        self.say("qmgr", f"{queue_id}: from=<{sender}>, size=300, nrcpt=1 (queue active)")
        self.say("smtp", SHOWN)
        self.say("smtp", TLS)
        self.say("smtp", f"{queue_id}: to=<{to[1]}>, {result}")
        if "=sent" in result:
            self.arrived.append(name[1])
        for whom, outcome in self.notices.items() if "=bounced" in result else ():
            notice = f"4XwYz{len(self.log):04d}z3n"
            self.say("bounce", f"{queue_id}: {whom} non-delivery notification: {notice}")
            self.say("qmgr", f"{notice}: from=<>, size=300, nrcpt=1 (queue active)")
            self.say("smtp", f"{notice}: to=<ops@example.com>, orig_to=<root@localhost>, {outcome}")
            if "=deferred" not in outcome:
                self.say("qmgr", f"{notice}: removed")
        if "=deferred" not in result:
            self.say("qmgr", f"{queue_id}: removed")
        return True

    def say(self, daemon: str, text: str) -> None:
        """A line of the log, now."""
        stamp = time.strftime("%b %e %H:%M:%S", time.localtime(self.clock))
        self.log.append(f"{stamp} web1 postfix/{daemon}[7]: {text}")


def relaying(*, login: bool = False) -> Relaying:
    """A host on which the policy is in force."""
    host = Relaying()
    if login:
        with_login(host)
    apply.run(host, "", {} if login else ADMIN, silent)
    host.programs["postmap"] = lambda argv, _in: Completed(
        tuple(argv), 0, "error:5.1.1 this address always fails\n", ""
    )
    host.changes.clear()
    return host


def by_check(report: Report, start: str) -> dict[str, Verdict]:
    """The verdicts by the rest of their names."""
    return {v.check[len(start) :]: v for v in report.verdicts if v.check.startswith(start)}


def test_each_entrance_is_followed() -> None:
    """Each verdict and each row of the JSON has TLS, the next hop's queue id and the delay."""
    host = relaying()
    report = prove.run(host, "", {}, TO)
    assert (report.outcome, report.exit_code) == ("proven", 0)
    rows = report.as_data()["sent"]
    verdicts = by_check(report, "entrance-")
    assert len(rows) == len(verdicts) >= 6
    for row in rows:
        evidence = verdicts[row["entrance"]].evidence
        assert evidence.startswith(f"{row['queue_id']} delivered to ")
        for part in (
            "TLSv1.3",
            "certificate of mx.own.name not verified (untrusted)",
            "there 8F3D92A0C1",
            "after 0.31 s",
        ):
            assert part in evidence
        assert row["outcome"] == "delivered"
        delivery = row["delivery"]
        assert (delivery["remote_queue_id"], delivery["delay"]) == ("8F3D92A0C1", 0.31)
        assert (delivery["tls"]["version"], delivery["tls"]["trust"]) == ("TLSv1.3", "untrusted")
        assert (delivery["tls"]["subject"], delivery["tls"]["certificate"]) == ("mx.own.name", "")
    json.dumps(report.as_data())


@pytest.mark.parametrize(
    ("result", "status", "outcome", "said"),
    [
        (GONE, FAIL, "failed", "550 5.1.1 unknown"),
        (BUSY, UNKNOWN, "waiting", "waits after 0.3 s: 450 4.2.0 later"),
    ],
)
def test_the_next_hop_refuses_one(result: str, status: str, outcome: str, said: str) -> None:
    """Its own answer is told for that entrance, and the others are as they were."""
    host = relaying()
    host.fate = lambda name: result if "smtp-ipv4" in name else SENT
    report = prove.run(host, "", {}, TO)
    verdicts = by_check(report, "entrance-")
    assert [n for n, v in verdicts.items() if v.status != PASS] == ["smtp-ipv4"]
    verdict = verdicts["smtp-ipv4"]
    assert (verdict.status, said in verdict.evidence) == (status, True), verdict
    assert [r["outcome"] for r in report.details["sent"] if r["entrance"] == "smtp-ipv4"] == [
        outcome
    ]
    assert report.exit_code == (1 if status == FAIL else 3)


def test_an_entrance_that_refuses() -> None:
    """What sendmail says when it does not take a message is told at once."""
    host = relaying()
    host.programs["sendmail"] = lambda argv, _in: Completed(tuple(argv), 75, "", "sendmail: closed")
    verdicts = by_check(prove.run(host, "", {}, TO), "entrance-")
    for name in ("sendmail-root", "cron"):
        assert (verdicts[name].status, "closed" in verdicts[name].evidence) == (FAIL, True)
    assert verdicts["smtp-ipv4"].status == PASS


def test_a_log_that_says_nothing() -> None:
    """Where the log cannot be read, or has nothing, nobody knows: unknown, and why."""
    for trouble in ("No journal files were opened due to insufficient permissions.", ""):
        host = relaying()
        host.programs["journalctl"] = lambda argv, _in, said=trouble: Completed(  # type: ignore[misc]
            tuple(argv), 1, "", said
        )
        verdicts = by_check(prove.run(host, "", {}, TO), "entrance-")
        assert {v.status for v in verdicts.values()} == {UNKNOWN}
        expected = "could not be read" if trouble else "not in the mail log"
        assert all(expected in v.evidence for v in verdicts.values())


def test_without_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no log at all that is said at once."""
    monkeypatch.setattr("sysmail.commands.follow.logs", lambda _reader: [])
    host = relaying()
    before = host.clock
    verdicts = by_check(prove.run(host, "", {}, TO), "entrance-")
    assert all("no mail log on this host" in v.evidence for v in verdicts.values())
    assert host.clock - before < 1


def test_held_mail_is_not_waited_for() -> None:
    """With next hop hold each message is held, and that is told at once."""
    host = relaying()
    held = host.deliver

    def hold(sender: str, message: bytes) -> bool:
        host.fate = lambda _name: ""
        held(sender, message)
        host.log[-4:] = []  # neither TLS, nor an attempt, nor an end
        queue_id = host.log[-1].split(": ")[1]
        host.say("cleanup", f"{queue_id}: hold: header Received: x from local; from=<root>")
        return True

    host.deliver = hold  # type: ignore[method-assign]
    before = host.clock
    verdicts = by_check(prove.run(host, "", {}, TO), "entrance-")
    assert all("sysmail queue release" in v.remedy for v in verdicts.values()), verdicts
    assert host.clock - before < 1


def test_notices_are_followed() -> None:
    """Both messages fail, and the notice to each is followed to its acceptance."""
    host = relaying()
    host.fate, host.notices = lambda _name: FAILS, {"sender": SENT, "postmaster": SENT}
    report = prove.run(host, "", {}, bounce=True)
    assert report.exit_code == 0, report.verdicts
    verdicts = by_check(report, "bounce")
    assert set(verdicts) == {"", "-null-sender"}
    for verdict in verdicts.values():
        assert "failed as it must; its notice 4XwYz" in verdict.evidence
        assert "delivered to ops@example.com (for root@localhost)" in verdict.evidence
    rows = report.as_data()["bounced"]
    assert [n["to"] for n in rows[0]["notices"]] == ["sender", "postmaster"]
    assert rows[0]["notices"][0]["delivery"]["remote_queue_id"] == "8F3D92A0C1"
    sent = [call.what for call in host.changes]
    assert [words[words.index("-f") + 1] for words in sent] == ["root@localhost", "<>"]


@pytest.mark.parametrize(
    ("fate", "notices", "status", "said"),
    [
        (FAILS, {}, FAIL, "no notice to the sender was made"),
        (FAILS, {"sender": GONE}, FAIL, "550 5.1.1 unknown"),
        (FAILS, {"sender": BUSY}, UNKNOWN, "450 4.2.0 later"),
        (SENT, {}, FAIL, "was taken"),
        (BUSY, {}, UNKNOWN, "was to fail"),
    ],
)
def test_notices_that_do_not_arrive(
    fate: str, notices: dict[str, str], status: str, said: str
) -> None:
    """A notice that is not made, refused or waits is told, and a message that does not fail."""
    host = relaying()
    host.fate, host.notices = lambda _name: fate, notices
    verdict = by_check(prove.run(host, "", {}, bounce=True), "bounce")[""]
    assert (verdict.status, said in verdict.evidence) == (status, True), verdict


def test_notices_that_cannot_be_proven() -> None:
    """Each has a code of its own and nothing is sent."""
    for flags, code in (
        ({"next_hop": "hold"}, "bounce-on-hold"),
        ({"admin": ""}, "bounce-without-admin"),
    ):
        host = relaying()
        with pytest.raises(RefusedError) as caught:
            prove.run(host, "", flags, bounce=True)
        assert (caught.value.code, host.changes) == (code, [])
    host = relaying()
    for out in ("", "retry:4.3.0 wait\n", "smtp:[mail.example.org]\n"):
        host.answer("postmap", out, 0 if out else 1)
        with pytest.raises(RefusedError, match="always fails") as caught:
            prove.run(host, "", {}, bounce=True)
        assert (caught.value.code, host.changes) == ("bounce-not-set-up", [])
        assert "sysmail apply" in caught.value.remedy


class _Arrivals(FakeMailbox):
    """A mailbox in which everything is that the next hop took, in one folder."""

    def __init__(self, host: Relaying, folder: str = "INBOX", *, uidplus: bool = True) -> None:
        super().__init__({"INBOX": [], "Junk": []}, uidplus=uidplus)
        self.content[folder] = host.arrived


def with_mailbox(folder: str = "INBOX", *, uidplus: bool = True) -> tuple[Relaying, _Arrivals]:
    """A host with a login, and the login's mailbox."""
    host = relaying(login=True)
    box = _Arrivals(host, folder, uidplus=uidplus)
    host.mailboxes["mail.example.org", OWN] = lambda: box
    return host, box


@pytest.mark.parametrize("folder", ["INBOX", "Junk"])
def test_arrival(folder: str) -> None:
    """Each message to the login's own address is found, said where, and removed again."""
    host, box = with_mailbox(folder)
    report = prove.run(host, "", {}, arrival=True)
    assert report.exit_code == 0, report.verdicts
    evidence = by_check(report, "arrival")[""].evidence
    own = [row for row in report.details["sent"] if row["to"] == OWN]
    assert f"{len(own)} of {len(own)} messages found in the mailbox {OWN}" in evidence
    assert f"({len(own)} in {folder})" in evidence
    assert evidence.endswith("and removed again")
    assert sorted(box.marked) == sorted(row["message_id"] for row in own)
    assert all(row["removed"] for row in report.details["arrival"]["messages"])
    # Cron's message goes to admin, whose mailbox is somebody else's.
    assert [name for name in host.arrived if name] == [
        row["message_id"] for row in report.details["sent"] if row["to"] == "root"
    ]
    assert PASSWORD not in json.dumps(report.as_data())


def test_arrival_without_uidplus() -> None:
    """A server that cannot remove single messages has them marked, and that is said."""
    host, _ = with_mailbox(uidplus=False)
    report = prove.run(host, "", {}, arrival=True)
    assert "marked as deleted" in by_check(report, "arrival")[""].evidence
    assert not any(row["removed"] for row in report.details["arrival"]["messages"])


def test_arrival_that_fails() -> None:
    """A message that is not there within 30 seconds is a failure; the others are removed."""
    host, box = with_mailbox()
    box.content["INBOX"] = []
    report = prove.run(host, "", {}, arrival=True)
    verdict = by_check(report, "arrival")[""]
    assert (verdict.status, report.exit_code) == (FAIL, 1)
    assert verdict.evidence.startswith("0 of ")


def test_arrival_that_nobody_can_see() -> None:
    """Without IMAP there it is unknown, with the code of why; so it is where nothing was taken."""
    host = relaying(login=True)
    report = prove.run(host, "", {}, arrival=True)
    assert (report.exit_code, [p.code for p in report.errors]) == (3, ["port-closed"])
    assert by_check(report, "arrival")[""].status == UNKNOWN
    host, box = with_mailbox()

    def refuse(_located: object) -> bool:
        raise HostError("imap-failed", "it ended", "look")

    box.remove = refuse  # type: ignore[assignment, method-assign]
    report = prove.run(host, "", {}, arrival=True)
    assert [p.code for p in report.errors] == ["imap-failed"]
    assert "could not be removed" in by_check(report, "arrival")[""].evidence
    host, _ = with_mailbox()
    host.fate = lambda _name: GONE
    report = prove.run(host, "", {}, arrival=True)
    assert by_check(report, "arrival")[""].status == UNKNOWN
    assert not [call for call in host.changes if call.method == "mailbox"]


def test_arrival_without_a_mailbox() -> None:
    """Without a login there is none; a login that is no address needs --to."""
    host = relaying()
    with pytest.raises(RefusedError) as caught:
        prove.run(host, "", {}, arrival=True)
    assert (caught.value.code, host.changes) == ("arrival-without-login", [])
    host = relaying(login=True)
    policy = json.loads(host.text("/etc/sysmail/policy.json"))
    policy["smarthost"]["username"] = "apikey"
    host.put("/etc/sysmail/policy.json", json.dumps(policy))
    host.servers["mail.example.org", 465] = lambda: ScriptedSession({})
    with pytest.raises(UsageError):
        prove.run(host, "", {}, arrival=True)
