"""Promise 8: no other mail server was or is replaced unasked."""

from __future__ import annotations

from sysmail.prove.proof import Proof
from sysmail.report import FAIL, PASS, Verdict
from sysmail.takeover import findings, other_mtas

__all__ = ["check"]

NAME = "no-takeover"


def check(proof: Proof) -> Verdict:
    """Looks for another mail program, and for what only a mail server has."""
    facts = proof.situation.facts
    ours = facts.distro.submission if facts.distro is not None and not proof.relay else ()
    others = [name for name in other_mtas(facts) if name not in ours]
    if others:
        return Verdict(
            NAME,
            FAIL,
            f"another mail program is installed: {', '.join(others)}",
            f"remove {others[0]}, or take sysmail away with `sysmail remove`",
        )
    if not proof.relay:
        return _msmtp(proof)
    if not facts.sendmail or (
        "postfix" not in facts.sendmail and not facts.sendmail.endswith("/sendmail")
    ):
        seen = facts.sendmail or "nothing"
        return Verdict(NAME, FAIL, f"sendmail is {seen}, not Postfix", proof.again)
    set_by_policy = {name for name, _ in proof.situation.policy.postfix}
    found = [c for c in findings(facts, allowed=set_by_policy) if "holds mail" not in c]
    if found:
        return Verdict(NAME, FAIL, "; ".join(found), "see `sysmail plan`")
    return Verdict(NAME, PASS, "no other mail program; this Postfix is nobody's mail server")


def _msmtp(proof: Proof) -> Verdict:
    seen = proof.situation.facts.sendmail or "nothing"
    if not seen.endswith("/msmtp"):
        remedy = "install the package msmtp-mta again: the link is a file of it"
        return Verdict(NAME, FAIL, f"sendmail is {seen}, not msmtp", remedy)
    return Verdict(NAME, PASS, "no other mail program; sendmail is msmtp")
