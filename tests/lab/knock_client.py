"""Tries TCP connections again and again until its standard input is closed, and counts.

    python -m lab.knock_client TARGETS

TARGETS is JSON: a list of [address, port]. Prints `ready`, and at the end one JSON list with,
for each target, [attempts, successes, refusals, seconds of the first success or null].
Plain sockets that do not block: one slow target must not keep the others from being tried.
"""

from __future__ import annotations

import contextlib
import errno
import json
import selectors
import socket
import struct
import sys
import time
from dataclasses import dataclass, field

PERIOD = 0.005  # seconds between two attempts at one target
PENDING = 50  # connections that may wait for an answer, for each target
PATIENCE = 1.0  # seconds until a connection without any answer is given up
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass
class Target:
    """One address and port, and what came of it."""

    address: str
    port: int
    attempts: int = 0
    successes: int = 0
    refusals: int = 0
    first: float | None = None
    pending: dict[socket.socket, float] = field(default_factory=dict)

    def attempt(self, selector: selectors.BaseSelector) -> None:
        """Begin one connection, unless too many are waiting."""
        if len(self.pending) >= PENDING:
            return
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        address, _, zone = self.address.partition("%")
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.settimeout(0)
        # A reset and not a farewell: thousands of closed connections would use up all ports.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        where: tuple[str, int] | tuple[str, int, int, int] = (address, self.port)
        if family == socket.AF_INET6:
            where = (address, self.port, 0, socket.if_nametoindex(zone) if zone else 0)
        self.attempts += 1
        error = connection.connect_ex(where)
        if error == errno.EINPROGRESS:
            self.pending[connection] = time.monotonic()
            selector.register(connection, selectors.EVENT_WRITE, self)
        else:
            self._count(error)
            connection.close()

    def settle(self, connection: socket.socket, selector: selectors.BaseSelector) -> None:
        """A connection has been answered."""
        self._count(connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        self._forget(connection, selector)

    def give_up(self, selector: selectors.BaseSelector, before: float) -> None:
        """Drop connections begun before a moment that nobody answered."""
        for connection in [c for c, begun in self.pending.items() if begun < before]:
            self._forget(connection, selector)

    def _count(self, error: int) -> None:
        if error == 0:
            self.successes += 1
            self.first = time.time() if self.first is None else self.first
        elif error == errno.ECONNREFUSED:
            self.refusals += 1

    def _forget(self, connection: socket.socket, selector: selectors.BaseSelector) -> None:
        del self.pending[connection]
        selector.unregister(connection)
        connection.close()


def knock(targets: list[Target]) -> None:
    """Knock until standard input ends; `ready` once each target was tried."""
    selector = selectors.DefaultSelector()
    ready = False
    selector.register(sys.stdin, selectors.EVENT_READ)
    due = time.monotonic()
    while True:
        for key, _ in selector.select(max(0.0, due - time.monotonic())):
            if key.fileobj is sys.stdin:
                return
            assert isinstance(key.fileobj, socket.socket)
            key.data.settle(key.fileobj, selector)
        now = time.monotonic()
        if now >= due:
            # No catching up after a pause: bursts would tell nothing and cost much.
            due = max(due + PERIOD, now)
            for target in targets:
                target.give_up(selector, now - PATIENCE)
                with contextlib.suppress(OSError):
                    target.attempt(selector)
            if not ready:
                print("ready", flush=True)
                ready = True


def main() -> None:
    """Knock at the targets of the first argument, then print the counts."""
    targets = [Target(address, port) for address, port in json.loads(sys.argv[1])]
    knock(targets)
    print(json.dumps([[t.attempts, t.successes, t.refusals, t.first] for t in targets]))


if __name__ == "__main__":
    main()
