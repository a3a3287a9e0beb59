"""Waiting for messages at a receiving end of the lab."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

MOST_LISTED = 50

Message = TypeVar("Message")


def wait_for_messages(
    received: Callable[[], list[Message]],
    predicate: Callable[[Message], bool],
    count: int,
    timeout: float,
) -> list[Message]:
    """Wait until `count` of what was received match, and return all that do.

    Raises AssertionError that lists what did arrive after `timeout` seconds.
    """
    end = time.monotonic() + timeout
    while True:
        arrived = received()
        matching = [message for message in arrived if predicate(message)]
        if len(matching) >= count:
            return matching
        if time.monotonic() > end:
            listed = "\n".join(f"  {message}" for message in arrived[-MOST_LISTED:]) or "  nothing"
            raise AssertionError(
                f"{len(matching)} of {count} messages within {timeout:g} s; arrived:\n{listed}"
            )
        time.sleep(0.02)
