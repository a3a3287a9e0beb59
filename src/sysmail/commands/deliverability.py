"""``sysmail prove --deliverability``: whether mail that this host sends itself is welcome.

Collects what the host is as a sender, from the live Postfix and the kernel,
and asks DNS; what the answers mean is in ``sysmail.deliverability``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional

from sysmail.commands.situation import Situation
from sysmail.deliverability import domains, opendkim
from sysmail.deliverability.blocklists import blocklists
from sysmail.deliverability.dkim import Signing, dkim
from sysmail.deliverability.dmarc import dmarc
from sysmail.deliverability.names import Address, Remembering
from sysmail.deliverability.origin import FAMILIES, Origin, Way, way
from sysmail.deliverability.reverse import reverse_dns
from sysmail.deliverability.spf_checks import spf, spf_helo
from sysmail.deliverability.ways import Attempt, Target, address, port_25, public
from sysmail.errors import HostError, UsageError
from sysmail.facts.model import PostfixFacts
from sysmail.host.port import UNANSWERED, Reader, Resolver
from sysmail.postfix.names import my_hostname, own_names
from sysmail.report import PASS, Verdict

__all__ = ["Asked", "asked", "prove_deliverability"]

DNS_SECONDS = 40.0
"""For all questions to DNS together: slow servers make verdicts unknown, not the wait long."""

CONNECT_SECONDS = 5.0
MOST_CONNECTIONS = 3
"""In each family; a provider's exchangers are behind the same firewall or none."""

ELSEWHERE = {"ipv4": "198.41.0.4", "ipv6": "2001:503:ba3e::2:30"}
"""a.root-servers.net: to find the own address where an exchanger has none. Nothing is sent."""


@dataclass(frozen=True)
class Asked:
    """What the operator said: outside addresses, by family, and selectors of DKIM."""

    addresses: tuple[tuple[str, Address], ...] = ()
    selectors: tuple[str, ...] = ()


def asked(addresses: Sequence[str], selectors: Sequence[str]) -> Asked:
    """Check the options; UsageError for what is no address, two of a family, or no selector."""
    found: dict[str, Address] = {}
    for text in addresses:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise UsageError(
                "usage", f"--address {text} is no IP address", "give IPv4 or IPv6 as numbers"
            ) from None
        family = f"ipv{address.version}"
        if found.setdefault(family, address) != address:
            raise UsageError(
                "usage", f"--address names two addresses of {FAMILIES[family]}", "give one of each"
            )
    for selector in selectors:
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", selector):
            raise UsageError(
                "usage",
                "what follows --dkim-selector is no selector",
                "give the name before ._domainkey alone, such as mail2024",
            )
    return Asked(tuple(found.items()), tuple(selectors))


def prove_deliverability(
    reader: Reader, situation: Situation, wanted: Asked, to: str = ""
) -> list[Verdict]:
    """A verdict for each check. HostError where there is no dnspython.

    Another next hop than ``direct`` is no failure: then others see that server.
    """
    decision = situation.decision
    if not situation.desired.relay or decision.next_hop != "direct":
        return [_named(_not_direct(situation))]
    resolver = Remembering(reader.resolver(DNS_SECONDS))
    target = _exchangers(resolver, (to or situation.policy.admin).rpartition("@")[2].lower())
    ways = tuple(_way(reader, situation, wanted, family, target) for family in FAMILIES)
    target = _tried(reader, ways, public(target, situation.facts.addresses))
    origin = _origin(situation, ways)
    verdicts: list[Verdict] = []
    for each in ways:
        verdicts += [address(each, origin), port_25(each, target)]
        verdicts.append(reverse_dns(resolver, each, origin.helo))
    signing = _signing(reader, situation, origin, wanted.selectors)
    by_spf = spf(resolver, origin)
    by_dkim, signed_as = dkim(resolver, origin, signing)
    verdicts += [by_spf, spf_helo(resolver, origin), by_dkim]
    verdicts.append(dmarc(resolver, origin, _suffixes(reader), by_spf, signed_as))
    verdicts += [blocklists(resolver, each) for each in ways]
    return [_named(verdict) for verdict in verdicts]


def _named(verdict: Verdict) -> Verdict:
    return replace(verdict, check=f"deliverability:{verdict.check}")


def _not_direct(situation: Situation) -> Verdict:
    decision = situation.decision
    if decision.next_hop == "hold":
        why = "mail is held here, and none leaves"
    else:
        host = decision.hop.host if decision.hop is not None else "the next hop"
        why = f"mail leaves through {host}, and others see that server, not this host"
    return Verdict(
        "next-hop",
        PASS,
        f"{why}. This check is for next hop direct: there it looks at the addresses that mail "
        "leaves from, outgoing port 25, reverse DNS and HELO, SPF, DKIM, DMARC and blocklists",
    )


