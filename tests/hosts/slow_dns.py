"""Passes questions for DNS on, and hands each answer back late.

    python3 slow_dns.py SERVER ADDRESS SECONDS

Runs inside of hosts until it is ended, on port 53 of ADDRESS, and asks SERVER.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any


class Answer(asyncio.DatagramProtocol):
    """Waits for the answer to one question."""

    def __init__(self, arrived: asyncio.Future[bytes]) -> None:
        self._arrived = arrived

    def datagram_received(self, data: bytes, _server: Any) -> None:
        """It is there."""
        if not self._arrived.done():
            self._arrived.set_result(data)


class Late(asyncio.DatagramProtocol):
    """The server that hosts ask."""

    def __init__(self, server: str, seconds: float) -> None:
        self._server, self._seconds = server, seconds
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound."""
        self._transport = transport

    def datagram_received(self, data: bytes, client: Any) -> None:
        """A question."""
        task = self._loop.create_task(self._answer(data, client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, question: bytes, client: Any) -> None:
        arrived: asyncio.Future[bytes] = self._loop.create_future()
        asking, _ = await self._loop.create_datagram_endpoint(
            lambda: Answer(arrived), remote_addr=(self._server, 53)
        )
        asking.sendto(question)
        answer = await arrived
        asking.close()
        await asyncio.sleep(self._seconds)
        self._transport.sendto(answer, client)


async def serve(server: str, address: str, seconds: float) -> None:
    """Serve for ever."""
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: Late(server, seconds), local_addr=(address, 53))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], float(sys.argv[3])))
