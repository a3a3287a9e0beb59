"""Which names are this host, and who at those names is local.

An address is local when it is at ``localhost`` (bare names get that domain,
see ``myorigin``), at a loopback address literal, or at one of the host's own
names and the local part is an existing account, postmaster or mailer-daemon.
Anybody else at an own name may be a person: a host that is called like its
owner's domain must not hijack that domain's mail (promise 3).
"""

from __future__ import annotations

import re

from sysmail.facts.model import Facts
from sysmail.policy import Policy

__all__ = [
    "LOOPBACK_DOMAINS",
    "SYSTEM_NAMES",
    "escape",
    "literal",
    "my_hostname",
    "own_names",
    "people_names",
]

_LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")

LOOPBACK_DOMAINS = (
    r"(localhost|localhost\.localdomain|localhost6|ip6-localhost|ip6-loopback"
    r"|\[127\.[0-9.]+\]|\[ipv6:[0:]*:0*1\])\.?"
)
"""A regular expression for the domains that always mean this host."""

SYSTEM_NAMES = ("postmaster", "mailer-daemon")
"""Local parts without an account that every mail host answers for (RFC 5321, 4.5.1)."""


def my_hostname(policy: Policy, facts: Facts) -> str:
    """The name for HELO and Message-ID; a made-up domain only where nobody outside sees it."""
    name = policy.hostname or facts.fqdn
    if name and re.fullmatch("[a-z0-9_.-]{1,253}", name.lower()):
        return name.lower()
    short = re.sub(r"[^a-z0-9-]", "-", facts.nodename.lower()).strip("-")[:63] or "host"
    return f"{short}.localdomain"


def own_names(policy: Policy, facts: Facts) -> tuple[str, ...]:
    """Every name of this host other than localhost, sorted."""
    names = {my_hostname(policy, facts), facts.fqdn.lower(), facts.nodename.lower().strip(".")}
    valid = {n for n in names if re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", n)}
    return tuple(sorted(valid - set(_LOOPBACK_NAMES)))


def people_names(policy: Policy) -> frozenset[str]:
    """Domains that the policy shows to belong to people: of admin, sender and the logins."""
    logins = [hop.username for hop in (policy.mailu, policy.smarthost) if hop is not None]
    addresses = [policy.admin, policy.sender, *logins]
    return frozenset(a.rpartition("@")[2].lower() for a in addresses if "@" in a)


def literal(text: str) -> str:
    """Text as it is where ``$`` begins a substitution: in main.cf and at the right of a table."""
    return text.replace("$", "$$")


def escape(text: str) -> str:
    """Text as a literal in a regular expression between slashes (regexp_table(5))."""
    return re.sub(r"([^A-Za-z0-9_@-])", r"\\\1", text)
