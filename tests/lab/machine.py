"""Runs programs on the machine the lab stands on, and asks about its processes.

Everything here raises LabError with the program's own words when a program fails:
a lab that breaks must say why in the test's output, not in a log somebody has to find.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class LabError(Exception):
    """The lab itself failed: never the program under test."""


def call(
    argv: Sequence[str | Path],
    *,
    input: str | None = None,  # noqa: A002 - the name is subprocess.run's
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 900,
) -> str:
    """Run a program on the machine and return its standard output.

    `env` adds to the environment; `timeout` is in seconds.
    Raises LabError with both outputs if it fails or takes too long.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=input,
            stdin=None if input is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, **(env or {})},
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as problem:
        raise LabError(f"{' '.join(words)}: not done after {timeout} s") from problem
    except OSError as problem:
        raise LabError(f"{' '.join(words)}: {problem}") from problem
    if done.returncode != 0:
        said = (done.stdout + done.stderr)[-6000:]
        raise LabError(f"{' '.join(words)}: exit {done.returncode}\n{said}")
    return done.stdout


def wait_until(
    what: str, true: Callable[[], bool], timeout: float = 20, step: float = 0.01
) -> None:
    """Poll `true` every `step` seconds; LabError naming `what` after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not true():
        if time.monotonic() > end:
            raise LabError(f"not within {timeout:g} s: {what}")
        time.sleep(step)


def start_time(pid: int) -> str:
    """When a process started, in clock ticks since boot; "" if there is no such process.

    A process id is used again after a while; together with this it names one process for ever.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]


def children(pid: int) -> list[int]:
    """Process ids of the direct children of a process, oldest first; [] if it is gone."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in task.read_text().split()]
    return sorted(found)


def end_process(process: subprocess.Popen[str], grace: float = 5) -> None:
    """Ask a child to end (SIGTERM), and after `grace` seconds make it (SIGKILL)."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
