"""master.cf: the services of the relay, see master(5).

Generated whole. No service can write a mailbox (local, virtual, lmtp and
pipe are absent), and none is chrooted: Debian's chroot needs copies of
resolv.conf and certificates that only its own unit makes, and without them
mail defers although DNS answers (docs/promises.md). Not chrooted is Postfix's own
default.
"""

from __future__ import annotations

__all__ = ["master_cf"]

NOTICE_ROOM = 1_000_000
"""Bytes that a notice may be larger than the largest message that is accepted."""

# service, type, private, unprivileged, chroot, wake up, process limit, command
_SERVICES: tuple[tuple[str, ...], ...] = (
    ("smtp", "inet", "n", "-", "n", "-", "-", "smtpd"),
    ("pickup", "unix", "n", "-", "n", "60", "1", "pickup"),
    ("cleanup", "unix", "n", "-", "n", "-", "0", "cleanup"),
    ("qmgr", "unix", "n", "-", "n", "300", "1", "qmgr"),
    ("tlsmgr", "unix", "-", "-", "n", "1000?", "1", "tlsmgr"),
    ("rewrite", "unix", "-", "-", "n", "-", "-", "trivial-rewrite"),
    ("bounce", "unix", "-", "-", "n", "-", "0", "bounce"),
    ("defer", "unix", "-", "-", "n", "-", "0", "bounce"),
    ("trace", "unix", "-", "-", "n", "-", "0", "bounce"),
    ("verify", "unix", "-", "-", "n", "-", "1", "verify"),
    ("flush", "unix", "n", "-", "n", "1000?", "0", "flush"),
    ("proxymap", "unix", "-", "-", "n", "-", "-", "proxymap"),
    ("proxywrite", "unix", "-", "-", "n", "-", "1", "proxymap"),
    ("smtp", "unix", "-", "-", "n", "-", "-", "smtp"),
    ("relay", "unix", "-", "-", "n", "-", "-", "smtp"),
    ("showq", "unix", "n", "-", "n", "-", "-", "showq"),
    ("error", "unix", "-", "-", "n", "-", "-", "error"),
    ("retry", "unix", "-", "-", "n", "-", "-", "error"),
    ("discard", "unix", "-", "-", "n", "-", "-", "discard"),
    ("anvil", "unix", "-", "-", "n", "-", "1", "anvil"),
    ("scache", "unix", "-", "-", "n", "-", "1", "scache"),
    ("tlsproxy", "unix", "-", "-", "n", "-", "0", "tlsproxy"),
    ("postlog", "unix-dgram", "n", "-", "n", "-", "1", "postlogd"),
)

# `postfix upgrade-configuration`, which packages run, appends what it does not find, also
# as a comment. What it looks for is here, so that an upgrade leaves the file as it is.
_UPGRADE = """\
# Not used; here so that an upgrade of the package changes nothing:
#smtp      inet  n       -       n       -       1       postscreen
#smtpd     pass  -       -       n       -       -       smtpd
#dnsblog   unix  -       -       n       -       0       dnsblog
"""


def master_cf(message_size: int, retry_every: int) -> str:
    """The whole file. ``message_size``: bytes, the policy's limits.message_size.

    ``retry_every``: seconds, the policy's queue.retry_every. What a reload
    finds in delivery goes back to the incoming queue for a minute, and qmgr(8)
    looks through that when new mail comes or when it is woken up (measured:
    five messages lay there for the stock 300 s).

    A notice quotes the message that failed. Where it would be larger than
    message_size_limit the notice itself cannot be queued and nobody is told
    (docs/promises.md), so the limit of cleanup(8) leaves room for it; smtpd(8) and
    sendmail(1) still hold senders to the policy's.

    smtpd(8) tells what it refused to the client, and mails no transcripts of
    its sessions to admin: a proof asks for recipients without sending, and on
    a broken host each refusal would be mail, which that host may then lose
    (docs/promises.md). An empty value is none of the classes.
    """
    lines = [
        "# Written by sysmail; changes belong in its policy. Format: master(5).",
        "# service type  private unpriv  chroot  wakeup  maxproc command",
    ]
    for service in _SERVICES:
        name, kind, private, unprivileged, chroot, wakeup, limit, command = service
        if name == "qmgr":
            wakeup = str(min(int(wakeup), retry_every))
        lines.append(
            f"{name:<9} {kind:<5} {private:<7} {unprivileged:<7} {chroot:<7} "
            f"{wakeup:<7} {limit:<7} {command}"
        )
        if name == "cleanup":
            lines.append(f"  -o message_size_limit={message_size + NOTICE_ROOM}")
        if command == "smtpd":
            lines.append("  -o notify_classes=")
    return "\n".join(lines) + "\n" + _UPGRADE
