"""``sysmail watch``: one run of the watch, which a timer starts every 5 minutes.

It looks, decides whom to tell, tells, and remembers. While all is well it changes nothing.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Optional

from sysmail import queue
from sysmail.apply.checkpoint import Checkpoint, Store
from sysmail.commands import memory
from sysmail.commands.submitted import account_of
from sysmail.commands.watched import Looked, ask_next_hop, both, look_at, package_manager
from sysmail.errors import RefusedError, SysmailError
from sysmail.host.port import Writer
from sysmail.policy import Policy
from sysmail.report import Problem, Report, RouteSummary
from sysmail.session import LOCK
from sysmail.watch.decide import decide, delivered
from sysmail.watch.findings import PROOF, Seen, findings, proof_is_due, span
from sysmail.watch.model import Finding, State
from sysmail.watch.runaway import Runaway, named

__all__ = ["run"]

AGAIN_SECONDS = 5.0
"""What is wrong is looked at again after so long: a restart of Postfix breaks no promise."""

BUSY_SECONDS = 1800.0
"""Who is at work on the host for longer than this may hang."""


def run(writer: Writer) -> Report:
    """Exit code 0 all is well or somebody is at work, 1 something is wrong, 3 nobody could be told.

    What is wrong is looked at twice, some seconds apart. 3 is also that this very watch is broken.
    """
    in_force: Optional[Checkpoint] = None
    try:
        in_force = Store(writer).in_force()
        if in_force is not None:
            return _run(writer, in_force)
    except SysmailError as error:
        return _broken(writer, in_force, Problem(error.code, error.message, error.remedy))
    except Exception as error:
        if os.environ.get("SYSMAIL_TRACEBACK"):
            raise
        return _broken(
            writer,
            in_force,
            Problem(
                "bug",
                f"sysmail made a mistake: {type(error).__name__}: {error}",
                "please report it, with the output of SYSMAIL_TRACEBACK=1",
            ),
        )
    raise RefusedError(
        "not-applied",
        "sysmail was never applied here, so there is nothing to watch",
        "run `sysmail apply`",
    )


def _broken(writer: Writer, in_force: Optional[Checkpoint], problem: Problem) -> Report:
    """A watch that cannot watch says so by the ways that are left to it."""
    report = Report("watch", "failed", 3, errors=(problem,))
    if in_force is None:
        return report
    found = Finding("watch-broken", 1, f"the watch is broken: {problem.message}", problem.remedy)
    try:
        watch = _Watch(writer, in_force)
        watch.conclude((found,), watch.kept, writer.nodename())
    except Exception:  # noqa: BLE001 - the first mistake is the one to tell of
        return report
    return replace(report, errors=(problem, *memory.undelivered(watch.kept)))


def _run(writer: Writer, in_force: Checkpoint) -> Report:
    watch = _Watch(writer, in_force)
    busy = _at_work(writer)
    looked = None if busy else look_at(writer, in_force, watch.policy, watch.kept)
    if looked is not None and not looked.is_well:
        writer.sleep(AGAIN_SECONDS)
        busy = _at_work(writer) or package_manager(writer, looked)
        if not busy:
            looked = both(looked, look_at(writer, in_force, watch.policy, watch.kept))
    if busy or looked is None:
        return watch.busy(busy)
    state = replace(watch.kept, busy=0.0)
    looked = replace(looked, seen=_hold(writer, looked.seen))
    found, after = findings(looked.seen, state, watch.policy, writer.now())
    due = proof_is_due(watch.kept, writer.now()) and looked.situation is not None
    # What is wrong here is told before anybody is asked who may never answer.
    told = watch.conclude(_without_age(found, state) if due else found, after, looked.seen.host)
    if due:
        looked, found, again = watch.prove(looked)
        told = told or again
    return watch.report(looked.seen, found, told=told)


def _without_age(found: tuple[Finding, ...], state: State) -> tuple[Finding, ...]:
    """A host that was off for a week has an old proof, and now makes a new one: not news yet."""
    return tuple(each for each in found if each.key != PROOF or state.stands(PROOF))


def _at_work(writer: Writer) -> str:
    """Which other sysmail is changing this host; empty if none is."""
    try:
        writer.lock(LOCK, f"sysmail watch (pid {os.getpid()})", 0.0).release()
    except RefusedError as error:
        return error.message
    return ""


def _hold(writer: Writer, seen: Seen) -> Seen:
    """Put the surplus on hold; postsuper(1) moves a message whole, and what has left stays gone."""
    runaways = [named(each, account_of(writer, each.who)) for each in seen.runaways]
    surplus = [name for each in runaways for name in each.surplus]
    if not surplus:
        return replace(seen, runaways=tuple(runaways))
    trouble = _put_on_hold(writer, surplus)
    held = {m.queue_id for m in queue.waiting(writer) or [] if m.queue == "hold"}
    return replace(seen, runaways=tuple(_with_held(each, held, trouble) for each in runaways))


def _put_on_hold(writer: Writer, ids: list[str]) -> str:
    """Why not, if so."""
    try:
        lock = writer.lock(LOCK, f"sysmail watch (pid {os.getpid()})", 10.0)
    except RefusedError as error:
        return error.message
    try:
        done = writer.run(["postsuper", "-h", "-"], stdin="\n".join(ids).encode() + b"\n")
    finally:
        lock.release()
    return "" if done.status == 0 else f"postsuper said: {done.err.strip() or done.status}"


def _with_held(runaway: Runaway, held: set[str], trouble: str) -> Runaway:
    """What really is on hold now; what left before that is not."""
    surplus = tuple(name for name in runaway.surplus if name in held)
    count = runaway.held - len(runaway.surplus) + len(surplus)
    return replace(runaway, surplus=surplus, held=count, trouble=trouble)


class _Watch:
    """One run: the policy that it goes by, and what it remembers and has told so far."""

    def __init__(self, writer: Writer, in_force: Checkpoint) -> None:
        self._writer = writer
        self._in_force = in_force
        self.policy: Policy = memory.settings(writer, in_force)
        self.kept: State = memory.load(writer)
        self._whole = not memory.is_elsewhere(writer)
        self._forgetful: tuple[Finding, ...] = ()

    @property
    def _channels(self) -> tuple[str, ...]:
        ways = {"webhook": self.policy.alert.webhook, "command": self.policy.alert.command}
        return tuple(name for name, value in ways.items() if value)

    def conclude(self, found: tuple[Finding, ...], state: State, host: str) -> bool:
        """Decide, remember, tell, and remember who was not reached. Whether somebody was told."""
        now, channels = self._writer.now(), self._channels
        alert, after = decide(state, found, now, channels)
        # Before it is told: who dies in between tells twice, and never not at all.
        trouble, self._forgetful = self._remember(after), ()
        if trouble:
            text = f"what was told cannot be remembered: {trouble}"
            remedy = "look at the disk of /var/lib: `df -h /var/lib`, `df -i /var/lib`, `mount`"
            self._forgetful = (Finding("memory", 1, text, remedy),)
            alert, after = decide(state, (*found, *self._forgetful), now, channels)
            self._remember_in_run(after)
        if alert is None:
            return False
        from sysmail.commands.tell import tell  # only then, as with all that costs time

        name = host or self._writer.nodename()
        failures = tell(self._writer, alert, self.policy, after.channels, name)
        after = delivered(after, failures)
        if trouble:
            self._remember_in_run(after)
        else:
            self._remember(after)
        return not failures

    def _remember(self, state: State) -> str:
        if state == self.kept and self._whole:
            return ""
        trouble = memory.remember(self._writer, state)
        self.kept, self._whole = state, not memory.is_elsewhere(self._writer)
        return trouble

    def _remember_in_run(self, state: State) -> None:
        memory.remember_in_run(self._writer, state)
        self.kept, self._whole = state, False

    def busy(self, who: str) -> Report:
        """Somebody is at work: what is there now says nothing, unless that goes on for long."""
        now = self._writer.now()
        since = self.kept.busy if 0 < self.kept.busy <= now else now
        state = replace(self.kept, busy=since)
        if now - since < BUSY_SECONDS:
            if state != self.kept:
                self._remember_in_run(state)
            return Report("watch", "busy", 0)
        text = f"the watch has not looked for {span(now - since)}: {who}"
        found = Finding("busy", 1, text, "see whether that hangs (`ps`), and end it if so")
        # Whatever else is wrong is as wrong as it was.
        told = self.conclude((found,), state, self._writer.nodename())
        return self.report(Seen(()), (found,), told=told)

    def prove(self, looked: Looked) -> tuple[Looked, tuple[Finding, ...], bool]:
        """Ask the next hop too; all that is wrong then, and whether somebody was told.

        That it was tried is written down first: it counts logins.
        """
        now = self._writer.now()
        self._remember(replace(self.kept, tried=now))
        seen = ask_next_hop(self._writer, looked)
        found, after = findings(seen, self.kept, self.policy, self._writer.now())
        if seen.submitted is not None:
            after = replace(after, looked=now)
        told = self.conclude(found, after, seen.host)
        return replace(looked, seen=seen), found, told

    def report(self, seen: Seen, found: tuple[Finding, ...], *, told: bool) -> Report:
        """What this run came to."""
        route, state, found = self._in_force.route, self.kept, (*found, *self._forgetful)
        problems = [Problem("watch-found", each.text, each.remedy) for each in found]
        problems += memory.undelivered(state)
        code = 1 if found else 0
        return Report(
            command="watch",
            outcome="trouble" if found else "well",
            exit_code=3 if state.undelivered else code,
            changed=any(each.surplus for each in seen.runaways),
            route=RouteSummary(route["name"], route["next_hop"], route["reason"])
            if route
            else None,
            errors=tuple(problems),
            details={"watch": _details(found, state, told)},
        )


def _details(found: tuple[Finding, ...], state: State, told: bool) -> dict[str, Any]:
    return {
        "findings": [each.as_data() for each in found],
        "told": told and not state.undelivered,
        "proved": state.proved,
    }
