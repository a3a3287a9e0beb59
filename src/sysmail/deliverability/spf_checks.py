"""The checks of SPF: for the sender's domain, and for the HELO name, which bounces have instead."""

from __future__ import annotations

from sysmail.deliverability.names import Address, is_qualified
from sysmail.deliverability.origin import Origin
from sysmail.deliverability.records import LONGEST, shown, txt
from sysmail.deliverability.reverse import RESOLVER
from sysmail.deliverability.spf import Client, Outcome, check_host
from sysmail.deliverability.spf_record import BadRecordError, is_spf, read_spf
from sysmail.host.port import Resolver
from sysmail.report import FAIL, PASS, UNKNOWN, Verdict

__all__ = ["spf", "spf_helo"]

ADDRESS = "say the address that others see with `--address ADDRESS`"


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
        return Verdict(name, FAIL, evidence, _remedy(resolver, origin, domain, results))
    if "temperror" in words:
        return Verdict(name, UNKNOWN, evidence, RESOLVER)
    if not results or origin.hidden:
        return Verdict(name, UNKNOWN, evidence, ADDRESS)
    return Verdict(name, PASS, evidence)


def _line(address: Address, outcome: Outcome) -> str:
    why = outcome.why if len(outcome.why) <= 160 else outcome.why[:157] + "..."
    return f"{address} {outcome.result} ({why})"


def _remedy(
    resolver: Resolver, origin: Origin, domain: str, results: dict[Address, Outcome]
) -> str:
    """The record with which every address that is known passes."""
    records = [text for text in resolver.lookup(domain, "TXT").values if is_spf(text)]
    wanted = [_mechanism(a) for a, outcome in results.items() if outcome.result != "pass"]
    if not records:
        return "publish: " + txt(domain, _new(resolver, origin, domain))
    if len(records) > 1:
        terms = list(dict.fromkeys(term for text in records for term in text.split()[1:]))
        last = [term for term in terms if term.lower().lstrip("+-~?") == "all"][:1] or ["~all"]
        kept = [term for term in terms if term.lower().lstrip("+-~?") != "all"]
        text = " ".join(["v=spf1", *dict.fromkeys([*wanted, *kept]), *last])
        return _told(domain, text, wanted, f"publish one record in place of the {len(records)}: ")
    try:
        read_spf(records[0])
    except BadRecordError as error:
        return (
            f"correct the record, {shown(records)}: {error}; a plain one is: "
            f"{txt(domain, _new(resolver, origin, domain))}"
        )
    text = " ".join(["v=spf1", *wanted, *records[0].split()[1:]])
    return _told(domain, text, wanted, "change the record to: ")


def _told(domain: str, text: str, wanted: list[str], words: str) -> str:
    if len(text) > LONGEST:
        return f"add to the SPF record of {domain}, right after v=spf1: {' '.join(wanted)}"
    return words + txt(domain, text)


def _new(resolver: Resolver, origin: Origin, domain: str) -> str:
    """A first record: closed for a host's own name, softer where others may send as well.

    A domain that takes mail is one of people, also where this host is called like it.
    """
    mine = [_mechanism(address) for address in origin.addresses]
    mx = ["mx"] if resolver.lookup(domain, "MX").values else []
    if not mx and (origin.own_domain or domain != origin.domain):
        return " ".join(["v=spf1", *mine, "-all"])
    return " ".join(["v=spf1", *mx, *mine, "~all"])


def _mechanism(address: Address) -> str:
    return f"ip{address.version}:{address}"
