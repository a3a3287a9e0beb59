"""What the checks look at, each thing looked at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Optional

from sysmail import maillog, queue
from sysmail.commands.memory import load
from sysmail.commands.situation import Situation
from sysmail.errors import HostError
from sysmail.facts.model import Listener
from sysmail.host.port import Reader
from sysmail.report import FAIL

__all__ = ["APPLY", "Fault", "Proof"]

APPLY = "run `sysmail apply`"
"""The remedy when the host is not as the policy asks."""


_WITHOUT_APPLY = 5 * 86400.0
_SLACK = 300.0
"""Seconds: a line may be late in the log."""

_QUIET = 3600.0
"""Seconds: smtpd(8) logs each dialogue of a proof, and the watch has one every five minutes."""


@dataclass(frozen=True)
class Fault:
    """Something that breaks the promise ``check``; ``code`` is a stable word for it."""

    check: str
    code: str
    evidence: str
    remedy: str
    status: str = FAIL


class Proof:
    """A live host under proof. ``next_hop_trouble``: what talking to the next hop ran into.

    ``asked``: it was talked to at all.
    """

    def __init__(
        self,
        reader: Reader,
        situation: Situation,
        next_hop_trouble: Optional[HostError],
        *,
        asked: bool = True,
    ) -> None:
        self.reader = reader
        self.situation = situation
        self.next_hop_trouble = next_hop_trouble
        self.asked = asked

    def parameter(self, name: str) -> str:
        """An effective parameter of Postfix, one space between words; empty without Postfix."""
        postfix = self.situation.facts.postfix
        return "" if postfix is None else " ".join(postfix[name].split())

    @property
    def again(self) -> str:
        """The remedy for lost files of Postfix's package.

        Debian's leaves main.cf alone where DEBIAN_FRONTEND is noninteractive; where it asks, and
        gets its default as an answer, it sets inet_interfaces to all (both measured).
        """
        distro = self.situation.facts.distro
        package = distro.postfix[0] if distro is not None else "postfix"
        return (
            f"install the package {package} again, unattended, and at once {APPLY}: a package "
            "that asks how to set up Postfix may let it listen on every address"
        )

    @cached_property
    def waiting(self) -> Optional[list[queue.Message]]:
        """The queue; None when it cannot be listed."""
        return queue.waiting(self.reader)

    @cached_property
    def lost(self) -> Optional[list[str]]:
        """The lines of the log about notices that were lost; None when no log can be read.

        Since the last that a person knows of. A log is rotated away, and reading all of it would
        take longer each day: what the watch has seen in it, it remembers.
        """
        now, in_force = self.reader.now(), self.situation.in_force
        since = in_force.losses_since if in_force is not None else now - _WITHOUT_APPLY
        if since > now:
            since = 0.0  # the clock was set back: what is known to a person is not known any more
        memory = load(self.reader)
        seen = [memory.lost] if memory.lost and memory.lost_at >= since else []
        searched = memory.looked - _SLACK if memory.looked <= now else 0.0
        facts, log_file = self.situation.facts, self.parameter("maillog_file")
        found = maillog.losses(self.reader, facts, log_file, max(since, searched))
        if found is None:
            return None
        return [*(line for line in seen if line not in found), *found]

    @cached_property
    def silent(self) -> bool:
        """Whether Postfix runs, and nothing of what it said since it started is in the log.

        master(8) logs that it starts just after it has written its PID file, and smtpd(8) each
        dialogue of this proof: an hour without a line is no rotation.
        """
        facts = self.situation.facts
        if not facts.master_running:
            return False
        directory = self.parameter("queue_directory")
        state = self.reader.state(f"{directory}/pid/master.pid", content=False)
        start = state.mtime if state is not None else 0.0
        return maillog.is_silent(self.reader, facts, self.parameter("maillog_file"), start, _QUIET)

    def queue_summary(self) -> Optional[dict[str, Optional[float]]]:
        """How many wait and when the oldest came, for a report; None where nothing is known."""
        if self.waiting is None:
            return None
        oldest = min((message.arrived for message in self.waiting), default=None)
        return {"count": len(self.waiting), "oldest": oldest}

    @cached_property
    def master_sockets(self) -> set[int]:
        """The sockets that Postfix's master has open."""
        directory = self.parameter("queue_directory")
        raw = self.reader.read(f"{directory}/pid/master.pid") if directory else None
        pid = (raw or b"").decode("ascii", "replace").strip()
        return self.reader.socket_inodes(int(pid)) if pid.isdigit() else set()

    @property
    def relay(self) -> bool:
        """Whether Postfix takes this host's mail; on the route mailu msmtpd does."""
        return self.situation.desired.relay

    def changed(self, *beginnings: str) -> str:
        """The first managed file under one of the paths that is not as the policy asks."""
        for file in self.situation.desired.files:
            if file.path.startswith(beginnings):
                state = self.situation.files.get(file.path)
                if state is None or state.data != file.data:
                    return file.path
        return ""

    @cached_property
    def msmtpd_sockets(self) -> set[int]:
        """The sockets that sysmail's msmtpd has open."""
        units = self.situation.facts.msmtpd.values()
        found = [self.reader.socket_inodes(unit.pid) for unit in units if unit.active and unit.pid]
        return set().union(*found, set())

    def postfix_listeners(self) -> list[Listener]:
        """What Postfix listens on, all ports."""
        return [
            found for found in self.situation.facts.listeners if found.inode in self.master_sockets
        ]
