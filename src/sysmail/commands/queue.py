"""``sysmail queue``: what waits or is held, looked at and acted on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sysmail import queue
from sysmail.apply.checkpoint import Store
from sysmail.errors import HostError, RefusedError, UsageError
from sysmail.host.port import Writer
from sysmail.report import Report

__all__ = ["ACTIONS", "run"]

ACTIONS = ("list", "show", "release", "delete", "flush")
SHOWN_BYTES = 100_000


def run(writer: Writer, action: str, ids: Sequence[str]) -> Report:
    """Exit code 0 when done, 1 when a message is not there. UsageError for what cannot be an id."""
    _check_words(action, ids)
    in_force = Store(writer).in_force()
    if in_force is not None and in_force.route.get("name") == "mailu":
        messages = queue.waiting(writer) or []  # msmtp has no queue
    else:
        messages = queue.listed(writer)
    chosen = _choose(messages, ids, action)
    details: dict[str, Any] = {"messages": [message.as_data() for message in chosen]}
    if action == "show":
        details["content"] = _content(writer, chosen[0].queue_id)
    elif action == "flush":
        _postfix(writer, ["postqueue", "-f"], "flushed")
    elif action in ("release", "delete"):
        flag = "-H" if action == "release" else "-d"
        for message in chosen:
            _postfix(writer, ["postsuper", flag, message.queue_id], action + "d")
        if action == "release":
            for message in chosen:
                _postfix(writer, ["postqueue", "-i", message.queue_id], "released")
    outcomes = {"list": "listed", "show": "shown", "flush": "flushed"}
    return Report(
        command="queue",
        outcome=outcomes.get(action, action + "d"),
        exit_code=0,
        changed=action in ("release", "delete", "flush") and bool(chosen),
        details={**details, "action": action, "now": writer.now()},
    )


def _check_words(action: str, ids: Sequence[str]) -> None:
    for name in ids:
        if name != "all" and not re.fullmatch(r"[0-9A-Za-z]{6,30}", name):
            raise UsageError(
                "not-a-queue-id", f"{name!r} cannot be a queue id", "see `sysmail queue list`"
            )
    if action in ("show", "release", "delete") and not ids:
        raise UsageError("no-queue-id", f"queue {action} needs a queue id", "see `queue list`")


def _choose(messages: list[queue.Message], ids: Sequence[str], action: str) -> list[queue.Message]:
    if not ids:
        return messages
    if "all" in ids:
        return [m for m in messages if action != "release" or m.queue == "hold"]
    known = {message.queue_id: message for message in messages}
    for name in ids:
        if name not in known:
            raise RefusedError(
                "no-such-message",
                f"there is no message {name} in the queue",
                "it may have left: see `sysmail queue list` and the mail log",
            )
        if action == "release" and known[name].queue != "hold":
            raise RefusedError(
                "not-held",
                f"{name} is not held, it is {known[name].queue}",
                "`sysmail queue flush` tries what is deferred at once",
            )
    return [known[name] for name in ids]


def _content(writer: Writer, queue_id: str) -> str:
    said = writer.ask(["postcat", "-bhq", queue_id])
    if said.status != 0:
        raise HostError("message-not-read", said.err.strip(), "it may have left the queue")
    return said.out[:SHOWN_BYTES]


def _postfix(writer: Writer, argv: Sequence[str], done: str) -> None:
    said = writer.run(argv)
    if said.status != 0:
        raise HostError(
            "queue-not-changed",
            f"not {done}: {said.err.strip() or said.status}",
            "is Postfix running? see `sysmail prove`",
        )
