"""From arguments to a report on standard output and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable, NoReturn, Optional

from sysmail import signals
from sysmail.cli import output
from sysmail.cli.arguments import COMMANDS, parse_arguments
from sysmail.cli.dispatch import CHANGING, carry_out_command
from sysmail.cli.progress import Progress
from sysmail.cli.render import as_json, as_text
from sysmail.report import Report
from sysmail.session import carry_out, guarded

__all__ = ["entry", "main"]


_NOT_WATCHED = frozenset({"failed", "refused", "interrupted"})

_LOST = {"watch": 3}
"""Not 1, as for other commands: that is that it has watched, and something is wrong."""


def entry() -> NoReturn:
    """The console script."""
    # A process of a fraction of a second: looking for cycles so often is a tenth of it (measured).
    gc.set_threshold(100_000)
    output.open_missing()
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str], machine: Optional[Any] = None) -> int:
    """Run a command; print its report; return the exit code. Never raises an Exception."""
    wanted = _Wanted("--json" in argv, next((word for word in argv if word in COMMANDS), ""))
    progress = Progress(quiet=wanted.as_json)
    signals.catch()
    try:
        report = guarded(wanted.command, lambda: _run(argv, wanted, progress.say, machine))
    except BrokenPipeError:
        return 1
    signals.hold()
    if wanted.command == "watch" and report.exit_code == 1 and report.outcome in _NOT_WATCHED:
        report = replace(report, exit_code=_LOST["watch"])
    report = replace(report, command=wanted.command)
    progress.done()
    if wanted.quiet and report.exit_code == 0:
        return 0
    printed = output.put(_rendered(report, wanted))
    return report.exit_code or (0 if printed else _LOST.get(wanted.command, 1))


def _rendered(report: Report, wanted: _Wanted) -> str:
    if wanted.metrics and report.exit_code in {0, 1}:
        from sysmail.cli.prometheus import as_prometheus

        return as_prometheus(report)
    if wanted.as_json:
        return as_json(report)
    return as_text(report, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ)


@dataclass
class _Wanted:
    """How the report is wanted: guessed from the words until they are understood."""

    as_json: bool
    command: str
    metrics: bool = False
    quiet: bool = False


def _run(
    argv: Sequence[str], wanted: _Wanted, say: Callable[[str], None], machine: Optional[Any]
) -> Report:
    from sysmail.host.machine import Machine

    arguments = parse_arguments(argv)
    wanted.as_json, wanted.command = arguments.json, arguments.command
    wanted.metrics = getattr(arguments, "prometheus", False)
    wanted.quiet = getattr(arguments, "quiet", False)
    return carry_out(
        machine or Machine(),
        arguments.command,
        lambda host: carry_out_command(arguments, host, say),
        say,
        changes=arguments.command in CHANGING,
        # It is all that recover does. The watch tells of what was cut off; its unit may not do
        # what undoing takes.
        recovers=arguments.command not in {"recover", "watch"},
    )
