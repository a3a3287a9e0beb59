"""Tells a person what a long step is doing, on standard error."""

from __future__ import annotations

import sys
import time

__all__ = ["Progress"]


class Progress:
    """On a terminal one line that changes, elsewhere a line each; silent with ``quiet``."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._started = time.monotonic()
        self._open = False

    def say(self, text: str) -> None:
        """What is being done now."""
        if self._quiet:
            return
        # A package manager's lines may hold anything.
        words = "".join(c if c.isprintable() else " " for c in text)
        line = f"{time.monotonic() - self._started:5.1f} s  {words}"
        if self._terminal:
            self._write(f"\r\033[K{line[:110]}")
            self._open = True
        else:
            self._write(line + "\n")

    def done(self) -> None:
        """Leave the line to whatever is printed next."""
        if self._open:
            self._write("\r\033[K")
            self._open = False

    def _write(self, text: str) -> None:
        """A terminal or a reader that has gone is told nothing more, and stops nothing."""
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            self._quiet, self._open = True, False
