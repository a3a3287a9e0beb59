"""``sys-svc-mail``: which way mail goes, and why.

Pure: a policy and facts in, a decision with its reason in one sentence out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from sysmail.errors import RefusedError
from sysmail.facts.model import Facts
from sysmail.policy import Hop, Policy
from sysmail.report import RouteSummary

__all__ = ["Decision", "decide"]


@dataclass(frozen=True)
class Decision:
    """Where applications hand mail (``route``) and where the relay sends it (``next_hop``).

    ``hop`` is the server that mail is sent to, None for the recipient's MX.
    With ``hold`` it is where a message goes once somebody releases it.
    """

    route: str
    next_hop: str
    reason: str
    hop: Optional[Hop] = None

    def summary(self) -> RouteSummary:
        """The decision as part of a report."""
        return RouteSummary(self.route, self.next_hop, self.reason)


def decide(policy: Policy, facts: Facts) -> Decision:
    """Decide; RefusedError when the policy asks for what this host cannot do."""
    if policy.route == "mailu":
        raise RefusedError(
            "route-not-available",
            'route = "mailu" (msmtp straight to Mailu, without a queue) is not in this version',
            'use route = "relay" with next_hop = "mailu": the same server, and a queue',
        )
    next_hop, why = _next_hop(policy)
    hop = {"mailu": policy.mailu, "smarthost": policy.smarthost}.get(next_hop)
    if next_hop == "hold":
        hop = policy.smarthost or policy.mailu
    if not _has_name(policy, facts):
        _need_name(policy, next_hop, facts)
    return Decision("relay", next_hop, f"{_route_reason(policy)}, and {why}", hop)


def _route_reason(policy: Policy) -> str:
    if policy.route == "relay":
        return "the policy asks for the relay"
    if policy.mailu is not None:
        return "the relay keeps a queue for when Mailu is down"
    return "no Mailu is configured"


def _next_hop(policy: Policy) -> tuple[str, str]:
    if policy.next_hop:
        said = {
            "mailu": "mail goes to Mailu, as the policy says",
            "smarthost": "mail goes to the smarthost, as the policy says",
            "direct": "mail goes to each recipient's own mail exchanger, as the policy says",
            "hold": "mail is held until somebody releases it, as the policy says",
        }
        return policy.next_hop, said[policy.next_hop]
    if policy.mailu is not None:
        return "mailu", f"mail goes to Mailu at {policy.mailu.host}, which the policy configures"
    if policy.smarthost is not None:
        host = policy.smarthost.host
        return "smarthost", f"mail goes to the smarthost {host}, which the policy configures"
    return "direct", "mail goes to each recipient's own mail exchanger, as no next hop is named"


def _has_name(policy: Policy, facts: Facts) -> bool:
    return bool(policy.hostname or facts.fqdn)


def _need_name(policy: Policy, next_hop: str, facts: Facts) -> None:
    """Refuse what other servers would refuse: a HELO and senders without a real domain."""
    if next_hop == "hold" or (next_hop != "direct" and policy.sender):
        return
    lacking = "hostname" if next_hop == "direct" else "hostname or sender"
    raise RefusedError(
        "no-fqdn",
        f"this host is called {facts.nodename!r}, which is no fully qualified name: "
        "other mail servers refuse senders and greetings of such a host",
        f'set {lacking} in the policy (or --hostname NAME), such as "{facts.nodename}.example.org"',
    )
