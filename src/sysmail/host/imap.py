"""IMAP as a client (RFC 3501), as far as finding and removing messages of our own takes it.

By the standard library's imaplib, with reading replaced: there, a server that
trickles, never ends a line or announces a huge literal is read for ever.
"""

from __future__ import annotations

import contextlib
import imaplib
import re
import socket
import time
from collections.abc import Sequence
from typing import Any, Callable, Optional, TypeVar

from sysmail.errors import HostError
from sysmail.host.port import Located
from sysmail.host.smtp import connected
from sysmail.host.tls import encrypted

__all__ = ["ImapMailbox"]

T = TypeVar("T")

LONGEST = 1 << 16
"""Bytes of a line, and of a literal: nothing longer is asked for."""

MOST = 1 << 22
"""Bytes of a whole dialogue."""

MOST_FOUND = 100
RECEIVE_SECONDS = 10.0
"""For one piece; the deadline is for all of them."""

_LIST = re.compile(
    rb'\((?P<flags>[^)]*)\) (?:"(?:\\.|[^"\\])*"|NIL) (?P<name>"(?:\\.|[^"\\])*"|\S+)$'
)


class _TooSlowError(Exception):
    """The deadline is over."""


class _Client(imaplib.IMAP4):
    """imaplib on a connection that is there, with bounds on what is read."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._own = connection
        self._deadline = deadline
        self._buffer = b""
        self._got = 0
        super().__init__()

    def open(self, *_args: object, **_kwargs: object) -> None:
        """The connection is there already."""
        self.sock = self._own

    def shutdown(self) -> None:
        """Close it."""
        with contextlib.suppress(OSError):
            self._own.close()

    def send(self, data: Any) -> None:
        """Send, within the deadline."""
        self._set_timeout()
        self._own.sendall(data)

    def readline(self) -> bytes:
        """A line with its end."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > LONGEST:
                raise self.error("a line without end")
            self._fill()
        line, end, self._buffer = self._buffer.partition(b"\n")
        return line + end

    def read(self, size: int) -> bytes:
        """A literal."""
        if size > LONGEST:
            raise self.error("a literal of a size that was not asked for")
        while len(self._buffer) < size:
            self._fill()
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def _set_timeout(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise _TooSlowError
        self._own.settimeout(min(RECEIVE_SECONDS, left))

    def _fill(self) -> None:
        self._set_timeout()
        try:
            piece = self._own.recv(4096)
        except socket.timeout as error:  # a name of its own until Python 3.10
            raise _TooSlowError from error
        self._got += len(piece)
        if not piece:
            raise self.abort("it closed the connection")
        if self._got > MOST:
            raise self.error("more than was asked for")
        self._buffer += piece


class ImapMailbox:
    """The mailbox of a login; every failure is a HostError with a stable code.

    Over TLS from the start, verified for ``host``. After the constructor the
    login was taken. ``folders`` are INBOX and the one for junk, where there is one.
    """

    def __init__(
        self, host: str, port: int, user: str, password: str, ca_file: str, seconds: float
    ) -> None:
        self.peer = f"{host}:{port}"
        deadline = time.monotonic() + seconds
        plain = connected(host, port, "", min(RECEIVE_SECONDS, seconds))
        try:
            secure = encrypted(
                plain,
                self.peer,
                host,
                ca_file,
                self._lost,
                "IMAP over TLS from the start (port 993) is what is looked for there",
            )
        except BaseException:
            plain.close()
            raise
        self._client = self._told(lambda: _Client(secure, deadline))
        try:
            self._login(user, password)
            said = self._told(lambda: self._ok(self._client.capability()))
            self._uidplus = b"UIDPLUS" in b" ".join(said).upper().split()
            self.folders = ("INBOX", *self._told(self._junk))
        except BaseException:
            self._client.shutdown()
            raise
        self._known: dict[tuple[str, bytes], str] = {}

    def find(self, text: str, wanted: Sequence[str]) -> dict[str, Located]:
        """Where messages are, by Message-ID with brackets; ``text`` is part of each of these."""
        return self._told(lambda: self._find(text, wanted))

    def _find(self, text: str, wanted: Sequence[str]) -> dict[str, Located]:
        found: dict[str, Located] = {}
        for folder in self.folders:
            if not self._select(folder):
                continue
            said = self._ok(self._client.uid("SEARCH", "HEADER", "Message-ID", _quoted(text)))
            uids = [uid for uid in b" ".join(said).split() if uid.isdigit()]
            for uid in uids[:MOST_FOUND]:
                if (folder, uid) not in self._known:
                    self._known[folder, uid] = self._message_id(uid)
                name = self._known[folder, uid]
                if name in wanted:
                    found[name] = Located(folder, uid.decode())
        return found

    def _message_id(self, uid: bytes) -> str:
        """The Message-ID of a message; empty where it does not say it as it was asked."""
        field = "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])"
        typ, rows = self._client.uid("FETCH", uid.decode(), field)
        if typ != "OK":
            return ""
        for row, behind in zip(rows, [*rows[1:], b""]):
            if not isinstance(row, tuple):
                continue
            about = row[0] + (behind if isinstance(behind, bytes) else b"")
            if re.search(rb"\bUID " + uid + rb"\b", about) is None:
                continue
            _, _, value = row[1].partition(b":")
            return b" ".join(value.split()).decode("ascii", "replace")
        return ""

    def remove(self, located: Located) -> bool:
        """Remove one message, and no other; False where it could only be marked as deleted."""
        return self._told(lambda: self._remove(located))

    def _remove(self, located: Located) -> bool:
        if not self._select(located.folder):
            raise imaplib.IMAP4.error(f"the folder {located.folder} cannot be opened any more")
        self._ok(self._client.uid("STORE", located.uid, "+FLAGS.SILENT", "(\\Deleted)"))
        if self._uidplus:  # RFC 4315; a plain EXPUNGE would remove what others marked
            self._ok(self._client.uid("EXPUNGE", located.uid))
        return self._uidplus

    def close(self) -> None:
        """LOGOUT, as far as the server still listens, and close."""
        with contextlib.suppress(Exception):
            self._client.logout()
        self._client.shutdown()

    def _login(self, user: str, password: str) -> None:
        if self._client.state != "NONAUTH":
            return
        plain = f"\0{user}\0{password}".encode()
        try:
            if "AUTH=PLAIN" in self._client.capabilities:
                self._client.authenticate("PLAIN", lambda _said: plain)
            else:
                self._client.login(_quoted(user), password)
        except imaplib.IMAP4.abort as error:
            raise self._failed(error) from None
        except (imaplib.IMAP4.error, UnicodeError):
            # Not in its own words: these may repeat what was sent.
            raise HostError(
                "imap-login-refused",
                f"{self.peer} (IMAP) refused the login of {user}",
                "check that this login may read mail there: its SMTP login is another matter",
            ) from None
        except _TooSlowError:
            raise self._too_slow() from None
        except (OSError, ValueError) as error:
            raise self._failed(error) from None

    def _junk(self) -> list[str]:
        """The folder that is marked for junk (RFC 6154), or called so."""
        rows = self._ok(self._client.list())
        named: list[str] = []
        for row in rows:
            match = _LIST.match(row)
            if match is None:
                continue
            name = match["name"].decode("ascii", "replace")
            if name.startswith('"'):
                name = re.sub(r"\\(.)", r"\1", name[1:-1])
            if not name.isprintable() or not name.isascii() or name.upper() == "INBOX":
                continue
            if b"\\junk" in match["flags"].lower().split():
                return [name]
            if name.lower() in ("junk", "spam"):
                named.append(name)
        return named[:1]

    def _select(self, folder: str) -> bool:
        typ, _ = self._client.select(_quoted(folder))
        return bool(typ == "OK")

    def _ok(self, said: tuple[str, Sequence[Any]]) -> list[bytes]:
        typ, rows = said
        if typ != "OK":
            raise imaplib.IMAP4.error("it refused a command")
        return [row for row in rows if isinstance(row, bytes)]

    def _told(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except _TooSlowError:
            raise self._too_slow() from None
        except (imaplib.IMAP4.error, OSError, ValueError, LookupError, TypeError) as error:
            raise self._failed(error) from error

    def _too_slow(self) -> HostError:
        return HostError(
            "imap-too-slow",
            f"the IMAP dialogue with {self.peer} did not end in time",
            "look at the log of that server, and run it again",
        )

    def _failed(self, error: Exception) -> HostError:
        text = "".join(c if c.isprintable() else "?" for c in str(error))[:100]
        return HostError(
            "imap-failed",
            f"{self.peer} does not speak IMAP as expected: {text}",
            "look at the log of that server",
        )

    def _lost(self, error: Optional[OSError]) -> HostError:
        return self._failed(error or OSError("it closed the connection"))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
