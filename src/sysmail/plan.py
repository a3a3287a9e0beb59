"""From what a host should have and what it has: the steps, in a safe order. Pure.

The order keeps port 25 closed to the network at every moment: where
installing Postfix starts it, a loopback-only main.cf comes first; a service
is only started or told to read its files when all of them are written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional, Union

from sysmail.desired import Desired, ManagedFile
from sysmail.facts.model import Facts
from sysmail.host.port import FileState
from sysmail.postfix import skeleton
from sysmail.report import StepResult

__all__ = [
    "InstallPackages",
    "RecordPolicy",
    "RemoveFile",
    "Requeue",
    "Service",
    "Step",
    "WriteFile",
    "describe",
    "plan",
]

FileStates = Mapping[str, Optional[FileState]]


@dataclass(frozen=True)
class InstallPackages:
    """Install packages with the distribution's package manager."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class WriteFile:
    """Write a managed file; ``before`` is what is there now."""

    file: ManagedFile
    before: Optional[FileState] = field(default=None, repr=False)


@dataclass(frozen=True)
class RemoveFile:
    """Remove a file of sysmail's that this policy has no use for."""

    path: str
    secret: bool = False


@dataclass(frozen=True)
class Service:
    """``enable`` the Postfix service, or ``restart`` or ``reload`` it until it greets.

    ``listen``: the addresses where it must greet on port 25.
    """

    action: str
    listen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Requeue:
    """Give deferred mail to the new tables, so that it can leave the new way."""


@dataclass(frozen=True)
class RecordPolicy:
    """Remember the policy where nothing else on the host shows it."""


Step = Union[InstallPackages, WriteFile, RemoveFile, Service, Requeue, RecordPolicy]


def plan(
    desired: Desired, facts: Facts, files: FileStates, *, same_policy: bool = True
) -> list[Step]:
    """The steps that are missing, in order; empty when the host is as asked.

    ``same_policy``: the policy is the one that the last apply recorded.
    """
    fresh = facts.postfix is None
    steps = _installation(desired, facts, files)
    changes: list[Step] = [
        WriteFile(file, files.get(file.path))
        for file in desired.files
        if not _is_as_asked(file, files.get(file.path))
    ]
    changes += [RemoveFile(path) for path in desired.absent if files.get(path) is not None]
    steps += changes
    touched = any(_is_postfix(step) for step in changes)
    steps += _service(desired, facts, changes if touched else [])
    if touched and not fresh:
        steps.append(Requeue())
    if not same_policy and not steps:
        steps.append(RecordPolicy())
    return steps


def _installation(desired: Desired, facts: Facts, files: FileStates) -> list[Step]:
    missing = tuple(name for name in desired.packages if name not in facts.packages)
    if not missing:
        return []
    steps: list[Step] = []
    first = skeleton()
    starts = facts.distro is not None and facts.distro.starts_on_install
    if facts.postfix is None and starts and not _is_as_asked(first, files.get(first.path)):
        steps.append(WriteFile(first, files.get(first.path)))
    return [*steps, InstallPackages(missing)]


def _service(desired: Desired, facts: Facts, changes: list[Step]) -> list[Step]:
    steps: list[Step] = []
    if facts.systemd and not facts.service.enabled:
        steps.append(Service("enable"))
    if facts.postfix is None or not facts.master_running or _listens_elsewhere(desired, facts):
        steps.append(Service("restart", desired.listen))
    elif changes:
        action = "restart" if _needs_restart(changes) else "reload"
        steps.append(Service(action, desired.listen))
    return steps


def _is_as_asked(file: ManagedFile, state: Optional[FileState]) -> bool:
    return (
        state is not None
        and state.kind == "file"
        and state.data == file.data
        and (state.mode, state.uid, state.gid) == (file.mode, file.uid, file.gid)
    )


def _is_postfix(step: Step) -> bool:
    path = step.file.path if isinstance(step, WriteFile) else getattr(step, "path", "")
    return path.startswith("/etc/postfix/")


def _listens_elsewhere(desired: Desired, facts: Facts) -> bool:
    actual = {listener.address for listener in facts.listeners_on(25)}
    return actual != set(desired.listen)


def _needs_restart(changes: list[Step]) -> bool:
    """postconf(5): a change of inet_interfaces or inet_protocols needs stop and start."""
    for step in changes:
        if isinstance(step, WriteFile) and step.file.path == "/etc/postfix/main.cf":
            before = step.before.data if step.before is not None else b""
            return _interfaces(before) != _interfaces(step.file.data)
    return False


def _interfaces(main_cf: bytes) -> list[bytes]:
    wanted = (b"inet_interfaces", b"inet_protocols")
    return [line.strip() for line in main_cf.splitlines() if line.strip().startswith(wanted)]


_SERVICE_SUMMARY = {
    "enable": "start Postfix at boot",
    "restart": "start Postfix with this configuration",
    "reload": "let Postfix read this configuration",
}


def describe(step: Step) -> StepResult:
    """A step as part of a report, with a diff that never shows a secret."""
    if isinstance(step, InstallPackages):
        return StepResult("packages", "install " + ", ".join(step.names))
    if isinstance(step, WriteFile):
        verb = "write" if step.before is None else "change"
        return StepResult(f"file {step.file.path}", f"{verb} {step.file.path}", diff=_diff(step))
    if isinstance(step, RemoveFile):
        return StepResult(f"file {step.path}", f"remove {step.path}")
    if isinstance(step, Service):
        return StepResult(f"service {step.action}", _SERVICE_SUMMARY[step.action])
    if isinstance(step, Requeue):
        return StepResult("queue requeue", "let waiting mail try the new way")
    return StepResult("policy", "record the policy that is in force")


def _discreet(text: str) -> list[str]:
    """The lines of somebody's own file, without a password that stands in one of them."""
    return [
        re.sub(r"((?:static|inline):).*", r"\1 (not shown)", line)
        if "password" in line.lower()
        else line
        for line in text.splitlines()
    ]


def _diff(step: WriteFile) -> str:
    file, before = step.file, step.before
    if file.secret:
        return "(secret, not shown)\n"
    old = _discreet(before.data.decode("utf-8", "replace")) if before is not None else []
    new = file.data.decode("utf-8", "replace").splitlines()
    import difflib  # only where something changes

    lines = list(difflib.unified_diff(old, new, file.path, file.path, lineterm="", n=2))
    if not lines and before is not None:
        lines = [
            (
                f"mode {before.mode:04o} owner {before.uid}:{before.gid}"
                f" -> mode {file.mode:04o} owner {file.uid}:{file.gid}"
            )
        ]
    return "".join(line + "\n" for line in lines)
