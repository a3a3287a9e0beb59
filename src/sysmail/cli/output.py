"""Standard output, whatever it is: closed, full, without Unicode, or a pipe that nobody reads."""

from __future__ import annotations

import os
import sys

__all__ = ["open_missing", "put"]


def open_missing() -> None:
    """Standard descriptors that the caller closed lead nowhere from here on.

    open(2) gives the lowest free number: the first file opened would be standard output, of this
    process and of every program it runs.
    """
    number = os.open(os.devnull, os.O_RDWR)
    while number <= 2:
        os.set_inheritable(number, True)  # noqa: FBT003 - it takes no name
        number = os.open(os.devnull, os.O_RDWR)
    os.close(number)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def put(text: str) -> bool:
    """Print a report; false where it is lost, which standard error is told.

    A reader who has gone has seen what he wanted to see.
    """
    try:
        try:
            sys.stdout.write(text + "\n")
        except UnicodeEncodeError:
            sys.stdout.write(text.encode("ascii", "replace").decode() + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _forget()
    except OSError as error:
        _forget()
        sys.stderr.write(f"the report could not be written: {error.strerror}\n")
        return False
    return True


def _forget() -> None:
    """What Python still holds of it goes nowhere; else it would try once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
