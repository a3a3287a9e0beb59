"""Read-only checks of the promises on the live host.

``CHECKS`` has one function for each promise, in the order of the promises.
Each takes a ``Proof`` (what was looked at once, for all of them) and returns
a verdict. Nothing here changes the host: they get a ``Reader``.
"""

from __future__ import annotations

from typing import Callable

from sysmail.errors import HostError
from sysmail.prove import (
    accepted_senders,
    all_or_nothing,
    local_clients,
    loopback_only,
    no_mailboxes,
    no_secrets_told,
    no_takeover,
    nothing_lost,
    reversible,
    verified_next_hop,
)
from sysmail.prove.proof import Proof
from sysmail.report import UNKNOWN, Verdict

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


def prove(proof: Proof) -> list[Verdict]:
    """Every check. One that cannot look is unknown, and says why."""
    verdicts: list[Verdict] = []
    for name, check in CHECKS.items():
        try:
            verdicts.append(check(proof))
        except HostError as error:
            verdicts.append(Verdict(name, UNKNOWN, error.message, error.remedy))
    return verdicts
