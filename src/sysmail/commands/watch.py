"""``sysmail watch``: one run of the watch, which a timer starts every 5 minutes.

It looks, decides whom to tell, tells, and remembers. While all is well it changes nothing.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Optional

from sysmail import queue, submissions
from sysmail.apply.checkpoint import Checkpoint, Store
from sysmail.commands.memory import load, save, settings, undelivered
from sysmail.commands.situation import look, probe_way_out
from sysmail.commands.submitted import account_of, find_runaways
from sysmail.errors import HostError, RefusedError, SysmailError
from sysmail.host.port import Writer
from sysmail.nexthop import is_temporary
from sysmail.policy import Policy
from sysmail.postfix.names import my_hostname
from sysmail.prove import Proof, prove
from sysmail.report import PASS, Problem, Report, RouteSummary, Verdict
from sysmail.session import LOCK
from sysmail.watch.decide import decide, delivered
from sysmail.watch.findings import Seen, findings, proof_is_due
from sysmail.watch.model import Finding, State
from sysmail.watch.runaway import Runaway, named

__all__ = ["run"]

AGAIN_SECONDS = 5.0
"""What is wrong is looked at again after so long: a restart of Postfix breaks no promise."""

LATELY_SECONDS = 600.0


def run(writer: Writer) -> Report:
    """Exit code 0 all is well or somebody is at work, 1 something is wrong, 3 nobody could be told.

    What is wrong is looked at twice, some seconds apart.
    """
    try:
        return _run(writer)
    except HostError as error:
        problem = Problem(error.code, error.message, error.remedy)
        return Report("watch", "failed", 3, errors=(problem,))


def _run(writer: Writer) -> Report:
    in_force = Store(writer).in_force()
    if in_force is None:
        raise RefusedError(
            "not-applied",
            "sysmail was never applied here, so there is nothing to watch",
            "run `sysmail apply`",
        )
    if _is_busy(writer):
        return Report("watch", "busy", 0)
    policy, state = settings(writer, in_force), load(writer)
    full = proof_is_due(state, writer.now())
    seen = _look(writer, in_force, policy, full=full)
    if any(v.status != PASS for v in seen.verdicts):
        writer.sleep(AGAIN_SECONDS)
        if _is_busy(writer):
            return Report("watch", "busy", 0)
        # The next hop is not asked again: it counts logins.
        again = _look(writer, in_force, policy, full=False)
        seen = _both(seen, again)
    seen = replace(seen, runaways=_hold(writer, seen.runaways))
    now = writer.now()
    found, after = findings(seen, state, policy, now)
    channels = _channels(policy)
    alert, after = decide(after, found, now, channels)
    failures: dict[str, str] = {}
    if alert is not None:
        from sysmail.commands.tell import tell  # only then, as with all that costs time

        failures = tell(writer, alert, policy, after.channels, seen.host or writer.nodename())
        after = delivered(after, failures)
    if after != state:
        _remember(writer, after)
    return _report(in_force, seen, found, after, alert is not None)


def _channels(policy: Policy) -> tuple[str, ...]:
    found = {"webhook": policy.alert.webhook, "command": policy.alert.command}
    return tuple(name for name, value in found.items() if value)


def _is_busy(writer: Writer) -> bool:
    """Whether another sysmail is changing this host."""
    try:
        writer.lock(LOCK, f"sysmail watch (pid {os.getpid()})", 0.0).release()
    except RefusedError:
        return True
    return False


def _look(writer: Writer, in_force: Checkpoint, policy: Policy, *, full: bool) -> Seen:
    """What is there now. With ``full`` the next hop is asked too."""
    trouble: Optional[HostError] = None
    try:
        situation = look(writer, "", {}, ask=False)
        if full:
            trouble = probe_way_out(writer, situation)
        proof = Proof(writer, situation, trouble, asked=full)
        verdicts, waiting = tuple(prove(proof)), proof.waiting
        facts = situation.facts
    except SysmailError as error:
        unknown = Verdict("all-or-nothing", "unknown", error.message, error.remedy)
        return Seen((unknown,), full=full)
    patient = [m for m in waiting or [] if m.queue != "hold"]
    now = writer.now()
    return Seen(
        verdicts,
        waiting=len(patient),
        oldest=max((now - m.arrived for m in patient), default=0.0),
        full=full,
        temporary=trouble.message if trouble is not None and is_temporary(trouble) else "",
        refused=_refused(writer, in_force),
        host=my_hostname(situation.policy, facts),
        runaways=find_runaways(writer, facts, policy.limits.runaway, waiting or []),
    )


def _refused(writer: Writer, in_force: Checkpoint) -> str:
    """Mailu's answer to the last message of the route mailu, where that was a no lately."""
    if in_force.route.get("name") != "mailu":
        return ""
    host = str(in_force.policy.get("mailu", {}).get("host", ""))
    handed = submissions.since(writer, writer.now() - LATELY_SECONDS, host) or []
    return handed[-1].answer if handed and not handed[-1].accepted else ""


def _both(first: Seen, again: Seen) -> Seen:
    """What is wrong both times; what only the first look asked stands."""
    wrong = {v.check for v in first.verdicts if v.status != PASS}
    kept = {v.check: v for v in first.verdicts if v.check == "verified-next-hop" and first.full}
    verdicts = tuple(
        kept.get(v.check, v if v.status == PASS or v.check in wrong else _passing(v))
        for v in again.verdicts
    )
    return replace(again, verdicts=verdicts, full=first.full, temporary=first.temporary)


def _passing(verdict: Verdict) -> Verdict:
    return Verdict(verdict.check, PASS, f"only now: {verdict.evidence}")


def _hold(writer: Writer, runaways: tuple[Runaway, ...]) -> tuple[Runaway, ...]:
    """Put the surplus on hold; postsuper(1) moves a message whole, and what has left stays gone."""
    found: list[Runaway] = []
    for runaway in runaways:
        if runaway.surplus:
            ids = "\n".join(runaway.surplus).encode() + b"\n"
            writer.run(["postsuper", "-h", "-"], stdin=ids)
        found.append(named(runaway, account_of(writer, runaway.who)))
    if any(runaway.surplus for runaway in runaways):
        held = {m.queue_id for m in queue.waiting(writer) or [] if m.queue == "hold"}
        found = [replace(each, held=each.held - len(set(each.surplus) - held)) for each in found]
    return tuple(found)


def _remember(writer: Writer, state: State) -> None:
    """Under the lock, and only while there is something to watch: a removal leaves nothing."""
    try:
        lock = writer.lock(LOCK, f"sysmail watch (pid {os.getpid()})", 10.0)
    except RefusedError:
        return  # told once too often is better than a removal that waits
    try:
        if Store(writer).in_force() is not None:
            save(writer, state)
    finally:
        lock.release()


def _report(
    in_force: Checkpoint, seen: Seen, found: tuple[Finding, ...], state: State, told: bool
) -> Report:
    route = in_force.route
    problems = [Problem("watch-found", each.text, each.remedy) for each in found]
    problems += undelivered(state)
    code = 1 if found else 0
    return Report(
        command="watch",
        outcome="trouble" if found else "well",
        exit_code=3 if state.undelivered else code,
        changed=any(each.surplus for each in seen.runaways),
        route=RouteSummary(route["name"], route["next_hop"], route["reason"]) if route else None,
        errors=tuple(problems),
        details={"watch": _details(found, state, told)},
    )


def _details(found: tuple[Finding, ...], state: State, told: bool) -> dict[str, Any]:
    return {
        "findings": [each.as_data() for each in found],
        "told": told and not state.undelivered,
        "proved": state.proved,
    }
