"""``sysmail plan``: the decision and the steps that are missing, with diffs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from sysmail.commands.policy_source import Given
from sysmail.commands.refusals import (
    refuse_busy_port,
    refuse_fatal_configuration,
    refuse_takeover,
)
from sysmail.commands.situation import look
from sysmail.commands.wayback import describe_all
from sysmail.host.port import Reader
from sysmail.report import Report

__all__ = ["run"]


def run(
    reader: Reader,
    given: Given,
    flags: Mapping[str, Optional[object]],
    *,
    adopt: bool = False,
    relay: bool = False,
) -> Report:
    """Exit code 0 when there is nothing to do, 2 when there are changes."""
    situation = look(reader, given, flags, relay=relay)
    adopted: tuple[str, ...] = ()
    if situation.steps:
        adopted = refuse_takeover(reader, situation, adopt=adopt)
        refuse_busy_port(reader, situation)
        refuse_fatal_configuration(reader, situation.facts, situation.desired)
    steps = describe_all(situation.steps, situation.edited)
    return Report(
        command="plan",
        outcome="changes" if steps else "nothing-to-do",
        exit_code=2 if steps else 0,
        route=situation.decision.summary(),
        steps=steps,
        notes=(f"policy: {situation.source}", *adopted),
    )
