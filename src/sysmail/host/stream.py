"""A program that is listened to while it runs, such as a package manager, and its time limit.

What it starts has its output too, and a maintainer script that hangs would keep it open for
ever: the limit is for all of them, as a group of processes (setpgid(2)).
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Callable, cast

from sysmail.host.port import Completed

__all__ = ["stream"]

GRACE_SECONDS = 10.0
"""What a group has to end by itself after SIGTERM, and to be gone after SIGKILL."""


class _Limit:
    """Ends a group of processes when its time is over.

    Its leader is not waited for before, so its number is no other group's. ``given_up``: what
    still has the output open is of another group, and nobody listens any more.
    """

    def __init__(self, group: int, seconds: float) -> None:
        self._group, self._end = group, time.monotonic() + seconds
        self._signals = [signal.SIGTERM, signal.SIGKILL]
        self.passed = self.given_up = False

    def left(self) -> float:
        """Seconds until something has to be done."""
        return max(0.0, self._end - time.monotonic())

    def enforce(self) -> None:
        """Do it, if the time has come."""
        if self.left():
            return
        self.passed, self.given_up = True, not self._signals
        if self._signals:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._group, self._signals.pop(0))
        self._end = time.monotonic() + GRACE_SECONDS


def stream(
    argv: Sequence[str],
    env: Mapping[str, str],
    timeout: float,
    on_line: Callable[[str], None],
) -> Completed:
    """Run a program; ``on_line`` sees each line of both its outputs as it prints it.

    Of one that does not end in its time the status is 124, and the output says just that.
    """
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            cwd="/",
            start_new_session=True,
        )
    except FileNotFoundError:
        return Completed(tuple(argv), 127, "", f"{argv[0]}: not found")
    except OSError as error:
        return Completed(tuple(argv), 126, "", f"{argv[0]}: {error.strerror}")
    limit = _Limit(process.pid, timeout)
    lines: list[str] = []
    with cast("IO[bytes]", process.stdout) as output:
        try:
            for line in _lines(output.fileno(), limit):
                lines.append(line)
                on_line(line)
            status = _status(process, limit)
        except BaseException:
            # A package manager that is cut off leaves packages half there: let it end by itself.
            for _ in _lines(output.fileno(), limit):
                pass
            _status(process, limit)
            raise
    if limit.passed:
        said = f"{argv[0]} did not end in {_in_words(timeout)}"
        return Completed(tuple(argv), 124, said, said)
    return Completed(tuple(argv), status, "\n".join(lines), "")


def _lines(descriptor: int, limit: _Limit) -> Iterator[str]:
    """What is printed, until nobody has the output open any more."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while not limit.given_up:
            ready = selector.select(limit.left())
            limit.enforce()
            data = os.read(descriptor, 65536) if ready else b""
            if ready and not data:
                break
            *whole, rest = (rest + data).split(b"\n")
            yield from (line.decode("utf-8", "replace").rstrip() for line in whole)
    if rest:
        yield rest.decode("utf-8", "replace").rstrip()


def _status(process: subprocess.Popen[bytes], limit: _Limit) -> int:
    """How it ended; 124 of one that even SIGKILL does not end, as it waits for a device."""
    while not limit.given_up:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(limit.left())
        limit.enforce()
    status = process.poll()
    return 124 if status is None else status


def _in_words(seconds: float) -> str:
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} s"
