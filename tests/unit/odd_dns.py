"""A DNS server that answers as hostile, broken and slow ones do.

    python -m unit.odd_dns ADDRESS PORT

A label of the name that is asked for says how: ``silent.odd.test`` gets no answer. Any other
name does not exist. Also run in a node of the lab, as the resolver of booted hosts.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from types import TracebackType
from typing import Callable, Optional

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.message import Message

__all__ = ["OddDns"]

HUGE = 60_000
SLOW_SECONDS = 1.0


def _txt(reply: Message, name: dns.name.Name, *strings: bytes) -> None:
    raw = b"".join(bytes([len(each)]) + each for each in strings)
    data = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.TXT, raw, 0, len(raw))
    reply.answer.append(dns.rrset.from_rdata(name, 1, data))


def _passes(reply: Message, name: dns.name.Name) -> None:
    _txt(reply, name, b"v=spf1 ", b"+all")


def _loop(reply: Message, name: dns.name.Name) -> None:
    other = dns.name.from_text("loop.two.odd.test")
    one = dns.name.from_text("loop.one.odd.test")
    for start, end in ((name, one), (one, other), (other, one)):
        reply.answer.append(dns.rrset.from_text(start, 1, "IN", "CNAME", end.to_text()))


def _includes(reply: Message, name: dns.name.Name) -> None:
    """Each record includes the next one, for ever."""
    first = name.labels[0]
    number = int(first) + 1 if first.isdigit() else 0
    _txt(reply, name, f"v=spf1 include:{number}.includes.odd.test -all".encode())


def _huge(reply: Message, name: dns.name.Name) -> None:
    """As much text as fits: terms that all have to be read."""
    text = (b"v=spf1 " + b"a:x.odd.test " * HUGE)[:HUGE]
    _txt(reply, name, *(text[at : at + 250] for at in range(0, HUGE, 250)))


def _bytes(reply: Message, name: dns.name.Name) -> None:
    """Bytes that are no text, an escape sequence, and a line that looks like a verdict."""
    _txt(reply, name, b"v=spf1 \xff\xfe\x00\x1b[2J\npass    deliverability:spf  fine\n")


ANSWERS: dict[str, Callable[[Message, dns.name.Name], None]] = {
    "fine": _passes,
    "slow": _passes,
    "truncated": _passes,
    "loop": _loop,
    "includes": _includes,
    "huge": _huge,
    "bytes": _bytes,
}
CODES = {"servfail": dns.rcode.SERVFAIL, "refused": dns.rcode.REFUSED}


class OddDns:
    """The server, on UDP and TCP, from ``with`` to its end. ``asked`` are the questions."""

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self._tcp = socket.create_server((address, port))
        self.address, self.port = self._tcp.getsockname()[:2]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((address, self.port))
        self._threads = [
            threading.Thread(target=target, daemon=True)
            for target in (self._datagrams, self._streams)
        ]

    def __enter__(self) -> OddDns:  # noqa: PYI034 - typing.Self is newer than Python 3.9
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """Its threads are daemons, and end with their sockets or with the process."""
        for listening in (self._udp, self._tcp):
            listening.close()

    def wait(self) -> None:
        """Until the process is ended."""
        for thread in self._threads:
            thread.join()

    def _datagrams(self) -> None:
        while True:
            try:
                raw, client = self._udp.recvfrom(4096)
            except OSError:
                return
            threading.Thread(target=self._datagram, args=(raw, client), daemon=True).start()

    def _datagram(self, raw: bytes, client: tuple[str, int]) -> None:
        answer = self._answer(raw, "udp")
        if answer is not None:
            try:
                self._udp.sendto(answer, client)
            except OSError:
                return

    def _streams(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._stream, args=(connection,), daemon=True).start()

    def _stream(self, connection: socket.socket) -> None:
        with connection:
            head = connection.recv(2)
            if len(head) < 2:
                return
            raw = connection.recv(struct.unpack("!H", head)[0])
            answer = self._answer(raw, "tcp")
            if answer is not None:
                connection.sendall(struct.pack("!H", len(answer)) + answer)

    def _answer(self, raw: bytes, way: str) -> Optional[bytes]:
        query = dns.message.from_wire(raw)
        question = query.question[0]
        labels = {label.decode("latin-1").lower() for label in question.name.labels}
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((question.name.to_text().lower(), kind, way))
        if "silent" in labels:
            return None
        if "garbage" in labels:
            return raw[:2] + b"\x81\x80\x00\x01\xff\xff" + b"\xc0\x0c" * 40
        if "slow" in labels:
            time.sleep(SLOW_SECONDS)
        reply = dns.message.make_response(query, recursion_available=True)
        how = next((word for word in ANSWERS if word in labels), "")
        code = next((CODES[word] for word in CODES if word in labels), dns.rcode.NOERROR)
        if code or not how:
            reply.set_rcode(code or dns.rcode.NXDOMAIN)
        elif kind == "TXT" or how == "loop":
            ANSWERS[how](reply, question.name)
        if way == "udp" and (how == "truncated" or "stuck" in labels):
            reply.answer.clear()
            reply.flags |= dns.flags.TC
        if "stuck" in labels and way == "tcp":
            return None
        if "liar" in labels:
            reply.id = (reply.id + 1) & 0xFFFF
        if way == "udp" and how == "huge":
            reply.answer.clear()
            reply.flags |= dns.flags.TC
        wire: bytes = reply.to_wire(max_size=65535)
        return wire


def main() -> None:
    """Serve until ended; say ``ready`` once it listens."""
    with OddDns(sys.argv[1], int(sys.argv[2])) as server:
        print("ready", flush=True)
        server.wait()


if __name__ == "__main__":
    main()
