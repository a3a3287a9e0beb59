"""Lookup tables as a parameter names them, and what they answer where their text is known.

``type:name``, nested in ``pipemap:{...}`` and ``unionmap:{...}``, or a text of
its own in ``inline:{...}`` (DATABASE_README). A regexp table's patterns are
POSIX ones; Python's agree with them in all that a table of addresses uses, and
what Python cannot read is taken to match nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sysmail.postfix.lint.candidate import Candidate, logical_lines

__all__ = ["FILE_SUFFIX", "Table", "answers", "tables"]

FILE_SUFFIX = {
    "btree": ".db",
    "cdb": ".cdb",
    "cidr": "",
    "dbm": ".pag",
    "hash": ".db",
    "lmdb": ".lmdb",
    "pcre": "",
    "regexp": "",
    "sdbm": ".pag",
    "texthash": "",
}
"""The types that read a file, and what they add to its name."""

_NESTING = ("pipemap", "unionmap", "randmap")
_TYPE = re.compile(r"([a-z0-9_]+):")
_RULE = re.compile(r"(!?)([/|!#%@~])(.*)\2([imx]*)\s*(.*)$")


@dataclass(frozen=True)
class Table:
    """One ``type:name``; ``inner`` are those that a combining one is made of."""

    kind: str
    name: str
    inner: tuple[Table, ...] = ()

    def each(self) -> Iterator[Table]:
        """The table and those within it."""
        yield self
        for table in self.inner:
            yield from table.each()


def tables(value: str) -> list[Table]:
    """The tables that a list of words names; what is no ``type:name`` is left out."""
    found: list[Table] = []
    for word in _split(value):
        match = _TYPE.match(word)
        if match is None:
            continue
        kind, name = match.group(1), word[match.end() :]
        if kind == "proxy":
            found += [Table("proxy", "", tuple(tables(name)))]
        elif kind in _NESTING and name.startswith("{"):
            found.append(Table(kind, name, tuple(tables(name[1:].rstrip("}").strip()))))
        else:
            found.append(Table(kind, name))
    return found


def answers(given: Candidate, table: Table, key: str) -> bool:
    """Whether a table certainly has an answer for ``key``."""
    if table.kind == "static":
        return True
    if table.kind == "pipemap":
        return bool(table.inner) and answers(given, table.inner[0], key)
    if table.inner:
        return any(answers(given, inner, key) for inner in table.inner)
    text = given.tables.get(table.name, "")
    if table.kind in ("regexp", "pcre"):
        return _matches(text, key)
    if table.kind in FILE_SUFFIX:
        return any(line.split()[:1] == [key] for line in logical_lines(text))
    return False


def _split(value: str) -> list[str]:
    """Words by commas and white space, but not within braces."""
    words: list[str] = []
    depth, start = 0, 0
    for place, character in enumerate(value + " "):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth <= 0 and (character == "," or character.isspace()):
            words.append(value[start:place])
            start = place + 1
    return [word for word in words if word]


def _matches(text: str, key: str) -> bool:
    """regexp_table(5): the first rule that fits; ``if`` and ``endif`` around rules."""
    open_blocks: list[bool] = []
    for line in logical_lines(text):
        if line.startswith("endif"):
            open_blocks[-1:] = []
            continue
        is_block = re.match(r"if\s+", line)
        rule = _RULE.match(line[is_block.end() :] if is_block else line)
        if rule is None:
            continue
        fits = _fits(rule.group(3), rule.group(4), key) != bool(rule.group(1))
        if is_block:
            open_blocks.append(fits)
        elif fits and all(open_blocks):
            return True
    return False


def _fits(pattern: str, flags: str, key: str) -> bool:
    classes = {"alpha": "A-Za-z", "digit": "0-9", "alnum": "A-Za-z0-9", "space": r"\s"}
    for name, letters in classes.items():
        pattern = pattern.replace(f"[:{name}:]", letters)
    try:
        # Case does not count unless the flag i says that it does.
        return bool(re.search(pattern, key, 0 if "i" in flags else re.IGNORECASE))
    except (re.error, RecursionError, OverflowError):
        return False
