"""Programs of this host cannot hand mail in, or others can."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from sysmail.postfix.lint.candidate import Candidate, Finding

__all__ = ["RULES"]

# smtpd(8) wants one of these to be in force (smtpd_check.c), and ends without.
_STOPS = frozenset(
    ["reject", "defer", "defer_if_permit", "reject_unauth_destination", "defer_unauth_destination"]
)
_RESTRICTIONS = ("smtpd_relay_restrictions", "smtpd_recipient_restrictions")


def _interfaces(given: Candidate) -> Iterator[Finding]:
    """Listening on loopback, also where IPv6 is off."""
    words = given.words("inet_interfaces")
    if not given.facts.ipv6_loopback and any(w in ("localhost", "[::1]", "::1") for w in words):
        yield Finding(
            "interface-not-there",
            "inet_interfaces",
            "this host has no ::1: Postfix does not start",
            "write loopback-only, which takes what is there",
        )
    outside = [word for word in words if not _is_loopback(word)]
    if outside or not words:
        yield Finding(
            "listens-outside",
            "inet_interfaces",
            "Postfix listens on addresses of the network" if words else "Postfix does not start",
            "write loopback-only",
        )


def _is_loopback(word: str) -> bool:
    if word in ("loopback-only", "localhost"):
        return True
    try:
        return ipaddress.ip_address(word.strip("[]")).is_loopback
    except ValueError:
        return False


def _protocols(given: Candidate) -> Iterator[Finding]:
    """Never empty, nothing unknown, and no IPv6 where there is none."""
    words = given.words("inet_protocols")
    if not words:
        yield Finding(
            "no-protocol",
            "inet_protocols",
            "it is empty: Postfix runs and listens nowhere",
            "write all, or ipv4 where the host has no IPv6",
        )
    elif not set(words) <= {"all", "ipv4", "ipv6"}:
        yield Finding(
            "protocol-not-known",
            "inet_protocols",
            "no program of Postfix can read it, and none starts",
            "write all, or ipv4 where the host has no IPv6",
        )
    elif not given.facts.ipv6_loopback and words != ["ipv4"]:
        yield Finding(
            "no-ipv6",
            "inet_protocols",
            "this host has no ::1: with IPv6 off in the kernel Postfix does not start",
            "write ipv4",
        )
    elif words == ["ipv6"]:
        yield Finding(
            "no-ipv4",
            "inet_protocols",
            "nothing listens on 127.0.0.1, which most programs use",
            "write all",
        )


def _networks(given: Candidate) -> Iterator[Finding]:
    """Clients on both loopback families may relay: ``localhost`` is ::1 first on many hosts."""
    if "mynetworks" not in given.main:
        return
    known: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
    for word in given.words("mynetworks"):
        if word.startswith(("/", "!")) or re.match(r"[a-z0-9_]+:[/{]", word):
            return  # a table, a file or an exception: not for us to judge
        try:
            if ":" in word and not word.startswith("["):
                raise ValueError("a table of type 2001 or of none")
            known.append(ipaddress.ip_network(word.replace("[", "").replace("]", "")))
        except ValueError:
            yield Finding(
                "network-not-readable",
                "mynetworks",
                f"`{word[:60]}` is no network: every client is told to come back later (451)",
                "write 127.0.0.0/8 [::1]/128",
            )
            return
    wanted = ["127.0.0.1"] if given.words("inet_protocols") != ["ipv6"] else []
    if given.facts.ipv6_loopback and given.words("inet_protocols") != ["ipv4"]:
        wanted.append("::1")
    for address in wanted:
        place = ipaddress.ip_address(address)
        if not any(place.version == net.version and place in net for net in known):
            yield Finding(
                "clients-refused",
                "mynetworks",
                f"it lacks {address}: programs that reach this host there get 554 Relay access "
                "denied",
                "write 127.0.0.0/8 [::1]/128",
            )


def _relay_restrictions(given: Candidate) -> Iterator[Finding]:
    """smtpd(8) ends where nothing stops a stranger's mail: port 25 then answers nothing."""
    if not any(_stops(given.words(name)) for name in _RESTRICTIONS):
        yield Finding(
            "no-final-reject",
            "smtpd_relay_restrictions",
            "nothing in it rejects: smtpd refuses to run, and port 25 answers nothing while "
            "Postfix counts as running",
            "end it with reject or reject_unauth_destination",
        )


def _stops(words: list[str]) -> bool:
    for word in words:
        if word in _STOPS:
            return True
        if word == "permit":
            return False
    return False


def _smtputf8(given: Candidate) -> Iterator[Finding]:
    """A message that needs SMTPUTF8 has no way through a server that lacks it."""
    if given["smtputf8_enable"].strip() != "no":
        yield Finding(
            "smtputf8",
            "smtputf8_enable",
            "mail with a raw UTF-8 header bounces at a server that lacks SMTPUTF8, such as Mailu, "
            "and its bounce does too",
            "write no",
        )


RULES = (_interfaces, _protocols, _networks, _relay_restrictions, _smtputf8)
