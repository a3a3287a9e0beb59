"""Somebody's own configuration as it may be shown: without a password that stands in it. Pure.

A password may stand in more places than one line tells: below the name of its parameter, in a
setting of a table that is in main.cf itself (``isp_bind_pw``, ldap_table(5)), in master.cf, in
a comment. Where it is not plain that a value is none, it is not shown.

A comment is free text: one with a word that goes with logins is not shown, nor are the comments
right below it. One that holds a password and nothing that says so is shown: nothing tells it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

__all__ = ["discreet"]

_NOT_SHOWN = "(not shown)"
_HIDDEN = rf"\1 {_NOT_SHOWN}"
_SETTING = re.compile(r"([\w.-]+)\s*=\s*")
_NAME = re.compile(r"pass|pw|secret", re.IGNORECASE)
# The name of a table that is in a file, which is no secret.
_TABLE = re.compile(r"(?:proxy:)?(?!static:|inline:)[\w${}]+:[/$][^\s:@,]*")
# A login in the value itself, or in the address of a database.
_LOGIN = re.compile(r"static:\{?[^\s,]*:|inline:\{.*:|\w://[^\s/@]*:[^\s@]*@")
# msmtp(1): a keyword and its value, with no sign in between.
_KEYWORD = re.compile(r"^(\s*#?\s*password)\s+\S.*")
# What a program prints may stand in its arguments; the path of a file is told.
_EVAL = re.compile(r"""^(\s*#?\s*passwordeval)\s+(?!"?cat [/$][\w./-]*"?\s*$)\S.*""")
_ABOUT_A_LOGIN = re.compile(r"pass|pw|secret|login|user|auth|sasl|cred|token|\bkey", re.IGNORECASE)


def discreet(text: str, known: Collection[str] = ()) -> list[str]:
    """The lines of a configuration of Postfix or msmtp, without passwords.

    ``known`` are lines of sysmail's own, whose comments are shown as they are.
    """
    shown: list[str] = []
    for lines in _logical_lines(text):
        shown += _without_secret(lines)
    return _without_notes(shown, known)


def _without_notes(lines: list[str], known: Collection[str]) -> list[str]:
    """Without comments about a login, and those that follow down to the next setting."""
    shown: list[str] = []
    hiding = False
    for line in lines:
        text = line.lstrip()
        if text and not text.startswith("#"):
            hiding = False
        elif text and line not in known and (hiding or _ABOUT_A_LOGIN.search(line)):
            shown += [] if hiding else [f"# {_NOT_SHOWN}"]
            hiding = True
            continue
        shown.append(line)
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
    return [_EVAL.sub(_HIDDEN, _KEYWORD.sub(_HIDDEN, line)) for line in lines]


def _is_secret(name: str, rest: str) -> bool:
    """Whether a setting's value is one; in master.cf other settings follow it."""
    value = rest.split(" -o ", maxsplit=1)[0].strip()
    if _LOGIN.search(value):
        return True
    words = re.split(r"[\s,]+", value)
    return bool(value and _NAME.search(name)) and not all(
        map(_TABLE.fullmatch, filter(None, words))
    )
