"""``sys-svc-mail-msmtp``: the configuration of msmtp that a route asks for. Pure."""

from __future__ import annotations

from sysmail.desired import ManagedFile

__all__ = ["MSMTPRC", "relay_file"]

MSMTPRC = "/etc/msmtprc"


def relay_file() -> ManagedFile:
    """/etc/msmtprc for the route ``relay``: everybody may read it, there is no secret in it.

    Bare recipients are given to Postfix as they are, which sends them to
    admin. The sender is the calling user at localhost, which the relay
    rewrites like any local sender.
    """
    text = (
        "# Written by sysmail; changes belong in its policy. Format: msmtp(1).\n"
        "defaults\n"
        "auth off\n"
        "tls off\n"
        "syslog LOG_MAIL\n"
        "\n"
        "account default\n"
        "host localhost\n"
        "port 25\n"
        "from %U@localhost\n"
    )
    return ManagedFile(MSMTPRC, text.encode())
