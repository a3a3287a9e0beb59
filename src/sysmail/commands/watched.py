"""What one run of the watch looks at: this host first, and then its next hop."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import Optional

from sysmail.apply.checkpoint import Checkpoint
from sysmail.commands.situation import Situation, look, probe_way_out
from sysmail.commands.submitted import Submitted, find_runaways
from sysmail.errors import HostError, SysmailError
from sysmail.host.port import Reader
from sysmail.nexthop import is_temporary
from sysmail.policy import Policy
from sysmail.postfix.names import my_hostname
from sysmail.prove import CHECKS, Proof, prove
from sysmail.report import PASS, UNKNOWN, Verdict
from sysmail.watch.findings import Seen
from sysmail.watch.model import State
from sysmail.watch.runaway import Runaway, of_msmtp

__all__ = ["Looked", "ask_next_hop", "both", "look_at", "package_manager"]

NEXT_HOP = "verified-next-hop"
LATELY_SECONDS = 600.0


@dataclass(frozen=True)
class Looked:
    """What was seen, and the situation that it was seen in; None where that cannot be told."""

    seen: Seen
    situation: Optional[Situation] = None

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong that a second look could find gone."""
        return all(v.status == PASS for v in self.seen.verdicts) and not self.seen.unseen


def look_at(reader: Reader, in_force: Checkpoint, policy: Policy, state: State) -> Looked:
    """What is on this host now. The next hop is not asked."""
    try:
        situation = look(reader, "", {}, ask=False)
    except SysmailError as error:
        unknown = Verdict("all-or-nothing", UNKNOWN, error.message, error.remedy)
        return Looked(Seen((unknown,)))
    proof = Proof(reader, situation, None, asked=False)
    verdicts, waiting = tuple(prove(proof)), proof.waiting
    facts = situation.facts
    unseen: list[tuple[str, str, str]] = []
    if waiting is None and facts.postfix is not None:
        text = "the queue cannot be listed: how much waits is not known"
        unseen.append(("queue", text, "run `postqueue -j` to see why"))
    came: Optional[Submitted] = None
    try:
        came = find_runaways(reader, facts, policy.limits.runaway, waiting or [], state.held)
    except HostError as error:
        unseen.append(("log", f"who submits how much is not known: {error.message}", error.remedy))
    mailu = _mailu(reader, in_force, policy.limits.runaway)
    if mailu is None:
        unseen.append(_NO_LOG_OF_MSMTP)
        mailu = _Mailu()
    patient = [m for m in waiting or [] if m.queue != "hold"]
    now = reader.now()
    lost: Optional[list[str]] = None
    if proof.relay and facts.postfix is not None:
        with contextlib.suppress(HostError):  # which is a verdict already
            lost = proof.lost
    seen = Seen(
        verdicts,
        waiting=len(patient),
        oldest=max((now - m.arrived for m in patient), default=0.0),
        refused=mailu.refused,
        refused_at=mailu.refused_at,
        taken=mailu.taken,
        host=my_hostname(situation.policy, facts),
        runaways=(*(came.runaways if came is not None else ()), *mailu.runaways),
        unseen=tuple(unseen),
        submitted=came.ids if came is not None else None,
        lost=lost[-1].strip() if lost else "",
    )
    return Looked(seen, situation)


def ask_next_hop(reader: Reader, looked: Looked) -> Seen:
    """What was seen, with the next hop's answer; the same where nobody could be asked."""
    situation = looked.situation
    if situation is None:
        return looked.seen
    trouble = probe_way_out(reader, situation)
    try:
        answer = CHECKS[NEXT_HOP](Proof(reader, situation, trouble))
    except HostError as error:
        answer = Verdict(NEXT_HOP, UNKNOWN, error.message, error.remedy)
    verdicts = tuple(answer if v.check == NEXT_HOP else v for v in looked.seen.verdicts)
    temporary = trouble.message if trouble is not None and is_temporary(trouble) else ""
    return replace(looked.seen, verdicts=verdicts, full=True, temporary=temporary)


def both(first: Looked, again: Looked) -> Looked:
    """What is wrong both times."""
    wrong = {v.check for v in first.seen.verdicts if v.status != PASS}
    unseen = {name for name, _, _ in first.seen.unseen}
    verdicts = tuple(
        v if v.status == PASS or v.check in wrong else _passing(v) for v in again.seen.verdicts
    )
    still = tuple(each for each in again.seen.unseen if each[0] in unseen)
    return replace(again, seen=replace(again.seen, verdicts=verdicts, unseen=still))


def _passing(verdict: Verdict) -> Verdict:
    return Verdict(verdict.check, PASS, f"only now: {verdict.evidence}")


def package_manager(reader: Reader, looked: Looked) -> str:
    """Which package manager is at work: it restarts what it brings a new version of. Or empty."""
    distro = looked.situation.facts.distro if looked.situation is not None else None
    if distro is None:
        return ""
    for path in distro.locks:
        holder = reader.holder(path) or (reader.user_of(path) if path in distro.lock_files else "")
        if holder:
            return f"{distro.name} is at work: {holder} holds {path}"
    return ""


_NO_LOG_OF_MSMTP = (
    "log",
    "whether Mailu took the last message is not known: the journal cannot be read",
    "run `journalctl -t msmtp -n 1` to see why",
)


@dataclass(frozen=True)
class _Mailu:
    """What msmtpd handed to Mailu lately: see Seen. Nothing on the route relay."""

    refused: str = ""
    refused_at: float = 0.0
    taken: bool = False
    runaways: tuple[Runaway, ...] = ()


def _mailu(reader: Reader, in_force: Checkpoint, limit: int) -> Optional[_Mailu]:
    """What became of the last message of the route mailu, and who submitted how much.

    None where the log cannot be read: nobody knows.
    """
    if in_force.route.get("name") != "mailu":
        return _Mailu()
    from sysmail import submissions  # the relay has none

    told = submissions.entries(reader, reader.now() - LATELY_SECONDS)
    if told is None:
        return None
    host = str(in_force.policy.get("mailu", {}).get("host", ""))
    handed = submissions.handed(told, host)
    many = tuple(of_msmtp(len(handed), submissions.by_user(told), limit))
    if not handed:
        return _Mailu(runaways=many)
    last = handed[-1]
    if last.accepted:
        return _Mailu(taken=True, runaways=many)
    return _Mailu(last.answer or "it gave no answer", last.time, runaways=many)
