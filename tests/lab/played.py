"""What came of a playbook, as data: see ansible_results/results.py, which writes it down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_RESULT = ("host", "task", "action", "changed", "ignored", "result")
_ON_HOST = ("kind", "host", "task", "name", "reached")


@dataclass(frozen=True)
class TaskResult:
    """One task on one host. `kind` is ok, failed, unreachable or skipped.

    `action` is the full name of the action or module; `ignored` is a failure that the play passes
    over; `result` is what `register` would give.
    """

    host: str
    task: str
    action: str
    kind: str
    changed: bool
    ignored: bool
    result: Mapping[str, Any]


@dataclass(frozen=True)
class OnHost:
    """Something a host was made to do. `kind` is module, command or file, `name` which.

    A command is whatever ssh was asked to run, those that carry a module or make a folder for it
    included. `host` is "" for the controller itself. Without `reached` the connection failed.
    """

    kind: str
    host: str
    task: str
    name: str
    reached: bool


@dataclass(frozen=True)
class Played:
    """A run of ansible-playbook that ended. `stats` are the counts of its recap."""

    status: int
    out: str
    err: str
    results: tuple[TaskResult, ...]
    on_hosts: tuple[OnHost, ...]
    stats: Mapping[str, Mapping[str, int]]

    def of(self, host: str, task: str | None = None) -> list[TaskResult]:
        """The results of a host in their order, all or those of the tasks with that name."""
        return [r for r in self.results if r.host == host and task in (None, r.task)]

    def modules(self, host: str) -> list[str]:
        """The modules that were executed on a host, in their order, each as often as it was."""
        return self._did("module", host)

    def commands(self, host: str) -> list[str]:
        """What ssh ran on a host: each is a round trip at least."""
        return self._did("command", host)

    def files(self, host: str) -> list[str]:
        """The files that were copied to a host, by their names there."""
        return self._did("file", host)

    def unreachable(self) -> list[str]:
        """The hosts that could not be reached."""
        return sorted({result.host for result in self.results if result.kind == "unreachable"})

    def failed(self) -> dict[str, str]:
        """The hosts with a failure that nothing passed over -> the message of the last one."""
        return {
            r.host: str(r.result.get("msg", r.result))
            for r in self.results
            if r.kind == "failed" and not r.ignored
        }

    def changed(self) -> list[str]:
        """The hosts on which something was changed, or with --check would be."""
        return sorted({result.host for result in self.results if result.changed})

    def _did(self, kind: str, host: str) -> list[str]:
        return [
            done.name
            for done in self.on_hosts
            if (done.kind, done.host, done.reached) == (kind, host, True)
        ]


def read(file: Path, status: int, out: str, err: str) -> Played:
    """Read the lines that the plugin wrote; a run that ended before its first task has none."""
    text = file.read_text() if file.exists() else ""
    lines: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    results: list[TaskResult] = []
    on_hosts: list[OnHost] = []
    stats: dict[str, Mapping[str, int]] = {}
    for line in lines:
        kind = line["kind"]
        if kind == "result":
            facts = {name: line[name] for name in _RESULT}
            results.append(TaskResult(kind=line["outcome"], **facts))
        elif kind == "stats":
            stats[line["host"]] = line["counts"]
        else:
            on_hosts.append(OnHost(**{name: line[name] for name in _ON_HOST}))
    return Played(status, out, err, tuple(results), tuple(on_hosts), stats)
