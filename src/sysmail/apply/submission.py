"""Starting and stopping sysmail's msmtpd, the service of the route mailu."""

from __future__ import annotations

from collections.abc import Sequence

from sysmail.apply import guard
from sysmail.apply.greeting import wait_for_greeting
from sysmail.errors import HostError, StepError
from sysmail.host.port import Writer
from sysmail.msmtpd import unit_name

__all__ = ["start", "stop"]


def start(writer: Writer, listen: Sequence[str], port: int) -> None:
    """Start it, now and at boot, and return when it greets on every address.

    StepError with what was seen when it does not. One that runs is started
    anew: it reads its password only then.
    """
    names = [unit_name(address) for address in listen]
    writer.run(["systemctl", "reset-failed", *names])
    for action in ("enable", "restart"):
        done = writer.run(["systemctl", action, *guard.no_wait(writer, action), *names])
        if done.status != 0:
            raise _failed(done.err.strip().partition("\n")[0])
    for address in [] if guard.is_running_at_boot(writer) else listen:
        try:
            wait_for_greeting(writer, address, port).close()
        except HostError as error:
            raise _failed(error.message) from error


def stop(writer: Writer, listen: Sequence[str]) -> None:
    """Stop it, now and at boot."""
    names = [unit_name(address) for address in listen]
    for action in ("disable", "stop"):
        done = writer.run(["systemctl", action, *names])
        if done.status != 0:
            raise StepError(
                "submission-not-stopped",
                f"msmtpd did not {action}: {done.err.strip()}",
                f"see `systemctl status {names[0]}`",
            )


def _failed(said: str) -> StepError:
    return StepError(
        "submission-not-started",
        f"msmtpd did not start: {said or 'no reason was given'}",
        "see `journalctl -u 'sysmail-msmtpd@*'`",
    )
