"""What Postfix accepts and what kills mail: found in a candidate before anything is touched.

`postfix check` exits 0 for most of it (docs/lint.md says what was seen, row by
row). Every rule takes a whole candidate, with Postfix's defaults where it says
nothing, and gives :class:`Finding` values. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Callable

from sysmail.postfix.lint import build, incoming, leaving, local, services
from sysmail.postfix.lint.candidate import Candidate, Finding, candidate

__all__ = ["RULES", "Candidate", "Finding", "candidate", "files_read", "lint"]

Rule = Callable[[Candidate], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    *build.RULES,
    *incoming.RULES,
    *local.RULES,
    *leaving.RULES,
    *services.RULES,
)
"""Every rule, in the order in which their findings are told."""


def lint(given: Candidate) -> list[Finding]:
    """Everything in a candidate that Postfix accepts and that kills mail; empty for a good one."""
    found: list[Finding] = []
    for rule in RULES:
        found += [finding for finding in rule(given) if finding not in found]
    return found


def files_read(given: Candidate) -> list[str]:
    """The files that Postfix will read and that do not come with the candidate."""
    paths = {*build.files_read(given), *leaving.files_read(given), *services.files_read(given)}
    return sorted(paths - set(given.tables))
