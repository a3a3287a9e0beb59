"""Looks for what would keep a change from being made, before anything is touched.

A read-only file system, an immutable file, a full disk, a masked unit, a package
manager that somebody else runs, or that fails for a package of theirs, are found in
milliseconds. Found in the middle of a transaction they have to be undone, which the
same fault may hinder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sysmail.apply import packages
from sysmail.apply.checkpoint import HOME, Checkpoint, Store
from sysmail.apply.restartable import NEEDED, NEEDED_FILES, places
from sysmail.distro import Distro
from sysmail.errors import RefusedError
from sysmail.facts.collect import collect_units
from sysmail.facts.model import Facts
from sysmail.host.port import Reader, Room, Writer
from sysmail.plan import DownloadPackages, InstallPackages, RemoveFile, Service, Step, WriteFile

__all__ = ["check_steps", "check_way_back", "wait_for_packages"]

BLOCK = 4096
JOURNAL = 256 * 1024
PACKAGES = 16 * 1024 * 1024
"""For what a relay's packages take on a file system, once however many steps and paths need it."""

SCRATCH = "/run/sysmail/scratch"
LOCK_SECONDS = 20.0
PAUSE = 0.2


@dataclass(frozen=True)
class _Change:
    """A path that will be written or removed, with the bytes that takes meanwhile.

    ``packages``: by the package manager. ``files``: the inodes that takes.
    """

    path: str
    size: int = BLOCK
    packages: bool = False
    files: int = 2


_OF_PACKAGES = [_Change(path, PACKAGES, packages=True) for path in ("/usr", "/var")]


def check_steps(writer: Writer, facts: Facts, steps: Sequence[Step]) -> None:
    """RefusedError with the path and the reason when a step cannot be done. Nothing is changed."""
    if any(isinstance(step, (DownloadPackages, InstallPackages)) for step in steps):
        _refuse_half_installed(writer, facts)
    if any(isinstance(step, Service) for step in steps):
        _refuse_masked(writer, facts)
    changes = [_Change(HOME, JOURNAL)]
    for step in steps:
        if isinstance(step, WriteFile):
            changes.append(_Change(step.file.path, _blocks(len(step.file.data))))
            former = step.before.size if step.before is not None else 0
            changes.append(_Change(HOME, _blocks(former)))
        elif isinstance(step, RemoveFile):
            changes.append(_Change(step.path))
        elif isinstance(step, (DownloadPackages, InstallPackages)):
            changes += [*_OF_PACKAGES, _Change("/etc")]
    if facts.postfix is not None:
        changes.append(_Change(SCRATCH, JOURNAL))
        changes += [_Change(path, NEEDED, files=NEEDED_FILES) for path in places(facts)]
    _require(writer, changes)


def check_way_back(writer: Writer, facts: Facts, checkpoints: Sequence[Checkpoint]) -> None:
    """The same for a rollback or a removal."""
    if any(each.packages_brought or each.packages_lost for each in checkpoints):
        _refuse_half_installed(writer, facts)
    if any(each.service.get("enabled") or each.service.get("running") for each in checkpoints):
        _refuse_masked(writer, facts)
    changes = [_Change(HOME, JOURNAL)]
    for checkpoint in checkpoints:
        for entry in checkpoint.files:
            before = entry["before"] or {}
            state = writer.state(checkpoint.kept(before)) if "backup" in before else None
            changes.append(_Change(entry["path"], _blocks(state.size if state else 0)))
        if checkpoint.packages_brought:
            changes += [replace(each, size=BLOCK) for each in _OF_PACKAGES]
    _require(writer, changes)


def _refuse_half_installed(writer: Writer, facts: Facts) -> None:
    """A package that cannot be set up makes apt-get fail, whatever else it is asked for.

    One that came with sysmail, and was cut off, is made whole by that call, or goes with it.
    Whoever is at work may just be setting one up, and is waited for.
    """
    distro = facts.distro
    if distro is None or not packages.half_installed(writer, distro):
        return
    wait_for_packages(writer, distro)
    known = Store(writer).load()
    names = [
        name
        for name in packages.half_installed(writer, distro)
        if not any(_came_with(each, name) for each in known)
    ]
    if names:
        raise RefusedError(
            "packages-half-installed",
            f"not fully installed: {', '.join(names)}; {distro.name} fails for that, whatever it "
            "is asked for; nothing was changed",
            "`dpkg --configure -a` finishes it, or says why not (`apt-get --fix-broken install` "
            f"where it lacks a package); or remove it: `apt-get purge {' '.join(names)}`; then "
            "retry",
        )


def _came_with(checkpoint: Checkpoint, name: str) -> bool:
    """Of one that is not at its end, what is new may have."""
    if checkpoint.packages_brought is None and checkpoint.state != "done":
        return name not in checkpoint.packages_before
    return name in (checkpoint.packages_brought or ())


