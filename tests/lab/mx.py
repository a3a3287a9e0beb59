"""The receiving side: somebody's MX, which keeps everything and answers what it is told to."""

from __future__ import annotations

import email
import email.policy
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Literal

from .arrivals import wait_for_messages
from .ca import Certificate
from .machine import LabError, end_process, wait_until
from .network import Node, inside


@dataclass(frozen=True)
class Rule:
    """An answer other than 250 to what matches.

    `sender` and `recipient` are regular expressions that are searched in the envelope address;
    None is any. At stage `mail` no recipient is known. `times` is how often, None for always.
    """

    reply: str
    sender: str | None = None
    recipient: str | None = None
    stage: Literal["mail", "rcpt", "data"] = "rcpt"
    times: int | None = None


@dataclass(frozen=True)
class Received:
    """One message as it arrived. `time` is in seconds since 1970, `peer` an address."""

    id: str
    sender: str
    recipients: list[str]
    data: bytes
    time: float
    peer: str
    tls: bool
    helo: str

    @property
    def message(self) -> EmailMessage:
        """The data, parsed."""
        parsed: EmailMessage = email.message_from_bytes(self.data, policy=email.policy.default)
        return parsed

    def __str__(self) -> str:
        """One line for the eyes."""
        subject = self.message["Subject"]
        return f"{self.id}: <{self.sender}> to {self.recipients}, subject {subject!r}"


class Mx:
    """The MX; `node` is its cable."""

    def __init__(self, node: Node, folder: Path, certificate: Certificate) -> None:
        """Nothing runs before start(). Messages are kept in `folder`."""
        self.node = node
        self.host = "mx.lab.test"
        self._folder = folder
        self._certificate = certificate
        self._process: subprocess.Popen[str] | None = None
        folder.mkdir(parents=True)

    @property
    def address(self) -> str:
        """Its IPv4 address."""
        return self.node.address

    def start(self) -> None:
        """Run the server and wait until it listens. Raises LabError with its words if not."""
        ready, errors = self._folder / "ready", self._folder / "errors"
        ready.unlink(missing_ok=True)
        certificate = self._certificate
        server: list[str | Path] = [sys.executable, "-m", "lab.mx_server", self._folder]
        argv: list[str | Path] = [*server, certificate.chain, certificate.key]
        with errors.open("w") as stream:
            process = subprocess.Popen(
                inside(self.node.netns, *argv),
                cwd=Path(__file__).parents[1],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                text=True,
                start_new_session=True,
            )
        self._process = process

        def listens() -> bool:
            if process.poll() is not None:
                raise LabError(f"the MX ended: {errors.read_text()}")
            return ready.exists()

        wait_until("the MX listens", listens)

    def stop(self) -> None:
        """End the server: connections are refused from then on, until start()."""
        if self._process is not None:
            end_process(self._process)
            self._process = None

    def behave(self, rules: Sequence[Rule]) -> None:
        """Answer by the first of these rules that matches, from now on; [] is 250 to all."""
        for rule in rules:
            for pattern in (rule.sender, rule.recipient):
                re.compile(pattern or "")
        draft = self._folder / ".rules.json"
        draft.write_text(json.dumps([asdict(rule) for rule in rules]))
        draft.rename(self._folder / "rules.json")

    def messages(self) -> list[Received]:
        """Everything that was accepted since the last clear(), oldest first."""
        return [
            Received(**json.loads(facts.read_text()), data=facts.with_suffix(".eml").read_bytes())
            for facts in sorted(self._folder.glob("[0-9]*.json"))
        ]

    def wait_for(
        self, predicate: Callable[[Received], bool], count: int = 1, timeout: float = 60
    ) -> list[Received]:
        """Wait until `count` messages match, and return all that do.

        Raises AssertionError that lists what did arrive after `timeout` seconds.
        """
        return wait_for_messages(self.messages, predicate, count, timeout)

    def clear(self) -> None:
        """Forget all messages."""
        for facts in self._folder.glob("[0-9]*.json"):
            facts.with_suffix(".eml").unlink()
            facts.unlink()
