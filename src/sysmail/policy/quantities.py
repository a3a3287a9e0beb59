"""Durations and sizes, as people write them: ``5d``, ``60s``, ``50MB``.

A duration is whole seconds, a size is bytes. Postfix gives a number without a
unit another meaning in each parameter (days for ``maximal_queue_lifetime``,
hours for ``delay_warning_time``); here it is always seconds, or bytes.
"""

from __future__ import annotations

import re
from typing import Callable

from sysmail.policy.values import bad_value, quoted, read_text, whole_number, wrong_type

__all__ = ["duration_text", "read_count", "read_duration", "read_size", "size_text"]

_SECONDS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_BYTES = {
    "GB": 10**9,
    "GiB": 2**30,
    "MB": 10**6,
    "MiB": 2**20,
    "kB": 10**3,
    "KiB": 2**10,
    "B": 1,
}
_FOLDED = {unit.lower(): factor for unit, factor in _BYTES.items()}
_NUMBER_UNIT = re.compile("([0-9]{1,12}) ?([A-Za-z]{1,3})")

_DURATION_HINT = 'Write a number and a unit of s, m, h, d or w, such as "90s", "1h" or "5d".'
_SIZE_HINT = 'Write a number and a unit of kB, MB, GB, KiB, MiB or GiB, such as "50MB".'


def read_duration(value: object, key: str, shortest: int, longest: int, *, zero: bool) -> int:
    """Read a duration between two bounds in seconds; ``zero`` says whether 0 is allowed too."""
    seconds = _read(value, key, _SECONDS, "a duration", _DURATION_HINT)
    if seconds == 0 and zero:
        return 0
    if not shortest <= seconds <= longest:
        also = ", or 0 for never" if zero else ""
        raise bad_value(
            key,
            f"{_shown(seconds, duration_text)} is out of range",
            f"Write a duration from {duration_text(shortest)} to {duration_text(longest)}{also}.",
        )
    return seconds


def read_size(value: object, key: str, smallest: int, largest: int) -> int:
    """Read a size between two bounds in bytes; ``MB`` is decimal, ``MiB`` binary."""
    size = _read(value, key, _FOLDED, "a size", _SIZE_HINT)
    if not smallest <= size <= largest:
        raise bad_value(
            key,
            f"{_shown(size, size_text)} is out of range",
            f"Write a size from {size_text(smallest)} to {size_text(largest)}.",
        )
    return size


def read_count(value: object, key: str, smallest: int, largest: int, *, zero: bool = False) -> int:
    """Read a whole number between two bounds; ``zero`` says whether 0 is allowed too."""
    number = whole_number(value)
    if number is None:
        raise wrong_type(key, value, f"a whole number from {smallest} to {largest}")
    if number == 0 and zero:
        return 0
    if not smallest <= number <= largest:
        also = ", or 0 for no limit" if zero else ""
        raise bad_value(key, "the number is out of range", f"Write {smallest} to {largest}{also}.")
    return number


def duration_text(seconds: int) -> str:
    """Write a duration with the largest unit that loses nothing: 7200 is ``2h``."""
    if seconds == 0:
        return "0s"
    unit = next(unit for unit, factor in _SECONDS.items() if seconds % factor == 0 and unit != "w")
    return f"{seconds // _SECONDS[unit]}{unit}"


def size_text(size: int) -> str:
    """Write a size with the largest unit that loses nothing: 50000000 is ``50MB``."""
    if size == 0:
        return "0B"
    unit = next(unit for unit, factor in _BYTES.items() if size % factor == 0)
    return f"{size // _BYTES[unit]}{unit}"


def _read(value: object, key: str, units: dict[str, int], wanted: str, hint: str) -> int:
    number = whole_number(value)
    if number is not None:
        return number
    if not isinstance(value, str):
        raise wrong_type(key, value, f"{wanted} as text")
    text = read_text(value, key)
    found = _NUMBER_UNIT.fullmatch(text)
    factor = units.get(found.group(2).lower()) if found else None
    if found is None or factor is None:
        raise bad_value(key, f"{quoted(text)} is not {wanted}", hint)
    return int(found.group(1)) * factor


def _shown(number: int, text: Callable[[int], str]) -> str:
    # A number of a thousand digits is no help, and Python 3.11 refuses to print 4,300 of them.
    return text(number) if 0 <= number < 10**15 else "the number"
