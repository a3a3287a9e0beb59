"""What a trace asks of a log, whether it is a file or the journal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sysmail.errors import HostError
from sysmail.logline import LogLine
from sysmail.trace.naming import Mention

__all__ = ["LIMIT", "SHOWN", "Log", "Named"]

LIMIT = 20_000
"""Lines that are held at once; a message tried every minute for five days has 7,200."""

SHOWN = 5
"""Messages of one recipient that are told of in full."""


@dataclass(frozen=True)
class Named:
    """What names a text, the newest first; ``complete`` where the log has no older ones."""

    mentions: tuple[Mention, ...]
    complete: bool


class Log(Protocol):
    """Where a host's mail log is kept."""

    name: str
    unread: dict[str, HostError]
    """What of it could not be read; the rest of it is told all the same."""

    def of(self, queue_id: str) -> list[LogLine]:
        """The lines that name a queue id, back to the beginning of its newest message."""

    def naming(self, text: str) -> Named:
        """What names a recipient or a Message-ID; nothing older once enough messages are found."""

    def lately(self, texts: Sequence[str], since: float) -> list[LogLine]:
        """The lines since a moment (seconds since the epoch) that hold one of the texts."""

    def around(
        self, queue_ids: Sequence[str], near: Sequence[LogLine], *, notices: bool = False
    ) -> list[LogLine]:
        """Every line of these messages, looked for from lines that name them.

        ``notices``: they have no entrance, as Postfix made them.
        """

    def session(self, program: str, pid: int, place: tuple[int, int], time: float) -> list[LogLine]:
        """The lines about the last TLS session of a process before that place, in order."""

    def successor(self, queue_id: str, near: LogLine) -> list[LogLine]:
        """The line of pickup(8) that gave a requeued message its next queue id."""
