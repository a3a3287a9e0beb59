"""SIGINT, SIGTERM and SIGHUP: they end a command with its way back, and never cut that off.

What is past its commit, or goes back already, goes on to its end: a signal that
comes then does nothing, so that the report says what is.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

__all__ = ["Interrupted", "catch", "held", "hold"]

_NAMES = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asked us to end; a transaction that is open is undone on the way out."""


def catch() -> None:
    """Let these signals end the command with its way back; a second one does nothing."""
    for name in _NAMES:
        signal.signal(name, _interrupt)


def hold() -> None:
    """Let them do nothing from now on, where they were caught; what is run now inherits that."""
    if signal.getsignal(signal.SIGINT) is _interrupt:
        for name in _NAMES:
            signal.signal(name, signal.SIG_IGN)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Let them do nothing inside, where they were caught."""
    caught = signal.getsignal(signal.SIGINT) is _interrupt
    hold()
    try:
        yield
    finally:
        if caught:
            catch()


def _interrupt(number: int, _frame: Any) -> None:
    hold()  # a second signal must not cut off the way back
    raise Interrupted(number)
