"""From arguments to a report on standard output and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable, NoReturn, Optional

from sysmail import signals
from sysmail.cli.arguments import COMMANDS, parse_arguments
from sysmail.cli.dispatch import CHANGING, carry_out_command
from sysmail.cli.progress import Progress
from sysmail.cli.render import as_json, as_text
from sysmail.report import Report
from sysmail.session import carry_out, guarded

__all__ = ["entry", "main"]


_NOT_WATCHED = frozenset({"failed", "refused", "interrupted"})


def entry() -> NoReturn:
    """The console script."""
    # A process of a fraction of a second: looking for cycles so often is a tenth of it (measured).
    gc.set_threshold(100_000)
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
        report = replace(report, exit_code=3)  # 1 is that it has watched, and something is wrong
    report = replace(report, command=wanted.command)
    progress.done()
    if wanted.metrics and report.exit_code in {0, 1}:
        from sysmail.cli.prometheus import as_prometheus

        sys.stdout.write(as_prometheus(report) + "\n")
        return report.exit_code
    if wanted.quiet and report.exit_code == 0:
        return 0
    return _print(report, wanted.as_json)


def _print(report: Report, json_wanted: bool) -> int:
    try:
        if json_wanted:
            sys.stdout.write(as_json(report) + "\n")
        else:
            colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
            sys.stdout.write(as_text(report, colour=colour) + "\n")
        sys.stdout.flush()
    except UnicodeEncodeError:
        text = as_json(report) if json_wanted else as_text(report, colour=False)
        sys.stdout.write(text.encode("ascii", "replace").decode() + "\n")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return report.exit_code


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
