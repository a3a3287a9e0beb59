"""Recovery at boot: a unit that undoes what was cut off, before Postfix starts.

It runs a copy of this very tool, for where the tool was run from may be gone by
then. Both are there before the first transaction has a journal, and until the
last checkpoint is gone. Where every journal is done the unit is skipped by its
condition, a shell that looks for one word in them. Without systemd there is none:
`sysmail recover` is for a start-up script there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from sysmail.apply.checkpoint import HOME
from sysmail.distro import DISTROS
from sysmail.facts.tool import COPY, copy_command
from sysmail.host.port import Reader, Writer
from sysmail.msmtpd import LOOPBACK, unit_name
from sysmail.neighbours import NEIGHBOURS

__all__ = [
    "forget_what_was_told",
    "is_left_behind",
    "is_running_at_boot",
    "no_wait",
    "place",
    "take_away",
    "tell",
    "told",
]

TOOL = COPY
NAME = "sysmail-recover.service"
UNIT = f"/etc/systemd/system/{NAME}"
WANTS = "/etc/systemd/system/multi-user.target.wants"
LINK = f"{WANTS}/{NAME}"
TOLD = "/run/sysmail/recovered"
_TEMPORARY = ".sysmail-new"

_UNIT = """\
# Written by sysmail; gone again with its last checkpoint.
[Unit]
Description=Undo what was cut off of a change by sysmail
# What is put back must not be read half way, and nobody is let in before it is.
Before={before}

[Service]
Type=oneshot
# A journal that is not done; or none at all, where this unit itself was about to go.
ExecCondition=/bin/sh -c 'for d in {home}/checkpoints/*/; do \
    grep -qs "^ .state.: .done" "$${{d}}journal.json" || exit 0; done; exit 1'
ExecStart={command} recover
# Longer than it waits for a package manager (3 minutes), and than packages then take to go or to
# come back, from a slow mirror; only mail waits for that.
TimeoutStartSec=60min
"""


def place(writer: Writer) -> None:
    """Put the unit and its tool there, durably; nothing changes where they are as they should."""
    if not _has_systemd(writer):
        return
    for path in (TOOL, UNIT, LINK):
        writer.remove(path + _TEMPORARY)
    writer.mkdir(HOME, 0o700)
    # The link last: what it starts is whole.
    for path, data, mode in ((TOOL, _tool(), 0o600), (UNIT, _unit(writer).encode(), 0o644)):
        state = writer.state(path)
        if state is None or state.kind != "file" or (state.data, state.mode) != (data, mode):
            writer.write(path, data, mode)
    link = writer.state(LINK)
    if link is None or link.target != UNIT:
        writer.mkdir(WANTS, 0o755)
        writer.symlink(LINK, UNIT)


def take_away(writer: Writer) -> None:
    """Remove all of it, also what a cut-off ``place`` left."""
    there = writer.state(LINK, content=False) is not None
    for path in (LINK, UNIT, TOOL):
        writer.remove(path + _TEMPORARY)
        writer.remove(path)
    if there:
        writer.rmdir(WANTS)  # systemctl(1) takes an empty one away, too
        writer.run(["systemctl", "daemon-reload"])


def is_left_behind(reader: Reader) -> bool:
    """Whether something is there that a cut-off ``place`` or ``take_away`` left."""
    for path in (TOOL, UNIT, LINK):
        if reader.state(path + _TEMPORARY, content=False) is not None:
            return True
    if reader.names(f"{HOME}/checkpoints"):
        return False
    # Without a checkpoint nothing of ours is needed; the tool comes first and goes last.
    names = reader.names(HOME)
    if not names:
        return reader.state(HOME, content=False) is not None
    ours = {"checkpoints", "recover.pyz", "secrets", "watch.json", "watch.json" + _TEMPORARY}
    return not ours.isdisjoint(names)


def is_running_at_boot(reader: Reader) -> bool:
    """Whether this very process is that unit's: what starts after it must not be waited for."""
    return f"/{NAME}".encode() in (reader.read("/proc/self/cgroup") or b"")


def no_wait(reader: Reader, action: str) -> list[str]:
    """What systemctl(1) needs besides ``start`` or ``restart``, so that it never waits for us."""
    return ["--no-block"] if action in {"start", "restart"} and is_running_at_boot(reader) else []


def tell(writer: Writer, lines: Sequence[str]) -> None:
    """Leave word of what was undone at boot for the next command of a person."""
    if lines and is_running_at_boot(writer):
        writer.mkdir("/run/sysmail", 0o755)
        text = "".join(f"{line}\n" for line in lines)  # the name of a file may be of any bytes
        writer.write(TOLD, text.encode("utf-8", "backslashreplace"), 0o600)


def told(reader: Reader) -> list[str]:
    """What was left as word since the boot, a sentence each."""
    return (reader.read(TOLD) or b"").decode("utf-8", "replace").splitlines()


def forget_what_was_told(writer: Writer) -> None:
    """Somebody has read it."""
    writer.remove(TOLD)


def _has_systemd(reader: Reader) -> bool:
    return "system" in reader.names("/run/systemd")


@lru_cache(maxsize=1)
def _tool() -> bytes:
    from sysmail.fleet import archive  # a run that changes nothing does without

    return archive.build()


def _unit(reader: Reader) -> str:
    units = {unit for distro in DISTROS for unit in distro.units}
    units |= {unit for neighbour in NEIGHBOURS for unit in neighbour.units}
    units |= {unit_name(address) for address in LOOPBACK}
    services = sorted(unit for unit in units if unit.endswith((".service", ".timer")))
    return _UNIT.format(home=HOME, before=" ".join(services), command=copy_command(reader))
