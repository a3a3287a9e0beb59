"""The receiving mail server itself: runs in the MX's namespace, keeps what it gets as files.

    python -m lab.mx_server FOLDER CERTIFICATE KEY

Reads FOLDER/rules.json at each command, so answers can be changed while it runs. Writes each
message as FOLDER/<number>.eml and then FOLDER/<number>.json, and FOLDER/ready when it listens.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import sys
import time
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

LARGEST = 200 * 1024 * 1024
_NAME = "mx.lab.test"


class Rules:
    """The rules as they are now, and how often each has been used."""

    def __init__(self, file: Path) -> None:
        """`file` need not exist."""
        self._file = file
        self._stamp: tuple[int, int] | None = None
        self._rules: list[dict[str, Any]] = []

    def answer(self, stage: str, sender: str, recipient: str) -> str | None:
        """The reply of the first rule that matches, or None."""
        self._reload()
        for rule in self._rules:
            if rule["stage"] != stage or rule["times"] == 0:
                continue
            if _matches(rule["sender"], sender) and _matches(rule["recipient"], recipient):
                if rule["times"] is not None:
                    rule["times"] -= 1
                return str(rule["reply"])
        return None

    def _reload(self) -> None:
        try:
            stat = self._file.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp != self._stamp:
                self._rules = json.loads(self._file.read_text())
                self._stamp = stamp
        except FileNotFoundError:
            self._rules, self._stamp = [], None


def _matches(pattern: str | None, text: str) -> bool:
    return pattern is None or re.search(pattern, text) is not None


class Keep:
    """What aiosmtpd asks at each stage of a conversation."""

    def __init__(self, folder: Path) -> None:
        """Messages and rules are in `folder`."""
        self._folder = folder
        self._rules = Rules(folder / "rules.json")
        self._count = 0

    async def handle_MAIL(  # noqa: N802 - the name is aiosmtpd's
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """MAIL FROM."""
        if reply := self._rules.answer("mail", address, ""):
            return reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Ok"

    async def handle_RCPT(  # noqa: N802 - the name is aiosmtpd's
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """RCPT TO."""
        if reply := self._rules.answer("rcpt", envelope.mail_from or "", address):
            return reply
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Ok"

    async def handle_DATA(  # noqa: N802 - the name is aiosmtpd's
        self, _server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """The end of the data: the message is kept, or refused for any recipient a rule names."""
        sender = envelope.mail_from or ""
        for recipient in envelope.rcpt_tos:
            if reply := self._rules.answer("data", sender, recipient):
                return reply
        self._count += 1
        name = f"{self._count:06d}"
        content = envelope.original_content or b""
        (self._folder / f"{name}.eml").write_bytes(content)
        facts = {
            "id": name,
            "sender": sender,
            "recipients": envelope.rcpt_tos,
            "time": time.time(),
            "peer": session.peer[0] if session.peer else "",
            "tls": session.ssl is not None,
            "helo": session.host_name or "",
        }
        draft = self._folder / f".{name}.json"
        draft.write_text(json.dumps(facts))
        draft.rename(self._folder / f"{name}.json")
        return f"250 2.0.0 Ok: queued as {name}"


async def serve(folder: Path, certificate: Path, key: Path) -> None:
    """Listen on port 25 of both families until the process is ended."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    keep = Keep(folder)

    def session() -> SMTP:
        return SMTP(
            keep,
            data_size_limit=LARGEST,
            hostname=_NAME,
            ident="ESMTP lab",
            tls_context=context,
            timeout=300,
        )

    await asyncio.get_running_loop().create_server(session, ["0.0.0.0", "::"], 25)
    (folder / "ready").write_text(str(os.getpid()))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(*(Path(word) for word in sys.argv[1:4])))
