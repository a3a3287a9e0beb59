"""A DMARC record as its owner meant it: every valid tag stays, and only what is broken changes.

RFC 7489, 6.3, has receivers skip what they cannot read behind ``p``, and most do; some then skip
the rest as well, and a tag that is there twice makes all of it invalid (RFC 6376, 3.2).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Optional

from sysmail.deliverability.dmarc_record import POLICIES, BadTagsError, is_dmarc, read_dmarc

__all__ = ["Mended", "looks_like_dmarc", "mended"]

_VALUES = {
    "adkim": r"[rs]",
    "aspf": r"[rs]",
    "fo": r"[01ds](:[01ds])*",
    "pct": r"100|[0-9]{1,2}",
    "psd": r"[ynu]",
    "rf": r"[a-z0-9]+([:,] *[a-z0-9]+)*",
    "ri": r"[0-9]{1,10}",
    "t": r"[yn]",
}
_POLICY_TAGS = ("p", "sp", "np")
_NAMES = (*_VALUES, *_POLICY_TAGS, "rua", "ruf", "v")
# Where a tag ends, also where the semicolon is forgotten, or is a comma.
_END = re.compile(rf";|(?<![\s,])[\s,]+(?=(?:{'|'.join(_NAMES)})[ \t]*=)", re.IGNORECASE)
_VERSION = re.compile(r"(?:\A|;)[ \t]*v[ \t]*=[ \t]*DMARC1(?![A-Za-z0-9])", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[^\s,;!]+(![0-9]+[kmgt]?)?", re.IGNORECASE)
_ADDRESS = re.compile(r"[^\s,;:!@]+@[^\s,;:!@]+")


@dataclass(frozen=True)
class Mended:
    """A record that can be read, and what was changed, each in a few words.

    ``rank`` is how strict it is, for the domain and below it; -1 where no ``p`` could be read.
    """

    text: str
    changes: tuple[str, ...]
    rank: tuple[int, int]


def looks_like_dmarc(text: str) -> bool:
    """Whether a TXT record is meant to be one of DMARC, also where receivers do not see that."""
    return _VERSION.search(text) is not None


def mended(text: str, otherwise: str) -> Mended:
    """The record that was meant; ``otherwise`` is the policy where ``p`` cannot be read."""
    tags: dict[str, str] = {}
    changes: list[str] = []
    for part in filter(None, map(str.strip, _END.split(text))):
        name, equals, value = (word.strip() for word in part.partition("="))
        name = name.lower() if name.lower() in _NAMES else name
        if name == "v" and value.upper() == "DMARC1":
            continue
        read = _value(name, value) if equals else None
        if read is None:
            changes.append(f"{_short(part)} is left out")
            continue
        if name in _POLICY_TAGS and read != value.lower():
            changes.append(f"{_short(part)} is read as {name}={read}")
        if tags.get(name, read) != read:
            changes.append(f"{name}= stands in it twice: {_short(part)}")
        tags[name] = (
            _stricter(tags.get(name, read), read)
            if name in _POLICY_TAGS
            else (tags.get(name, read))
        )
    known = "p" in tags
    if not known:
        changes.append(f"put the policy that you want in place of p={otherwise}")
    policy = tags.pop("p", otherwise)
    whole = "; ".join(["v=DMARC1", f"p={policy}", *(f"{n}={v}" for n, v in tags.items())])
    rank = (POLICIES.index(policy), POLICIES.index(tags.get("sp", policy)))
    if known and not changes and _is_valid(text):
        whole = text
    return Mended(whole, tuple(changes), rank if known else (-1, -1))


def _value(name: str, value: str) -> Optional[str]:
    """The value of a tag as it has to be written, None where it cannot be read."""
    if name in _POLICY_TAGS:
        return next(iter(difflib.get_close_matches(value.lower(), POLICIES, 1, 0.75)), None)
    if name in _VALUES:
        return value if re.fullmatch(_VALUES[name], value, re.IGNORECASE) else None
    if name in ("rua", "ruf"):
        parts = [part.strip() for part in value.split(",")]
        parts = [f"mailto:{part}" if _ADDRESS.fullmatch(part) else part for part in parts]
        return ",".join(part for part in parts if _URI.fullmatch(part)) or None
    plain = value.isascii() and value.isprintable()
    return value if name != "v" and plain and _NAME.fullmatch(name) else None


def _stricter(one: str, other: str) -> str:
    return max(one, other, key=POLICIES.index)


def _is_valid(text: str) -> bool:
    try:
        read_dmarc(text)
    except BadTagsError:
        return False
    return is_dmarc(text)


def _short(part: str) -> str:
    return repr(part if len(part) <= 60 else part[:57] + "...")
