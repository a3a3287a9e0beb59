"""The view of a stranger on the same network: can anybody connect to this host's ports?"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .machine import LabError, end_process
from .network import Node, inside


@dataclass(frozen=True)
class Tally:
    """What came of knocking at one address and port; `first` success in seconds since 1970."""

    address: str
    port: int
    attempts: int
    successes: int
    refusals: int
    first: float | None


@dataclass(frozen=True)
class Knocks:
    """All tallies of one knocker."""

    tallies: tuple[Tally, ...]

    @property
    def attempts(self) -> int:
        """At all addresses together."""
        return sum(tally.attempts for tally in self.tallies)

    @property
    def successes(self) -> int:
        """At all addresses together."""
        return sum(tally.successes for tally in self.tallies)

    def __str__(self) -> str:
        """One line for each address."""
        return "\n".join(
            f"{t.address} port {t.port}: {t.successes} of {t.attempts}" for t in self.tallies
        )


class Knocker:
    """Knocks from a node of its own, about every 5 ms at each address, from start() to stop()."""

    def __init__(self, node: Node, target: Node, ports: Iterable[int]) -> None:
        """`target` is the node that is knocked at, by all the addresses it has."""
        self.node = node
        addresses = [target.address]
        if target.address6:
            addresses += [target.address6, f"{target.link_local}%eth0"]
        self._targets = [(address, port) for port in ports for address in addresses]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Begin; attempts are being made when this returns."""
        if self._process is not None:
            raise LabError("this knocker has been started already")
        self._process = subprocess.Popen(
            inside(
                self.node.netns,
                *(sys.executable, "-m", "lab.knock_client", json.dumps(self._targets)),
            ),
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            end_process(self._process)
            raise LabError("the knocker did not start")

    def stop(self) -> Knocks:
        """End, and tell what came of it. Raises LabError if the knocker had broken down."""
        process, self._process = self._process, None
        if process is None:
            raise LabError("this knocker is not running")
        try:
            said, complained = process.communicate("", timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            said, complained = process.communicate()
        if process.returncode != 0:
            raise LabError(f"the knocker failed: {complained}")
        counts = json.loads(said)
        pairs = zip(self._targets, counts, strict=True)
        return Knocks(tuple(Tally(*target, *count) for target, count in pairs))

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, *problem: object) -> None:
        """End, if stop() has not been called inside."""
        if self._process is not None:
            self.stop()
