"""Promise 5: a login goes only over TLS to a host whose certificate was verified."""

from __future__ import annotations

import re

from sysmail.errors import HostError
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
    if hop is None and proof.next_hop_trouble is not None:
        return _trouble(proof, "the way out", proof.next_hop_trouble)
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
        return _trouble(proof, "the next hop", trouble)
    how = "over verified TLS" if level == "secure" else f"with TLS level {level}"
    done = f", login as {hop.username}" if hop.username else ""
    return Verdict(NAME, PASS, f"{hop.host} port {hop.port} answers {how}{done}")


def _trouble(proof: Proof, who: str, trouble: HostError) -> Verdict:
    kind = "is down" if is_temporary(trouble) else "cannot be used"
    seen, remedy = trouble.message, trouble.remedy
    if trouble.code == "name-not-resolved":
        lacking = _resolver(proof)
        if lacking:
            seen = f"{seen}; {lacking}"
            remedy = "name a DNS server in /etc/resolv.conf: a line with nameserver and its address"
    elif trouble.code == "ca-file-not-read" and not _own_ca_file(proof):
        distro = proof.situation.facts.distro
        package = distro.certificates[0] if distro is not None else "of certificates"
        remedy = (
            "make that file again: `update-ca-certificates` or update-ca-trust, or install the "
            f"package {package} again"
        )
    return Verdict(NAME, FAIL, f"{who} {kind}: {seen}", remedy)


def _resolver(proof: Proof) -> str:
    """resolv.conf(5): without a nameserver line this very host is asked, where nobody answers."""
    text = proof.reader.read("/etc/resolv.conf")
    if text is None:
        return "there is no /etc/resolv.conf"
    named = re.search(rb"^[ \t]*nameserver[ \t]+[0-9a-fA-F]", text, re.MULTILINE)
    return "" if named else "/etc/resolv.conf names no server"


def _own_ca_file(proof: Proof) -> bool:
    hop = proof.situation.decision.hop
    return hop is not None and bool(hop.ca_file)


def _msmtp(proof: Proof) -> Verdict:
    wrong = proof.changed(DIRECTORY, UNIT_FILE)
    if wrong:
        return Verdict(NAME, FAIL, f"{wrong} is not as the policy asks", APPLY)
    hop, trouble = proof.situation.decision.hop, proof.next_hop_trouble
    if trouble is not None:
        return _trouble(proof, "Mailu", trouble)
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
