"""From what a host should have and what it has: the steps, in a safe order. Pure.

The order keeps port 25 closed to the network at every moment: where
installing Postfix starts it, a loopback-only main.cf comes first; a service
is only started or told to read its files when all of them are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Optional, Union

from sysmail.desired import Desired, ManagedFile
from sysmail.facts.model import Facts
from sysmail.host.port import FileState
from sysmail.msmtp import PASSWORD
from sysmail.msmtpd import UNIT_FILE
from sysmail.postfix import skeleton
from sysmail.watch.units import PATHS as WATCH_UNITS

__all__ = [
    "DownloadPackages",
    "InstallPackages",
    "RecordPolicy",
    "RemoveFile",
    "Requeue",
    "Retire",
    "Service",
    "Step",
    "Submission",
    "Timer",
    "WriteFile",
    "drain",
    "plan",
]

FileStates = Mapping[str, Optional[FileState]]


@dataclass(frozen=True)
class InstallPackages:
    """Install packages with the distribution's package manager; ``replaced`` ones go."""

    names: tuple[str, ...]
    replaced: tuple[str, ...] = ()


@dataclass(frozen=True)
class DownloadPackages:
    """Download packages, and those that they replace for the way back; nothing is installed."""

    names: tuple[str, ...]
    replaced: tuple[str, ...]


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
class Submission:
    """``start`` sysmail's msmtpd on these loopback addresses, also at boot, or ``stop`` it."""

    action: str
    listen: tuple[str, ...]
    port: int = 25


@dataclass(frozen=True)
class Timer:
    """``start`` the timer of the watch, also at boot, or ``stop`` it."""

    action: str


@dataclass(frozen=True)
class Retire:
    """Let the queue leave, then stop Postfix and keep it from starting at boot."""

    waiting: int


@dataclass(frozen=True)
class Requeue:
    """Give deferred mail to the new tables, so that it can leave the new way."""


@dataclass(frozen=True)
class RecordPolicy:
    """Remember the policy where nothing else on the host shows it."""


Step = Union[
    DownloadPackages,
    InstallPackages,
    WriteFile,
    RemoveFile,
    Service,
    Submission,
    Timer,
    Retire,
    Requeue,
    RecordPolicy,
]


def plan(
    desired: Desired, facts: Facts, files: FileStates, *, same_policy: bool = True
) -> list[Step]:
    """The steps that are missing, in order; empty when the host is as asked.

    ``same_policy``: the policy is the one that the last apply recorded. For
    the route mailu the queue has to leave first: see ``drain``.
    """
    changes: list[Step] = [
        WriteFile(file, files.get(file.path))
        for file in desired.files
        if not _is_as_asked(file, files.get(file.path))
    ]
    changes += [RemoveFile(path) for path in desired.absent if files.get(path) is not None]
    watch = [step for step in changes if _path(step) in WATCH_UNITS]
    changes = [step for step in changes if step not in watch]
    if desired.relay:
        steps = _relay(desired, facts, files, changes)
    else:
        steps = [
            *_installation(desired, facts, files),
            *changes,
            *_submission(desired, facts, changes),
        ]
    steps += _watch(desired, facts, watch)
    if not same_policy and not steps:
        steps.append(RecordPolicy())
    return steps


def _watch(desired: Desired, facts: Facts, changes: list[Step]) -> list[Step]:
    """The units of the watch and its timer, last: it is not to look at what is half done."""
    runs = facts.watch.active or facts.watch.enabled
    if not desired.watch:
        return [*([Timer("stop")] if runs else []), *changes]
    up = facts.watch.active and facts.watch.enabled
    return [*changes, *([Timer("start")] if changes or not up else [])]


def drain(relay: Desired, facts: Facts, files: FileStates, waiting: int) -> list[Step]:
    """What comes before a Postfix with mail goes: its queue leaves by the relay's ``files``."""
    steps = plan(replace(relay, watch=False), facts, files)
    return [
        *(s for s in steps if _path(s) not in WATCH_UNITS and s != Timer("stop")),
        Retire(waiting),
    ]


def _relay(desired: Desired, facts: Facts, files: FileStates, changes: list[Step]) -> list[Step]:
    fresh = facts.postfix is None
    steps: list[Step] = []
    ours = tuple(address for address, unit in facts.msmtpd.items() if unit.active or unit.enabled)
    installation = _installation(desired, facts, files)
    if ours:
        first = 1 if installation and isinstance(installation[0], DownloadPackages) else 0
        installation.insert(first, Submission("stop", ours))
    steps += installation
    touched = any(_is_postfix(step) for step in changes)
    steps += changes
    steps += _service(desired, facts, changes if touched else [])
    if touched and not fresh:
        steps.append(Requeue())
    return steps


def _installation(desired: Desired, facts: Facts, files: FileStates) -> list[Step]:
    missing = tuple(name for name in desired.packages if name not in facts.packages)
    replaced = tuple(name for name in desired.replaced if name in facts.packages)
    if not missing and not replaced:
        return []
    steps: list[Step] = []
    first = skeleton()
    starts = desired.relay and facts.distro is not None and facts.distro.starts_on_install
    if facts.postfix is None and starts and not _is_as_asked(first, files.get(first.path)):
        steps.append(WriteFile(first, files.get(first.path)))
    names = missing or desired.packages
    if replaced:
        # First, so that no time is lost between the one and the other, nor the way back.
        steps = [DownloadPackages(names, replaced), *steps]
    return [*steps, InstallPackages(names, replaced)]


def _submission(desired: Desired, facts: Facts, changes: list[Step]) -> list[Step]:
    """Start msmtpd where it does not run, or where what it reads at its start has changed."""
    steps: list[Step] = []
    gone = tuple(
        address
        for address, unit in facts.msmtpd.items()
        if address not in desired.listen and (unit.active or unit.enabled)
    )
    if gone:
        steps.append(Submission("stop", gone))
    units = [facts.msmtpd.get(address) for address in desired.listen]
    up = all(unit is not None and unit.active and unit.enabled for unit in units)
    at_start = (UNIT_FILE, PASSWORD)
    if not up or any(_path(step) in at_start for step in changes):
        steps.append(Submission("start", desired.listen, desired.port))
    return steps


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


def _path(step: Step) -> str:
    return step.file.path if isinstance(step, WriteFile) else str(getattr(step, "path", ""))


def _is_postfix(step: Step) -> bool:
    return _path(step).startswith(("/etc/postfix/", "/etc/systemd/system/postfix"))


def _listens_elsewhere(desired: Desired, facts: Facts) -> bool:
    actual = {listener.address for listener in facts.listeners_on(25)}
    return actual != set(desired.listen)


def _needs_restart(changes: list[Step]) -> bool:
    """postconf(5): a change of inet_interfaces or inet_protocols needs stop and start.

    So does a unit: systemd looks for the main process when it starts it.
    """
    for step in changes:
        if _path(step).startswith("/etc/systemd/"):
            return True
        if isinstance(step, WriteFile) and step.file.path == "/etc/postfix/main.cf":
            before = step.before.data if step.before is not None else b""
            return _interfaces(before) != _interfaces(step.file.data)
    return False


def _interfaces(main_cf: bytes) -> list[bytes]:
    wanted = (b"inet_interfaces", b"inet_protocols")
    return [line.strip() for line in main_cf.splitlines() if line.strip().startswith(wanted)]
