"""What only the watch asks of the machine: its own command, a web server."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

__all__ = ["Watching"]


class Watching:
    """A part of ``machine.Machine``; ``command`` is what it was started by, where that is known."""

    def __init__(self, command: str = "") -> None:
        self._command = command

    def own_command(self) -> str:
        """The command that this very sysmail was started by."""
        name = self._command or sys.argv[0]
        return os.path.realpath(name) if os.path.basename(name).startswith("sysmail") else ""

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, ca_file: str, timeout: float
    ) -> None:
        """POST to a web server."""
        from sysmail.host import webhook

        webhook.post(url, body, headers, ca_file, timeout)