def _exchangers(resolver: Resolver, domain: str) -> Target:
    """The addresses of a domain's exchangers, the best first (RFC 5321, 5.1); not yet tried."""
    if not domain:
        return Target("")
    answer = resolver.lookup(domain, "MX")
    if answer.status == UNANSWERED:
        return Target(domain, why=f"MX of {domain}: {answer.why}")
    hosts = [value.partition(" ")[2].strip(".") for value in answer.values] or [domain]
    if hosts == [""]:
        return Target(domain, why=f"{domain} takes no mail (its MX is empty, RFC 7505)")
    attempts: list[Attempt] = []
    troubles: list[str] = []
    for host in filter(None, hosts[:MOST_CONNECTIONS]):
        for kind in ("A", "AAAA"):
            found = resolver.lookup(host, kind)
            attempts += [Attempt(host, text, "") for text in found.values]
            if found.status == UNANSWERED:
                troubles.append(f"{kind} of {host}: {found.why}")
    return Target(domain, tuple(attempts), "; ".join(troubles))


def _way(reader: Reader, situation: Situation, wanted: Asked, family: str, target: Target) -> Way:
    postfix = situation.facts.postfix
    name = "smtp_bind_address" if family == "ipv4" else "smtp_bind_address6"
    sign = ":" if family == "ipv6" else "."
    near = [each.address for each in target.attempts if sign in each.address]
    sources = (reader.source_address(there) for there in [*near[:1], ELSEWHERE[family]])
    return way(
        family,
        protocols=_parameter(postfix, "inet_protocols") or "all",
        kernel=next(filter(None, sources), ""),
        bind=_parameter(postfix, name),
        bind_name=name,
        given=dict(wanted.addresses).get(family),
        own=situation.facts.addresses,
    )


def _tried(reader: Reader, ways: tuple[Way, ...], target: Target) -> Target:
    """The target with a connection to its exchangers tried by each way, until one comes about."""
    tried: list[Attempt] = []
    for each in ways:
        sign = ":" if each.family == "ipv6" else "."
        there = [attempt for attempt in target.attempts if sign in attempt.address]
        source = str(each.source) if each.bound else ""
        for attempt in there[:MOST_CONNECTIONS] if each.source is not None else []:
            trouble = reader.connection_trouble(attempt.address, 25, source, CONNECT_SECONDS)
            tried.append(replace(attempt, trouble=trouble))
            if not trouble:
                break
    return replace(target, attempts=tuple(tried))


def _origin(situation: Situation, ways: tuple[Way, ...]) -> Origin:
    policy, facts = situation.policy, situation.facts
    helo = _parameter(facts.postfix, "smtp_helo_name") or my_hostname(policy, facts)
    domain = situation.sender.rpartition("@")[2].lower()
    return Origin(
        ways=ways,
        helo=helo,
        sender=situation.sender,
        admin=policy.admin,
        own_domain=domain in (*own_names(policy, facts), helo.lower()),
    )


def _parameter(postfix: Optional[PostfixFacts], name: str) -> str:
    """An effective parameter with the parameters in it filled in; empty without Postfix."""
    if postfix is None:
        return ""
    text = postfix[name]
    for _ in range(8):
        found = re.search(r"\$(?:\{(\w+)\}|\((\w+)\)|(\w+))", text)
        if found is None:
            break
        inner = postfix[found[1] or found[2] or found[3]]
        text = text[: found.start()] + inner + text[found.end() :]
    return " ".join(text.split())


def _suffixes(reader: Reader) -> Optional[domains.Suffixes]:
    for path in domains.FILES:
        raw = reader.read(path)
        if raw is not None:
            return domains.Suffixes(raw.decode("utf-8", "replace"))
    return None


def _signing(
    reader: Reader, situation: Situation, origin: Origin, selectors: tuple[str, ...]
) -> Signing:
    postfix = situation.facts.postfix
    smtpd, local = (_parameter(postfix, n) for n in ("smtpd_milters", "non_smtpd_milters"))
    found: list[opendkim.Signer] = []
    why = ""
    if smtpd or local:
        try:
            found = _by_opendkim(reader, origin.sender)
        except opendkim.UnreadableError as error:
            why = str(error)
    known = {signer.selector for signer in found}
    found += [opendkim.Signer(origin.domain, s) for s in selectors if s not in known]
    files = dict.fromkeys(signer.key_file for signer in found if signer.key_file)
    public = tuple((path, _public(reader, path)) for path in files)
    return Signing(smtpd, local, tuple(found), public, why)


def _by_opendkim(reader: Reader, sender: str) -> list[opendkim.Signer]:
    def read(path: str) -> Optional[str]:
        try:
            raw = reader.read(path, 1_000_000)
        except HostError:
            return None
        return None if raw is None else raw.decode("utf-8", "replace")

    for path in opendkim.CONFIGURATIONS:
        text = read(path)
        if text is not None:
            return opendkim.signers(opendkim.settings(text), sender, read)
    raise opendkim.UnreadableError("it is not OpenDKIM, so its selector is not known here")


def _public(reader: Reader, path: str) -> str:
    """The base64 of the public half of a private key; empty where openssl cannot tell."""
    said = reader.ask(["openssl", "pkey", "-in", path, "-pubout", "-passin", "pass:"], timeout=10)
    lines = said.out.splitlines()
    if said.status != 0 or len(lines) < 3:
        return ""
    return "".join(line.strip() for line in lines if not line.startswith("-----"))
