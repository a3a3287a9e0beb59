"""What the watch remembers, and the policy that it goes by."""

from __future__ import annotations

import json

from sysmail.apply.checkpoint import MEMORY, Checkpoint, Store
from sysmail.commands.policy_source import complete
from sysmail.errors import HostError
from sysmail.host.port import Reader, Writer
from sysmail.policy import Policy, parse
from sysmail.report import Problem
from sysmail.watch.model import State

__all__ = ["load", "save", "settings", "undelivered"]


def load(reader: Reader) -> State:
    """The state; that of a first run where there is none that can be read."""
    try:
        found = json.loads(reader.read(MEMORY) or b"{}")
        return State.of_data(found) if isinstance(found, dict) else State()
    except (HostError, ValueError, TypeError):
        return State()


def save(writer: Writer, state: State) -> None:
    """Write it; root alone may read it, as evidence holds addresses."""
    text = json.dumps(state.as_data(), sort_keys=True) + "\n"
    writer.write(MEMORY, text.encode("utf-8", "replace"), 0o600)


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
