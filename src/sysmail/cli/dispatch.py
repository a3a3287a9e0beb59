"""From the arguments of the command line to the command that does it.

Each command is imported when it runs, so that the others cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, Optional

from sysmail.cli.arguments import policy_flags
from sysmail.errors import UsageError
from sysmail.report import Report

__all__ = ["CHANGING", "carry_out_command"]

CHANGING = frozenset({"apply", "rollback", "remove", "queue", "try", "recover"})

Say = Callable[[str], None]


def carry_out_command(arguments: Any, host: Any, say: Say) -> Report:
    """The report of the command that the arguments name."""
    return _RUN[arguments.command](arguments, host, say)


def _plan(arguments: Any, host: Any, _say: Say) -> Report:
    from sysmail.commands import plan

    return plan.run(host, arguments.policy, policy_flags(arguments), adopt=arguments.adopt)


def _apply(arguments: Any, host: Any, say: Say) -> Report:
    from sysmail.commands import apply

    return apply.run(
        host,
        arguments.policy,
        policy_flags(arguments),
        say,
        adopt=arguments.adopt,
        acknowledge=arguments.acknowledge_losses,
    )


def _prove(arguments: Any, host: Any, _say: Say) -> Report:
    from sysmail.commands import prove

    welcome = _deliverability(arguments)
    return prove.run(
        host,
        arguments.policy,
        policy_flags(arguments),
        arguments.to,
        welcome,
        bounce=arguments.bounce,
        arrival=arguments.arrival,
    )


def _deliverability(arguments: Any) -> Optional[Any]:
    """What ``prove --deliverability`` was told, None where it is not asked for."""
    if not arguments.deliverability:
        if arguments.address or arguments.dkim_selector:
            raise UsageError(
                "usage",
                "--address and --dkim-selector say more about --deliverability alone",
                "add --deliverability",
            )
        return None
    from sysmail.commands.deliverability import asked

    return asked(arguments.address, arguments.dkim_selector)


def _status(_arguments: Any, host: Any, _say: Say) -> Report:
    from sysmail.commands import status

    return status.run(host)


def _trace(arguments: Any, host: Any, _say: Say) -> Report:
    from sysmail.commands import trace

    return trace.run(host, arguments.id, arguments.log)


def _watch(_arguments: Any, host: Any, _say: Say) -> Report:
    from sysmail.commands import watch

    return watch.run(host)


def _queue(arguments: Any, host: Any, _say: Say) -> Report:
    from sysmail.commands import queue

    return queue.run(host, arguments.action, arguments.ids)


def _rollback(arguments: Any, host: Any, say: Say) -> Report:
    from sysmail.commands import rollback

    return rollback.rollback(host, say, force=arguments.force)


def _remove(arguments: Any, host: Any, say: Say) -> Report:
    from sysmail.commands import rollback

    return rollback.remove(host, say, force=arguments.force)


def _recover(_arguments: Any, host: Any, say: Say) -> Report:
    from sysmail.commands import recover

    return recover.run(host, say)


def _try(_arguments: Any, host: Any, say: Say) -> Report:
    from sysmail.commands import try_

    return try_.run(host, say)


_RUN: Mapping[str, Callable[[Any, Any, Say], Report]] = {
    "plan": _plan,
    "apply": _apply,
    "prove": _prove,
    "status": _status,
    "trace": _trace,
    "watch": _watch,
    "queue": _queue,
    "rollback": _rollback,
    "remove": _remove,
    "recover": _recover,
    "try": _try,
}
