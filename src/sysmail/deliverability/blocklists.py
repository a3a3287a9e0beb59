"""The check of public blocklists (RFC 5782), each by what its own answers mean.

A list is believed only where it also says yes about the address that every list has for
tests, 127.0.0.2: lists do not answer resolvers that ask too much or are open to
all, and "no such name" from such a one is no praise.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from sysmail.deliverability.names import Address
from sysmail.deliverability.origin import Way
from sysmail.host.port import UNANSWERED, Answer, Resolver
from sysmail.report import FAIL, PASS, UNKNOWN, Verdict

__all__ = ["LISTS", "Blocklist", "blocklists", "question"]

TEST_LISTED = ipaddress.ip_address("127.0.0.2")
TEST_CLEAN = ipaddress.ip_address("127.0.0.1")
OWN_RESOLVER = (
    "let this host ask a resolver of its own (unbound, say): blocklists do not answer public and "
    "busy ones; retry"
)


@dataclass(frozen=True)
class Blocklist:
    """A list: its zone, what its answers mean, where one gets off it, and the families it has."""

    zone: str
    codes: Mapping[str, str]
    removal: str
    errors: Mapping[str, str] = field(default_factory=dict)
    families: tuple[str, ...] = ("ipv4",)


_PBL = "PBL, addresses that are not to send mail themselves"

LISTS = (
    Blocklist(
        "zen.spamhaus.org",
        {
            "127.0.0.2": "SBL, a source of spam",
            "127.0.0.3": "CSS, a source of spam",
            "127.0.0.4": "XBL, a machine taken over",
            "127.0.0.5": "XBL, a machine taken over",
            "127.0.0.6": "XBL, a machine taken over",
            "127.0.0.7": "XBL, a machine taken over",
            "127.0.0.9": "DROP, a hijacked network",
            "127.0.0.10": _PBL,
            "127.0.0.11": _PBL,
            "127.0.0.30": "BCL, a machine that steers botnets",
        },
        "https://check.spamhaus.org/",
        {
            "127.255.255.252": "the name of the list is misspelt",
            "127.255.255.254": "it does not answer this resolver, which is open to the public",
            "127.255.255.255": "it does not answer this resolver, which asks too much",
        },
        ("ipv4", "ipv6"),
    ),
    Blocklist(
        "bl.spamcop.net",
        {"127.0.0.2": "reported for spam"},
        "https://www.spamcop.net/bl.shtml",
    ),
    Blocklist(
        "psbl.surriel.com",
        {"127.0.0.2": "sent mail to a spam trap"},
        "https://psbl.org/remove",
    ),
)


@dataclass(frozen=True)
class _Finding:
    """What one list says: ``listed`` with the meaning, or ``unsure`` and why."""

    zone: str
    listed: str = ""
    unsure: str = ""
    remedy: str = ""


def question(address: Address, zone: str) -> str:
    """The name to ask for: bytes of IPv4, nibbles of IPv6, in reverse (RFC 5782, 2.1 and 2.4)."""
    return address.reverse_pointer.rpartition(".")[0].rpartition(".")[0] + "." + zone


def blocklists(resolver: Resolver, way: Way, lists: tuple[Blocklist, ...] = LISTS) -> Verdict:
    """One verdict for one family, over all lists that have it."""
    name = f"blocklists-{way.family}"
    if way.source is None:
        return Verdict(name, PASS, f"no mail leaves by {way.name}: {way.why}")
    if way.seen is None:
        remedy = f"say it with `--address ADDRESS` ({way.name})"
        return Verdict(name, UNKNOWN, "the address that others see is not known", remedy)
    asked = [each for each in lists if way.family in each.families]
    findings = [_ask(resolver, each, way.seen) for each in asked]
    listed = [each for each in findings if each.listed]
    unsure = [each for each in findings if each.unsure]
    told = [f"{f.zone}: {f.listed or f.unsure}" for f in (*listed, *unsure)]
    quiet = [each.zone for each in findings if not each.listed and not each.unsure]
    if quiet:
        told.append(f"not on {', '.join(quiet)}")
    evidence = f"{way.seen}: {'; '.join(told)}"
    if listed:
        return Verdict(name, FAIL, evidence, "; ".join(each.remedy for each in listed))
    if unsure:
        return Verdict(name, UNKNOWN, evidence, unsure[0].remedy)
    return Verdict(name, PASS, evidence)


def _ask(resolver: Resolver, each: Blocklist, address: Address) -> _Finding:
    answer = resolver.lookup(question(address, each.zone), "A")
    finding = _read(each, answer)
    if finding.unsure:
        return finding
    if finding.listed:
        clean = resolver.lookup(question(TEST_CLEAN, each.zone), "A")
        if clean.values:
            return _Finding(each.zone, unsure="it lists every address", remedy=OWN_RESOLVER)
        return finding
    test = _read(each, resolver.lookup(question(TEST_LISTED, each.zone), "A"))
    if not test.listed:
        why = test.unsure or "it does not answer here (not even for its test, 127.0.0.2)"
        return _Finding(each.zone, unsure=why, remedy=OWN_RESOLVER)
    return finding


def _read(each: Blocklist, answer: Answer) -> _Finding:
    if answer.status == UNANSWERED:
        return _Finding(each.zone, unsure=answer.why, remedy=OWN_RESOLVER)
    known = [each.codes[code] for code in answer.values if code in each.codes]
    if known:
        remedy = f"find out why, end it, and ask for removal: {each.removal}"
        if _PBL in known:
            remedy += '; or send through a provider\'s server: next_hop = "smarthost"'
        return _Finding(each.zone, listed=" and ".join(dict.fromkeys(known)), remedy=remedy)
    if answer.values:
        code = answer.values[0]
        if code.startswith("127.255.255."):
            why = each.errors.get(code, f"it answers with the error {code}")
        else:
            why = f"it answers {code}, which means nothing known"
        return _Finding(each.zone, unsure=why, remedy=OWN_RESOLVER)
    return _Finding(each.zone)
