"""Somebody's own configuration as it may be shown: without a password that stands in it. Pure.

A password may stand in more places than one line tells: below the name of its parameter, in a
setting of a table that is in main.cf itself (``isp_bind_pw``, ldap_table(5)), in master.cf, in
a comment. Where it is not plain that a value is none, it is not shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["discreet"]

_NOT_SHOWN = "(not shown)"
_SETTING = re.compile(r"([\w.-]+)\s*=\s*")
_NAME = re.compile(r"pass|pw|secret", re.IGNORECASE)
# The name of a table that is in a file, which is no secret.
_TABLE = re.compile(r"(?:proxy:)?(?!static:|inline:)[\w${}]+:[/$][^\s:@,]*")
# A login in the value itself, or in the address of a database.
_LOGIN = re.compile(r"static:\{?[^\s,]*:|inline:\{.*:|\w://[^\s/@]*:[^\s@]*@")
# msmtp(1): a keyword and its value, with no sign in between.
_KEYWORD = re.compile(r"^(\s*#?\s*password)\s+\S.*")


def discreet(text: str) -> list[str]:
    """The lines of a configuration of Postfix or msmtp, without passwords."""
    shown: list[str] = []
    for lines in _logical_lines(text):
        shown += _without_secret(lines)
    return shown


def _logical_lines(text: str) -> Iterator[list[str]]:
    """postconf(5): a line that begins with a space goes on with the one before.

    Empty lines and comments in between end none. A comment may be a setting that somebody
    put out of use, with a password: where its value is in the next one, both are taken as one.
    """
    found: list[str] = []
    aside: list[list[str]] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            if aside and aside[-1][-1].rstrip().endswith("=") and line.strip():
                aside[-1].append(line)
            else:
                aside.append([line])
            continue
        if line[0].isspace() and found:
            found += [each for lines in aside for each in lines]
        else:
            yield from ([found] if found else [])
            yield from aside
            found = []
        aside = []
        found.append(line)
    yield from ([found] if found else [])
    yield from aside


def _without_secret(lines: list[str]) -> list[str]:
    joined = " ".join([lines[0].rstrip(), *(line.strip() for line in lines[1:])])
    for setting in _SETTING.finditer(joined):
        if _is_secret(setting.group(1), joined[setting.end() :]):
            return [f"{joined[: setting.end()].rstrip()} {_NOT_SHOWN}"]
    other = _LOGIN.search(joined)
    if other:
        return [f"{joined[: other.start()]}{_NOT_SHOWN}"]
    return [_KEYWORD.sub(rf"\1 {_NOT_SHOWN}", line) for line in lines]


def _is_secret(name: str, rest: str) -> bool:
    """Whether a setting's value is one; in master.cf other settings follow it."""
    value = rest.split(" -o ", maxsplit=1)[0].strip()
    if _LOGIN.search(value):
        return True
    words = re.split(r"[\s,]+", value)
    return bool(value and _NAME.search(name)) and not all(
        map(_TABLE.fullmatch, filter(None, words))
    )
