"""Read-only checks of the promises on the live host.

``CHECKS`` has one function for each promise, in the order of the promises.
Each takes a ``Proof`` (what was looked at once, for all of them) and returns
a verdict. Nothing here changes the host: they get a ``Reader``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

from sysmail.errors import HostError
from sysmail.prove import (
    accepted_senders,
    all_or_nothing,
    configuration,
    entrances,
    local_clients,
    loopback_only,
    no_mailboxes,
    no_secrets_told,
    no_takeover,
    nothing_lost,
    reversible,
    spool,
    standing,
    users,
    verified_next_hop,
)
from sysmail.prove.proof import APPLY, Fault, Proof
from sysmail.report import FAIL, UNKNOWN, Verdict

__all__ = ["CHECKS", "Proof", "prove"]

CHECKS: dict[str, Callable[[Proof], Verdict]] = {
    "loopback-only": loopback_only.check,
    "local-clients": local_clients.check,
    "no-mailboxes": no_mailboxes.check,
    "nothing-lost": nothing_lost.check,
    "verified-next-hop": verified_next_hop.check,
    "accepted-senders": accepted_senders.check,
    "all-or-nothing": all_or_nothing.check,
    "no-takeover": no_takeover.check,
    "no-secrets-told": no_secrets_told.check,
    "reversible": reversible.check,
}


FAULTS: tuple[Callable[[Proof], Iterator[Fault]], ...] = (
    configuration.faults,
    users.faults,
    spool.faults,
    entrances.faults,
    standing.faults,
)
"""What else breaks a promise, each fault with the check that it belongs to."""


_BY_PARAMETERS = frozenset(
    (
        *("loopback-only", "no-mailboxes", "nothing-lost"),
        *("verified-next-hop", "accepted-senders", "no-takeover"),
    )
)
"""The checks that ask Postfix for its parameters, which are its defaults where it has none."""

_SYMPTOMS = ("local-clients", "no-mailboxes", "nothing-lost")
"""The checks that see what becomes of mail: the cause is told first, where it is known."""


def prove(proof: Proof) -> list[Verdict]:
    """Every check. One that cannot look is unknown, and says why."""
    unreadable = _unreadable(proof)
    found = [] if unreadable else _faults(proof)
    verdicts: list[Verdict] = []
    for name, check in CHECKS.items():
        if unreadable and name in _BY_PARAMETERS:
            # No program of Postfix starts any more, so mail stays where it is.
            status = FAIL if name == "nothing-lost" else UNKNOWN
            verdicts.append(Verdict(name, status, unreadable, APPLY))
            continue
        try:
            verdict = check(proof)
        except HostError as error:
            verdict = Verdict(name, UNKNOWN, error.message, error.remedy)
        ours = [fault for fault in found if fault.check == name]
        if ours and (verdict.status != FAIL or name in _SYMPTOMS):
            more = f"; and {len(ours) - 1} more like it" if len(ours) > 1 else ""
            more += f"; {verdict.evidence}" if verdict.status == FAIL else ""
            first, beside = ours[0], verdict.status != FAIL
            verdict = Verdict(name, first.status, first.evidence + more, first.remedy, beside)
        verdicts.append(verdict)
    return verdicts


def _unreadable(proof: Proof) -> str:
    """Why Postfix cannot read main.cf, in its own words; empty where it can."""
    postfix = proof.situation.facts.postfix
    said = postfix.complaint if postfix is not None and proof.relay else ""
    fatal = next((line for line in said.splitlines() if "fatal: " in line), "")
    return (
        f"Postfix cannot read its configuration: {fatal.partition('fatal: ')[2]}" if fatal else ""
    )


def _faults(proof: Proof) -> list[Fault]:
    """All that the sources find; what cannot be looked at is an unknown of its own."""
    found: list[Fault] = []
    for source in FAULTS:
        try:
            found += source(proof)
        except HostError as error:
            found.append(Fault("all-or-nothing", error.code, error.message, error.remedy, UNKNOWN))
    # What is known comes first: only one can be told of each promise.
    return sorted(found, key=lambda fault: fault.status != FAIL)
