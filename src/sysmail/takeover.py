"""Whether a host is already somebody's mail server. Pure.

A distribution's untouched default is not one: it has no domains of its own,
no mailboxes in use and no clients from outside.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from sysmail.facts.model import Facts, Listener
from sysmail.neighbours import Neighbour, neighbour_of
from sysmail.takeover_exim import exim_findings
from sysmail.takeover_postfix import became_server, postfix_findings

__all__ = [
    "findings",
    "foreign",
    "goes",
    "is_loopback",
    "listens",
    "other_mtas",
    "replaceable",
    "since",
    "staying",
    "unknown_sendmail",
]

# Mail for root that a stock Postfix stored and nobody opened is why sysmail exists, and makes no
# host a mail server.
_NOBODYS_MAILBOXES = frozenset({"root", "nobody", "mail", "postmaster"})

# Programs that hold a port for a container: Docker's, rootless podman's, Kubernetes'.
_PUBLISHERS = ("docker-proxy", "rootlessport", "slirp4netns", "pasta", "kube-proxy")

# A sendmail of these names is no mail server: it hands mail on, or does nothing.
_HARMLESS = frozenset({"msmtp", "busybox", "true", "false"})


def other_mtas(facts: Facts) -> tuple[str, ...]:
    """Installed packages that own ``sendmail`` on this host and are not Postfix."""
    known = facts.distro.other_mtas if facts.distro else ()
    return tuple(name for name in known if name in facts.packages)


def replaceable(facts: Facts) -> tuple[str, ...]:
    """Of those, the ones whose place sysmail can take."""
    return tuple(name for name in other_mtas(facts) if neighbour_of(name).replaceable)


def listens(facts: Facts) -> bool:
    """Whether one of those has a listener of its own on loopback."""
    return any(each.listens for each in _neighbours(facts))


def _neighbours(facts: Facts) -> list[Neighbour]:
    return [neighbour_of(name) for name in replaceable(facts)]


def is_loopback(listener: Listener) -> bool:
    """Whether only this host can reach a listener."""
    return listener.address.startswith("127.") or listener.address == "::1"


def goes(facts: Facts, listener: Listener) -> bool:
    """Whether a listener goes with the mail program that is replaced, such as exim4's own.

    Where its owner cannot be seen, only one on loopback, as a default neighbour has it.
    """
    if listener.contained:
        return False
    if listener.owner:
        program = listener.owner.partition(" ")[0]
        return any(program in each.programs for each in _neighbours(facts))
    return listens(facts) and is_loopback(listener)


def staying(facts: Facts) -> tuple[Listener, ...]:
    """The listeners on port 25 of which sysmail cannot take the place: --adopt or not, they stay.

    A Postfix that runs is none of them; a program beside it, on another address, is.
    """
    return tuple(found for found in foreign(facts) if not goes(facts, found))


def foreign(facts: Facts, port: int = 25) -> tuple[Listener, ...]:
    """The listeners on a port that are not of a Postfix that runs."""
    return tuple(
        found for found in facts.listeners_on(port) if found.beside or not facts.master_running
    )


def unknown_sendmail(facts: Facts) -> str:
    """The program behind ``sendmail`` where no known mail program brought it; else empty."""
    if facts.postfix is not None or other_mtas(facts):
        return ""
    name = facts.sendmail.rpartition("/")[2]
    return "" if name in _HARMLESS else facts.sendmail


def findings(facts: Facts, *, ports: bool = True, allowed: Collection[str] = ()) -> list[str]:
    """What shows that this host is a mail server, one clause each; empty when nothing does.

    ``ports``: also who listens on port 25, which a Mailu on this host may. ``allowed``
    are parameters of Postfix that the policy sets itself.
    """
    found: list[str] = []
    if facts.postfix is not None:
        found += postfix_findings(facts, facts.postfix, allowed)
    if any("exim" in name for name in other_mtas(facts)):
        found += exim_findings(facts)
    if unknown_sendmail(facts):
        found.append(f"sendmail is {facts.sendmail}, of a program that sysmail does not know")
    if ports:
        found += _ports(facts)
    return [*_mailboxes(facts, nothing_else=not found), *found]


def _mailboxes(facts: Facts, *, nothing_else: bool) -> list[str]:
    """Mailboxes that people use.

    Debian's exim4 makes its installer's first user root's alias (exim4-config): with nothing
    else on the host, what is there came from the host itself. A stock Postfix may take mail for
    that person from anywhere.
    """
    named = [(path.rpartition("/")[2], path) for path in facts.mailboxes]
    used = {name for name, _ in named} - _NOBODYS_MAILBOXES
    if nothing_else and facts.postfix is None and used <= set(facts.root_readers):
        return []
    return [f"{path} holds mail" for name, path in named if name in used]


def since(facts: Facts, *, relay: bool, allowed: Collection[str] = ()) -> list[str]:
    """What shows that this host has become a mail server since a policy is in force.

    Mailboxes and rules of the packet filter that were there when it was adopted say nothing: what
    counts is another mail program, which the policy in force would have replaced, and what makes
    a server of sysmail's own Postfix. ``relay``: that is in force, else its msmtp.
    """
    ours = facts.distro.submission if facts.distro is not None and not relay else ()
    came = any(name not in ours for name in other_mtas(facts)) or bool(unknown_sendmail(facts))
    if came or (facts.postfix is not None and not relay):
        # Other programs on the port, sysmail's msmtpd among them, are no part of it.
        going = tuple(each for each in facts.listeners if goes(facts, each))
        return findings(replace(facts, listeners=going), allowed=allowed)
    if facts.postfix is None or "fatal: " in facts.postfix.complaint:
        return []  # of a main.cf that Postfix cannot read, postconf(1) gives the built-in defaults
    return became_server(facts, facts.postfix, allowed)


def _ports(facts: Facts) -> list[str]:
    return [
        f"port 25 is passed on to {where}, as a container's published port is"
        for where in facts.forwards
    ] + [
        f"{_whose(listener)} listens on {listener.address} port 25"
        for listener in foreign(facts)
        # A neighbour's own on loopback is its distribution's default, and goes with it.
        if not (goes(facts, listener) and is_loopback(listener))
    ]


def _whose(listener: Listener) -> str:
    owner = listener.owner or "another program"
    if listener.contained:
        return f"{owner}, which runs in a container,"
    if owner.startswith(_PUBLISHERS):
        return f"{owner}, which holds a container's published port,"
    return owner
