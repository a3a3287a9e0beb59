"""A policy file's text, as TOML or as JSON, to plain data.

TOML is in Python's standard library from 3.11; before that the library tomli,
which is the same code, is used where the host has it. JSON needs nothing.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import Callable, NoReturn

from sysmail.errors import PolicyError

__all__ = ["MAX_DOCUMENT", "read_document"]

MAX_DOCUMENT = 256 * 1024
"""The longest policy, in characters; a real one has a few thousand."""

# Python's parser keeps every beginning of a key: one of 100,000 parts took 40 GB.
_MOST_DOTS = 200
_NO_KEYS = re.compile(r""" "(?:[^"\\\n]|\\.)*"? | '[^'\n]*'? | \#[^\n]* """, re.VERBOSE)

_BOM = "\ufeff"
_LF = "\n"
_END = re.compile(r" \(at end of document\)$")


def read_document(text: str, name: str) -> Mapping[str, object]:
    """Parse a policy file's text; the end of ``name`` decides between JSON and TOML.

    Raises :class:`~sysmail.errors.PolicyError` with the line and column of a
    mistake. The text itself is in no error.
    """
    if len(text) > MAX_DOCUMENT:
        raise _syntax(f"the policy has {len(text)} characters", "Check that it is the right file.")
    text = text[1:] if text.startswith(_BOM) else text
    try:
        data = _json(text) if name.lower().endswith(".json") else _toml(text)
    except RecursionError as error:
        # Both parsers recurse for every bracket.
        raise _syntax("the policy is nested too deeply", "Remove the brackets.") from error
    if not isinstance(data, dict):
        raise _syntax("the policy is not a table of keys", "Begin the file with `{`.")
    return data


def _json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise _syntax(
            f"not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})",
            "Correct the policy at that place.",
        ) from error
    except ValueError as error:
        # A number of thousands of digits, which Python refuses to read.
        raise _syntax("not valid JSON: a number is too long", "Correct the number.") from error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object of its pairs; JSON allows a key twice, and the first one would be lost."""
    table: dict[str, object] = {}
    for name, value in pairs:
        if name in table:
            shown = name[:40].encode("unicode_escape").decode("ascii")
            raise _syntax(f"the key `{shown}` stands twice in one table", "Remove one of the two.")
        table[name] = value
    return table


def _no_constant(name: str) -> NoReturn:
    raise _syntax(f"not valid JSON: {name} is not a value", "Correct the value.")


def _toml(text: str) -> object:
    for number, line in enumerate(_NO_KEYS.sub("''", text).split(_LF), 1):
        if line.count(".") > _MOST_DOTS:
            raise _syntax(
                f"a key of the policy has too many parts (at line {number})",
                "Correct the policy at that place.",
            )
    try:
        return _toml_parser()(text)
    except ValueError as error:
        found = str(error)
        place = _END.sub(f" (at line {text.count(_LF) + 1}, the last)", found)
        if not found.endswith(")"):
            # A number of thousands of digits, or an impossible date: the parser names no place.
            place = "a number or a date in it is impossible"
        line = place.encode("unicode_escape").decode("ascii")[:200]
        raise _syntax(f"not valid TOML: {line}", "Correct the policy at that place.") from error


def _toml_parser() -> Callable[[str], object]:
    # Imported late: a policy in JSON needs no TOML, and an import costs time at every start.
    try:
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
    except ImportError as error:
        raise PolicyError(
            "policy-syntax",
            "this Python cannot read TOML: it is older than 3.11 and has no library tomli",
            "Install the package python3-tomli, or write the policy as JSON in a file whose name"
            " ends with .json.",
        ) from error
    return tomllib.loads


def _syntax(message: str, remedy: str) -> PolicyError:
    return PolicyError("policy-syntax", message, remedy)
