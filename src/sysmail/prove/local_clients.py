"""Promise 2: clients on both loopback families may relay, nobody else may."""

from __future__ import annotations

from typing import Optional

from sysmail.errors import HostError
from sysmail.prove import storage
from sysmail.prove.proof import APPLY, Proof
from sysmail.report import FAIL, PASS, UNKNOWN, Verdict

__all__ = ["check"]

NAME = "local-clients"
RECIPIENT = "probe@sysmail-probe.invalid"
"""Asked for at RCPT and never sent to; .invalid exists nowhere (RFC 2606)."""

LOG = "see the log of Postfix: something that it needs does not answer or cannot be written"
"""What to do about 451 and 452, where nothing else explains them: apply cannot mend it."""

SLOW_DNS_SECONDS = 35.0
"""smtpd looks a client's name up before it answers. A dead resolver takes 10 seconds a server
(resolv.conf(5): 5 seconds, twice), and whether others may relay does not hang on it."""

MOST_ADDRESSES = 8
"""Own addresses that are tried; a host with hundreds of containers has hundreds."""


def check(proof: Proof) -> Verdict:
    """Speaks SMTP from each loopback address, and from the host's other addresses."""
    listen = proof.situation.desired.listen
    if proof.relay and not proof.situation.facts.master_running:
        return Verdict(NAME, FAIL, "Postfix does not run", APPLY)
    for address in listen:
        try:
            answer = _may_relay(proof, address, "")
        except HostError as error:
            answer = error.message
        if answer:
            seen = f"a client on {address} is refused: {answer}"
            return Verdict(NAME, FAIL, seen, _remedy(proof, address, answer))
    port = proof.situation.desired.port
    # msmtpd looks at no client's address; its sockets are what keeps others away.
    others = [own for own in _outside_addresses(proof) if _target(own) in listen and proof.relay]
    if not proof.relay:
        open_to = [own for own in _outside_addresses(proof) if _reachable(proof, own, port)]
        if open_to:
            return Verdict(NAME, FAIL, f"{open_to[0]} port {port} takes connections", APPLY)
    for own in others[:MOST_ADDRESSES]:
        broken = _from_outside(proof, own)
        if broken is not None:
            return broken
    evidence = f"{' and '.join(listen)} may {'relay' if proof.relay else 'send'}"
    if others:
        tried = min(len(others), MOST_ADDRESSES)
        noun = "address" if tried == 1 else "addresses"
        evidence += f"; {tried} other {noun} of this host may not"
    return Verdict(NAME, PASS, evidence)


def _remedy(proof: Proof, address: str, answer: str) -> str:
    """What heals it: where Postfix listens, it is the disk, or what stands before it."""
    lacking = storage.trouble(proof) if proof.relay else None
    if lacking is not None:
        return lacking[1]
    answered = answer[:3].isdigit()
    listens = not answered and any(
        x.address == address and x.port == 25 for x in proof.postfix_listeners()
    )
    if listens and not proof.reader.can_connect(address, 25, timeout=1.0):
        return (
            "let loopback pass the packet filter (`nft list ruleset` or `iptables-save` shows "
            "what drops it): Postfix listens there"
        )
    return LOG if answer.startswith(("451", "452")) else APPLY


def _reachable(proof: Proof, own: str, port: int) -> bool:
    """Whether msmtpd is reached at an address that is not loopback's."""
    ours = any(
        x.address == own and x.inode in proof.msmtpd_sockets
        for x in proof.situation.facts.listeners_on(port)
    )
    return ours or (port == 25 and proof.reader.can_connect(own, port, timeout=1.0))


def _target(own: str) -> str:
    return "::1" if ":" in own else "127.0.0.1"


def _from_outside(proof: Proof, own: str) -> Optional[Verdict]:
    """What is wrong with a client that has another address of this host; None if nothing."""
    if proof.reader.can_connect(own, 25, timeout=1.0):
        return Verdict(NAME, FAIL, f"{own} port 25 takes connections", APPLY)
    try:
        refused = _may_relay(proof, _target(own), own)
    except HostError as error:
        if error.code == "port-closed":
            return None
        return Verdict(NAME, UNKNOWN, error.message, error.remedy)
    if refused is None:
        return Verdict(NAME, FAIL, f"a client with the address {own} may relay", APPLY)
    return None


def _outside_addresses(proof: Proof) -> list[str]:
    return [
        address
        for address in proof.situation.facts.addresses
        if not address.startswith("127.") and address != "::1" and "%" not in address
    ]


def _may_relay(proof: Proof, address: str, source: str) -> Optional[str]:
    """None when a recipient elsewhere is accepted, else the answer that refuses it."""
    timeout = SLOW_DNS_SECONDS if source else 10.0
    session = proof.reader.smtp(
        address, proof.situation.desired.port, source=source, timeout=timeout
    )
    try:
        if session.greeting.code != 220:
            return f"{session.greeting.code} {session.greeting.text}"
        for command in ("EHLO sysmail-prove", "MAIL FROM:<>", f"RCPT TO:<{RECIPIENT}>"):
            reply = session.command(command)
            if reply.code != 250:
                return f"{reply.code} {reply.text}"
        return None
    finally:
        session.close()
