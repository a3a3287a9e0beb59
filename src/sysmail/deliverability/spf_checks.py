"""The checks of SPF: for the sender's domain, and for the HELO name, which bounces have instead."""

from __future__ import annotations

import ipaddress

from sysmail.deliverability.names import Address, Published, is_qualified
from sysmail.deliverability.origin import Origin
from sysmail.deliverability.records import LONGEST, txt
from sysmail.deliverability.reverse import RESOLVER
from sysmail.deliverability.spf import MOST_NAMES, Client, Outcome, check_host
from sysmail.deliverability.spf_merge import looks_like_spf, merged
from sysmail.deliverability.spf_record import BadRecordError, is_spf, read_spf
from sysmail.host.port import Resolver
from sysmail.report import FAIL, PASS, UNKNOWN, Verdict

__all__ = ["spf", "spf_helo"]

ADDRESS = "say the address that others see with `--address ADDRESS`"
STRANGER = Client(ipaddress.ip_address("192.0.2.255"), "a@stranger.invalid", "stranger.invalid")
"""Somebody whom no record names (RFC 5737), so that all of a record is looked at."""


def spf(resolver: Resolver, origin: Origin) -> Verdict:
    """For MAIL FROM: whether these addresses may send for the sender's domain."""
    return _check(resolver, origin, "spf", origin.domain, origin.sender)


def spf_helo(resolver: Resolver, origin: Origin) -> Verdict:
    """For HELO: what a receiver looks at when the sender is <>, as that of every bounce."""
    helo = origin.helo.lower().rstrip(".")
    return _check(resolver, origin, "spf-helo", helo, f"postmaster@{helo}")


def _check(resolver: Resolver, origin: Origin, name: str, domain: str, sender: str) -> Verdict:
    if not is_qualified(domain):
        return Verdict(
            name,
            FAIL,
            f"{domain} is a name that nobody else can look up",
            "set hostname, or sender, in the policy to a name in public DNS; `sysmail apply`",
        )
    results = {
        address: check_host(resolver, Client(address, sender, origin.helo), domain)
        for address in origin.addresses
    }
    told = [f"{way.source}, behind NAT: not checked" for way in origin.hidden]
    evidence = "; ".join([*(_line(a, o) for a, o in results.items()), *told]) or "no address"
    evidence = f"{domain}: {evidence}"
    words = {outcome.result for outcome in results.values()}
    if words - {"pass", "temperror"}:
        return Verdict(name, FAIL, evidence, _remedy(resolver, origin, domain, sender, results))
    if "temperror" in words:
        return Verdict(name, UNKNOWN, evidence, RESOLVER)
    if not results or origin.hidden:
        return Verdict(name, UNKNOWN, evidence, ADDRESS)
    return Verdict(name, PASS, evidence)


def _line(address: Address, outcome: Outcome) -> str:
    return f"{address} {outcome.result} ({_cut(outcome.why)})"


def _cut(why: str) -> str:
    return why if len(why) <= 160 else why[:157] + "..."


def _remedy(
    resolver: Resolver, origin: Origin, domain: str, sender: str, results: dict[Address, Outcome]
) -> str:
    """The record with which every address that is known passes, evaluated before it is told."""
    texts = resolver.lookup(domain, "TXT").values
    seen = [text for text in texts if is_spf(text)]
    records = seen or [text for text in texts if looks_like_spf(text)]
    wanted = [_mechanism(a) for a, outcome in results.items() if outcome.result != "pass"]
    left_out: tuple[str, ...] = ()
    if not records:
        words, text = "publish", _new(resolver, origin, domain)
    elif len(seen) == 1 and _is_valid(seen[0]):
        kept = [term for term in seen[0].split(" ")[1:] if term and term not in wanted]
        words, text = "change the record to", " ".join(["v=spf1", *wanted, *kept])
    else:
        one = merged(resolver, records, wanted)
        words, text, left_out = "correct the record to", one.text, one.left_out
        if len(records) > 1:
            words = f"publish one record in place of the {len(records)}"
    notes = [] if seen or not records else ["nobody sees it: v=spf1 and a space come first"]
    if left_out:
        more = f", {len(left_out) - 6} more" if len(left_out) > 6 else ""
        notes.append(f"left out: {', '.join(left_out[:6])}{more}")
    after = Published(resolver, domain, text)
    passes = all(
        check_host(after, Client(a, sender, origin.helo), domain).result == "pass" for a in results
    )
    if len(text) > LONGEST or not passes:
        if words == "change the record to":
            return f"add to the SPF record of {domain}, right after v=spf1: {' '.join(wanted)}"
        record = f"one record, with these right after v=spf1: {' '.join(wanted)}"
        return f"{domain} needs {record}{_in_brackets(notes)}"
    others = check_host(after, STRANGER, domain)
    if others.result == "permerror":
        notes.append(f"to other senders it is still an error, to be mended: {_cut(others.why)}")
    return f"{words}{_in_brackets(notes)}: {txt(domain, text)}"


def _in_brackets(notes: list[str]) -> str:
    return f" ({'; '.join(notes)})" if notes else ""


def _is_valid(text: str) -> bool:
    try:
        read_spf(text)
    except BadRecordError:
        return False
    return True


def _new(resolver: Resolver, origin: Origin, domain: str) -> str:
    """A first record: closed for a host's own name, softer where others may send as well.

    A domain that takes mail is one of people, also where this host is called like it.
    """
    mine = [_mechanism(address) for address in origin.addresses]
    mx = len(resolver.lookup(domain, "MX").values)
    if not mx and (origin.own_domain or domain != origin.domain):
        return " ".join(["v=spf1", *mine, "-all"])
    return " ".join(["v=spf1", *mine, *(["mx"] if 0 < mx <= MOST_NAMES else []), "~all"])


def _mechanism(address: Address) -> str:
    # Receivers take an IPv4 address within IPv6 for the IPv4 address (RFC 7208, 5).
    plain = (address.ipv4_mapped if address.version == 6 else None) or address
    return f"ip{plain.version}:{plain}"
