"""``sysmail prove``: check every promise; with ``--to`` also send through every entrance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from sysmail.commands.situation import look, probe_next_hop
from sysmail.host.port import Reader
from sysmail.prove import prove
from sysmail.report import FAIL, UNKNOWN, Report

__all__ = ["run"]


def run(reader: Reader, policy_path: str, flags: Mapping[str, Optional[object]]) -> Report:
    """Exit code 0 when all pass, 1 when a promise is broken, 3 when one could not be determined."""
    situation = look(reader, policy_path, flags)
    verdicts = prove(reader, situation, probe_next_hop(reader, situation))
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
    )
