"""Which moments of a change are tried; every process of a run chooses the same.

SYSMAIL_MOMENTS: `all` (the default); `steps`, just before and just after each step of the journal
is on the disk; `programs`, before and after each program; `writes`, the middle of each write; or
some of these with commas. Of those SYSMAIL_FIRST is the first, from 1 on, and SYSMAIL_STRIDE how
many are gone on by each time.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

__all__ = ["chosen", "strided"]

KINDS = frozenset({"all", "steps", "programs", "writes"})
AFTER = 3
"""From the rename of a journal to the first moment with its folder synced: open, fsync, and on."""


def strided(numbers: Sequence[int]) -> Sequence[int]:
    """A part of them, as SYSMAIL_FIRST and SYSMAIL_STRIDE say."""
    first = int(os.environ.get("SYSMAIL_FIRST") or 1)
    return numbers[first - 1 :: int(os.environ.get("SYSMAIL_STRIDE") or 1)]


def chosen(names: Sequence[str]) -> Sequence[int]:
    """The numbers, from 1 on, of the moments to try, of those with these ``names``."""
    kinds = set((os.environ.get("SYSMAIL_MOMENTS") or "all").split(","))
    assert kinds <= KINDS, f"SYSMAIL_MOMENTS is {kinds}, and may be of {KINDS}"
    programs = {name.partition(" ")[2] for name in names if name.startswith("after ")}
    numbers: set[int] = set()
    for number, name in enumerate(names, 1):
        when, _, what = name.partition(" ")
        if (
            "all" in kinds
            or ("writes" in kinds and name == "inside write")
            or ("programs" in kinds and what in programs and when != "during")
        ):
            numbers.add(number)
        elif "steps" in kinds and name.startswith("before rename") and "/journal." in name:
            numbers |= {number, min(number + AFTER, len(names))}
    return strided(sorted(numbers))
