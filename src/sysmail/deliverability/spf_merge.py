"""One SPF record out of several, or out of one that is broken.

The rule is simple: every valid mechanism stays, in its order; what receivers do not understand
is left out; of each modifier one stays; and of the ``all`` the strictest stays. A redirect that
cannot stay, because something else is the end, becomes an include, by which the same senders pass.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

from sysmail.deliverability.spf_record import BadRecordError, Record, is_spf, read_spf
from sysmail.host.port import Resolver

__all__ = ["Merged", "looks_like_spf", "merged"]

MOST_REDIRECTS = 10
_START = re.compile(r"[ \t]*v[ \t]*=[ \t]*spf1(?![A-Za-z0-9])", re.IGNORECASE)
_ALL = {"pass": "+all", "neutral": "?all", "softfail": "~all", "fail": "-all"}
_STRICTNESS = tuple(_ALL)


@dataclass(frozen=True)
class Merged:
    """A record, and what of the old ones is not in it, each with the reason in a few words."""

    text: str
    left_out: tuple[str, ...]


@dataclass
class _Parts:
    """The terms of one record by what they are for; ``end`` is the result of its ``all``."""

    senders: list[str] = field(default_factory=list)
    end: str = ""
    redirect: str = ""
    exp: str = ""
    others: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def looks_like_spf(text: str) -> bool:
    """Whether a TXT record is meant to be one of SPF, also where receivers do not see that."""
    return _START.match(text) is not None


def merged(resolver: Resolver, records: Sequence[str], wanted: Sequence[str]) -> Merged:
    """One record in place of all, with the mechanisms in ``wanted`` before everything else."""
    parts = [_parts(text) for text in records]
    senders = [*wanted]
    redirects = list(dict.fromkeys(p.redirect for p in parts if p.redirect and not p.end))
    stays = len(redirects) == 1 and not any(p.end for p in parts)
    # A record without an end may have lost a misspelt one, and that of a redirect may be unknown:
    # both count as ~all.
    ends = [p.end or "softfail" for p in parts if p.end or not p.redirect]
    for part in parts:
        senders += part.senders
        if part.redirect and not part.end and not stays:
            senders.append(f"include:{part.redirect}")
            ends.append(_end_of(resolver, part.redirect) or "softfail")
    exps = list(dict.fromkeys(part.exp for part in parts if part.exp))
    terms = [
        *senders,
        f"redirect={redirects[0]}" if stays else _ALL[max(ends, key=_STRICTNESS.index)],
        *(f"exp={each}" for each in exps[:1]),
        *(other for part in parts for other in part.others),
    ]
    left_out = [why for part in parts for why in part.left_out]
    left_out += [f"'exp={each}', of which one may stand in it" for each in exps[1:]]
    return Merged(" ".join(["v=spf1", *dict.fromkeys(terms)]), tuple(dict.fromkeys(left_out)))


def _parts(text: str) -> _Parts:
    found = _Parts()
    for term in _START.sub("", text, count=1).split():
        # A mistake seen often: commas or semicolons between terms.
        for each in [term] if _read(term) else filter(None, re.split("[,;]", term)):
            _sort(found, each)
    return found


def _sort(found: _Parts, term: str) -> None:
    record = _read(term)
    if record is None:
        found.left_out.append(f"{_short(term)} is not understood")
        return
    name, _, value = term.partition("=")
    for mechanism in record.mechanisms:
        if found.end:
            found.left_out.append(f"{_short(term)} behind all, where nobody looks")
        elif mechanism.name == "all":
            found.end = mechanism.result
        else:
            found.senders.append(term)
        return
    if name.lower() not in ("redirect", "exp"):
        found.others.append(term)
    elif getattr(found, name.lower()):
        found.left_out.append(f"{_short(term)}, of which one may stand in it")
    else:
        setattr(found, name.lower(), value)


def _read(term: str) -> Optional[Record]:
    try:
        return read_spf(f"v=spf1 {term}")
    except BadRecordError:
        return None


def _short(term: str) -> str:
    return repr(term if len(term) <= 60 else term[:57] + "...")


def _end_of(resolver: Resolver, target: str) -> str:
    """What the record that a redirect leads to gives to everybody else; empty where unknown."""
    for _ in range(MOST_REDIRECTS):
        if "%" in target:
            return ""
        records = [text for text in resolver.lookup(target, "TXT").values if is_spf(text)]
        if len(records) != 1:
            return ""
        parts = _parts(records[0])
        if parts.end or not parts.redirect:
            return parts.end
        target = parts.redirect
    return ""
