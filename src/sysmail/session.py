"""What every way in does around a command: signals, the lock, recovery, failures as reports.

The command line and Ansible both run their commands through here, so that
the same host and policy give the same report.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Callable

from sysmail.errors import StepError, SysmailError
from sysmail.report import Problem, Report
from sysmail.signals import Interrupted

__all__ = ["LOCK", "carry_out", "guarded"]

LOCK = "/run/sysmail/lock"
LOCK_SECONDS = 30.0

Say = Callable[[str], None]


def guarded(command: str, work: Callable[[], Report]) -> Report:
    """Do the work; whatever fails becomes a report. BrokenPipeError is left to the caller."""
    try:
        return work()
    except SysmailError as error:
        problem = Problem(error.code, error.message, error.remedy)
        outcome = "refused" if error.exit_code != 1 else "failed"
        return Report(command, outcome, error.exit_code, errors=(problem,), notes=error.notes)
    except (Interrupted, KeyboardInterrupt):
        problem = Problem(
            "interrupted", "interrupted; the host is as it was before", "run it again"
        )
        return Report(command, "interrupted", 1, errors=(problem,))
    except BrokenPipeError:
        raise
    except Exception as error:
        if os.environ.get("SYSMAIL_TRACEBACK"):
            raise
        problem = Problem(
            "bug",
            f"sysmail made a mistake: {type(error).__name__}: {error}",
            "please report it, with the output of SYSMAIL_TRACEBACK=1",
        )
        return Report(command, "failed", 1, errors=(problem,))


def carry_out(
    host: Any,
    command: str,
    work: Callable[[Any], Report],
    say: Say,
    *,
    changes: bool,
    recovers: bool = True,
) -> Report:
    """Run one command on a host: alone where it ``changes`` things, after recovery.

    Without ``recovers`` what was cut off is left as it is.
    """
    from sysmail.commands.situation import require_root

    require_root(host)
    lock = (
        host.lock(LOCK, f"sysmail {command} (pid {os.getpid()})", LOCK_SECONDS) if changes else None
    )
    try:
        recovered = _recover(host, say, locked=changes) if recovers else []
        recovered += _recovered_at_boot(host) if recovers else []
        # A command that fails after a recovery says all the same what was recovered.
        report = guarded(command, lambda: work(host)) if recovered else work(host)
    finally:
        if lock is not None:
            lock.release()
    return replace(report, notes=(*recovered, *report.notes)) if recovered else report


def _recover(host: Any, say: Say, *, locked: bool) -> list[str]:
    """What was cut off is undone by the next command of any kind, unless one is under way."""
    from sysmail.apply import guard
    from sysmail.apply.checkpoint import Store
    from sysmail.errors import RefusedError

    if Store(host).is_clean() and not guard.is_left_behind(host):
        return []
    from sysmail.apply.recovery import recover  # it loads all that changes hosts

    if locked:
        return _recovered(recover, host, say)
    try:
        lock = host.lock(LOCK, f"sysmail recovery (pid {os.getpid()})", 0.0)
    except RefusedError:
        return []  # somebody is at work right now
    try:
        return _recovered(recover, host, say)
    finally:
        lock.release()


def _recovered(recover: Callable[[Any, Say], list[str]], host: Any, say: Say) -> list[str]:
    try:
        return recover(host, say)
    except (Interrupted, KeyboardInterrupt) as error:
        raise StepError(
            "interrupted",
            "interrupted; what was cut off is not undone yet",
            "the next command of sysmail goes on with it",
        ) from error
    except SysmailError as error:
        if not error.code.startswith("journal-"):
            error.message = f"what was cut off could not be undone yet: {error.message}"
        raise


def _recovered_at_boot(host: Any) -> list[str]:
    """What was undone when this host was booted; said once."""
    from sysmail.apply import guard

    lines = guard.told(host)
    if lines:
        guard.forget_what_was_told(host)
    return [f"recovered at boot: {line}" for line in lines]
