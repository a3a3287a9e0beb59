"""The check of DMARC (RFC 7489): a policy, and SPF or DKIM that passes for the domain of From."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from sysmail.deliverability.dmarc_record import (
    BadTagsError,
    Policy,
    is_dmarc,
    read_dmarc,
)
from sysmail.deliverability.domains import Suffixes, organisational_by_walk
from sysmail.deliverability.names import is_qualified, parents
from sysmail.deliverability.origin import Origin
from sysmail.deliverability.records import shown, txt
from sysmail.deliverability.reverse import RESOLVER
from sysmail.host.port import UNANSWERED, Resolver
from sysmail.report import FAIL, PASS, UNKNOWN, Verdict

__all__ = ["aligned", "dmarc"]

MOST_QUESTIONS = 8
NAME = "dmarc"


@dataclass(frozen=True)
class _Found:
    """What was found for a domain: ``at`` is the domain whose record it is."""

    at: str = ""
    text: str = ""
    policy: Optional[Policy] = None
    trouble: str = ""
    several: tuple[str, ...] = ()
    unanswered: str = ""
    owner: str = ""


def dmarc(
    resolver: Resolver,
    origin: Origin,
    suffixes: Optional[Suffixes],
    spf: Verdict,
    signed_as: Sequence[str],
) -> Verdict:
    """``spf`` is the verdict on MAIL FROM, ``signed_as`` the domains whose DKIM key is good."""
    domain = origin.domain
    if not is_qualified(domain):
        return Verdict(
            NAME,
            FAIL,
            f"{domain} is a name that nobody else can look up",
            "set hostname, or sender, in the policy to a name in public DNS; `sysmail apply`",
        )
    found = _discover(resolver, domain, suffixes)
    if found.unanswered:
        return Verdict(NAME, UNKNOWN, found.unanswered, RESOLVER)
    if found.several:
        return Verdict(
            NAME,
            FAIL,
            f"_dmarc.{found.at} has {len(found.several)} DMARC records, which counts as none: "
            f"{shown(found.several)}",
            f"keep one: {txt('_dmarc.' + found.at, found.several[0])}",
        )
    if found.policy is None:
        missing = f"neither {domain} nor {found.owner}" if found.owner != domain else f"no {domain}"
        evidence = found.trouble or f"{missing} has a DMARC record"
        evidence = evidence.replace(f"no {domain} has a", f"{domain} has no")
        record = txt(f"_dmarc.{found.at or found.owner}", _new(origin, found.owner, suffixes))
        return Verdict(NAME, FAIL, evidence, f"publish: {record}")
    return _judge(origin, found, found.policy, spf, signed_as, suffixes)


def _judge(
    origin: Origin,
    found: _Found,
    policy: Policy,
    spf: Verdict,
    signed_as: Sequence[str],
    suffixes: Optional[Suffixes],
) -> Verdict:
    domain = origin.domain
    asked = policy.policy if found.at == domain else policy.below
    said = f"_dmarc.{found.at} asks for {asked}"
    ways: list[str] = []
    # MAIL FROM and From are the same domain here, which is aligned in either mode.
    if spf.status == PASS:
        ways.append("SPF passes for the domain of From")
    for signer in signed_as:
        owner = suffixes.organisational(signer) if suffixes else found.owner
        if aligned(signer, domain, strict=policy.strict_dkim, owner=owner, ours=found.owner):
            ways.append(f"DKIM signs as {signer}")
    if ways:
        return Verdict(NAME, PASS, f"{said}; aligned: {', '.join(ways)}")
    mode = "strict" if policy.strict_dkim else "relaxed"
    if signed_as:
        other = f"DKIM signs as {', '.join(signed_as)}, which is not aligned ({mode})"
    else:
        other = "no DKIM key is known to be good"
    if spf.status == UNKNOWN:
        remedy = f"see the verdict on SPF: {spf.remedy}"
        return Verdict(NAME, UNKNOWN, f"{said}; SPF is not known; {other}", remedy)
    return Verdict(
        NAME,
        FAIL,
        f"{said}, and nothing is aligned with {domain}: SPF does not pass; {other}",
        f"make SPF pass: {spf.remedy}",
    )


def aligned(signer: str, domain: str, *, strict: bool, owner: str, ours: str) -> bool:
    """Whether a domain that was authenticated speaks for that of From (RFC 7489, 3.1).

    ``owner`` and ``ours`` are their organisational domains; relaxed, these have to be equal.
    """
    signer, domain = signer.lower().rstrip("."), domain.lower().rstrip(".")
    if signer == domain:
        return True
    below = signer == ours or signer.endswith("." + ours)
    return not strict and below and owner == ours


def _discover(resolver: Resolver, domain: str, suffixes: Optional[Suffixes]) -> _Found:
    """The record of the domain itself, else that of its owner (6.6.3)."""
    if suffixes is not None:
        owner = suffixes.organisational(domain)
        names = list(dict.fromkeys([domain, owner]))
    else:
        owner, names = "", _walk(domain)
    found = [_ask(resolver, name) for name in names]
    unanswered = next((each for each in found if each.unanswered), None)
    if unanswered is not None:
        return unanswered
    if not owner:
        tags = [(each.at, each.policy.psd) for each in found if each.policy is not None]
        owner = organisational_by_walk(domain, tags)
    own = found[0]
    others = [each for each in found if each.at == owner]
    best = own if own.text else next(iter(others), own)
    return _Found(
        best.at if best.text else "",
        best.text,
        best.policy,
        best.trouble,
        best.several,
        owner=owner,
    )


def _walk(domain: str) -> list[str]:
    """The names of the walk, down to the top, and no more than eight questions (RFC 9989)."""
    names = parents(domain)
    if len(names) > MOST_QUESTIONS:
        return [names[0], *names[1 - MOST_QUESTIONS :]]
    return names


def _ask(resolver: Resolver, domain: str) -> _Found:
    answer = resolver.lookup(f"_dmarc.{domain}", "TXT")
    if answer.status == UNANSWERED:
        return _Found(unanswered=f"TXT of _dmarc.{domain}: {answer.why}")
    texts = tuple(text for text in answer.values if is_dmarc(text))
    if len(texts) > 1:
        return _Found(domain, texts[0], several=texts)
    if not texts:
        return _Found(domain)
    try:
        return _Found(domain, texts[0], read_dmarc(texts[0]))
    except BadTagsError as error:
        trouble = f"the record {shown(texts)} of _dmarc.{domain}: {error}"
        return _Found(domain, texts[0], trouble=trouble)


def _new(origin: Origin, owner: str, suffixes: Optional[Suffixes]) -> str:
    """A first record: it asks for nothing, and for reports where admin is of the same owner.

    Reports to others' domains need a record over there (7.1).
    """
    admin = origin.admin.rpartition("@")[2].lower()
    theirs = suffixes.organisational(admin) if suffixes and admin else admin
    same = bool(admin) and (owner in (theirs, admin) or admin.endswith("." + owner))
    return f"v=DMARC1; p=none; rua=mailto:{origin.admin}" if same else "v=DMARC1; p=none"
