"""What holds mail up on its way: a pipe with latency, and a server that answers "later".

    python3 slow.py pipe PORT TARGET SECONDS
    python3 slow.py later SETTINGS RATE_PORT GREYLIST_PORT

Both run until they are ended, and stand alone: they run inside of hosts.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any


class OneWay(asyncio.Protocol):
    """One direction of the pipe: what comes in goes out of `other` a fixed time later.

    As much as comes may be on its way at once, so only latency is added, and no limit on bytes a
    second. `first` is held up longer: a real connection over a real distance takes one round trip
    to open, and this one is open at once.
    """

    def __init__(self, seconds: float, first: float = 0) -> None:
        """The delay of each byte, and that of the first ones."""
        self.transport: asyncio.Transport | None = None
        self.other: OneWay | None = None
        self._seconds = seconds
        self._ready = first
        self._waiting: deque[tuple[float, bytes | None]] = deque()
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._ready += self._loop.time()

    def data_received(self, data: bytes) -> None:
        """Some bytes set out."""
        self._send(data)

    def eof_received(self) -> bool:
        """The end sets out behind them; what is on its way back still arrives."""
        self._send(None)
        return True

    def connection_lost(self, _problem: Exception | None) -> None:
        """The same, where it came without warning."""
        self._send(None)

    def _send(self, data: bytes | None) -> None:
        due = max(self._loop.time(), self._ready) + self._seconds
        self._waiting.append((due, data))
        if len(self._waiting) == 1:
            self._loop.call_at(due, self._arrive)

    def _arrive(self) -> None:
        now = self._loop.time()
        out = self.other.transport if self.other else None
        # A timer may be early by its own resolution.
        while self._waiting and self._waiting[0][0] <= now + 0.0005:
            _, data = self._waiting.popleft()
            if out is None or out.is_closing():
                continue
            if data is not None:
                out.write(data)
            else:
                out.close()
        if self._waiting:
            self._loop.call_at(self._waiting[0][0], self._arrive)


async def pipe(port: int, target: int, seconds: float) -> None:
    """Listen on `port` for what is `target` on this host, `seconds` away in each direction."""
    loop = asyncio.get_running_loop()
    connecting: set[asyncio.Task[None]] = set()

    class Near(OneWay):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            assert self.transport is not None
            # Python 3.11 adds its reader after this: paused here, it would read all the same.
            self._loop.call_soon(self.transport.pause_reading)
            task = loop.create_task(self._connect())
            connecting.add(task)
            task.add_done_callback(connecting.discard)

        async def _connect(self) -> None:
            assert self.transport is not None
            try:
                _, far = await loop.create_connection(lambda: OneWay(seconds), "127.0.0.1", target)
            except OSError:
                self.transport.abort()
                return
            self.other, far.other = far, self
            self.transport.resume_reading()

    await loop.create_server(lambda: Near(seconds, 2 * seconds), ["0.0.0.0", "::"], port)
    await asyncio.Event().wait()


class Later:
    """Who has to come back: too many messages of a login, or seen for the first time.

    The settings are a JSON file that may change at any time: `serial`, with which all that is
    remembered is forgotten; `rate`, messages of each login, or null; `greylist`, the seconds after
    which somebody may come back, or null.
    """

    def __init__(self, settings: Path) -> None:
        """Without the file there is nothing to complain about."""
        self._file = settings
        self._stamp: tuple[int, int] | None = None
        self._settings: dict[str, Any] = {}
        self._sent: Counter[str] = Counter()
        self._seen: dict[tuple[str, ...], float] = {}

    def too_many(self, login: str) -> str | None:
        """A recipient of a login, as Mailu counts them: what Postfix is to answer, or None."""
        rate = self._now().get("rate")
        if rate is None:
            return None
        self._sent[login] += 1
        if self._sent[login] <= rate:
            return None
        return "450 4.2.1 You are sending too many emails too fast."

    def unknown(self, question: str) -> str | None:
        """A client, sender and recipient, among other lines: what to answer, or None."""
        seconds = self._now().get("greylist")
        if seconds is None:
            return None
        asked = dict(line.split("=", 1) for line in question.splitlines() if "=" in line)
        triplet = tuple(asked.get(name, "") for name in ("client_address", "sender", "recipient"))
        first = self._seen.setdefault(triplet, time.monotonic())
        if time.monotonic() - first >= seconds:
            return None
        return "450 4.7.1 Greylisted, try again later"

    def _now(self) -> dict[str, Any]:
        try:
            stat = self._file.stat()
        except FileNotFoundError:
            return self._settings
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp != self._stamp:
            before, self._settings = self._settings, json.loads(self._file.read_text())
            self._stamp = stamp
            if before.get("serial") != self._settings.get("serial"):
                self._sent.clear()
                self._seen.clear()
        return self._settings


class Asked(asyncio.Protocol):
    """A connection of Postfix's. `take` takes a whole question off the bytes, and answers it."""

    def __init__(self, take: Callable[[bytes], tuple[bytes, bytes] | None]) -> None:
        """`take` gives the answer and the bytes that are left, or None if more have to come."""
        self._take = take
        self._bytes = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        assert self._transport is not None
        self._bytes += data
        while taken := self._take(self._bytes):
            answer, self._bytes = taken
            self._transport.write(answer)


async def later(settings: Path, rate_port: int, greylist_port: int) -> None:
    """Answer Postfix: at one port its socketmap protocol, at the other that for policies."""
    answers = Later(settings)

    def rate(data: bytes) -> tuple[bytes, bytes] | None:
        size, colon, rest = data.partition(b":")
        if not colon or len(rest) <= int(size):
            return None
        found = answers.too_many(rest[: int(size)].decode().partition(" ")[2])
        reply = f"OK {found}" if found else "NOTFOUND "
        return f"{len(reply)}:{reply},".encode(), rest[int(size) + 1 :]

    def greylist(data: bytes) -> tuple[bytes, bytes] | None:
        text, end, rest = data.partition(b"\n\n")
        if not end:
            return None
        found = answers.unknown(text.decode(errors="replace"))
        return f"action={found or 'DUNNO'}\n\n".encode(), rest

    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Asked(rate), "127.0.0.1", rate_port)
    await loop.create_server(lambda: Asked(greylist), "127.0.0.1", greylist_port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "pipe":
        asyncio.run(pipe(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
    else:
        asyncio.run(later(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
