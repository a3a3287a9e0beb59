"""Starting and stopping the timer of the watch."""

from __future__ import annotations

from sysmail.apply import guard
from sysmail.errors import StepError
from sysmail.host.port import Writer
from sysmail.watch.units import TIMER

__all__ = ["WANTS", "start", "stop"]

WANTS = "/etc/systemd/system/timers.target.wants"
"""Where systemctl(1) links an enabled timer; not every host has it."""


def start(writer: Writer) -> None:
    """Start it, now and at boot; one that runs reads its unit again."""
    _act(writer, ("enable", "restart"))


def stop(writer: Writer) -> None:
    """Stop it, now and at boot. A run of the watch that is under way comes to its end."""
    _act(writer, ("disable", "stop"))


def _act(writer: Writer, actions: tuple[str, ...]) -> None:
    for action in actions:
        done = writer.run(["systemctl", action, *guard.no_wait(writer, action), TIMER])
        if done.status != 0:
            raise StepError(
                "watch-not-changed",
                f"the watch's timer did not {action}: {done.err.strip()}",
                f"see `systemctl status {TIMER}`",
            )
