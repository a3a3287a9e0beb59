"""From arguments to a report on standard output and an exit code."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, Callable, NoReturn, Optional

from sysmail.cli.arguments import COMMANDS, parse_arguments, policy_flags
from sysmail.cli.progress import Progress
from sysmail.cli.render import as_json, as_text
from sysmail.errors import SysmailError
from sysmail.report import Problem, Report

__all__ = ["entry", "main"]

LOCK = "/run/sysmail/lock"
LOCK_SECONDS = 30.0
CHANGING = frozenset({"apply", "rollback", "remove", "queue", "try"})


class _Interrupted(BaseException):
    """A signal asked us to end; a transaction that is open is undone on the way out."""


def entry() -> NoReturn:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str], machine: Optional[Any] = None) -> int:
    """Run a command; print its report; return the exit code. Never raises an Exception."""
    as_json_wanted = "--json" in argv
    metrics_wanted = False
    command = next((word for word in argv if word in COMMANDS), "")
    progress = Progress(quiet=as_json_wanted)
    _catch_signals()
    try:
        arguments = parse_arguments(argv)
        as_json_wanted, command = arguments.json, arguments.command
        metrics_wanted = getattr(arguments, "prometheus", False)
        report = _run(arguments, progress.say, machine)
    except SysmailError as error:
        problem = Problem(error.code, error.message, error.remedy)
        outcome = "refused" if error.exit_code != 1 else "failed"
        report = Report(command, outcome, error.exit_code, errors=(problem,))
    except (_Interrupted, KeyboardInterrupt):
        problem = Problem(
            "interrupted", "interrupted; the host is as it was before", "run it again"
        )
        report = Report(command, "interrupted", 1, errors=(problem,))
    except BrokenPipeError:
        return 1
    except Exception as error:
        if os.environ.get("SYSMAIL_TRACEBACK"):
            raise
        problem = Problem(
            "bug",
            f"sysmail made a mistake: {type(error).__name__}: {error}",
            "please report it, with the output of SYSMAIL_TRACEBACK=1",
        )
        report = Report(command, "failed", 1, errors=(problem,))
    progress.done()
    if metrics_wanted and report.exit_code in {0, 1}:
        from sysmail.cli.prometheus import as_prometheus

        sys.stdout.write(as_prometheus(report) + "\n")
        return report.exit_code
    return _print(report, as_json_wanted)


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


def _run(arguments: Any, say: Callable[[str], None], machine: Optional[Any]) -> Report:
    from sysmail.commands.situation import require_root
    from sysmail.host.machine import Machine

    host = machine or Machine()
    require_root(host)
    command = arguments.command
    lock = (
        host.lock(LOCK, f"sysmail {command} (pid {os.getpid()})", LOCK_SECONDS)
        if (command in CHANGING)
        else None
    )
    try:
        recovered = _recover(host, say, lock is not None)
        report = _command(arguments, host, say)
    finally:
        if lock is not None:
            lock.release()
    if recovered:
        report = _with_notes(report, recovered)
    return report


def _recover(host: Any, say: Callable[[str], None], locked: bool) -> list[str]:
    """What was cut off is undone by the next command of any kind, unless one is under way."""
    from sysmail.apply import Store, recover
    from sysmail.errors import RefusedError

    if Store(host).is_clean():
        return []
    if locked:
        return recover(host, say)
    try:
        lock = host.lock(LOCK, f"sysmail recovery (pid {os.getpid()})", 0.0)
    except RefusedError:
        return []  # somebody is at work right now
    try:
        return recover(host, say)
    finally:
        lock.release()


def _with_notes(report: Report, notes: list[str]) -> Report:
    from dataclasses import replace

    return replace(report, notes=(*notes, *report.notes))


def _command(arguments: Any, host: Any, say: Callable[[str], None]) -> Report:
    """Each command is imported when it runs, so that the others cost nothing."""
    command, flags = arguments.command, policy_flags(arguments)
    if command == "plan":
        from sysmail.commands import plan

        return plan.run(host, arguments.policy, flags, adopt=arguments.adopt)
    if command == "apply":
        from sysmail.commands import apply

        return apply.run(
            host,
            arguments.policy,
            flags,
            say,
            adopt=arguments.adopt,
            acknowledge=arguments.acknowledge_losses,
        )
    if command == "prove":
        from sysmail.commands import prove

        return prove.run(host, arguments.policy, flags, arguments.to)
    if command == "status":
        from sysmail.commands import status

        return status.run(host)
    if command == "queue":
        from sysmail.commands import queue

        return queue.run(host, arguments.action, arguments.ids)
    if command == "try":
        from sysmail.commands import try_

        return try_.run(host, say)
    from sysmail.commands import rollback

    run = rollback.rollback if command == "rollback" else rollback.remove
    return run(host, say, force=arguments.force)


def _catch_signals() -> None:
    def interrupt(number: int, _frame: Any) -> None:
        # A second signal must not cut off the way back.
        for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(name, signal.SIG_IGN)
        raise _Interrupted(number)

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, interrupt)
