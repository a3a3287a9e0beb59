"""Plain values of a policy: text, words, paths, ports and choices.

Every reader takes the value as TOML, JSON or Ansible gave it and the dotted
name of its key, and returns the checked value or raises
:class:`~sysmail.errors.PolicyError`. A reader never repeats a value that could
be a secret, and looks at the length first, so that a huge value costs nothing.
"""

from __future__ import annotations

import re
from typing import Optional

from sysmail.errors import PolicyError
from sysmail.policy.model import Secret

__all__ = [
    "MAX_TEXT",
    "bad_value",
    "check_seen",
    "quoted",
    "read_ascii_path",
    "read_choice",
    "read_path",
    "read_port",
    "read_secret",
    "read_text",
    "read_words",
    "whole_number",
    "wrong_type",
]

MAX_TEXT = 4096
"""The longest text of any key, in characters: PATH_MAX of Linux, and ample for the rest."""

_SHOWN = 60

# What a reader of a file or a log does not see, or sees elsewhere than it is: C0, DEL, C1, line
# and paragraph separators, directional marks and overrides, zero-width and tag characters, and
# lone halves of a surrogate pair, which no file can hold.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)

_PORTS = range(1, 65536)


def quoted(value: str) -> str:
    """Show ``value`` in a message: in quotes, shortened, all ASCII, on one line."""
    head = value[:_SHOWN].encode("unicode_escape").decode("ascii")
    return f'"{head}…"' if len(value) > _SHOWN else f'"{head}"'


def bad_value(key: str, what: str, remedy: str) -> PolicyError:
    """Make the error for a value of the right type that cannot be used."""
    return PolicyError("policy-bad-value", f"`{key}`: {what}", remedy, key)


def wrong_type(key: str, value: object, wanted: str) -> PolicyError:
    """Make the error for a value of another type than ``wanted``; the value is not shown."""
    names = {bool: "true or false", int: "a number", str: "text", list: "a list", dict: "a table"}
    got = names.get(type(value), f"a value of type {type(value).__name__[:40]}")
    if value is None:
        got = "nothing (null)"
    return PolicyError(
        "policy-wrong-type", f"`{key}` takes {wanted}, not {got}", f"Write {wanted}.", key
    )


def check_seen(value: str, key: str) -> None:
    """Refuse a text with a character that is not seen, or that moves other characters."""
    found = _UNSEEN.search(value)
    if found is not None:
        place = found.start() + 1
        raise PolicyError(
            "policy-control-character",
            f"`{key}` holds the invisible or control character U+{ord(found.group()):04X}"
            f" as its character {place}",
            "Write the value again by hand, on one line and without control characters.",
            key,
        )


def read_text(value: object, key: str) -> str:
    """Read one line of text; ``""`` means not set."""
    if not isinstance(value, str):
        raise wrong_type(key, value, "text in quotes")
    if len(value) > MAX_TEXT:
        raise bad_value(
            key,
            f"the value has {len(value)} characters",
            f"Write at most {MAX_TEXT} characters.",
        )
    check_seen(value, key)
    return str(value)


def read_choice(value: object, key: str, choices: tuple[str, ...]) -> str:
    """Read one of ``choices``."""
    text = read_text(value, key)
    if text not in choices:
        listed = ", ".join(f'"{choice}"' for choice in choices if choice)
        raise bad_value(key, f"{quoted(text)} is not one of {listed}", f"Write one of {listed}.")
    return text


def whole_number(value: object) -> Optional[int]:
    """Return the whole number that ``value`` is or spells, else None.

    Digits in a string count as a number, because a template in Ansible gives
    those; ``true`` does not, though Python's bool is an int.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str) and len(value) < 20 and re.fullmatch("[0-9]+", value):
        return int(value)
    return None


def read_port(value: object, key: str) -> int:
    """Read a TCP port, 1 to 65535."""
    number = whole_number(value)
    if number is None:
        raise wrong_type(key, value, "a whole number from 1 to 65535")
    if number not in _PORTS:
        raise bad_value(key, "the port is out of range", "Write a port from 1 to 65535.")
    return number


def read_path(value: object, key: str) -> str:
    """Read an absolute path of a file; ``""`` means not set."""
    path = read_text(value, key)
    if not path:
        return ""
    if not path.startswith("/"):
        raise bad_value(
            key,
            f"{quoted(path)} is not an absolute path",
            "Write the path from the root, beginning with `/`.",
        )
    if path.endswith("/") or ".." in path.split("/"):
        raise bad_value(
            key,
            f"{quoted(path)} does not name a file",
            "Write the full path of the file itself, without `..` and without a `/` at its end.",
        )
    return path


def read_ascii_path(value: object, key: str) -> str:
    """Read an absolute path that is written into main.cf, which is ASCII; ``""`` means not set."""
    path = read_path(value, key)
    if not path.isascii():
        raise bad_value(
            key,
            f"{quoted(path)} has characters that are not ASCII, and main.cf is ASCII",
            "Give the file, or a link to it, a name in ASCII.",
        )
    if path != path.strip():
        raise bad_value(
            key,
            f"{quoted(path)} ends with white space, which main.cf does not keep",
            "Give the file, or a link to it, a name without.",
        )
    return path


def read_words(value: object, key: str) -> tuple[str, ...]:
    """Read a program and its arguments, run without a shell; ``()`` means not set.

    A text is split by the shell's rules of quoting; a list is taken as it is.
    No word is ever shown in an error: one may hold what nobody should see.
    """
    if isinstance(value, str):
        import shlex  # for a command alone

        try:
            words = shlex.split(read_text(value, key))
        except ValueError as error:
            raise bad_value(
                key, "a quote or a backslash in the command has no end", "Close every quote."
            ) from error
    elif isinstance(value, (list, tuple)):
        words = [read_text(word, key) for word in value[: MAX_TEXT + 1]]
    else:
        raise wrong_type(key, value, "a command as text, or a list of its words")
    if sum(map(len, words)) + len(words) > MAX_TEXT:
        raise bad_value(key, "the command is too long", "Put it into a script and name that here.")
    if words and not words[0].startswith("/"):
        # Who runs it has a search path of its own (a timer, Ansible), so a bare name is a guess.
        raise bad_value(
            key,
            "the program is not named by an absolute path",
            "Write the whole path of the program, as `command -v` prints it.",
        )
    return tuple(words)


def read_secret(value: object, key: str) -> Optional[Secret]:
    """Read a password; None means not set. Its text is in no error."""
    if isinstance(value, Secret):
        value = value.reveal()
    text = read_text(value, key)
    if text != text.strip():
        # Postfix's maps trim a value at both ends, so such a password would silently be another.
        raise bad_value(
            key,
            "the password begins or ends with white space",
            "Remove the white space; if it belongs to the password, choose another password.",
        )
    return Secret(text) if text else None
