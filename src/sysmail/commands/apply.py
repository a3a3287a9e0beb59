"""``sysmail apply``: plan, run it as one transaction, prove."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Callable, Optional

from sysmail import signals
from sysmail.apply.checkpoint import WAITING, Checkpoint, Store, keep_passwords, save
from sysmail.apply.preflight import check_steps, wait_for_packages
from sysmail.apply.recovery import is_pending
from sysmail.apply.scratch import try_candidate
from sysmail.apply.transaction import Transaction
from sysmail.commands.outage import note_outage, was_good
from sysmail.commands.policy_source import Given
from sysmail.commands.refusals import (
    refuse_busy_port,
    refuse_fatal_configuration,
    refuse_open_command,
    refuse_takeover,
)
from sysmail.commands.situation import (
    Situation,
    file_states,
    look,
    probe_next_hop,
)
from sysmail.commands.wayback import describe_all, go_back, kept_notes
from sysmail.describe import describe
from sysmail.desired import Desired
from sysmail.errors import HostError, StepError, SysmailError
from sysmail.facts import Facts, collect
from sysmail.host.port import Writer
from sysmail.plan import InstallPackages, Retire, Step, WriteFile, plan
from sysmail.prove import Proof, prove
from sysmail.report import FAIL, Problem, Report, StepResult, Verdict
from sysmail.want import want

__all__ = ["GO_ON", "give_up", "go_on", "run"]

Say = Callable[[str], None]
GO_ON = "run `sysmail apply`, which goes on from there"

_STRUCTURAL = frozenset({"loopback-only", "local-clients", "no-secrets-told"})
"""Checks that only fail because of the host's set-up, never because of mail that waits."""


def run(  # noqa: PLR0913 - what a caller may ask for has no natural groups, and all is by name
    writer: Writer,
    given: Given,
    flags: Mapping[str, Optional[object]],
    say: Say,
    *,
    adopt: bool = False,
    acknowledge: bool = False,
    relay: bool = False,
    hand_over: bool = False,
) -> Report:
    """Bring the policy into force. The lock must be held.

    Exit code 0 in force and proven, 1 refused, rolled back or not proven, 3
    in force while a next hop that was good is down. ``acknowledge``: notices
    that were lost up to now are known to a person. ``relay``: the relay is
    asked for where the policy names no route. ``hand_over``: the caller installs
    missing packages; the report then names them, and ``go_on`` does the rest.
    """
    known = Store(writer).load()
    pending = next((c for c in known if c.handed_over and c.state != "done"), None)
    situation = look(writer, given, flags, relay=relay, checkpoints=known)
    distro = situation.facts.distro
    if situation.steps and pending is None and distro and wait_for_packages(writer, distro):
        # somebody has just changed packages
        situation = look(writer, given, flags, relay=relay, checkpoints=known)
    adopted: tuple[str, ...] = ()
    if situation.steps and pending is None:
        adopted = refuse_takeover(writer, situation, adopt=adopt)
        refuse_busy_port(writer, situation)
        refuse_fatal_configuration(writer, situation.facts, situation.desired)
    refuse_open_command(writer, situation)
    try:
        trouble = _ask_next_hop(writer, situation)
    except HostError as error:
        error.message += "; nothing was changed"
        raise
    if situation.steps:
        check_steps(writer, situation.facts, situation.steps)
    note_outage(writer, situation, trouble)
    if not situation.steps and not acknowledge and pending is None:
        return _report(Proof(writer, situation, trouble), (), trouble)
    if pending is not None:
        with _or_back(writer, pending, say):
            transaction = _take_up(writer, situation, pending, say)
            return _finish(transaction, writer, situation, trouble, say, hand_over=hand_over)
    checkpoint = _checkpoint(writer, situation, acknowledge=acknowledge)
    with _or_back(writer, checkpoint, say):
        transaction = Transaction.begin(writer, situation.facts, checkpoint, _paths(situation), say)
        keep_passwords(writer, checkpoint, situation.passwords)
        report = _finish(transaction, writer, situation, trouble, say, hand_over=hand_over)
    return replace(report, notes=(*report.notes, *adopted))


def go_on(
    writer: Writer,
    given: Given,
    flags: Mapping[str, Optional[object]],
    say: Say,
    *,
    relay: bool = False,
) -> Report:
    """Go on with an apply that handed its packages over, now that they are there."""
    pending = _handed_over(writer)
    with _or_back(writer, pending, say):
        situation = look(writer, given, flags, relay=relay)
        trouble = _ask_next_hop(writer, situation)
        _require_installed(situation.desired, situation.facts, situation.steps)
        transaction = _take_up(writer, situation, pending, say, keep_steps=True)
        return _finish(transaction, writer, situation, trouble, say)


