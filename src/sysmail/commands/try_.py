"""``sysmail try``: the relay on this host for a moment, shown with real mail, and put back.

A catcher on loopback takes only this try's own messages; whatever else the
host sends waits and leaves once the host is put back. Everything is one
transaction: cut off at any moment, the next command of sysmail undoes it.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace
from typing import Callable, Optional

from sysmail import queue, signals, takeover
from sysmail.apply.checkpoint import Checkpoint, Store
from sysmail.apply.preflight import check_steps, wait_for_packages
from sysmail.apply.transaction import Transaction
from sysmail.commands.apply import GO_ON
from sysmail.commands.send import send
from sysmail.commands.situation import file_states
from sysmail.commands.wayback import go_back
from sysmail.describe import describe
from sysmail.desired import Desired
from sysmail.entrances import Entrance, entrances, message_id
from sysmail.errors import RefusedError, StepError, SysmailError
from sysmail.facts import Facts, collect
from sysmail.facts.collect import collect_forwards
from sysmail.host.port import Catcher, Caught, Writer
from sysmail.plan import InstallPackages, Service, plan
from sysmail.policy import parse
from sysmail.postfix import catch_for_try
from sysmail.report import Problem, Report, RouteSummary, StepResult
from sysmail.route import Decision
from sysmail.want import want

__all__ = ["Arrival", "run"]

DOMAIN = "sysmail-try.invalid"
ARRIVAL_SECONDS = 20.0
Say = Callable[[str], None]


@dataclass(frozen=True)
class Arrival:
    """A message through one entrance: ``queue_id`` and ``delay`` (seconds) once it arrived."""

    entrance: Entrance
    recipient: str = ""
    queue_id: str = ""
    delay: float = 0.0
    problem: str = ""


def run(writer: Writer, say: Say) -> Report:
    """Exit code 0 when every message arrived and the host is as before. The lock must be held."""
    facts = collect(writer)
    _refuse(writer, facts)
    if facts.distro is not None and wait_for_packages(writer, facts.distro):
        facts = collect(writer)  # somebody has just changed packages
        _refuse(writer, facts)
    token = secrets.token_hex(8)
    sender = f"try-{token}@{DOMAIN}"
    desired = _wanted(facts, sender, 25, facts)  # the files, before there is a catcher
    check_steps(writer, facts, plan(desired, facts, file_states(writer, desired)))
    paths = [file.path for file in desired.files]
    catcher = writer.catcher(lambda address: address == sender)
    route = {"name": "relay", "next_hop": "catcher", "reason": "a try"}
    checkpoint = Checkpoint(1, "try", route=route)
    arrivals: list[Arrival] = []
    try:
        transaction = Transaction.begin(writer, facts, checkpoint, paths, say)
        _bring_up(transaction, writer, facts, sender, catcher.port, say)
        say("sending a message through every entrance")
        arrivals = _send_all(writer, catcher, sender, token)
        signals.hold()  # from here on it is put back in any case
    except BaseException as error:
        signals.hold()
        kept, _ = _put_back(writer, checkpoint, facts, sender, say)
        if isinstance(error, SysmailError):
            error.message += f"; {kept}" if kept else "; the host is as it was before"
        elif kept:
            raise StepError("interrupted", f"interrupted; {kept}", GO_ON) from error
        raise
    finally:
        catcher.close()
    kept, waiting = _put_back(writer, checkpoint, facts, sender, say)
    differences = [kept] if kept else _differences(facts, collect(writer))
    return _report(arrivals, waiting, differences)


def _refuse(writer: Writer, facts: Facts) -> None:
    if Store(writer).load():
        raise RefusedError(
            "policy-in-force",
            "sysmail is in force on this host: a try would interrupt its mail",
            "`sysmail prove` checks what is in force",
        )
    others = takeover.other_mtas(facts)
    if others:
        raise RefusedError(
            "other-mta",
            f"a try would have to replace {', '.join(others)}, the mail program of this host",
            "try it on another host or in a container",
        )
    found = takeover.findings(replace(facts, forwards=collect_forwards(writer)))
    if found:
        raise RefusedError(
            "mail-server",
            "this host is a mail server already: " + "; ".join(found),
            "try it on another host or in a container",
        )


def _wanted(facts: Facts, sender: str, port: int, original: Facts) -> Desired:
    policy = parse({"admin": f"admin@{DOMAIN}", "next_hop": "direct"})
    desired = want(policy, facts, Decision("relay", "catcher", "a try"))
    keep: dict[str, str] = {}
    if original.postfix is not None:
        # Mail of others is qualified as before and mapped only once the host is put back.
        before = original.postfix
        keep = {name: before[name] for name in ("myhostname", "myorigin", "append_dot_mydomain")}
        keep.update(virtual_alias_maps="", sender_canonical_maps="", transport_maps="")
    files = catch_for_try(desired.files, sender, port, keep)
    return replace(desired, files=files)


def _bring_up(
    transaction: Transaction, writer: Writer, original: Facts, sender: str, port: int, say: Say
) -> None:
    facts = original
    desired = _wanted(facts, sender, port, original)
    steps = plan(desired, facts, file_states(writer, desired))
    while steps:
        step = steps.pop(0)
        if isinstance(step, Service):
            say(describe(step).summary)
        transaction.do(step)
        if isinstance(step, InstallPackages):
            facts = collect(writer)
            transaction.update_facts(facts)
            desired = _wanted(facts, sender, port, original)
            steps = plan(desired, facts, file_states(writer, desired))


def _send_all(writer: Writer, catcher: Catcher, sender: str, token: str) -> list[Arrival]:
    facts = collect(writer)
    ways = entrances(
        sender, f"admin@{DOMAIN}", facts.ipv6_loopback, writer.which("msmtp") is not None
    )
    sent: dict[str, tuple[Entrance, float]] = {}
    failed: dict[str, str] = {}
    for entrance in ways:
        sent[message_id(entrance, token)] = (entrance, writer.now())
        try:
            send(writer, entrance, sender, token)
        except SysmailError as error:
            failed[message_id(entrance, token)] = error.message
    deadline = writer.elapsed() + ARRIVAL_SECONDS
    while len(catcher.messages()) < len(sent) - len(failed) and writer.elapsed() < deadline:
        writer.sleep(0.02)
    caught = {_message_id(message.data): message for message in catcher.messages()}
    return [
        _arrival(entrance, moment, caught.get(name), failed.get(name, ""))
        for name, (entrance, moment) in sent.items()
    ]


def _arrival(entrance: Entrance, moment: float, caught: Optional[Caught], problem: str) -> Arrival:
    if caught is None:
        return Arrival(entrance, problem=problem or "it did not arrive")
    received = re.search(
        rb"^Received:.*?\bid ([0-9A-Za-z]+)", caught.data, re.DOTALL | re.MULTILINE
    )
    queue_id = received.group(1).decode() if received else "?"
    return Arrival(entrance, ", ".join(caught.recipients), queue_id, caught.time - moment)


def _message_id(data: bytes) -> str:
    match = re.search(rb"^Message-ID:\s*(<[^>]*>)", data, re.IGNORECASE | re.MULTILINE)
    return match.group(1).decode("ascii", "replace") if match else ""


def _put_back(
    writer: Writer, checkpoint: Checkpoint, original: Facts, sender: str, say: Say
) -> tuple[str, int]:
    """Undo everything; why it had to stay (or empty), and how much mail of others waits."""
    messages = queue.waiting(writer) or []
    for message in messages:
        if message.sender == sender:
            writer.run(["postsuper", "-d", message.queue_id])
    others = [message for message in messages if message.sender != sender]
    say("putting the host back as it was")
    kept, _ = go_back(writer, checkpoint, say)
    if original.master_running and others:
        writer.run(["postqueue", "-f"])
    return kept, len(others)


def _differences(before: Facts, after: Facts) -> list[str]:
    """What is not as it was, in words; empty when the host is put back."""
    found: list[str] = []
    if before.packages != after.packages:
        odd = sorted(set(before.packages) ^ set(after.packages))
        found.append(f"packages differ: {', '.join(odd)}")
    if {(x.address, x.port) for x in before.listeners_on(25)} != {
        (x.address, x.port) for x in after.listeners_on(25)
    }:
        found.append("what listens on port 25 differs")
    if (before.service.enabled, before.master_running) != (
        after.service.enabled,
        after.master_running,
    ):
        found.append("the state of the Postfix service differs")
    return found


def _report(arrivals: list[Arrival], waiting: int, differences: list[str]) -> Report:
    problems = [
        Problem(
            "not-arrived", f"{a.entrance.summary}: {a.problem}", "see the mail log of this host"
        )
        for a in arrivals
        if a.problem
    ]
    problems += [
        Problem("not-put-back", text, "see the log of the package manager") for text in differences
    ]
    notes = ["the host is as it was before"] if not differences else []
    if waiting:
        notes.append(f"{waiting} other messages waited meanwhile and are on their way again")
    details = {
        "messages": [
            {
                "entrance": a.entrance.name,
                "summary": a.entrance.summary,
                "to": a.entrance.recipient,
                "recipient": a.recipient,
                "queue_id": a.queue_id,
                "delay": round(a.delay, 3),
                "arrived": not a.problem,
            }
            for a in arrivals
        ]
    }
    arrived = sum(not a.problem for a in arrivals)
    return Report(
        command="try",
        outcome="arrived" if not problems else "failed",
        exit_code=0 if not problems else 1,
        route=RouteSummary("relay", "catcher", "a try, and mail goes to a catcher on this host"),
        steps=(
            StepResult("send", f"{arrived} of {len(arrivals)} messages arrived", changed=False),
        ),
        errors=tuple(problems),
        notes=tuple(notes),
        details=details,
    )
