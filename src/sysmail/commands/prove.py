"""``sysmail prove``: check every promise; with ``--to`` also send through every entrance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Optional

from sysmail.commands.memory import load, undelivered
from sysmail.commands.policy_source import Given
from sysmail.commands.situation import look, probe_way_out
from sysmail.errors import PolicyError, UsageError
from sysmail.host.port import Writer
from sysmail.policy import parse
from sysmail.prove import Proof, prove
from sysmail.report import FAIL, UNKNOWN, Report, Verdict

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
) -> Report:
    """Exit code 0 when all pass, 1 when a promise is broken, 3 when one could not be determined.

    With ``to``, an address, a message is also sent there through every
    entrance of the host. UsageError when it cannot be an address. With
    ``deliverability`` it is also checked whether this host is welcome elsewhere.
    """
    if to:
        check_recipient(to)
    situation = look(writer, given, flags)
    welcome: list[Verdict] = []
    if deliverability is not None:
        from sysmail.commands.deliverability import prove_deliverability

        welcome = prove_deliverability(writer, situation, deliverability, to)
    proof = Proof(writer, situation, probe_way_out(writer, situation))
    verdicts = prove(proof)
    if to:
        from sysmail.commands.deliver import prove_deliveries

        verdicts += prove_deliveries(writer, situation, to)
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
        errors=tuple(undelivered(load(writer))),
        details={"queue": proof.queue_summary()},
    )
