"""Evaluates regexp_table(5) and pipemap tables as Postfix does, for the patterns that we write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

_SUBSTITUTION = re.compile(r"\$(?:\$|[0-9]+|\{[0-9]+\}|\([0-9]+\)|.?)")
_RULE = re.compile(r"^/((?:[^/\\]|\\.)*)/([imx]*)[ \t]+(.*)$")


def rules(table: str) -> list[tuple[re.Pattern[str], str]]:
    """The rules of a table: pattern and result. Case does not matter to Postfix by default."""
    found = []
    for line in table.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = _RULE.match(line)
        assert match, f"not a rule of regexp_table(5): {line!r}"
        # The flag i toggles: with it, case does matter.
        flags = re.RegexFlag(0) if "i" in match.group(2) else re.IGNORECASE
        # A dollar sign is the end of the text only, and \ escapes any character that it is before.
        pattern = re.sub(r"\$$", r"\\Z", match.group(1))
        found.append((re.compile(pattern, flags), match.group(3)))
    return found


def lookup(table: str, key: str) -> str:
    """The result of the first rule that matches; empty where none does."""
    for pattern, result in rules(table):
        match = pattern.search(key)
        if match:
            return _SUBSTITUTION.sub(partial(_substitute, match), result)
    return ""


def _substitute(match: re.Match[str], found: re.Match[str]) -> str:
    """``$1``, ``${1}`` and ``$(1)``; ``$$`` is a dollar sign, any other is an error to Postfix."""
    if found.group() == "$$":
        return "$"
    number = re.sub(r"[^0-9]", "", found.group())
    assert number, f"not a substitution of regexp_table(5): {found.group()}"
    return match.group(int(number)) or ""


def find(maps: str, key: str, tables: Mapping[str, str], accounts: Mapping[str, str]) -> str:
    """What a parameter's maps give for a key: regexp:, unix:passwd.byname and pipemap: of these."""
    for name in re.findall(r"pipemap:\{[^}]*\}|[^,\s]+", maps):
        if name.startswith("pipemap:"):
            found = key
            for stage in name[len("pipemap:{") : -1].split(", "):
                found = _one(stage, found, tables, accounts)
                if not found:
                    break
        else:
            found = _one(name, key, tables, accounts)
        if found:
            return found
    return ""


def _one(name: str, key: str, tables: Mapping[str, str], accounts: Mapping[str, str]) -> str:
    kind, _, rest = name.partition(":")
    if kind == "unix":
        assert rest == "passwd.byname"
        return accounts.get(key.lower(), "")  # dict_unix folds the key, as cleanup(8) asks it to
    assert kind == "regexp", f"a table type that this test does not know: {name}"
    return lookup(tables[rest], key)