def _refuse_masked(reader: Reader, facts: Facts) -> None:
    if not facts.systemd or facts.distro is None:
        return
    for block in collect_units(reader, facts.distro.units):
        if block.get("LoadState") == "masked":
            name = block.get("Id", "postfix.service")
            how = " --runtime" if block.get("UnitFileState") == "masked-runtime" else ""
            raise RefusedError(
                "service-masked",
                f"{name} is masked (systemd starts it for nobody); nothing was changed",
                f"`systemctl unmask{how} {name.removesuffix('.service')}`, once whoever masked it "
                "agrees; then retry",
            )


def _blocks(size: int) -> int:
    return (size // BLOCK + 1) * BLOCK


def _require(reader: Reader, changes: Sequence[_Change]) -> None:
    rooms = {each.path: reader.room(each.path) for each in changes}
    by_packages = {each.path for each in changes if each.packages}
    for path, room in rooms.items():
        if not (room.read_only and path in by_packages and _remounts(reader, room.mount)):
            _require_changeable(path, room)
    for room in {room.device: room for room in rooms.values()}.values():
        ours = [each for each in changes if rooms[each.path].device == room.device]
        _require_space(ours, room)


def _remounts(reader: Reader, mount: str) -> bool:
    """Whether apt makes that mount writable while packages change, as Debian's manual shows it."""
    for line in reader.ask(["apt-config", "dump"]).out.splitlines():
        hook = re.match(r'DPkg::Pre-Invoke\S* "(.*)";$', line, re.IGNORECASE)
        words = set(re.split(r"[\s;&|]+", hook.group(1))) if hook is not None else set()
        if mount in words and any({"remount", "rw"} <= set(word.split(",")) for word in words):
            return True
    return False


def _require_changeable(path: str, room: Room) -> None:
    if room.read_only:
        raise RefusedError(
            "file-system-read-only",
            f"{path} is on a file system that is mounted read-only (EROFS); nothing was changed",
            f"remount it for writing: `mount -o remount,rw {room.mount}`; a disk that failed is "
            "often remounted so: see dmesg",
        )
    if room.immutable:
        raise RefusedError(
            "file-immutable",
            f"{room.immutable} is immutable or append-only (EPERM; lsattr shows an i or an a), "
            f"and {path} would be changed; nothing was changed",
            f"`chattr -i -a {room.immutable}`, once whoever set it agrees; then retry",
        )
    if room.mounted:
        raise RefusedError(
            "file-mounted",
            f"a file is mounted on {path} (EBUSY), which can therefore not be replaced; nothing "
            "was changed",
            f"`umount {path}`, or leave the mail of this host to whoever mounted it; then retry",
        )


def _require_space(changes: Sequence[_Change], room: Room) -> None:
    needed = sum(each.size for each in changes if not each.packages)
    needed += max((each.size for each in changes if each.packages), default=0)
    files = sum({each.path: each.files for each in changes}.values())
    # What takes most of it says best which file system is meant.
    path = max(changes, key=lambda each: each.size).path
    if room.free < needed:
        raise RefusedError(
            "disk-full",
            f"the file system of {path} has {_kilobytes(room.free)} free, and "
            f"{_kilobytes(needed)} are needed; nothing was changed",
            f"free space there (`df -h {path}`), then retry",
        )
    if 0 <= room.inodes < files:
        raise RefusedError(
            "no-inodes",
            f"the file system of {path} has room for {room.inodes} more files, and "
            f"{files} are needed; nothing was changed",
            f"remove files there (`df -i {path}`), then retry",
        )


def _kilobytes(size: int) -> str:
    return f"{size // 1024} kB" if size < 10 * 1024**2 else f"{size // 1024**2} MB"


def wait_for_packages(writer: Writer, distro: Distro, seconds: float = LOCK_SECONDS) -> bool:
    """RefusedError that names who holds the package manager, if that lasts; whether it waited.

    Also where nothing has to be installed: whoever installs or upgrades Postfix just now
    writes the same files and starts the same service.
    """
    deadline, waited = writer.elapsed() + seconds, False
    while True:
        busy = _busy(writer, distro)
        if not busy:
            return waited
        waited = True
        if writer.elapsed() >= deadline:
            break
        writer.sleep(PAUSE)
    raise RefusedError(
        "package-manager-busy",
        f"{busy}; nothing was changed",
        f"wait until it is done, then retry; where no {distro.name} runs any more, the lock was "
        "left behind by one that died, and can be removed",
    )


def _busy(reader: Reader, distro: Distro) -> str:
    for path in distro.lock_files:
        if reader.state(path, content=False) is not None:
            holder = reader.user_of(path)
            who = f"{holder} has made {path}" if holder else f"{path} is there"
            return f"{distro.name} is at work: {who}"
    for path in distro.locks:
        if reader.is_locked(path):
            holder = reader.holder(path) or "another process"
            return f"{distro.name} is at work: {holder} holds {path}"
    return ""
