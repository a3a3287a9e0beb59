"""The ways in which programs of a host hand over mail, each tried with a real message.

Pure: what is sent where; ``commands/try_`` and ``prove --to`` carry it out.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Entrance", "entrances", "message", "message_id"]


@dataclass(frozen=True)
class Entrance:
    """One way in.

    With ``address`` over SMTP, else by running ``argv`` as ``user`` with the
    message on standard input. ``recipient`` is as a program writes it: it may
    be bare.
    """

    name: str
    summary: str
    recipient: str
    address: str = ""
    argv: tuple[str, ...] = ()
    user: str = ""
    subject: str = "test"


UNPRIVILEGED = "nobody"
UTF8_SUBJECT = "Prüfung ✓ 試験"


def entrances(sender: str, recipient: str, ipv6: bool, msmtp: bool) -> list[Entrance]:
    """Every entrance of a host; ``ipv6``: it has ::1, ``msmtp``: msmtp is there."""
    sendmail = ("sendmail", "-i", "-f", sender, "-t")
    found = [
        Entrance("smtp-ipv4", "SMTP to 127.0.0.1", recipient, address="127.0.0.1"),
        Entrance("smtp-ipv6", "SMTP to [::1]", recipient, address="::1"),
        Entrance("smtp-localhost", "SMTP to localhost", recipient, address="localhost"),
        Entrance("sendmail-root", "sendmail -t as root", recipient, argv=sendmail),
        Entrance(
            "sendmail-user",
            f"sendmail -t as {UNPRIVILEGED}",
            recipient,
            argv=sendmail,
            user=UNPRIVILEGED,
        ),
        Entrance("msmtp", "msmtp", recipient, argv=("msmtp", "-f", sender, "-t")),
        Entrance(
            "cron",
            "sendmail root, as cron writes it",
            "root",
            # cron(8) names the recipient on the command line and in a bare To header.
            argv=("sendmail", "-FCronDaemon", "-i", "-oem", "-f", sender, "root"),
        ),
        Entrance(
            "utf8-subject", "a subject in raw UTF-8", recipient, argv=sendmail, subject=UTF8_SUBJECT
        ),
    ]
    return [e for e in found if (ipv6 or e.name != "smtp-ipv6") and (msmtp or e.name != "msmtp")]


def message(entrance: Entrance, sender: str, token: str) -> bytes:
    """The message: its Message-ID, of the token and the entrance, tells it from any other."""
    lines = [
        f"From: {'root (Cron Daemon)' if entrance.name == 'cron' else sender}",
        f"To: {entrance.recipient}",
        f"Subject: sysmail {entrance.subject} ({entrance.name})",
        f"Message-ID: {message_id(entrance, token)}",
        "Content-Type: text/plain; charset=utf-8",
        "",
        f"Sent by sysmail through: {entrance.summary}.",
        "",
    ]
    return "\n".join(lines).encode()


def message_id(entrance: Entrance, token: str) -> str:
    """``<token.entrance@sysmail.invalid>``."""
    return f"<{token}.{entrance.name}@sysmail.invalid>"
