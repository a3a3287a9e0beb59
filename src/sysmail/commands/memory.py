"""What the watch remembers, and the policy that it goes by."""

from __future__ import annotations

import json
import os
from typing import Any

from sysmail.apply.checkpoint import MEMORY, MEMORY_IN_RUN, Checkpoint, Store
from sysmail.commands.policy_source import complete
from sysmail.errors import HostError, RefusedError
from sysmail.host.port import Reader, Writer
from sysmail.policy import Policy, parse
from sysmail.report import Problem
from sysmail.session import LOCK
from sysmail.watch.model import State

__all__ = ["is_elsewhere", "load", "remember", "remember_in_run", "settings", "undelivered"]


def load(reader: Reader) -> State:
    """The state that was written last; that of a first run where there is none that can be read."""
    found = max((_read(reader, path) for path in (MEMORY, MEMORY_IN_RUN)), key=_written)
    try:
        return State.of_data(found)
    except (ValueError, TypeError):
        return State()


def _read(reader: Reader, path: str) -> dict[str, Any]:
    try:
        found = json.loads(reader.read(path) or b"{}")
    except (HostError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _written(found: dict[str, Any]) -> float:
    when = found.get("written", 0.0)
    return float(when) if isinstance(when, (int, float)) else 0.0


def is_elsewhere(reader: Reader) -> bool:
    """Whether the last state could not be written where it belongs."""
    return reader.state(MEMORY_IN_RUN, content=False) is not None


def remember(writer: Writer, state: State) -> str:
    """Write the state where it belongs, else in /run. Why not there, where that is a trouble.

    Under the lock, and only while there is something to watch: a removal leaves nothing. Who
    holds the lock for long is no trouble here.
    """
    try:
        lock = writer.lock(LOCK, f"sysmail watch (pid {os.getpid()})", 10.0)
    except RefusedError:
        return remember_in_run(writer, state)
    try:
        if Store(writer).in_force() is not None:
            writer.write(MEMORY, _text(writer, state), 0o600)
            writer.remove(MEMORY_IN_RUN)
    except HostError as error:
        remember_in_run(writer, state)
        return error.message
    finally:
        lock.release()
    return ""


def remember_in_run(writer: Writer, state: State) -> str:
    """Write the state where it lasts until the next boot. Why not, where that fails too."""
    try:
        writer.mkdir(MEMORY_IN_RUN.rpartition("/")[0], 0o755)
        writer.write(MEMORY_IN_RUN, _text(writer, state), 0o600)
    except HostError as error:
        return error.message
    return ""


def _text(writer: Writer, state: State) -> bytes:
    """Root alone may read it, as evidence holds addresses."""
    data = {**state.as_data(), "written": writer.now()}
    return (json.dumps(data, sort_keys=True) + "\n").encode("utf-8", "replace")


def settings(reader: Reader, in_force: Checkpoint) -> Policy:
    """The tables that are the watch's own, of the policy in force."""
    asked = complete(in_force.policy, Store(reader).passwords(in_force))
    return parse({name: asked[name] for name in ("alert", "limits") if name in asked})


def undelivered(state: State) -> list[Problem]:
    """That an alert did not arrive, as a part of a report."""
    return [
        Problem(
            "alert-not-delivered",
            f"an alert of the watch was not delivered: {reason}",
            "it is tried again every 5 minutes; look at [alert] in the policy, and docs/watch.md",
        )
        for reason in (state.reasons if state.undelivered else ())
    ]
