"""The check of DMARC (RFC 7489): a policy, and SPF or DKIM that passes for the domain of From."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional
from urllib.parse import quote

from sysmail.deliverability.dmarc_mend import looks_like_dmarc, mended
from sysmail.deliverability.dmarc_record import (
    BadTagsError,
    Policy,
    is_dmarc,
    read_dmarc,
)
from sysmail.deliverability.domains import Suffixes, organisational_by_walk
from sysmail.deliverability.names import is_qualified, parents
from sysmail.deliverability.origin import Origin
from sysmail.deliverability.records import LONGEST, shown, txt
from sysmail.deliverability.reverse import RESOLVER
from sysmail.host.port import UNANSWERED, Resolver
from sysmail.report import FAIL, PASS, UNKNOWN, Verdict

__all__ = ["aligned", "dmarc"]

MOST_QUESTIONS = 8
NAME = "dmarc"


@dataclass(frozen=True)
class _Found:
    """What was found for a domain: ``at`` is the domain whose records ``texts`` are.

    ``trouble`` is why these are no policy. ``owner`` is the organisational domain, and ``above``
    what that asks for below it.
    """

    at: str = ""
    texts: tuple[str, ...] = ()
    policy: Optional[Policy] = None
    trouble: str = ""
    seen: bool = True
    unanswered: str = ""
    owner: str = ""
    above: str = "none"


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
    if found.policy is None:
        missing = f"neither {domain} nor {found.owner}" if found.owner != domain else f"no {domain}"
        evidence = found.trouble or f"{missing} has a DMARC record"
        evidence = evidence.replace(f"no {domain} has a", f"{domain} has no")
        if found.texts:
            remedy = _one_of(f"_dmarc.{found.at}", found.texts, found.above)
            return Verdict(NAME, FAIL, evidence, remedy)
        record = txt(f"_dmarc.{found.owner}", _new(origin, found.owner, suffixes))
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
    there = [each for each in found if each.texts]
    # The owner's records count where the domain has none; what receivers do not see comes last.
    valid = [each for each in there if each.seen and each.at in (domain, owner)]
    hidden = [each for each in there if not each.seen and "." in each.at]
    best = next(iter(valid + hidden), _Found())
    above = next((each.policy.below for each in valid if each.policy and each.at == owner), "none")
    return replace(best, owner=owner, above=above)


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
    name = f"_dmarc.{domain}"
    if len(texts) > 1:
        trouble = f"{name} has {len(texts)} DMARC records, which counts as none: {shown(texts)}"
        return _Found(domain, texts, trouble=trouble)
    if not texts:
        texts = tuple(text for text in answer.values if looks_like_dmarc(text))
        trouble = f"{shown(texts)} of {name} is not seen: v=DMARC1 has to stand first"
        return _Found(domain, texts, trouble=trouble if texts else "", seen=False)
    try:
        return _Found(domain, texts, read_dmarc(texts[0]))
    except BadTagsError as error:
        return _Found(domain, texts, trouble=f"the record {shown(texts)} of {name}: {error}")


def _one_of(name: str, texts: Sequence[str], above: str) -> str:
    """The record to publish in place of those that are no policy: the strictest, mended."""
    choices = [mended(text, above) for text in texts]
    best = max(choices, key=lambda each: (each.rank, not each.changes))
    words = "correct the record to"
    if len(texts) > 1:
        differ = ", the strictest," if len({each.rank for each in choices}) > 1 else ""
        words = f"keep one{differ} and remove the rest"
    notes = list(best.changes[:6])
    if len(best.changes) > 6:
        notes.append(f"{len(best.changes) - 6} changes more")
    words += f" ({'; '.join(notes)})" if notes else ""
    if len(best.text) > LONGEST:
        return f"{words}: {name}. IN TXT, what begins with {shown([best.text], 60)}"
    return f"{words}: {txt(name, best.text)}"


def _new(origin: Origin, owner: str, suffixes: Optional[Suffixes]) -> str:
    """A first record: it asks for nothing, and for reports where admin is of the same owner.

    Reports to others' domains need a record over there (7.1).
    """
    admin = origin.admin.rpartition("@")[2].lower()
    theirs = suffixes.organisational(admin) if suffixes and admin else admin
    same = bool(admin) and (owner in (theirs, admin) or admin.endswith("." + owner))
    # What divides URIs, and tags, is written by its number within one (6.2; RFC 3986, 2.1).
    rua = "; rua=mailto:" + quote(origin.admin, safe="@+=") if same else ""
    return f"v=DMARC1; p=none{rua}"
