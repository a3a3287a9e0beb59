"""What everybody on this host has to reach, looked at with the eyes of others than root.

root passes every mode. `sendmail` and postdrop(1) run as whoever calls them, and smtp(8) as
mail_owner: a folder or a file that was closed for others stops their mail alone, after a restored
backup, or where root wrote a file anew with umask 077.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from sysmail.facts.model import Facts
from sysmail.host.port import FileState
from sysmail.msmtp import MSMTPRC
from sysmail.prove.entrances import PLACES
from sysmail.prove.proof import Fault, Proof

__all__ = ["faults", "is_shut"]

_READ, _PASS = 0o004, 0o001
"""The bits that others need in the mode: of a file that they read, and of a folder, or a program
that is no script (measured with 711)."""

_LIBRARIES = ("libpostfix-global.", "libpostfix-util.")
"""What sendmail and postdrop are linked with (ldd), where Postfix has libraries of its own."""


def faults(proof: Proof) -> Iterator[Fault]:
    """What is closed for others, each path once, and the folders above it first."""
    found: dict[str, Fault] = {}
    states: dict[str, Optional[FileState]] = {}
    for check, effect, path, needed in _wanted(proof, proof.situation.facts):
        for each, bits in _along(proof, path, needed):
            if each not in states:
                states[each] = proof.reader.state(each, content=False)
            state = states[each]
            if state is not None and is_shut(state, bits):
                more = "a+r" if bits == _READ else "a+rx"
                found.setdefault(
                    each,
                    Fault(
                        check,
                        "closed-for-others",
                        f"{each} has mode {state.mode:04o}: {effect}",
                        f"`chmod {more} {each}`",
                    ),
                )
    yield from found.values()


def is_shut(state: FileState, bits: int) -> bool:
    """Whether others lack one of the bits; the mode of a link means nothing."""
    return state.kind != "link" and state.mode & bits != bits


def _wanted(proof: Proof, facts: Facts) -> Iterator[tuple[str, str, str, int]]:
    """The check, what does not work, the path, and the bits."""
    local, only_root = "local-clients", "sendmail works for root alone"
    for place in PLACES:
        yield local, only_root, place, _PASS
    if not proof.relay:
        yield local, only_root, MSMTPRC, _READ
    elif facts.postfix is not None:
        libraries, commands = (
            proof.parameter("shlib_directory"),
            proof.parameter("command_directory"),
        )
        yield local, only_root, f"{commands}/postdrop", 0  # its own mode: spool.py
        for name in proof.reader.names(libraries) if libraries.startswith("/") else ():
            if name.startswith(_LIBRARIES):
                yield local, only_root, f"{libraries}/{name}", _READ
        yield local, only_root, f"{proof.parameter('config_directory')}/main.cf", _READ
        yield local, only_root, f"{proof.parameter('meta_directory')}/dynamicmaps.cf", _READ
        yield local, only_root, proof.parameter("queue_directory"), _PASS
        # The accounts that main.cf names are looked up in them: fatal, without (measured).
        yield local, only_root, "/etc/passwd", _READ
        yield local, only_root, "/etc/group", _READ
    yield local, "only root's programs find localhost in it", "/etc/hosts", _READ
    who = proof.parameter("mail_owner") or "mail"
    effect = f"what runs as {who} finds no DNS server, and all mail waits"
    yield "verified-next-hop", effect, "/etc/resolv.conf", _READ


def _along(proof: Proof, path: str, needed: int) -> Iterator[tuple[str, int]]:
    """What a program passes on its way to a path, by its name and behind links, and itself."""
    real = proof.reader.link(path) if path.startswith("/") else None
    if real is None:
        return  # what is not there is told elsewhere, or is not needed here
    for name in dict.fromkeys((path, real)):
        parts = name.split("/")
        for end in range(2, len(parts)):
            yield "/".join(parts[:end]), _PASS
    yield real, needed
