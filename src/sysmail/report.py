"""What every command returns: one report, rendered elsewhere as text or as JSON.

The JSON form is version 1 of the contract: keys are added, never renamed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Optional

__all__ = [
    "FAIL",
    "PASS",
    "PROMISES",
    "UNKNOWN",
    "Problem",
    "Report",
    "RouteSummary",
    "StepResult",
    "Verdict",
]

PASS = "pass"  # noqa: S105 - a verdict, not a password
FAIL = "fail"
UNKNOWN = "unknown"

VERSION = 1

PROMISES = (
    "loopback-only",
    "local-clients",
    "no-mailboxes",
    "nothing-lost",
    "verified-next-hop",
    "accepted-senders",
    "all-or-nothing",
    "no-takeover",
    "no-secrets-told",
    "reversible",
)
"""The names of the promises, which are also those of the checks of ``sysmail prove``."""


@dataclass(frozen=True)
class Verdict:
    """What a check of a promise found.

    ``status`` is pass, fail or unknown; unknown is never a pass. ``evidence``
    is what was seen, ``remedy`` what to do next (empty on a pass). ``beside``: what
    was found is not of sysmail's making, so that no way back would mend it.
    """

    check: str
    status: str
    evidence: str
    remedy: str = ""
    beside: bool = False

    def __post_init__(self) -> None:
        if self.status not in (PASS, FAIL, UNKNOWN):
            raise ValueError(f"not a status: {self.status}")
        if self.status != PASS and not self.remedy:
            raise ValueError(f"the verdict of {self.check} is {self.status} and has no remedy")


@dataclass(frozen=True)
class StepResult:
    """One step of a plan, as planned (``plan``) or as done (``apply``).

    ``edited``: how somebody changed its file since sysmail wrote it, if somebody did.
    """

    name: str
    summary: str
    changed: bool = True
    diff: str = ""
    edited: str = ""


@dataclass(frozen=True)
class Problem:
    """A failure as part of a report."""

    code: str
    message: str
    remedy: str


@dataclass(frozen=True)
class RouteSummary:
    """Which way mail goes and why, the reason in one sentence."""

    name: str
    next_hop: str
    reason: str


@dataclass(frozen=True)
class Report:
    """The result of one command.

    ``outcome`` is one word that programs may rely on; ``exit_code`` follows
    the contract of the command line. ``details`` are a command's own
    additions to the JSON form (the queue, the messages of a try).
    """

    command: str
    outcome: str
    exit_code: int
    changed: bool = False
    route: Optional[RouteSummary] = None
    steps: tuple[StepResult, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    errors: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        """The report as plain data: version 1 of the JSON contract."""
        route = self.route
        data: dict[str, Any] = {
            "version": VERSION,
            "command": self.command,
            "outcome": self.outcome,
            "changed": self.changed,
            "route": None
            if route is None
            else {"name": route.name, "next_hop": route.next_hop, "reason": route.reason},
            "steps": [
                {
                    "name": s.name,
                    "summary": s.summary,
                    "changed": s.changed,
                    "diff": s.diff,
                    **({"edited": s.edited} if s.edited else {}),
                }
                for s in self.steps
            ],
            "verdicts": [
                {"check": v.check, "status": v.status, "evidence": v.evidence, "remedy": v.remedy}
                for v in self.verdicts
            ],
            "errors": [
                {"code": e.code, "message": e.message, "remedy": e.remedy} for e in self.errors
            ],
        }
        notes: list[str] = list(self.notes)
        if notes:
            data["notes"] = notes
        data.update(self.details)
        return data
