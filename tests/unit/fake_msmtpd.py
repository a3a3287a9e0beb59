"""sysmail's msmtpd on the fake Debian: its units as systemd has them, and its answers over SMTP.

systemd reads a unit file when it first needs it and again at ``daemon-reload``, not when it
changes; a daemon that cannot have its port, its program or its credential is started again and
again, and `systemctl restart` reports success all the same (Type=simple).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Optional, Protocol

from sysmail.host.port import FileState, SmtpReply
from sysmail.msmtp import PASSWORD
from sysmail.msmtpd import LOOPBACK, UNIT_FILE, unit_name

__all__ = ["Handed", "Host", "MsmtpdSession", "Units"]

PIDS = {"127.0.0.1": 801, "::1": 802}
INODES = {"127.0.0.1": 9101, "::1": 9102}
Handed = tuple[str, tuple[str, ...]]


class Host(Protocol):
    """What the units need of their host."""

    entries: dict[str, FileState]
    sockets: dict[int, set[int]]

    def text(self, path: str) -> str:
        """The content of a file."""

    def is_taken(self, address: str, port: int) -> bool:
        """Whether another program listens there."""


class Units:
    """The instances of sysmail-msmtpd@.service, by loopback address."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.loaded: Optional[str] = None
        self.enabled: set[str] = set()
        self.wanted: set[str] = set()
        self.running: dict[str, dict[str, Any]] = {}

    def copy_of(self, other: Units) -> None:
        """Be in the same state as those of another host."""
        self.loaded, self.enabled, self.wanted = other.loaded, {*other.enabled}, {*other.wanted}
        self.running = {address: dict(what) for address, what in other.running.items()}

    def world(self) -> dict[str, Any]:
        """What a rollback has to put back: what runs, with what it has read, and what will."""
        return {
            "loaded": self.loaded if self.running or self.enabled else None,
            "enabled": sorted(self.enabled),
            "wanted": sorted(self.wanted),
            "running": {address: dict(what) for address, what in self.running.items()},
        }

    def reload(self) -> None:
        """``systemctl daemon-reload``."""
        self.loaded = self._host.text(UNIT_FILE) or None

    def act(self, verb: str, names: Iterable[str]) -> Optional[str]:
        """What systemctl(1) does with these units; why it fails, None where it does not."""
        addresses = [address for address in LOOPBACK if unit_name(address) in names]
        if addresses and self.loaded is None:
            self.reload()
        if addresses and self.loaded is None and verb != "reset-failed":
            return f"Failed to {verb} unit: Unit file {unit_name(addresses[0])} does not exist."
        for address in addresses:
            if verb == "enable":
                self.enabled.add(address)
            elif verb == "disable":
                self.enabled.discard(address)
            elif verb in ("start", "restart", "stop"):
                self._stop(address)
                if verb != "stop":
                    self._start(address)
        return None

    def stop_all(self) -> None:
        """The processes are gone, as with a power cut or their program's package."""
        for address in LOOPBACK:
            self._stop(address)

    def show(self, name: str) -> Optional[str]:
        """A block of ``systemctl show``; None for a unit that is not of these."""
        for address in LOOPBACK:
            if unit_name(address) == name:
                there = self.loaded is not None or UNIT_FILE in self._host.entries
                up = address in self.running
                active = "active" if up else "activating" if address in self.wanted else "inactive"
                enabled = "enabled" if address in self.enabled else "disabled"
                return (
                    f"Type=simple\nMainPID={PIDS[address] if up else 0}\nId={name}\n"
                    f"LoadState={'loaded' if there else 'not-found'}\nActiveState={active}\n"
                    f"UnitFileState={enabled if there else ''}\n"
                )
        return None

    def port(self, address: str) -> int:
        """The port that an instance listens on, 0 for none."""
        return int(self.running.get(address, {}).get("port", 0))

    def _stop(self, address: str) -> None:
        self.wanted.discard(address)
        self.running.pop(address, None)
        self._host.sockets.pop(PIDS[address], None)

    def _start(self, address: str) -> None:
        unit = self.loaded or ""
        self.wanted.add(address)
        found = re.search(r"^ExecStart=(\S+) .*--port=([0-9]+)", unit, re.MULTILINE)
        secret = "LoadCredential=" in unit
        if found is None or found.group(1) not in self._host.entries:
            return
        if secret and PASSWORD not in self._host.entries:
            return
        if self._host.is_taken(address, int(found.group(2))):
            return
        password = self._host.text(PASSWORD) if secret else ""
        self.running[address] = {"port": int(found.group(2)), "password": password}
        self._host.sockets[PIDS[address]] = {INODES[address]}


class MsmtpdSession:
    """A running msmtpd over SMTP: it takes every sender and every recipient."""

    def __init__(self, handed: list[Handed], peer: str) -> None:
        self.peer, self.tls = peer, ""
        self.greeting = SmtpReply(220, "localhost ESMTP msmtpd")
        self._handed = handed
        self._sender = ""
        self._recipients: list[str] = []

    def command(self, line: str) -> SmtpReply:
        """The reply to one command."""
        if line.startswith("MAIL FROM:"):
            self._sender = line[len("MAIL FROM:<") : -1]
        elif line.startswith("RCPT TO:"):
            self._recipients.append(line[len("RCPT TO:<") : -1])
        return SmtpReply(250, "Ok")

    def data(self, message: bytes) -> SmtpReply:
        """Hand a message on."""
        assert message
        self._handed.append((self._sender, tuple(self._recipients)))
        return SmtpReply(250, "Ok, mail was piped")

    def close(self) -> None:
        """Nothing to do."""
        self._recipients.clear()
