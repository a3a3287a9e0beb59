"""SMTP as a client (RFC 5321), small enough to start at once.

smtplib would do, but importing it costs as much as everything else that a
no-change run of sysmail does, and it hides the replies that a proof is about.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import time
from typing import Optional

from sysmail.errors import HostError
from sysmail.host.port import SmtpReply

__all__ = ["Session", "can_connect", "connected", "free_port"]

MAX_REPLY_LINES = 200
WHOLE = 6.0
"""The whole dialogue may take so many times what the server has for each answer."""


def can_connect(address: str, port: int, source: str = "", timeout: float = 3.0) -> bool:
    """Whether a TCP connection is accepted."""
    try:
        with socket.create_connection((address, port), timeout, (source, 0) if source else None):
            return True
    except OSError:
        return False


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nothing uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Session:
    """A dialogue with an SMTP server; every failure is a HostError with a stable code.

    ``name`` is the name that the certificate must carry (default: the
    address), ``tls`` is none, starttls or implicit, ``ca_file`` a file of
    trusted certificates (default: the system's). After the constructor the
    greeting was read and, with TLS, the certificate was verified.
    """

    def __init__(
        self,
        address: str,
        port: int,
        source: str = "",
        name: str = "",
        tls: str = "none",
        ca_file: str = "",
        timeout: float = 10.0,
    ) -> None:
        self.peer = f"{address}:{port}"
        self.tls = ""
        self._name = name or address
        self._ca_file = ca_file
        self._buffer = b""
        self._timeout = timeout
        self._end = time.monotonic() + WHOLE * timeout
        self._socket = connected(address, port, source, timeout)
        try:
            if tls == "implicit":
                self._encrypt()
            self.greeting = self._reply()
            if tls == "starttls":
                self._expect_welcome()
                self.command(f"EHLO {_helo()}")
                if self.command("STARTTLS").code != 220:
                    raise HostError(
                        "not-tls",
                        f"{self.peer} does not offer STARTTLS",
                        "check port and tls in the policy: 465 is implicit, 587 is starttls",
                    )
                self._buffer = b""
                self._encrypt()
        except BaseException:
            self._socket.close()
            raise

    def _expect_welcome(self) -> None:
        """One that sends us away at once also refuses STARTTLS, which it may well offer."""
        code, text = self.greeting.code, self.greeting.text
        if code != 220:
            raise HostError(
                "next-hop-busy" if 400 <= code < 500 else "next-hop-refuses",
                f"{self.peer} does not take mail now: {code} {text}",
                "find out there why it refuses this host: the log of that server says it",
            )

    def _encrypt(self) -> None:
        from sysmail.host.tls import encrypted

        self._socket = encrypted(
            self._socket,
            self.peer,
            self._name,
            self._ca_file,
            self._lost,
            "check port and tls in the policy: 465 is implicit, 587 is starttls",
        )
        version = getattr(self._socket, "version", lambda: "")()
        self.tls = version or ""

    def command(self, line: str) -> SmtpReply:
        """Send one command line and return the reply."""
        self._send(line.encode("utf-8", "surrogateescape") + b"\r\n")
        return self._reply()

    def data(self, message: bytes) -> SmtpReply:
        """Send DATA and the message; return the final reply."""
        reply = self.command("DATA")
        if reply.code != 354:
            return reply
        lines = message.replace(b"\r\n", b"\n").split(b"\n")
        if lines and lines[-1] == b"":
            lines.pop()
        stuffed = [b"." + text if text.startswith(b".") else text for text in lines]
        self._send(b"\r\n".join(stuffed) + b"\r\n.\r\n")
        return self._reply()

    def close(self) -> None:
        """QUIT, as far as the server still listens, and close."""
        with contextlib.suppress(HostError):
            self.command("QUIT")
        self._socket.close()

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise self._lost(error) from error

    def _reply(self) -> SmtpReply:
        lines: list[str] = []
        # A timeout is for each piece that comes: a byte now and then would have us wait for ever.
        until = min(time.monotonic() + self._timeout, self._end)
        while True:
            raw = self._line(until)
            text = raw.decode("utf-8", "replace")
            if not re.match(r"[0-9]{3}", text):
                raise HostError(
                    "not-smtp",
                    f"{self.peer} does not speak SMTP: it said {text[:60]!r}",
                    "check host and port in the policy",
                )
            lines.append(text[4:])
            if text[3:4] != "-":
                return SmtpReply(int(text[:3]), "\n".join(lines))
            if len(lines) > MAX_REPLY_LINES:
                raise HostError("not-smtp", f"{self.peer} never ends its reply", "check the host")

    def _line(self, until: float) -> bytes:
        while b"\n" not in self._buffer:
            left = until - time.monotonic()
            if left <= 0:
                raise self._lost(socket.timeout("timed out"))
            try:
                self._socket.settimeout(left)
                piece = self._socket.recv(4096)
            except OSError as error:
                raise self._lost(error) from error
            self._socket.settimeout(self._timeout)
            if not piece:
                raise self._lost(None)
            self._buffer += piece
            if len(self._buffer) > 65536:
                raise HostError("not-smtp", f"{self.peer} does not speak SMTP", "check the host")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def _lost(self, error: Optional[OSError]) -> HostError:
        reason = "it closed the connection" if error is None else str(error)
        return HostError(
            "connection-lost",
            f"the SMTP dialogue with {self.peer} ended: {reason}",
            "look at the log of that server",
        )


def _helo() -> str:
    return os.uname().nodename or "localhost"


def connected(address: str, port: int, source: str, timeout: float) -> socket.socket:
    """A TCP connection to the first address of the name that answers.

    HostError with a code of its own for a name, and for a port: why each address did not.
    """
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise HostError(
            "name-not-resolved",
            f"the name {address} does not resolve: {error.strerror}",
            "look at /etc/resolv.conf and at the DNS servers that it names (getent hosts NAME)"
            if error.errno == socket.EAI_AGAIN
            else "check the host in the policy and the resolver (getent hosts NAME)",
        ) from error
    origin = (source, 0) if source else None
    troubles: dict[str, OSError] = {}
    for *_, place in found:
        try:
            return socket.create_connection((str(place[0]), port), timeout, origin)
        except OSError as error:
            troubles[str(place[0])] = error
    raise HostError(
        "port-closed",
        f"no connection to {address} port {port}: {_reasons(address, troubles)}",
        _unreached(address, troubles),
    )


def _reasons(name: str, troubles: dict[str, OSError]) -> str:
    """Why each address did not answer; which addresses, where somebody gave a name."""
    where: dict[str, list[str]] = {}
    for address, error in troubles.items():
        where.setdefault(error.strerror or str(error), []).append(address)
    if list(troubles) == [name]:
        return next(iter(where))
    return "; ".join(f"{why} ({', '.join(addresses)})" for why, addresses in where.items())


def _unreached(name: str, troubles: dict[str, OSError]) -> str:
    """What to do: no server was asked where this host has no way to any of the addresses."""
    if all(error.errno == errno.ENETUNREACH for error in troubles.values()):
        if all(":" in address for address in troubles):
            return f"give this host an IPv6 address and a route, or {name} an IPv4 address"
        return "give this host an address and a route that lead there (ip address, ip route)"
    server = "check that the server runs and that no firewall is in between"
    if list(troubles) == [name]:
        return server
    return f"{server}, and that the name leads to it (getent hosts {name}; /etc/hosts, DNS)"
