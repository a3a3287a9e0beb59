"""The checks of the way out: the addresses that mail leaves from, and whether port 25 is open."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace

from sysmail.deliverability.origin import Origin, Way
from sysmail.report import FAIL, PASS, UNKNOWN, Verdict

__all__ = ["Attempt", "Target", "address", "port_25", "public"]

CLOSED = (
    "ask the provider of this host to open outgoing TCP port 25, and look at the firewalls on the "
    'way; where that is refused, use a provider\'s server: next_hop = "smarthost"'
)


@dataclass(frozen=True)
class Attempt:
    """A connection to an exchanger's port 25; ``trouble`` is empty where it came about."""

    host: str
    address: str
    trouble: str


@dataclass(frozen=True)
class Target:
    """Whose exchangers were tried. ``why``: what kept them from being known, if anything."""

    domain: str
    attempts: tuple[Attempt, ...] = ()
    why: str = ""


def public(target: Target, own: tuple[str, ...]) -> Target:
    """The target with the exchangers of which an answer says that port 25 leaves this network.

    One at an address of this host's ``own``, or at a private one, says nothing of that.
    """
    left: list[Attempt] = []
    why = [target.why] if target.why else []
    for each in target.attempts:
        if each.address in own:
            why.append(f"{each.host} [{each.address}] is this host itself")
        elif not _is_public(each.address):
            why.append(f"{each.host} [{each.address}] is a private address")
        else:
            left.append(each)
    return replace(target, attempts=tuple(left), why="; ".join(why))


def _is_public(text: str) -> bool:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    return found.is_global and not found.is_multicast


def address(way: Way, origin: Origin) -> Verdict:
    """Whether the address that others see is known."""
    name = f"address-{way.family}"
    if way.trouble:
        remedy = f"correct the parameter in Postfix's configuration, or give it to {way.name}"
        return Verdict(name, FAIL, way.trouble, remedy)
    if way.source is None:
        if not origin.used:
            remedy = "give this host an address and a default route"
            return Verdict(name, FAIL, f"no mail leaves by {way.name}: {way.why}", remedy)
        return Verdict(name, PASS, f"no mail leaves by {way.name}: {way.why}")
    bound = f" ({way.bound})" if way.bound else ""
    if way.seen is None:
        return Verdict(
            name,
            UNKNOWN,
            f"mail leaves from {way.source}{bound}, a private address: which one others see is not "
            "known here",
            f"say it with `--address ADDRESS` ({way.name}); the provider or the router knows it",
        )
    if way.given and way.seen != way.source:
        seen = f", and others see {way.seen} (--address)"
        return Verdict(name, PASS, f"mail leaves from {way.source}{bound}{seen}")
    return Verdict(name, PASS, f"mail leaves from {way.source}{bound}")


def port_25(way: Way, target: Target) -> Verdict:
    """Whether a connection to somebody's port 25 comes about."""
    name = f"port-25-{way.family}"
    if way.source is None:
        return Verdict(name, PASS, f"no mail leaves by {way.name}: {way.why}")
    version = 4 if way.family == "ipv4" else 6
    tried = [each for each in target.attempts if (":" in each.address) == (version == 6)]
    if not target.domain:
        remedy = "name a domain of others: `--to ADDRESS`, or admin in the policy"
        return Verdict(name, UNKNOWN, "there is no domain whose exchanger could be tried", remedy)
    if not tried:
        why = f"no exchanger of {target.domain} has a public {way.name} address"
        if target.why:
            why += f": {target.why}"
        remedy = f"try a domain that has one: `--to ADDRESS`, or look up the MX of {target.domain}"
        return Verdict(name, UNKNOWN, why, remedy)
    for each in tried:
        if not each.trouble:
            evidence = f"{each.host} [{each.address}] takes connections on port 25"
            return Verdict(name, PASS, evidence)
    what = "; ".join(f"{each.host} [{each.address}]: {each.trouble}" for each in tried)
    remedy = CLOSED
    if way.family == "ipv6":
        remedy += '; or send by IPv4 only: inet_protocols = "ipv4" under [postfix]'
    return Verdict(name, FAIL, f"{_kind(tried)}: {what}", remedy)


def _kind(tried: list[Attempt]) -> str:
    """Silence is what a firewall that drops looks like, a refusal one that rejects."""
    if all(each.trouble.startswith("no answer") for each in tried):
        return "packets to port 25 are dropped, or nobody is there"
    if all("refused" in each.trouble for each in tried):
        return "connections to port 25 are rejected, by a firewall or by the server"
    return "port 25 cannot be reached"
