"""Starting and stopping Postfix, with systemd and without."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Optional

from sysmail import maillog
from sysmail.apply import guard
from sysmail.apply.greeting import SECONDS, wait_for_greeting
from sysmail.apply.restartable import require_room
from sysmail.errors import HostError, StepError
from sysmail.facts.collect import collect_postfix, master_running
from sysmail.facts.model import Facts
from sysmail.host.port import Writer
from sysmail.host.told import FILE_REMEDY

__all__ = [
    "act",
    "bring_up",
    "forget_failures",
    "is_running",
    "restart_anyhow",
    "retire",
    "why_not",
]


STOP_SECONDS = 15.0
PATIENCE_SECONDS = 3.0


def act(writer: Writer, facts: Facts, action: str) -> None:
    """``enable``, ``disable``, ``start``, ``stop``, ``restart`` or ``reload`` Postfix.

    After ``stop`` no master runs any more; ``restart`` does not stop one that would not start
    again. Without systemd there is nothing to enable here: the distribution's package has done
    it for its init system.
    """
    if action == "restart":
        if is_running(writer, facts):
            require_room(writer, facts)
        act(writer, facts, "stop")
        act(writer, facts, "start")
        return
    if facts.systemd:
        if action == "start":
            # Also forgets how often it was started lately, which systemd limits.
            units = facts.distro.units if facts.distro is not None else ("postfix.service",)
            writer.run(["systemctl", "reset-failed", *units])
        done = writer.run(["systemctl", action, *guard.no_wait(writer, action), "postfix.service"])
    elif action in {"enable", "disable"}:
        return
    else:
        done = writer.run(["postfix", action])
    if action == "stop":
        _wait_until_stopped(writer, facts)
    elif done.status != 0:
        raise _failed(writer, facts, action, done.err)


def retire(writer: Writer, facts: Facts) -> None:
    """After a stop: the service does not start at boot, and its package may go.

    A package that goes while its unit still stops leaves a unit that failed (measured). Its
    script of the former init system is left alone: systemctl refuses one that is empty, as after
    a power cut while dpkg(1) configured the package, which does not sync its conffiles (measured).
    """
    if facts.systemd:
        units = facts.distro.units if facts.distro is not None else ("postfix.service",)
        writer.run(["systemctl", "stop", *units])
        done = writer.run(
            ["systemctl", "disable", "postfix.service"], env={"SYSTEMCTL_SKIP_SYSV": "1"}
        )
        if done.status != 0:
            raise _failed(writer, facts, "disable", done.err)


def forget_failures(writer: Writer, facts: Facts, *, gone: bool) -> None:
    """After its package went, which may have been cut off while it was started: nothing has failed.

    systemd keeps showing a unit that failed, also where its file is gone. ``gone``: Postfix is,
    and a unit that its package still stops fails a moment later (measured: on Debian the
    package only waits for postfix.service, and not for postfix@-.service).
    """
    if facts.systemd and facts.distro is not None:
        if gone:
            writer.run(["systemctl", "stop", *facts.distro.units])
        writer.run(["systemctl", "reset-failed", *facts.distro.units])


def _wait_until_stopped(writer: Writer, facts: Facts) -> None:
    """On Debian the master is another unit's, which systemctl(1) does not wait for."""
    started = writer.elapsed()
    deadline, asked = started + STOP_SECONDS, False
    while is_running(writer, facts):
        if not asked and writer.elapsed() >= started + PATIENCE_SECONDS:
            writer.run(["postfix", "stop"])  # it is none of the service manager's
            asked = True
        if writer.elapsed() >= deadline:
            raise _failed(writer, facts, "stop", "it still runs")
        writer.sleep(0.02)


def restart_anyhow(writer: Writer, facts: Facts) -> str:
    """Restart with the former configuration, for the way back; a sentence where that was odd.

    A unit that does not start (an addition of somebody's, say) must not leave the
    host without mail: Postfix then runs beside it.
    """
    trouble: Optional[StepError] = None
    try:
        act(writer, facts, "restart")
    except StepError as error:
        trouble = error
    # On Debian the unit that is asked starts in any case, and the one of the master fails.
    # At boot its start waits for the unit that we run in.
    down = not guard.is_running_at_boot(writer) and not is_running(writer, facts)
    if facts.systemd and down:
        # A unit that tries again removes the PID file of whatever runs (systemd.service(5)).
        units = facts.distro.units if facts.distro is not None else ("postfix.service",)
        writer.run(["systemctl", "stop", *units])
        # In a scope of its own: not killed with the service or the session that we run in.
        writer.run(
            ["systemd-run", "--quiet", "--scope", "--slice=system.slice", "postfix", "start"]
        )
        if is_running(writer, facts):
            return (
                "the unit of Postfix does not start: Postfix was started without it (`postfix "
                "start`); see `systemctl status postfix@-`"
            )
        # Left to the unit, which tries again: once there is room on a full disk, say.
        writer.run(["systemctl", "start", "postfix.service"])
    if trouble is not None:
        raise trouble
    return ""


def is_running(writer: Writer, facts: Facts) -> bool:
    """Whether the master daemon runs, whatever the service manager says."""
    return facts.postfix is not None and master_running(writer, facts.postfix)


def bring_up(writer: Writer, facts: Facts, action: str, listen: Sequence[str]) -> None:
    """``restart`` or ``reload``, and return when the relay greets on every address.

    StepError with Postfix's own words when it does not. A relay that does not
    greet after a reload is restarted: master(8) leaves a service that failed
    with the former configuration alone for a minute.
    """
    act(writer, facts, action)
    trouble = _not_greeting(writer, listen, 2.0 if action == "reload" else SECONDS)
    if trouble is not None and action == "reload":
        act(writer, facts, "restart")
        trouble = _not_greeting(writer, listen, SECONDS)
    if trouble is not None:
        raise _failed(writer, facts, action, trouble.message)


def _not_greeting(writer: Writer, listen: Sequence[str], seconds: float) -> Optional[HostError]:
    for address in listen:
        try:
            wait_for_greeting(writer, address, 25, seconds).close()
        except HostError as error:
            return error
    return None


def _failed(writer: Writer, facts: Facts, action: str, said: str) -> StepError:
    words, remedy = why_not(writer, facts, said)
    return StepError("service-not-started", f"Postfix did not {action}: {words}", remedy)


def why_not(writer: Writer, facts: Facts, said: str = "") -> tuple[str, str]:
    """Why Postfix did not start, in its own words or in what was ``said``, and what to do."""
    log_file = (collect_postfix(writer) or {"maillog_file": ""})["maillog_file"]
    # systemctl first tells what it runs for the former init system's script.
    lines = [line for line in said.splitlines() if not line.startswith(("Synchron", "Executing"))]
    words = maillog.last_fatal(writer, facts, log_file) or next(iter(lines), "").strip()
    if os.strerror(errno.ENOSPC) in words:
        return words, FILE_REMEDY[errno.ENOSPC]
    if words.endswith(" is masked."):
        return words, "`systemctl unmask postfix`, once whoever masked it agrees"
    remedy = "look at the log of Postfix (journalctl -u 'postfix*', or maillog_file)"
    return words or "no reason was given", remedy
