"""A next hop that does not answer: down for a while, or a mistake in the policy."""

from __future__ import annotations

from typing import Optional

from sysmail.apply.checkpoint import save
from sysmail.commands.situation import Situation
from sysmail.errors import HostError
from sysmail.host.port import Writer
from sysmail.nexthop import is_temporary

__all__ = ["note_outage", "was_good"]


def was_good(situation: Situation, trouble: HostError) -> bool:
    """Whether this server is down rather than wrong, and mail can wait for it.

    It is in force already; or the relay was chosen because Mailu does not
    answer, and its queue is what that is for. A name that does not exist is a mistake.
    """
    if not is_temporary(trouble):
        return False
    before, key = situation.in_force, situation.decision.hop_key
    known = before is not None and before.policy.get(key) == situation.asked.get(key)
    in_use = before is not None and key in (before.route.get("name"), before.route.get("next_hop"))
    return (known and in_use) or (situation.decision.fallback and trouble.code in _DOWN)


_DOWN = frozenset({"port-closed", "connection-lost", "next-hop-busy"})


def note_outage(writer: Writer, situation: Situation, trouble: Optional[HostError]) -> None:
    """Remember since when a Mailu that is in use does not answer: a short outage flips no route."""
    before = situation.in_force
    if before is None or before.route.get("name") != "mailu" or not situation.probed:
        return
    if trouble is None and before.mailu_down_since == 0.0:
        return
    now = writer.now()
    before.mailu_down_since = now - situation.down_for if trouble is not None else 0.0
    before.mailu_down_seen = now if trouble is not None else 0.0
    save(writer, before)
