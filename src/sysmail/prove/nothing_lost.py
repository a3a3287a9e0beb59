"""Promise 4: mail is delivered, returned to admin, or visible in the queue."""

from __future__ import annotations

from typing import Optional

from sysmail.postfix.names import literal
from sysmail.prove import storage
from sysmail.prove.proof import APPLY, Proof
from sysmail.report import FAIL, PASS, UNKNOWN, Verdict

__all__ = ["check"]

NAME = "nothing-lost"
_CLASSES = {"bounce", "2bounce", "delay", "resource", "software", "data"}
_RECIPIENTS = ("bounce_notice_recipient", "2bounce_notice_recipient", "error_notice_recipient")


def check(proof: Proof) -> Verdict:
    """Looks at who is told of failures, at what waits, and in the log for lost notices."""
    facts = proof.situation.facts
    if not proof.relay:
        return _msmtp(proof)
    if facts.postfix is None:
        return Verdict(NAME, FAIL, "Postfix is not installed", APPLY)
    configured = _wrong_configuration(proof)
    wrong = (configured, APPLY) if configured else storage.trouble(proof)
    if wrong is not None:
        return Verdict(NAME, FAIL, *wrong)
    if proof.waiting is None:
        return Verdict(NAME, UNKNOWN, "the queue cannot be listed", "run `postqueue -j` to see why")
    corrupt = proof.reader.names(proof.parameter("queue_directory") + "/corrupt")
    if corrupt:
        return Verdict(
            NAME,
            FAIL,
            f"{len(corrupt)} damaged queue files in {proof.parameter('queue_directory')}/corrupt",
            "look at them with `postcat`; what can be read can be sent again by hand; then remove "
            "them",
        )
    lost = proof.lost
    if lost is None or (not lost and proof.silent):
        return Verdict(NAME, UNKNOWN, *_no_log(proof))
    if lost:
        who = proof.situation.policy.admin or "postmaster"
        return Verdict(
            NAME,
            FAIL,
            f"notices to {who} that were refused for good and discarded: {len(lost)}, "
            f"the last: {lost[-1].strip()}",
            f"make {who} accept mail of this host, or name another admin; then "
            "`sysmail apply --acknowledge-losses`",
        )
    count = len(proof.waiting)
    evidence = "the queue is empty" if not count else f"{count} in the queue, all visible"
    return Verdict(NAME, PASS, f"{evidence}; no notice was lost")


def _wrong_configuration(proof: Proof) -> Optional[str]:
    classes = set(proof.parameter("notify_classes").replace(",", " ").split())
    if not classes >= _CLASSES:
        return f"Postfix tells nobody about: {', '.join(sorted(_CLASSES - classes))}"
    admin = proof.situation.policy.admin
    for name in _RECIPIENTS:
        if admin and proof.parameter(name) != literal(admin):
            return f"{name} is {proof.parameter(name)}, not {admin}"
    return None


def _no_log(proof: Proof) -> tuple[str, str]:
    """That nobody keeps what Postfix says, and the remedy."""
    if proof.lost is None:
        return (
            "there is no mail log that can be read",
            "let syslog or journald collect the log of Postfix",
        )
    said = "Postfix runs, and the log has no line of it: a notice that is lost would not be seen"
    journal = proof.situation.facts.systemd and not proof.parameter("maillog_file")
    if journal and proof.reader.link("/dev/log") is None:
        return f"{said}; there is no /dev/log", "`ln -s /run/systemd/journal/dev-log /dev/log`"
    if journal:
        return said, (
            "let journald keep it: no Storage=none in /etc/systemd/journald.conf or "
            "journald.conf.d; then `systemctl restart systemd-journald`"
        )
    return said, "start the syslog daemon, or see what keeps it from writing"


def _msmtp(proof: Proof) -> Verdict:
    """No queue: msmtp hands mail on, or says no to the program that sends."""
    if proof.situation.facts.postfix is not None:
        if proof.waiting is None:
            return Verdict(
                NAME, UNKNOWN, "the queue cannot be listed", "run `postqueue -j` to see why"
            )
        if proof.waiting:
            return Verdict(
                NAME, FAIL, f"{len(proof.waiting)} messages wait in a Postfix that is off", APPLY
            )
    return Verdict(
        NAME,
        PASS,
        "no Postfix holds mail; msmtp has no queue: what Mailu does not take, the program that "
        "sends is told",
    )
