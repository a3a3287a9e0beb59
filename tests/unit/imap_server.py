"""A small IMAP server on loopback for tests: a login, folders, and ways to misbehave."""

from __future__ import annotations

import base64
import re
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any

USER, PASSWORD = "no-reply@example.org", 'correct "horse" \\ battery'


@dataclass
class Message:
    """One message, as its header, and what was done to it."""

    uid: int
    header: str
    deleted: bool = False


@dataclass
class Server:
    """What it has and how it answers. ``odd`` replaces the answer to a command, by its name."""

    folders: dict[str, list[Message]] = field(default_factory=lambda: {"INBOX": []})
    flags: dict[str, str] = field(default_factory=dict)
    capabilities: str = "IMAP4rev1 AUTH=PLAIN UIDPLUS"
    greeting: bytes = b"* OK ready\r\n"
    odd: dict[str, bytes] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def handler(self, context: ssl.SSLContext) -> Any:
        """For ``listening``: every connection is a dialogue."""

        def handle(connection: socket.socket) -> None:
            with context.wrap_socket(connection, server_side=True) as secure:
                _Dialogue(self, secure).run()

        return handle


class _Dialogue:
    def __init__(self, server: Server, connection: ssl.SSLSocket) -> None:
        self._server = server
        self._stream = connection.makefile("rwb")
        self._folder = ""

    def run(self) -> None:
        self._send(self._server.greeting)
        for raw in self._stream:
            tag, _, line = raw.decode().strip().partition(" ")
            self._server.said.append(line)
            name = " ".join(line.upper().split()[: 2 if line.upper().startswith("UID") else 1])
            odd = self._server.odd.get(name)
            if odd is not None:
                self._send(odd.replace(b"TAG", tag.encode()))
                continue
            answer = getattr(self, "_" + name.lower().replace(" ", "_"))(line)
            self._send(f"{answer}{tag} OK done\r\n".encode() if answer is not None else
                       f"{tag} NO sorry\r\n".encode())  # fmt: skip
            if name == "LOGOUT":
                return

    def _send(self, data: bytes) -> None:
        self._stream.write(data)
        self._stream.flush()

    def _capability(self, _line: str) -> str:
        return f"* CAPABILITY {self._server.capabilities}\r\n"

    def _authenticate(self, _line: str) -> str | None:
        self._send(b"+ \r\n")
        said = base64.b64decode(self._stream.readline().strip()).decode()
        return "" if said == f"\0{USER}\0{PASSWORD}" else None

    def _login(self, line: str) -> str | None:
        words = [re.sub(r"\\(.)", r"\1", w) for w in re.findall(r'"((?:\\.|[^"\\])*)"', line)]
        return "" if words == [USER, PASSWORD] else None

    def _list(self, _line: str) -> str:
        return "".join(
            f'* LIST ({self._server.flags.get(name, "")}) "/" "{name}"\r\n'
            for name in self._server.folders
        )

    def _select(self, line: str) -> str | None:
        self._folder = line.split('"')[1]
        if self._folder not in self._server.folders:
            return None
        return f"* {len(self._here())} EXISTS\r\n"

    def _here(self) -> list[Message]:
        return self._server.folders[self._folder]

    def _uid_search(self, line: str) -> str:
        text = line.split('"')[1]
        found = [str(m.uid) for m in self._here() if text in m.header]
        return f"* SEARCH {' '.join(found)}\r\n"

    def _uid_fetch(self, line: str) -> str:
        message = next(m for m in self._here() if m.uid == int(line.split()[2]))
        text = f"Message-ID:{message.header}\r\n\r\n"
        field_ = "BODY[HEADER.FIELDS (MESSAGE-ID)]"
        return f"* 1 FETCH (UID {message.uid} {field_} {{{len(text)}}}\r\n{text})\r\n"

    def _uid_store(self, line: str) -> str:
        next(m for m in self._here() if m.uid == int(line.split()[2])).deleted = True
        return ""

    def _uid_expunge(self, line: str) -> str:
        uid = int(line.split()[2])
        self._server.folders[self._folder] = [
            m for m in self._here() if not (m.deleted and m.uid == uid)
        ]
        return ""

    def _logout(self, _line: str) -> str:
        return "* BYE\r\n"
