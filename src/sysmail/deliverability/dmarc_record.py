"""The syntax of a DMARC record (RFC 7489, 6.3 and 6.4), and of tag lists, which DKIM has too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

__all__ = ["POLICIES", "BadTagsError", "Policy", "is_dmarc", "read_dmarc", "read_tags"]

POLICIES = ("none", "quarantine", "reject")
"""What a record may ask for, the strictest last."""


class BadTagsError(Exception):
    """What is wrong with a record, in a few words."""


@dataclass(frozen=True)
class Policy:
    """What a domain asks of receivers. ``strict_spf``, ``strict_dkim``: names must be equal."""

    policy: str
    below: str
    strict_spf: bool = False
    strict_dkim: bool = False
    psd: Optional[str] = None


def read_tags(text: str) -> Mapping[str, str]:
    """The tags of a list (RFC 6376, 3.2), in their order; BadTagsError for what is none."""
    tags: dict[str, str] = {}
    parts = text.split(";")
    if not parts[-1].strip():
        parts.pop()
    for part in parts:
        name, equals, value = part.partition("=")
        name = name.strip()
        if not equals or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,30}", name):
            raise BadTagsError(f"{part.strip()[:40]!r} is no tag")
        if name in tags:
            raise BadTagsError(f"{name}= stands in it twice")
        tags[name] = value.strip()
    return tags


def is_dmarc(text: str) -> bool:
    """Whether a TXT record is one of DMARC: the version comes first."""
    return re.match(r"v[ \t]*=[ \t]*DMARC1[ \t]*(;|\Z)", text) is not None


def read_dmarc(text: str) -> Policy:
    """Read a record.

    One without a valid ``p``, or with an ``sp`` that is not valid, counts as p=none where it
    names ``rua``, and else as no record (6.6.3).
    """
    tags = read_tags(text)
    policy = tags.get("p", "").lower()
    below = tags.get("sp", policy).lower()
    if policy not in POLICIES or below not in POLICIES:
        if not tags.get("rua"):
            wrong = f"sp={below[:20]}" if policy in POLICIES else f"p={policy[:20]}"
            wrong = wrong if "p" in tags else "no p="
            raise BadTagsError(f"{wrong}, where none, quarantine or reject has to stand")
        policy = below = "none"
    return Policy(
        policy,
        below,
        tags.get("aspf", "r").lower() == "s",
        tags.get("adkim", "r").lower() == "s",
        tags.get("psd", "").lower() or None,
    )
