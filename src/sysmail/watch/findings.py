"""From what was seen on the host to what is wrong with it. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Optional

from sysmail.policy import Policy
from sysmail.report import PASS, Verdict
from sysmail.watch.model import Finding, State
from sysmail.watch.runaway import Runaway

__all__ = ["PROOF", "PROOF_SECONDS", "RETRY_SECONDS", "Seen", "findings", "proof_is_due", "span"]

PROOF = "proof"
"""The key of a proof that is too old."""

PROOF_SECONDS = 86400.0
RETRY_SECONDS = 3600.0
"""A full proof is tried once a day, and after one that was not good at most once an hour: a
server counts refused logins (Mailu: 50 a day)."""

WORSE_BY = 4.0
"""An age is told again when it is so many times what it was."""


@dataclass(frozen=True)
class Seen:
    """What one run of the watch saw.

    ``verdicts`` are those of the checks. ``ages`` are the ages, in seconds, of the messages that
    wait (held ones do not). ``full``: the next hop was asked too; ``temporary`` is then what
    it ran into where that may pass. ``refused`` is Mailu's answer to the last message of some
    minutes on the route ``mailu``, where it was a no, ``refused_at`` when that was, and ``taken``
    that it was taken; where there was no message, none of them is set. ``host`` is what this host
    is called. ``unseen`` is what could not be looked at: its name, why, and what to do.
    ``submitted`` are the ids of what came in lately, where somebody looked.
    """

    verdicts: tuple[Verdict, ...]
    waiting: int = 0
    oldest: float = 0.0
    full: bool = False
    temporary: str = ""
    refused: str = ""
    refused_at: float = 0.0
    taken: bool = False
    host: str = ""
    runaways: tuple[Runaway, ...] = ()
    unseen: tuple[tuple[str, str, str], ...] = ()
    submitted: Optional[frozenset[str]] = None
    lost: str = ""


def proof_is_due(state: State, now: float) -> bool:
    """Whether this run should ask the next hop too."""
    good = state.proved > 0 and not (state.proof or state.refused) and state.proved >= state.tried
    return not 0 <= now - state.tried < (PROOF_SECONDS if good else RETRY_SECONDS)


def findings(
    seen: Seen, state: State, policy: Policy, now: float
) -> tuple[tuple[Finding, ...], State]:
    """All that is wrong, and the state with what this run saw."""
    found = [_promise(v) for v in seen.verdicts if v.status != PASS and not _may_pass(v, seen)]
    state = _proof(seen, state, now, broken=bool(found))
    state = _last_answer(seen, _memories(seen, state, now))
    found += [Finding(f"unseen:{name}", 1, text, remedy) for name, text, remedy in seen.unseen]
    if state.proof and not any(each.key == _NEXT_HOP for each in found):
        # What the last full proof found stands until the next one.
        found.append(Finding(_NEXT_HOP, 1, state.proof, state.remedy))
    queue, state = _queue(seen, state, policy)
    found += [
        each
        for each in (_oldest(seen, policy), queue, _proof_age(state, policy, now), _refused(state))
        if each is not None
    ]
    return tuple(found + [_runaway(each, policy) for each in seen.runaways]), state


_NEXT_HOP = "promise:verified-next-hop"


def _promise(verdict: Verdict) -> Finding:
    return Finding(
        f"promise:{verdict.check}", 1, f"{verdict.check}: {verdict.evidence}", verdict.remedy
    )


def _may_pass(verdict: Verdict, seen: Seen) -> bool:
    """A next hop that is down: its mail waits, and the oldest message says for how long."""
    return (
        bool(seen.temporary)
        and verdict.check == "verified-next-hop"
        and seen.temporary in verdict.evidence
    )


def _proof(seen: Seen, state: State, now: float, *, broken: bool) -> State:
    if not state.watched:
        state = replace(state, watched=now)
    if not seen.full:
        return state
    wrong = [v for v in seen.verdicts if v.status != PASS and v.check == "verified-next-hop"]
    proof = remedy = ""
    if wrong and not _may_pass(wrong[0], seen):
        proof, remedy = f"{wrong[0].check}: {wrong[0].evidence}", wrong[0].remedy
    good = not broken and not seen.temporary
    proved = now if good else state.proved
    return replace(state, tried=now, proved=proved, proof=proof, remedy=remedy)


def _memories(seen: Seen, state: State, now: float) -> State:
    """The state with what the log and the queue will not tell for ever."""
    if seen.lost and seen.lost != state.lost:
        state = replace(state, lost=seen.lost, lost_at=now)
    if seen.submitted is None:
        return state
    now_held = [name for each in seen.runaways for name in each.surplus]
    held = [*state.held, *(name for name in now_held if name not in set(state.held))]
    return replace(state, held=tuple(name for name in held if name in seen.submitted))


def _last_answer(seen: Seen, state: State) -> State:
    """What was refused last stays trouble until one is taken, or Mailu is asked and is fine."""
    if seen.refused and seen.refused_at != state.refused_at:
        state = replace(state, refused=seen.refused, refused_at=seen.refused_at)
    wrong = [v for v in seen.verdicts if v.status != PASS and v.check == "verified-next-hop"]
    if seen.taken or (seen.full and not wrong and not seen.temporary):
        state = replace(state, refused="")
    return state


def _level(value: float, limit: float, base: float) -> int:
    """1 at the limit, 2 at ``base`` times the limit, and so on; 0 below it."""
    if value < limit:
        return 0
    # A value at a power is not to fall below it by rounding.
    return 1 + math.floor(math.log(value / limit, base) + 1e-9)


def _oldest(seen: Seen, policy: Policy) -> Optional[Finding]:
    level = _level(seen.oldest, policy.alert.oldest, WORSE_BY)
    if not level:
        return None
    return Finding(
        "oldest",
        level,
        f"the oldest of {_messages(seen.waiting)} has waited for {span(seen.oldest)}",
        "see `sysmail status` for the reason",
    )


def _queue(seen: Seen, state: State, policy: Policy) -> tuple[Optional[Finding], State]:
    """Too many, and not getting fewer; one that was told of stays wrong until it is short again."""
    limit, before = policy.alert.queue, state.queue
    told = state.stands("queue")
    if seen.waiting < limit and not (told and seen.waiting * 2 >= limit):
        return None, replace(state, queue=0)
    state = replace(state, queue=seen.waiting)
    if not told and (not before or seen.waiting < before):
        return None, state
    text = f"{_messages(seen.waiting)} wait, and they do not get fewer"
    level = max(_level(seen.waiting, limit, 10.0), 1)
    return Finding("queue", level, text, "see `sysmail status` for the reasons"), state


def _proof_age(state: State, policy: Policy, now: float) -> Optional[Finding]:
    last = state.proved or state.watched
    level = _level(now - last, policy.alert.proof_age, WORSE_BY)
    if not level:
        return None
    when = f"the last good proof is {span(now - last)} old"
    text = when if state.proved else f"there was no good proof in {span(now - last)}"
    return Finding(PROOF, level, text, "run `sysmail prove`, which says what is missing")


def _refused(state: State) -> Optional[Finding]:
    if not state.refused:
        return None
    text = f"Mailu did not take the last message: {state.refused}"
    return Finding("refused", 1, text, "the program that sent it was told; see `sysmail prove`")


def _runaway(runaway: Runaway, policy: Policy) -> Finding:
    limit = policy.limits.runaway
    held = f"; {runaway.held} of them are on hold" if runaway.held else ""
    remedy = "find the program"
    if runaway.held or runaway.trouble:
        remedy += (
            "; `sysmail queue list` shows what is held, and `sysmail queue release` or `delete` "
            "decides about it"
        )
    if runaway.trouble:
        held += f"; the surplus could not be put on hold: {runaway.trouble}"
    return Finding(
        f"runaway:{runaway.who}",
        max(_level(runaway.count, limit, 10.0), 1),
        f"{runaway.name or runaway.who} submitted {_messages(runaway.count)} in ten minutes, "
        f"where {limit} are allowed{held}",
        remedy,
    )


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"


def span(seconds: float) -> str:
    """A time as a person says it."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"
