"""Promise 4: mail is delivered, returned to admin, or visible in the queue."""

from __future__ import annotations

from typing import Optional

from sysmail import maillog
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
    in_force = proof.situation.in_force
    since = in_force.losses_since if in_force is not None else proof.reader.now() - 5 * 86400
    if since > proof.reader.now():
        since = 0.0  # the clock was set back: what is known to a person is not known any more
    lost = maillog.losses(proof.reader, facts, proof.parameter("maillog_file"), since)
    if lost is None:
        return Verdict(
            NAME,
            UNKNOWN,
            "there is no mail log that can be read",
            "let syslog or journald collect the log of Postfix",
        )
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
