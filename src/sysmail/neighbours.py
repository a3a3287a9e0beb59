"""The other mail programs that distributions bring, and where mail waits in them. Pure.

``replaceable`` ones only hand mail of this host on: a relay, or msmtp, can take their
place once nothing waits in their queue. The others are mail servers.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NEIGHBOURS", "Neighbour", "neighbour_of"]


@dataclass(frozen=True)
class Neighbour:
    """One mail program: its packages, and how its queue is seen and emptied.

    ``queue`` are directories; a name in them, or one directory below, that fits the regular
    expression ``message`` is a message that waits. ``drain`` is what a person types.
    ``listens``: its default takes mail on port 25 of loopback, held by one of ``programs``.
    ``files`` are those that its packages write from answers to questions, and write again
    when they come back; ``units`` are what it runs. ``trips``: its scripts can fail on an
    owner's files, which are therefore not there while it comes back.
    """

    name: str
    packages: tuple[str, ...]
    replaceable: bool
    listens: bool = False
    programs: tuple[str, ...] = ()
    queue: tuple[str, ...] = ()
    message: str = ""
    drain: str = ""
    files: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    trips: bool = False


NEIGHBOURS: tuple[Neighbour, ...] = (
    Neighbour(
        "exim4",
        ("exim4", "exim4-daemon-light", "exim4-daemon-heavy", "exim"),
        replaceable=True,
        listens=True,
        programs=("exim4", "exim"),
        queue=("/var/spool/exim4/input", "/var/spool/exim/input"),
        # exim keeps two files for each message; the one with the envelope ends so.
        message=r".+-H",
        drain="`exim -qff` sends what can be sent, `exim -bp` shows what stays, `exim -Mvl ID` "
        "why, and `exim -Mrm ID` removes a message",
        # Measured: Debian's scripts change an owner's answers when the package is installed again.
        files=("/etc/exim4/update-exim4.conf.conf", "/etc/exim4/passwd.client"),
        units=("exim4.service", "exim4-base.timer", "exim.service"),
    ),
    Neighbour(
        "nullmailer",
        ("nullmailer",),
        replaceable=True,
        queue=("/var/spool/nullmailer/queue", "/var/spool/nullmailer/failed"),
        message=r".+",
        drain="`systemctl restart nullmailer` sends what can be sent, `mailq` shows what stays; "
        "each file in /var/spool/nullmailer/queue and, where it gave up, in "
        "/var/spool/nullmailer/failed is a message: remove it with `rm`, or move it to queue",
        files=(
            "/etc/nullmailer/adminaddr",
            "/etc/nullmailer/defaultdomain",
            "/etc/nullmailer/remotes",
        ),
        units=("nullmailer.service",),
    ),
    Neighbour(
        "dma",
        ("dma",),
        replaceable=True,
        queue=("/var/spool/dma",),
        # A message is a pair: Q holds the envelope, M the content.
        message=r"Q.+",
        # Measured: each message has a process that waits, and looks for -q every 30 seconds.
        drain="`dma -q` sends what can be sent within a minute, `mailq` shows what stays, and "
        "`rm /var/spool/dma/[QM]ID` removes a message",
        files=("/etc/dma/dma.conf", "/etc/dma/auth.conf"),
        # Measured: two lines with SMARTHOST, one of them a comment, and it is not configured.
        trips=True,
    ),
    # These have no queue.
    Neighbour("msmtp-mta", ("msmtp-mta",), replaceable=True, units=("msmtpd.service",)),
    Neighbour("ssmtp", ("ssmtp",), replaceable=True),
    Neighbour("esmtp", ("esmtp-run",), replaceable=True),
    # These are somebody's mail servers, or programs whose queue nobody tried here.
    Neighbour("sendmail", ("sendmail", "sendmail-bin"), replaceable=False),
    Neighbour("opensmtpd", ("opensmtpd",), replaceable=False),
    Neighbour("masqmail", ("masqmail",), replaceable=False),
    Neighbour("courier", ("courier-mta",), replaceable=False),
    Neighbour("qmail", ("qmail",), replaceable=False),
    Neighbour("citadel", ("citadel-server",), replaceable=False),
    Neighbour("an equivs package", ("lsb-invalid-mta",), replaceable=False),
)


def neighbour_of(package: str) -> Neighbour:
    """The mail program that a package belongs to; KeyError for any other package."""
    for found in NEIGHBOURS:
        if package in found.packages:
            return found
    raise KeyError(package)
