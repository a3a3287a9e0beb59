"""Which lines of a log name a recipient or a Message-ID. Pure.

An address stands in many others: as the sender, in the words of a server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sysmail.logline import LogLine
from sysmail.trace.events import read
from sysmail.trace.story import FAILED, outcome_of_status

__all__ = ["Mention", "mentions", "needles"]


@dataclass(frozen=True)
class Mention:
    """A line that names it: ``kind`` is message-id, or recipient with what came of it."""

    line: LogLine
    kind: str
    outcome: str = ""


def needles(text: str) -> list[str]:
    """What to look for: a line that names the text has one of these."""
    # orig_to= ends so too, and resent-message-id=; cleanup(8) logs a Message-ID as it was written.
    return [f"to=<{text}>", f"message-id=<{text}>", f"message-id={text}"]


def mentions(lines: Iterable[LogLine], text: str) -> Iterator[Mention]:
    """Those of the lines that really name the text, in the same order."""
    for line in lines:
        event = read(line.daemon, line.text) if line.queue_id else None
        if event is None:
            continue
        facts = event.facts
        if event.kind == "message-id" and facts["message_id"].strip("<>") == text:
            yield Mention(line, "message-id")
        names = (facts.get("to", "").lower(), facts.get("original", "").lower())
        if event.kind == "reject" and text.lower() in names:
            yield Mention(line, "recipient", FAILED)
        if event.kind == "attempt" and text.lower() in names:
            yield Mention(line, "recipient", outcome_of_status(facts["status"], line.program))
