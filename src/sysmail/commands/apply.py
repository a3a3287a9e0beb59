"""``sysmail apply``: plan, run it as one transaction, prove."""

from __future__ import annotations

from typing import Callable, List, Mapping, Optional, Tuple

from sysmail.apply import Checkpoint, Store, Transaction, undo
from sysmail.apply.service import wait_until_ready
from sysmail.commands.situation import (
    Situation,
    file_states,
    look,
    probe_next_hop,
    refuse_takeover,
)
from sysmail.errors import HostError, RefusedError, StepError, SysmailError
from sysmail.facts import Facts, collect
from sysmail.host.port import Writer
from sysmail.nexthop import is_temporary
from sysmail.plan import InstallPackages, Service, Step, WriteFile, describe, plan
from sysmail.policy import dump
from sysmail.prove import prove
from sysmail.report import FAIL, Problem, Report, StepResult, Verdict
from sysmail.want import want

__all__ = ["run"]

Say = Callable[[str], None]


def run(
    writer: Writer,
    policy_path: str,
    flags: Mapping[str, Optional[object]],
    say: Say,
    adopt: bool = False,
    acknowledge: bool = False,
) -> Report:
    """Bring the policy into force. The lock must be held.

    Exit code 0 in force and proven, 1 refused, rolled back or not proven, 3
    in force while a next hop that was good is down.
    """
    situation = look(writer, policy_path, flags)
    if situation.steps:
        refuse_takeover(situation, adopt)
        _refuse_busy_port(situation)
    trouble = probe_next_hop(writer, situation)
    down = trouble if trouble is not None and _was_good(situation, trouble) else None
    if trouble is not None and down is None:
        raise trouble
    steps: Tuple[StepResult, ...] = ()
    if situation.steps or acknowledge:
        steps, verdicts = _transaction(writer, situation, say, down, acknowledge)
    else:
        verdicts = prove(writer, situation, down)
    return _report(situation, steps, verdicts, down)


def _was_good(situation: Situation, trouble: HostError) -> bool:
    """Whether this next hop is in force already, so that it is down rather than wrong."""
    before = situation.in_force
    return (
        before is not None
        and is_temporary(trouble)
        and before.policy.get(situation.decision.next_hop)
        == dump(situation.policy).get(situation.decision.next_hop)
        and before.route.get("next_hop") == situation.decision.next_hop
    )


def _refuse_busy_port(situation: Situation) -> None:
    facts = situation.facts
    if facts.master_running:
        return
    for listener in facts.listeners_on(25):
        raise RefusedError(
            "port-25-taken",
            f"{listener.owner or 'another program'} listens on {listener.address} port 25",
            "stop that program, or leave the mail of this host to it",
        )


def _transaction(
    writer: Writer,
    situation: Situation,
    say: Say,
    down: Optional[HostError],
    acknowledge: bool,
) -> Tuple[Tuple[StepResult, ...], List[Verdict]]:
    store = Store(writer)
    numbers = [checkpoint.number for checkpoint in store.load()]
    summary = situation.decision.summary()
    transaction = Transaction.begin(
        writer,
        situation.facts,
        max(numbers, default=0) + 1,
        "apply",
        dump(situation.policy),
        {"name": summary.name, "next_hop": summary.next_hop, "reason": summary.reason},
        _losses_since(writer, situation, acknowledge),
        sorted(situation.files),
        say,
    )
    try:
        done = carry_out(transaction, writer, situation, say)
        current = look_again(writer, situation, transaction.checkpoint)
        verdicts = prove(writer, current, down)
        broken = [v for v in verdicts if v.status == FAIL and v.check in _STRUCTURAL]
        if broken and not done_before(situation):
            first = broken[0]
            raise StepError(
                "not-proven", f"{first.check}: {first.evidence}", first.remedy
            )
        transaction.commit()
    except BaseException as error:
        say("going back to how the host was")
        undo(writer, transaction.checkpoint, say, force=True)
        if isinstance(error, SysmailError):
            error.message += "; the host is as it was before"
        raise
    return tuple(describe(step) for step in done), verdicts


_STRUCTURAL = frozenset({"loopback-only", "local-clients", "no-secrets-told"})
"""Checks that only fail because of the host's set-up, never because of mail that waits."""


def _losses_since(writer: Writer, situation: Situation, acknowledge: bool) -> float:
    """A new admin starts afresh; any other change leaves a lost notice visible."""
    before = situation.in_force
    if before is None or acknowledge or before.policy.get("admin", "") != situation.policy.admin:
        return writer.now()
    return before.losses_since


def done_before(situation: Situation) -> bool:
    """Whether the only thing to do was to remember the policy."""
    return not any(isinstance(step, (WriteFile, Service)) for step in situation.steps)


def carry_out(
    transaction: Transaction, writer: Writer, situation: Situation, say: Say
) -> List[Step]:
    """Run the steps; after an installation plan the rest from what is there now."""
    steps = list(situation.steps)
    done: List[Step] = []
    desired, facts = situation.desired, situation.facts
    while steps:
        step = steps.pop(0)
        say(describe(step).summary)
        transaction.do(step)
        done.append(step)
        if isinstance(step, InstallPackages):
            facts = collect(writer)
            transaction.update_facts(facts)
            desired = want(situation.policy, facts, situation.decision, situation.password)
            steps = plan(desired, facts, file_states(writer, desired))
            _after_installation(facts, steps)
        elif isinstance(step, Service) and step.action in ("restart", "reload"):
            wait_until_ready(writer, facts, desired.listen)
    return done


def _after_installation(facts: Facts, steps: List[Step]) -> None:
    if facts.postfix is None:
        raise StepError(
            "packages-not-installed",
            "the package manager says that Postfix is installed, and there is no postconf",
            "install postfix by hand to see what happens",
        )
    if any(isinstance(step, InstallPackages) for step in steps):
        raise StepError(
            "packages-not-installed",
            "packages are still missing after their installation",
            "install them by hand to see what happens",
        )


def look_again(writer: Writer, situation: Situation, in_force: Checkpoint) -> Situation:
    """The situation after the steps, for the proof."""
    facts = collect(writer)
    desired = want(situation.policy, facts, situation.decision, situation.password)
    files = file_states(writer, desired)
    return Situation(
        facts=facts,
        policy=situation.policy,
        source=situation.source,
        decision=situation.decision,
        password=situation.password,
        desired=desired,
        files=files,
        steps=plan(desired, facts, files),
        in_force=in_force,
    )


def _report(
    situation: Situation,
    steps: Tuple[StepResult, ...],
    verdicts: List[Verdict],
    down: Optional[HostError],
) -> Report:
    failed = any(v.status == FAIL and not _is_down(v, down) for v in verdicts)
    if failed:
        outcome, code = "not-proven", 1
    elif down is not None:
        outcome, code = "next-hop-down", 3
    else:
        outcome, code = ("applied" if steps else "unchanged"), 0
    errors = (
        (Problem(down.code, down.message + "; mail waits in the queue", down.remedy),)
        if down is not None
        else ()
    )
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


def _is_down(verdict: Verdict, down: Optional[HostError]) -> bool:
    return down is not None and verdict.check == "verified-next-hop"
