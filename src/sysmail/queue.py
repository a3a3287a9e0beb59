"""What waits in the queue, and why: the output of postqueue(1)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Optional

from sysmail.errors import HostError
from sysmail.host.port import Reader

__all__ = ["Message", "Recipient", "by_reason", "corrupt", "listed", "parse", "stored", "waiting"]

# A queue that drains is never the same twice.
LISTINGS = 4


@dataclass(frozen=True)
class Recipient:
    """Somebody a message has not reached yet, and why: ``reason`` is empty before a first try."""

    address: str
    reason: str


@dataclass(frozen=True)
class Message:
    """A message in the queue.

    ``queue`` is maildrop, incoming, active, deferred or hold; ``arrived``
    seconds since the epoch, ``size`` bytes.

    """

    queue_id: str
    queue: str
    arrived: float
    size: int
    sender: str
    recipients: tuple[Recipient, ...]

    def as_data(self) -> dict[str, Any]:
        """Plain data, as in the JSON report."""
        return {
            "queue_id": self.queue_id,
            "queue": self.queue,
            "arrived": self.arrived,
            "size": self.size,
            "sender": self.sender,
            "recipients": [{"address": r.address, "reason": r.reason} for r in self.recipients],
        }


def parse(text: str) -> list[Message]:
    """``postqueue -j``: a JSON object a line. Lines that are none are left out."""
    found: list[Message] = []
    for line in text.splitlines():
        try:
            data = json.loads(line)
            found.append(
                Message(
                    str(data["queue_id"]),
                    str(data["queue_name"]),
                    float(data["arrival_time"]),
                    int(data["message_size"]),
                    str(data["sender"]),
                    tuple(
                        Recipient(str(r["address"]), str(r.get("delay_reason", "")))
                        for r in data["recipients"]
                    ),
                )
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            continue
    return sorted(found, key=_age)


def _age(message: Message) -> tuple[float, str]:
    return message.arrived, message.queue_id


def waiting(reader: Reader) -> Optional[list[Message]]:
    """Every message in the queue, oldest first; None when the queue cannot be listed.

    showq(8) reads one queue after the other while qmgr(8) moves messages
    between them: after a reload (active to incoming) or with a queue run
    (deferred to active) one listing can miss all of them, or name them twice
    (measured: 286 to 512 of 304). What moves during one listing stands still
    in the next. So it is listed until two listings name the same messages, and
    what either of the last two names is taken.

    """
    former: Optional[dict[str, Message]] = None
    both: dict[str, Message] = {}
    for _ in range(LISTINGS):
        said = reader.ask(["postqueue", "-j"])
        if said.status != 0:
            return None
        found = {message.queue_id: message for message in parse(said.out)}
        both = {**(former or {}), **found}
        if former is not None and former.keys() == found.keys():
            break
        former = found
    return sorted(both.values(), key=_age)


def listed(reader: Reader) -> list[Message]:
    """Every message in the queue; HostError when it cannot be listed, for who must know."""
    found = waiting(reader)
    if found is None:
        raise HostError(
            "queue-not-listed", "the queue cannot be listed", "run `postqueue -j` to see why"
        )
    return found


def stored(reader: Reader, directory: str) -> int:
    """How many messages are files below a queue directory, for a queue that cannot be listed."""
    count = 0
    for name in ("maildrop", "incoming", "active", "deferred", "hold"):
        for inner in reader.names(f"{directory}/{name}"):
            state = reader.state(f"{directory}/{name}/{inner}", content=False)
            below = reader.names(f"{directory}/{name}/{inner}")
            count += len(below) if state is not None and state.kind == "directory" else 1
    return count


def corrupt(reader: Reader, directory: str) -> int:
    """How many damaged messages Postfix has put aside: they are not listed, and never sent."""
    return len(reader.names(f"{directory}/corrupt"))


def by_reason(messages: list[Message]) -> list[tuple[str, int, float]]:
    """(reason, how many, arrival of the oldest), the most frequent first."""
    found: dict[str, tuple[int, float]] = {}
    for message in messages:
        reasons = {r.reason for r in message.recipients if r.reason} or {"not tried yet"}
        if message.queue == "hold":
            reasons = {"held"}  # whatever an earlier try ran into
        for reason in reasons:
            count, oldest = found.get(reason, (0, message.arrived))
            found[reason] = (count + 1, min(oldest, message.arrived))
    rows = [(reason, count, oldest) for reason, (count, oldest) in found.items()]
    return sorted(rows, key=lambda row: (-row[1], row[0]))
