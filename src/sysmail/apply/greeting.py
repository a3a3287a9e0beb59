"""Waiting for a Postfix that was just started to greet."""

from __future__ import annotations

from sysmail.errors import HostError
from sysmail.host.port import SmtpSession, Writer

__all__ = ["SECONDS", "wait_for_greeting"]

SECONDS = 15.0
PAUSE = 0.02


def wait_for_greeting(
    writer: Writer, address: str, port: int, seconds: float = SECONDS
) -> SmtpSession:
    """A session whose greeting was 220; HostError with the last trouble after ``seconds``."""
    deadline = writer.elapsed() + seconds
    while True:
        trouble = _attempt(writer, address, port)
        if not isinstance(trouble, HostError):
            return trouble
        if writer.elapsed() >= deadline:
            raise trouble
        writer.sleep(PAUSE)


def _attempt(writer: Writer, address: str, port: int) -> SmtpSession | HostError:
    try:
        session = writer.smtp(address, port, timeout=3.0)
    except HostError as error:
        return error
    greeting = session.greeting
    if greeting.code == 220:
        return session
    session.close()
    return HostError(
        "no-greeting", f"it greets with {greeting.code} {greeting.text}", "see its log"
    )