def give_up(writer: Writer, why: str, say: Say) -> Report:
    """Undo an apply that handed its packages over: they could not be installed."""
    with _or_back(writer, _handed_over(writer), say):
        raise StepError("packages-not-installed", why, "install them by hand to see all of it")


def _handed_over(writer: Writer) -> Checkpoint:
    found = [c for c in Store(writer).load() if c.state == WAITING]
    if not found:
        raise StepError(
            "preparation-gone",
            "another command has undone the preparation, or gone on with it",
            "run it again",
        )
    return found[-1]


@contextlib.contextmanager
def _or_back(writer: Writer, checkpoint: Checkpoint, say: Say) -> Iterator[None]:
    """Whatever goes wrong inside: the host is as it was before, and the error says so.

    Where a package manager is still at work on what was asked for, going back
    would let it install an open Postfix: then the host stays prepared, and closed.
    """
    try:
        yield
    except BaseException as error:
        signals.hold()
        remedy, notes = "", list[str]()
        if is_pending(writer, checkpoint, seconds=0.0):
            checkpoint.state, checkpoint.time = WAITING, writer.now()
            save(writer, checkpoint)
            kept = f"a package manager is at work, so the host stays prepared for it; {GO_ON}"
        else:
            say("going back to how the host was")
            kept, remedy = go_back(writer, checkpoint, say, notes)
        if isinstance(error, SysmailError):
            error.notes = (*error.notes, *notes)
            error.message += f"; {kept}" if kept else "; the host is as it was before"
            error.remedy += f". The way back: {remedy}" if remedy else ""
        elif kept:
            raise StepError("interrupted", f"interrupted; {kept}", remedy or GO_ON) from error
        raise


def _finish(
    transaction: Transaction,
    writer: Writer,
    situation: Situation,
    trouble: Optional[HostError],
    say: Say,
    *,
    hand_over: bool = False,
) -> Report:
    """The steps, the proof, and the end of the transaction."""
    checkpoint = transaction.checkpoint
    done = _carry_out(transaction, writer, situation, say, hand_over=hand_over)
    told = describe_all(done, situation.edited)
    results = (*(StepResult(**step) for step in checkpoint.steps), *told)
    if hand_over and done and _is_installation(done[-1]):
        checkpoint.state, checkpoint.steps = WAITING, [vars(result) for result in results]
        checkpoint.time, checkpoint.handed_over = writer.now(), True
        save(writer, checkpoint)
        return _packages_wanted(situation, done[-1], results)
    report = _report(
        Proof(writer, _look_again(writer, situation, checkpoint), trouble), results, trouble
    )
    if results:
        _require_proof(situation, report.verdicts, trouble)
    checkpoint.steps = []
    signals.hold()
    transaction.commit()
    return replace(report, notes=kept_notes(checkpoint, situation.edited))


def _ask_next_hop(writer: Writer, situation: Situation) -> Optional[HostError]:
    """None where it answers, or what it ran into where mail can wait; raised otherwise."""
    trouble = probe_next_hop(writer, situation)
    if trouble is not None and not was_good(situation, trouble):
        raise trouble
    return trouble


def _is_installation(step: Step) -> bool:
    """Whether somebody else can do it: nothing that is installed has to go."""
    return isinstance(step, InstallPackages) and not step.replaced


def _packages_wanted(situation: Situation, step: Step, results: tuple[StepResult, ...]) -> Report:
    names = list(step.names) if isinstance(step, InstallPackages) else []
    distro = situation.facts.distro
    return Report(
        command="apply",
        outcome="packages-wanted",
        exit_code=2,
        changed=True,
        route=situation.decision.summary(),
        steps=results,
        details={"packages": {"manager": distro.name if distro else "", "names": names}},
    )


def _checkpoint(writer: Writer, situation: Situation, *, acknowledge: bool) -> Checkpoint:
    """What a new transaction is about; nothing of it is written down yet."""
    numbers = [checkpoint.number for checkpoint in situation.checkpoints]
    checkpoint = Checkpoint(
        number=max(numbers, default=0) + 1, kind="apply", losses_since=writer.now()
    )
    _record(checkpoint, situation)
    before = situation.in_force
    admin = situation.policy.admin
    if before is not None and situation.decision.route == before.route.get("name"):
        checkpoint.mailu_down_since = before.mailu_down_since
        checkpoint.mailu_down_seen = before.mailu_down_seen
    # A new admin starts afresh; any other change leaves a lost notice visible.
    if before is not None and before.policy.get("admin", "") == admin and not acknowledge:
        checkpoint.losses_since = before.losses_since
    return checkpoint


