"""What a local OpenDKIM signs with, from its files (opendkim.conf(5)).

Data sets are read where they are files or lists; others (a database, Lua)
cannot be, and are told as such.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Callable, Optional

__all__ = ["CONFIGURATIONS", "Signer", "UnreadableError", "settings", "signers"]

CONFIGURATIONS = ("/etc/opendkim.conf", "/etc/opendkim/opendkim.conf", "/etc/mail/opendkim.conf")

Read = Callable[[str], Optional[str]]


@dataclass(frozen=True)
class Signer:
    """A key that mail is signed with: ``d=`` and ``s=``, and the private key's file, if known."""

    domain: str
    selector: str
    key_file: str = ""


class UnreadableError(Exception):
    """Why it is not known what signs, in a few words."""


def settings(text: str) -> dict[str, str]:
    """The settings of opendkim.conf, names in lower case."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split(None, 1)
        if len(words) == 2:
            found[words[0].lower()] = words[1].strip()
    return found


def signers(config: Mapping[str, str], sender: str, read: Read) -> list[Signer]:
    """The keys that mail of a sender is signed with; UnreadableError where that is not known."""
    if "s" not in config.get("mode", "sv"):
        return []
    if "keytable" in config:
        return _by_tables(config, sender, read)
    domains = _values(config.get("domain", ""), read)
    wanted = sender.rpartition("@")[2].lower()
    above = _is_on(config, "subdomains")
    return [
        Signer(domain.lower(), config.get("selector", "default"), config.get("keyfile", ""))
        for domain in domains
        if domain.lower() == wanted or (above and wanted.endswith("." + domain.lower()))
    ]


def _is_on(config: Mapping[str, str], name: str) -> bool:
    """A switch, off where it is not set. OpenDKIM looks at the first letter of its value alone."""
    return config.get(name, "no").lower().startswith(("t", "y", "1"))


def _by_tables(config: Mapping[str, str], sender: str, read: Read) -> list[Signer]:
    keys = dict(_rows(config["keytable"], read))
    domain = sender.rpartition("@")[2].lower()
    if "signingtable" not in config:
        names = [name for name in keys if name.lower() == domain]
    else:
        is_pattern = config["signingtable"].startswith("refile:")
        rows = _rows(config["signingtable"], read)
        names = _names(rows, sender.lower(), is_pattern=is_pattern)
    found = []
    for name in names[: None if _is_on(config, "multiplesignatures") else 1]:
        parts = keys.get(name, "").split(":", 2)
        if len(parts) == 3:
            signer = domain if parts[0] == "%" else parts[0].lower()
            found.append(Signer(signer, parts[1], parts[2]))
    return found


def _names(rows: list[tuple[str, str]], sender: str, *, is_pattern: bool) -> list[str]:
    if is_pattern:
        return [name for key, name in rows if _wild(key.lower(), sender)]
    local, _, domain = sender.rpartition("@")
    wanted = [sender, domain]
    above = domain
    while "." in above:
        above = above.partition(".")[2]
        wanted += [f"{local}@.{above}", f".{above}"]
    wanted += [f"{local}@*", "*"]
    return [name for key in wanted for row, name in rows if row.lower() == key]


def _wild(pattern: str, text: str) -> bool:
    parts = [re.escape(part) for part in pattern.split("*")]
    return re.fullmatch(".*".join(parts), text) is not None


def _rows(dataset: str, read: Read) -> list[tuple[str, str]]:
    text = _file(dataset, read)
    if text is None:
        rows = [part.partition("=") for part in dataset.replace("csl:", "").split(",")]
        return [(key.strip(), value.strip()) for key, _, value in rows if value]
    lines = (line.partition("#")[0].split(None, 1) for line in text.splitlines())
    return [(words[0], words[1].strip()) for words in lines if len(words) == 2]


def _values(dataset: str, read: Read) -> list[str]:
    text = _file(dataset, read)
    words = dataset.replace("csl:", "").split(",") if text is None else text.splitlines()
    found = (word.partition("#")[0].split() for word in words)
    return [word[0] for word in found if word]


def _file(dataset: str, read: Read) -> Optional[str]:
    """The text of a data set that is a file, None for a list; UnreadableError otherwise."""
    kind, colon, path = dataset.partition(":")
    if dataset.startswith("/"):
        path = dataset
    elif not colon or kind == "csl":
        return None
    elif kind not in ("file", "refile"):
        raise UnreadableError(f"OpenDKIM's data set {dataset[:60]} is not a file")
    text = read(path)
    if text is None:
        raise UnreadableError(f"OpenDKIM's file {path[:100]} is not there")
    return text
