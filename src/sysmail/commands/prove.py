"""``sysmail prove``: check every promise; on request also by real messages.

``--to`` sends through every entrance, ``--arrival`` looks for these in the
mailbox, ``--bounce`` sends what must fail. All else only looks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Optional

from sysmail.commands.memory import load, undelivered
from sysmail.commands.policy_source import Given
from sysmail.commands.situation import Situation, look, probe_way_out
from sysmail.errors import PolicyError, UsageError
from sysmail.host.port import Writer
from sysmail.policy import parse
from sysmail.prove import Proof, prove
from sysmail.report import FAIL, UNKNOWN, Problem, Report, Verdict

if TYPE_CHECKING:
    from sysmail.commands.deliverability import Asked

__all__ = ["check_recipient", "run"]


def check_recipient(address: str) -> None:
    """UsageError for what cannot be an address: the rules are those of the policy's admin."""
    try:
        parse({"admin": address})
    except PolicyError as error:
        message = error.message.replace("`admin`", "the address after --to")
        raise UsageError("usage", message, "give a mail address outside of this host") from error


def run(
    writer: Writer,
    given: Given,
    flags: Mapping[str, Optional[object]],
    to: str = "",
    deliverability: Optional[Asked] = None,
    *,
    bounce: bool = False,
    arrival: bool = False,
) -> Report:
    """Exit code 0 when all pass, 1 when a promise is broken, 3 when one could not be determined.

    With ``to``, an address, a message is also sent there through every
    entrance of the host. UsageError when it cannot be an address. With
    ``deliverability`` it is also checked whether this host is welcome elsewhere.
    With ``arrival`` the messages are looked for in the login's mailbox, which
    is then the default of ``to``; with ``bounce`` messages that must fail are
    sent. RefusedError, before anything is sent, where these cannot be done.
    """
    if to:
        check_recipient(to)
    situation = look(writer, given, flags)
    if arrival:
        from sysmail.commands.arrival import mailbox_of

        own = mailbox_of(situation)
        if not to:
            check_recipient(own)
            to = own
    if bounce:
        from sysmail.commands.bounce import check_bounce

        check_bounce(writer, situation)
    welcome: list[Verdict] = []
    if deliverability is not None:
        from sysmail.commands.deliverability import prove_deliverability

        welcome = prove_deliverability(writer, situation, deliverability, to)
    proof = Proof(writer, situation, probe_way_out(writer, situation))
    verdicts = prove(proof)
    real = _by_messages(writer, situation, to, bounce=bounce, arrival=arrival)
    verdicts += real.verdicts
    verdicts += welcome

    statuses = {verdict.status for verdict in verdicts}
    outcome, code = "proven", 0
    if FAIL in statuses:
        outcome, code = "broken", 1
    elif UNKNOWN in statuses:
        outcome, code = "unknown", 3
    return Report(
        command="prove",
        outcome=outcome,
        exit_code=code,
        route=situation.decision.summary(),
        verdicts=tuple(verdicts),
        errors=(*undelivered(load(writer)), *real.problems),
        details={"queue": proof.queue_summary(), **real.details},
    )


@dataclass
class _Real:
    """What real messages showed."""

    verdicts: list[Verdict] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)


def _by_messages(
    writer: Writer, situation: Situation, to: str, *, bounce: bool, arrival: bool
) -> _Real:
    found = _Real()
    if to:
        from sysmail.commands.deliver import prove_deliveries

        sent = prove_deliveries(writer, situation, to)
        found.verdicts += [each.verdict for each in sent]
        found.details["sent"] = [each.as_data() for each in sent]
        if arrival:
            from sysmail.commands.arrival import prove_arrival

            came = prove_arrival(writer, situation, to, sent)
            found.verdicts.append(came.verdict)
            found.details["arrival"] = came.data
            found.problems += [came.problem] if came.problem is not None else []
    if bounce:
        from sysmail.commands.bounce import prove_bounces

        bounced = prove_bounces(writer)
        found.verdicts += [each.verdict for each in bounced]
        found.details["bounced"] = [each.as_data() for each in bounced]
    return found
