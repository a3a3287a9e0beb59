"""Sends a message through an entrance of the host."""

from __future__ import annotations

from sysmail.entrances import Entrance, message
from sysmail.errors import HostError
from sysmail.host.port import Writer

__all__ = ["send"]


def send(writer: Writer, entrance: Entrance, sender: str, token: str) -> None:
    """Hand over the message. HostError with the answer when it is refused."""
    content = message(entrance, sender, token)
    if entrance.address:
        _over_smtp(writer, entrance, sender, content)
        return
    done = writer.run(entrance.argv, stdin=content, user=entrance.user)
    if done.status != 0:
        raise HostError(
            "entrance-refused",
            f"{entrance.summary}: exit status {done.status}, {done.err.strip()}",
            "see `sysmail prove`",
        )


def _over_smtp(writer: Writer, entrance: Entrance, sender: str, content: bytes) -> None:
    session = writer.smtp(entrance.address, 25)
    try:
        for command in (
            "EHLO localhost",
            f"MAIL FROM:<{sender}>",
            f"RCPT TO:<{entrance.recipient}>",
        ):
            reply = session.command(command)
            if reply.code != 250:
                raise HostError(
                    "entrance-refused",
                    f"{entrance.summary}: {reply.code} {reply.text}",
                    "see `sysmail prove`",
                )
        reply = session.data(content)
        if reply.code != 250:
            raise HostError(
                "entrance-refused", f"{entrance.summary}: {reply.code} {reply.text}", "see its log"
            )
    finally:
        session.close()
