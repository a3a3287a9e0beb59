"""``sysmail recover``: what every command does first, alone. At boot a unit runs it."""

from __future__ import annotations

from typing import Callable

from sysmail.apply import guard
from sysmail.apply.recovery import recover
from sysmail.host.port import Writer
from sysmail.report import Report

__all__ = ["run"]


def run(writer: Writer, say: Callable[[str], None]) -> Report:
    """Undo what was cut off. The lock must be held."""
    told = recover(writer, say)
    guard.tell(writer, told)
    outcome = "recovered" if told else "nothing-to-recover"
    return Report("recover", outcome, 0, changed=bool(told), notes=tuple(told))
