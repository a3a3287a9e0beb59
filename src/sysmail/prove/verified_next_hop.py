"""Promise 5: a login goes only over TLS to a host whose certificate was verified."""

from __future__ import annotations

from sysmail.msmtp import DIRECTORY
from sysmail.msmtpd import UNIT_FILE
from sysmail.nexthop import is_temporary
from sysmail.policy import Hop
from sysmail.prove.proof import APPLY, Proof
from sysmail.report import FAIL, PASS, Verdict

__all__ = ["check"]

NAME = "verified-next-hop"


def check(proof: Proof) -> Verdict:
    """Looks at the effective parameters, and at what talking to the next hop gave."""
    decision = proof.situation.decision
    if not proof.relay:
        return _msmtp(proof)
    login = proof.parameter("smtp_sasl_auth_enable") == "yes"
    level = proof.parameter("smtp_tls_security_level")
    if login and level != "secure":
        return Verdict(NAME, FAIL, f"a login would be sent at TLS level {level!r}", APPLY)
    if login and not proof.situation.facts.sasl_plain:
        return Verdict(NAME, FAIL, "Cyrus SASL has no PLAIN: no login will work", _sasl(proof))
    hop = decision.hop
    if hop is None:
        return Verdict(NAME, PASS, "mail goes to each recipient's exchanger; no login is sent")
    if decision.next_hop == "hold":
        return Verdict(NAME, PASS, f"mail is held; what is released goes to {hop.host}")
    if proof.parameter("relayhost") != f"[{hop.host}]:{hop.port}":
        return Verdict(NAME, FAIL, f"relayhost is {proof.parameter('relayhost')!r}", APPLY)
    return _answer(proof, hop, level)


def _sasl(proof: Proof) -> str:
    """What brings the modules back: a package that is there has lost files, else apply installs."""
    facts = proof.situation.facts
    names = facts.distro.sasl if facts.distro is not None else ()
    there = [name for name in names if name in facts.packages]
    return f"install the package {there[0]} again: its files are gone" if there else APPLY


def _answer(proof: Proof, hop: Hop, level: str) -> Verdict:
    if not proof.asked:
        return Verdict(NAME, PASS, f"set up for {hop.host} port {hop.port}, which was not asked")
    trouble = proof.next_hop_trouble
    if trouble is not None:
        kind = "is down" if is_temporary(trouble) else "cannot be used"
        return Verdict(NAME, FAIL, f"the next hop {kind}: {trouble.message}", trouble.remedy)
    how = "over verified TLS" if level == "secure" else f"with TLS level {level}"
    done = f", login as {hop.username}" if hop.username else ""
    return Verdict(NAME, PASS, f"{hop.host} port {hop.port} answers {how}{done}")


def _msmtp(proof: Proof) -> Verdict:
    wrong = proof.changed(DIRECTORY, UNIT_FILE)
    if wrong:
        return Verdict(NAME, FAIL, f"{wrong} is not as the policy asks", APPLY)
    hop, trouble = proof.situation.decision.hop, proof.next_hop_trouble
    if trouble is not None:
        kind = "is down" if is_temporary(trouble) else "cannot be used"
        return Verdict(NAME, FAIL, f"Mailu {kind}: {trouble.message}", trouble.remedy)
    if hop is None:
        return Verdict(NAME, FAIL, "the route mailu has no server", APPLY)
    if not proof.asked:
        return Verdict(NAME, PASS, f"set up for {hop.host} port {hop.port}, which was not asked")
    argv = ["msmtp", "-C", f"{DIRECTORY}/msmtprc", "--serverinfo"]
    # msmtp has a TLS library of its own, so what it finds is asked too.
    said = proof.reader.ask(argv, env={"CREDENTIALS_DIRECTORY": DIRECTORY})
    if said.status != 0:
        words = said.err.strip().partition("\n")[0]
        return Verdict(NAME, FAIL, f"msmtp cannot use Mailu: {words}", APPLY)
    how = "without TLS" if hop.tls == "none" else "over verified TLS"
    done = f", login as {hop.username}" if hop.username else ""
    return Verdict(NAME, PASS, f"{hop.host} port {hop.port} answers {how}{done}")
