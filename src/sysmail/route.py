"""``sys-svc-mail``: which way mail goes, and why.

Pure: a policy, facts and what was seen of Mailu in, a decision with its
reason in one sentence out. A decision does not flip because of a short
outage: Mailu is left only when it has not answered for ``OUTAGE_SECONDS``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Optional

from sysmail.errors import RefusedError
from sysmail.facts.model import Facts
from sysmail.policy import Hop, Policy
from sysmail.report import RouteSummary

__all__ = [
    "NOTHING_SEEN",
    "OUTAGE_SECONDS",
    "OWN_PORT",
    "Decision",
    "Seen",
    "decide",
    "needs_mailu",
]

OUTAGE_SECONDS = 3600.0
"""How long a Mailu that is in use may be down before ``route = "auto"`` leaves it."""

OWN_PORT = 10025
"""Where msmtpd listens on loopback when another program owns port 25."""


@dataclass(frozen=True)
class Seen:
    """What was seen besides the facts.

    ``trouble`` is what talking to Mailu ran into, empty when it answered the
    whole way; ``in_force`` the route that the last apply decided on for this
    same Mailu, empty where there is none. ``down_for`` are the seconds since an
    apply first found it down. ``owner`` is another program that listens
    on port 25 and stays, such as a container's, empty where there is none;
    ``owned``: at the last apply there was one. It may only be down, and its
    port must not be taken from it.
    """

    trouble: str = ""
    in_force: str = ""
    down_for: float = 0.0
    owner: str = ""
    owned: bool = False


NOTHING_SEEN = Seen()


@dataclass(frozen=True)
class Decision:
    """Where applications hand mail (``route``) and where the relay sends it (``next_hop``).

    ``hop`` is the server that mail is sent to, None for the recipient's MX.
    With ``hold`` it is where a message goes once somebody releases it. On the
    route ``mailu`` there is no relay, ``next_hop`` is empty, and ``port`` is
    where msmtpd listens. ``fallback``: the relay was chosen because Mailu did not answer.
    """

    route: str
    next_hop: str
    reason: str
    hop: Optional[Hop] = None
    port: int = 25
    fallback: bool = False

    @property
    def hop_key(self) -> str:
        """The table of the policy that describes the server, ``mailu`` or ``smarthost``."""
        return "mailu" if self.route == "mailu" else self.next_hop

    def summary(self) -> RouteSummary:
        """The decision as part of a report."""
        return RouteSummary(self.route, self.next_hop, self.reason)


def needs_mailu(policy: Policy) -> bool:
    """Whether the decision depends on what Mailu answers."""
    return policy.mailu is not None and policy.route != "relay" and policy.next_hop != "hold"


def decide(policy: Policy, facts: Facts, seen: Seen = NOTHING_SEEN) -> Decision:
    """Decide; RefusedError when the policy asks for what this host cannot do."""
    seen = replace(seen, trouble=" ".join(seen.trouble.split()))  # a reply may have many lines
    if policy.route == "mailu":
        _require_msmtpd(facts)
        return _mailu(policy, seen, "the policy asks for it")
    if policy.route == "relay":
        return _relay(policy, facts, "the policy asks for the relay")
    if policy.mailu is None:
        return _relay(policy, facts, "no Mailu is configured")
    if policy.next_hop == "hold":
        return _relay(policy, facts, "only the relay can hold mail")
    if not facts.systemd or not _has_msmtpd(facts):
        return _relay(policy, facts, f"the way past it, {_NEEDS}")
    return _auto(policy, facts, seen)


def _auto(policy: Policy, facts: Facts, seen: Seen) -> Decision:
    host = policy.mailu.host if policy.mailu is not None else ""
    if seen.owner or seen.owned:
        who = seen.owner or "what listened there at the last apply"
        return _mailu(policy, seen, f"{who} owns port 25 of this host, where a relay would be")
    if not seen.trouble:
        again = " again" if seen.in_force == "relay" else ""
        return _mailu(policy, seen, f"it answers{again}, and takes this host's mail")
    if seen.in_force == "mailu" and seen.down_for < OUTAGE_SECONDS:
        since = f" (for {_minutes(seen.down_for)} now)" if seen.down_for >= 120 else ""
        return _mailu(
            policy,
            seen,
            f"it is in use, and an outage of less than {_minutes(OUTAGE_SECONDS)}{since} "
            f"changes no route: {seen.trouble}",
        )
    if seen.in_force == "mailu":
        why = f"Mailu at {host} has not answered for {_minutes(seen.down_for)}: {seen.trouble}"
    else:
        why = f"Mailu at {host} cannot be used now: {seen.trouble}"
    return replace(_relay(policy, facts, why), fallback=True)


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60)} minutes"


_NEEDS = "msmtp with its msmtpd, needs systemd and a distribution that packages it"


def _has_msmtpd(facts: Facts) -> bool:
    return facts.distro is None or bool(facts.distro.submission)


def _require_msmtpd(facts: Facts) -> None:
    if not facts.systemd or not _has_msmtpd(facts):
        raise RefusedError(
            "route-not-available",
            f'route = "mailu" cannot be had on this host: {_NEEDS}',
            'use route = "relay" with next_hop = "mailu": the same server, and a queue',
        )


def _mailu(policy: Policy, seen: Seen, why: str) -> Decision:
    hop = policy.mailu
    host = hop.host if hop is not None else ""
    port = OWN_PORT if seen.owner or seen.owned else 25
    return Decision("mailu", "", f"msmtp hands mail to Mailu at {host}: {why}", hop, port)


def _relay(policy: Policy, facts: Facts, why: str) -> Decision:
    next_hop, where = _next_hop(policy)
    hop = {"mailu": policy.mailu, "smarthost": policy.smarthost}.get(next_hop)
    if next_hop == "hold":
        hop = policy.smarthost or policy.mailu
    # Mailu's login is a full address, and the sender where none is named.
    has_sender = policy.sender or (next_hop == "mailu" and hop is not None and "@" in hop.username)
    if not policy.hostname and not facts.fqdn:
        _need_name(next_hop, facts, has_sender=bool(has_sender))
    return Decision("relay", next_hop, f"{why}, and {where}", hop)


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


def _need_name(next_hop: str, facts: Facts, *, has_sender: bool) -> None:
    """Refuse what other servers would refuse: a HELO and senders without a real domain."""
    if next_hop == "hold" or (next_hop != "direct" and has_sender):
        return
    lacking = "hostname" if next_hop == "direct" else "hostname or sender"
    raise RefusedError(
        "no-fqdn",
        f"this host is called {facts.nodename[:64]!r}, which is no fully qualified name: "
        "other mail servers refuse senders and greetings of such a host",
        f'set {lacking} in the policy (or --hostname NAME), such as "{_short(facts)}.example.org"',
    )


def _short(facts: Facts) -> str:
    """The kernel's name as an example can show it: it may hold any byte."""
    return re.sub("[^A-Za-z0-9-]", "-", facts.nodename)[:63] or "host"
