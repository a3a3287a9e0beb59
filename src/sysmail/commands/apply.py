"""``sysmail apply``: plan, run it as one transaction, prove."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Callable, Optional

from sysmail.apply import Checkpoint, Store, Transaction, revert
from sysmail.apply.scratch import try_candidate
from sysmail.commands.situation import (
    Situation,
    file_states,
    look,
    probe_next_hop,
    refuse_busy_port,
    refuse_takeover,
)
from sysmail.errors import HostError, StepError, SysmailError
from sysmail.facts import Facts, collect
from sysmail.host.port import Writer
from sysmail.nexthop import is_temporary
from sysmail.plan import InstallPackages, Step, WriteFile, describe, plan
from sysmail.policy import dump
from sysmail.prove import prove
from sysmail.report import FAIL, Problem, Report, StepResult, Verdict
from sysmail.want import want

__all__ = ["GO_ON", "run"]

Say = Callable[[str], None]
GO_ON = "run `sysmail apply`, which goes on from there"

_STRUCTURAL = frozenset({"loopback-only", "local-clients", "no-secrets-told"})
"""Checks that only fail because of the host's set-up, never because of mail that waits."""


def run(
    writer: Writer,
    policy_path: str,
    flags: Mapping[str, Optional[object]],
    say: Say,
    *,
    adopt: bool = False,
    acknowledge: bool = False,
) -> Report:
    """Bring the policy into force. The lock must be held.

    Exit code 0 in force and proven, 1 refused, rolled back or not proven, 3
    in force while a next hop that was good is down. ``acknowledge``: notices
    that were lost up to now are known to a person.
    """
    situation = look(writer, policy_path, flags)
    if situation.steps:
        refuse_takeover(situation, adopt=adopt)
        refuse_busy_port(writer, situation)
    trouble = probe_next_hop(writer, situation)
    if trouble is not None and not _was_good(situation, trouble):
        trouble.message += "; nothing was changed"
        raise trouble
    if not situation.steps and not acknowledge:
        return _report(situation, (), prove(writer, situation, trouble), trouble)
    transaction = _begin(writer, situation, say, acknowledge=acknowledge)
    try:
        done = _carry_out(transaction, writer, situation, say)
        verdicts = prove(writer, _look_again(writer, situation, transaction.checkpoint), trouble)
        _require_proof(verdicts, done)
        transaction.commit()
    except BaseException as error:
        say("going back to how the host was")
        kept = revert(writer, transaction.checkpoint, say)
        if isinstance(error, SysmailError):
            error.message += f"; {kept}" if kept else "; the host is as it was before"
        elif kept:
            raise StepError("interrupted", f"interrupted; {kept}", GO_ON) from error
        raise
    return _report(situation, tuple(describe(step) for step in done), verdicts, trouble)


def _was_good(situation: Situation, trouble: HostError) -> bool:
    """Whether this next hop is in force already, so that it is down rather than wrong."""
    before = situation.in_force
    name = situation.decision.next_hop
    return (
        before is not None
        and is_temporary(trouble)
        and before.route.get("next_hop") == name
        and before.policy.get(name) == dump(situation.policy).get(name)
    )


def _begin(writer: Writer, situation: Situation, say: Say, *, acknowledge: bool) -> Transaction:
    numbers = [checkpoint.number for checkpoint in Store(writer).load()]
    route = situation.decision.summary()
    checkpoint = Checkpoint(
        number=max(numbers, default=0) + 1,
        kind="apply",
        policy=dump(situation.policy),
        route={"name": route.name, "next_hop": route.next_hop, "reason": route.reason},
        losses_since=writer.now(),
    )
    before = situation.in_force
    admin = situation.policy.admin
    # A new admin starts afresh; any other change leaves a lost notice visible.
    if before is not None and before.policy.get("admin", "") == admin and not acknowledge:
        checkpoint.losses_since = before.losses_since
    return Transaction.begin(writer, situation.facts, checkpoint, situation.files, say)


def _carry_out(
    transaction: Transaction, writer: Writer, situation: Situation, say: Say
) -> list[Step]:
    """Run the steps; after an installation plan the rest from what is there now."""
    steps = list(situation.steps)
    done: list[Step] = []
    desired, facts = situation.desired, situation.facts
    tried = False
    while steps:
        step = steps.pop(0)
        if not tried and isinstance(step, WriteFile) and facts.postfix is not None:
            say("trying the new configuration beside the one in force")
            try_candidate(writer, facts, desired)
            tried = True
        say(describe(step).summary)
        transaction.do(step)
        done.append(step)
        if isinstance(step, InstallPackages):
            facts = collect(writer)
            transaction.update_facts(facts)
            desired = want(situation.policy, facts, situation.decision, situation.password)
            steps = plan(desired, facts, file_states(writer, desired))
            _require_installed(facts, steps)
    return done


def _require_installed(facts: Facts, steps: list[Step]) -> None:
    missing = [name for s in steps if isinstance(s, InstallPackages) for name in s.names]
    if facts.postfix is None or missing:
        raise StepError(
            "packages-not-installed",
            "the package manager reports success, and still missing is: "
            + (", ".join(missing) or "postconf"),
            "install it by hand to see what happens",
        )


def _look_again(writer: Writer, situation: Situation, in_force: Checkpoint) -> Situation:
    """The situation after the steps, for the proof."""
    facts = collect(writer)
    desired = want(situation.policy, facts, situation.decision, situation.password)
    files = file_states(writer, desired)
    return replace(
        situation,
        facts=facts,
        desired=desired,
        files=files,
        steps=plan(desired, facts, files),
        in_force=in_force,
    )


def _require_proof(verdicts: list[Verdict], done: list[Step]) -> None:
    """StepError, hence the way back, when what was changed just now does not hold."""
    broken = [v for v in verdicts if v.status == FAIL and v.check in _STRUCTURAL]
    if broken and done:
        first = broken[0]
        raise StepError("not-proven", f"{first.check}: {first.evidence}", first.remedy)


def _report(
    situation: Situation,
    steps: tuple[StepResult, ...],
    verdicts: list[Verdict],
    down: Optional[HostError],
) -> Report:
    expected = {"verified-next-hop"} if down is not None else set()
    errors: tuple[Problem, ...] = ()
    outcome, code = ("applied" if steps else "unchanged"), 0
    if down is not None:
        outcome, code = "next-hop-down", 3
        errors = (Problem(down.code, f"{down.message}; mail waits in the queue", down.remedy),)
    if any(v.status == FAIL and v.check not in expected for v in verdicts):
        outcome, code = "not-proven", 1
    return Report(
        command="apply",
        outcome=outcome,
        exit_code=code,
        changed=bool(steps),
        route=situation.decision.summary(),
        steps=steps,
        verdicts=tuple(verdicts),
        errors=errors,
    )