def _take_up(
    writer: Writer,
    situation: Situation,
    pending: Checkpoint,
    say: Say,
    *,
    keep_steps: bool = False,
) -> Transaction:
    """Go on with what waits for packages, for what is wanted now.

    ``keep_steps``: the packages have come as they were asked for.
    """
    _record(pending, situation)
    if not keep_steps:
        pending.steps = [step for step in pending.steps if step["name"] != "packages"]
    transaction = Transaction.take_up(writer, situation.facts, pending, _paths(situation), say)
    keep_passwords(writer, pending, situation.passwords)
    return transaction


def _record(checkpoint: Checkpoint, situation: Situation) -> None:
    """What is going to be in force."""
    route = situation.decision.summary()
    checkpoint.policy = dict(situation.asked)
    checkpoint.route = {"name": route.name, "next_hop": route.next_hop, "reason": route.reason}
    if route.name == "mailu":
        checkpoint.route["port"] = str(situation.decision.port)
    checkpoint.relay_asked = situation.relay_asked


def _paths(situation: Situation) -> list[str]:
    written = (step.file.path for step in situation.steps if isinstance(step, WriteFile))
    return sorted({*situation.files, *written})


def _carry_out(
    transaction: Transaction,
    writer: Writer,
    situation: Situation,
    say: Say,
    *,
    hand_over: bool,
) -> list[Step]:
    """Run the steps; after an installation plan the rest from what is there now.

    ``hand_over``: up to an installation that the caller does.
    """
    steps = list(situation.steps)
    done: list[Step] = []
    desired, facts = situation.desired, situation.facts
    tried = False
    while steps:
        step = steps.pop(0)
        if not tried and desired.relay and isinstance(step, WriteFile) and facts.postfix:
            refuse_fatal_configuration(writer, facts, desired)
            say("trying the new configuration beside the one in force")
            try_candidate(writer, facts, desired)
            tried = True
        if hand_over and isinstance(step, InstallPackages) and _is_installation(step):
            transaction.prepare(step)
            return [*done, step]
        say(describe(step).summary)
        transaction.do(step)
        done.append(step)
        if isinstance(step, InstallPackages):
            facts = collect(writer)
            transaction.update_facts(facts)
            if any(isinstance(later, Retire) for later in steps):
                continue  # packages that the way out needs; the plan goes on
            desired = want(situation.policy, facts, situation.decision, situation.password)
            steps = plan(desired, facts, file_states(writer, desired))
            _require_installed(desired, facts, steps)
    return done


def _require_installed(desired: Desired, facts: Facts, steps: list[Step]) -> None:
    missing = [n for s in steps if isinstance(s, InstallPackages) for n in (*s.names, *s.replaced)]
    if missing or (desired.relay and facts.postfix is None):
        raise StepError(
            "packages-not-installed",
            "the package manager reports success, and still not as it should be: "
            + (", ".join(missing) or "postconf is missing"),
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
        checkpoints=tuple(Store(writer).load()),
    )


def _require_proof(
    situation: Situation, verdicts: tuple[Verdict, ...], trouble: Optional[HostError]
) -> None:
    """StepError, hence the way back, when what was changed just now does not hold."""
    structural = _STRUCTURAL
    if trouble is None and not situation.desired.relay:
        structural |= {"verified-next-hop"}  # Mailu answers, and msmtp cannot use it
    broken = [v for v in verdicts if v.status == FAIL and v.check in structural and not v.beside]
    if broken:
        first = broken[0]
        raise StepError("not-proven", f"{first.check}: {first.evidence}", first.remedy)


def _report(proof: Proof, steps: tuple[StepResult, ...], down: Optional[HostError]) -> Report:
    """Prove, and say what came of it all."""
    verdicts, decision = prove(proof), proof.situation.decision
    expected = {"verified-next-hop"} if down is not None else set()
    errors: tuple[Problem, ...] = ()
    outcome, code = ("applied" if steps else "unchanged"), 0
    if down is not None:
        outcome, code = "next-hop-down", 3
        where = "mail waits in the queue"
        if decision.route == "mailu":
            where = "msmtp has no queue, and programs that send are told"
        errors = (Problem(down.code, f"{down.message}; {where}", down.remedy),)
    if any(v.status == FAIL and v.check not in expected for v in verdicts):
        outcome, code = "not-proven", 1
    return Report(
        command="apply",
        outcome=outcome,
        exit_code=code,
        changed=bool(steps),
        route=decision.summary(),
        steps=steps,
        verdicts=tuple(verdicts),
        errors=errors,
        details={"queue": proof.queue_summary()},
    )
