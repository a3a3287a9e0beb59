"""A receiving SMTP server on loopback: where a try's own messages end.

It takes only messages whose envelope sender it is told to accept; to any
other it says 450, so that the client keeps the message.
"""

from __future__ import annotations

import contextlib
import re
import socketserver
import threading
import time
from typing import Callable, Optional

from sysmail.host.port import Caught

__all__ = ["SmtpCatcher"]


class _Handler(socketserver.StreamRequestHandler):
    timeout = 60

    def handle(self) -> None:
        # A client that leaves in the middle keeps its message: nothing to tell.
        with contextlib.suppress(OSError):
            self._dialogue(self.server.catcher)  # type: ignore[attr-defined]

    def _dialogue(self, catcher: SmtpCatcher) -> None:
        self._say("220 sysmail-try ESMTP")
        sender: Optional[str] = None
        recipients: list[str] = []
        while True:
            line = self.rfile.readline(4096).decode("utf-8", "replace").strip()
            verb = line.upper()
            if not line or verb == "QUIT":
                self._say("221 2.0.0 bye")
                return
            if verb.startswith("EHLO"):
                self._say("250-sysmail-try\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES")
            elif verb.startswith("MAIL FROM:"):
                known = catcher.accepts(_address(line))
                sender, recipients = (_address(line) if known else None), []
                self._say("250 2.1.0 ok" if known else "450 4.7.1 not a message of this try")
            elif verb.startswith("RCPT TO:") and sender is not None:
                recipients.append(_address(line))
                self._say("250 2.1.5 ok")
            elif verb == "DATA" and sender is not None and recipients:
                self._say("354 go on")
                data = self._message()
                if data is None:
                    return
                catcher.keep(Caught(sender, tuple(recipients), data, time.time()))
                sender = None
                self._say(f"250 2.0.0 caught as {catcher.count()}")
            elif verb.startswith(("HELO", "RSET", "NOOP")):
                self._say("250 2.0.0 ok")
            else:
                self._say("503 5.5.1 not now")

    def _say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")

    def _message(self) -> Optional[bytes]:
        """The message, or None when the client left before its end."""
        lines: list[bytes] = []
        while True:
            line = self.rfile.readline(1_000_000)
            if not line:
                return None
            if line in {b".\r\n", b".\n"}:
                return b"".join(lines)
            lines.append(line[1:] if line.startswith(b".") else line)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class SmtpCatcher:
    """Listens on an unused port of 127.0.0.1 until ``close``."""

    def __init__(self, accepts: Callable[[str], bool]) -> None:
        self.accepts = accepts
        self._caught: list[Caught] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.catcher = self  # type: ignore[attr-defined]
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def keep(self, message: Caught) -> None:
        """Called by a connection: a message arrived."""
        self._caught.append(message)

    def count(self) -> int:
        """How many messages arrived."""
        return len(self._caught)

    def messages(self) -> list[Caught]:
        """What arrived so far."""
        return list(self._caught)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def _address(line: str) -> str:
    match = re.search(r"<([^>]*)>", line)
    return match.group(1) if match else ""
