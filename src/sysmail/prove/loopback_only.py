"""Promise 1: the relay listens on loopback, on every family of it, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable

from sysmail.facts.model import Listener
from sysmail.prove import storage
from sysmail.prove.proof import APPLY, Proof
from sysmail.report import FAIL, PASS, Verdict

__all__ = ["check"]

NAME = "loopback-only"


def check(proof: Proof) -> Verdict:
    """Looks at the listening sockets of the kernel and who owns them."""
    if not proof.relay:
        return _msmtpd(proof)
    facts, desired = proof.situation.facts, proof.situation.desired
    if not facts.master_running:
        return _stopped(proof)
    ours = proof.postfix_listeners()
    outside = _reachable(ours)
    if outside:
        return Verdict(NAME, FAIL, f"Postfix listens on {outside}, which others can reach", APPLY)
    on_25 = {x.address for x in ours if x.port == 25}
    missing = [address for address in desired.listen if address not in on_25]
    if missing:
        return Verdict(NAME, FAIL, f"nothing of Postfix listens on {' and '.join(missing)}", APPLY)
    foreign = [x for x in facts.listeners_on(25) if x.inode not in proof.master_sockets]
    if foreign:
        who = proof.reader.socket_owner(foreign[0].inode) or "another program"
        return Verdict(
            NAME,
            FAIL,
            f"{who} listens on {foreign[0].address} port 25 beside Postfix",
            "stop that program: mail given to it does not reach the relay",
        )
    if proof.parameter("inet_interfaces") != "loopback-only":
        return Verdict(NAME, FAIL, "main.cf no longer says inet_interfaces = loopback-only", APPLY)
    where = " and ".join(f"{address} port 25" for address in sorted(on_25))
    return Verdict(NAME, PASS, f"listens on {where}, and nowhere else")


def _reachable(listeners: Iterable[Listener]) -> str:
    """Which of them are not on loopback, in words; empty if all are."""
    outside = [x for x in listeners if x.address != "::1" and not x.address.startswith("127.")]
    return ", ".join(f"{x.address} port {x.port}" for x in outside)


def _stopped(proof: Proof) -> Verdict:
    """Why a Postfix that does not run will not run: another program, or the disk."""
    facts = proof.situation.facts
    holders = facts.listeners_on(25)
    if holders:
        who = proof.reader.socket_owner(holders[0].inode) or "another program"
        return Verdict(
            NAME,
            FAIL,
            f"Postfix does not run, and {who} listens on {holders[0].address} port 25",
            f"stop that program, then {APPLY}",
        )
    failed = ", ".join(facts.service.failed)
    seen = f"Postfix does not run ({failed} has failed)" if failed else "Postfix does not run"
    lacking = storage.trouble(proof)
    if lacking is not None:
        return Verdict(NAME, FAIL, f"{seen}: {lacking[0]}", lacking[1])
    return Verdict(NAME, FAIL, seen, APPLY)


def _msmtpd(proof: Proof) -> Verdict:
    """The same of msmtpd; and Postfix does not run, nor will it after the next boot."""
    facts, desired = proof.situation.facts, proof.situation.desired
    if facts.master_running or facts.service.enabled:
        does = "runs" if facts.master_running else "would start at boot"
        return Verdict(NAME, FAIL, f"Postfix {does}, and msmtp is this host's mail program", APPLY)
    ours = [x for x in facts.listeners if x.inode in proof.msmtpd_sockets]
    outside = _reachable(ours)
    if outside:
        return Verdict(NAME, FAIL, f"msmtpd listens on {outside}, which others can reach", APPLY)
    taken = {x.address for x in ours if x.port == desired.port}
    missing = [address for address in desired.listen if address not in taken]
    if missing:
        return Verdict(
            NAME, FAIL, f"no msmtpd listens on {' and '.join(missing)} port {desired.port}", APPLY
        )
    where = " and ".join(f"{address} port {desired.port}" for address in sorted(taken))
    return Verdict(NAME, PASS, f"msmtpd listens on {where}, and nowhere else; Postfix does not run")
