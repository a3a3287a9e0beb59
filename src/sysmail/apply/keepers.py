"""Packages that came with sysmail and stay, because somebody else needs them now.

A package manager that is told to remove what another package needs takes that one along,
or installs something else in its place (measured: apt-get installs exim4 where Postfix is
purged and mailutils stays). So it is asked first what it would do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sysmail.apply import packages
from sysmail.distro import Distro
from sysmail.host.port import Reader, Writer

__all__ = ["by_hand", "staying"]


def by_hand(writer: Writer, distro: Distro, came_along: Iterable[str]) -> list[str]:
    """Of packages that came only for the sake of others, those that a person asked for since.

    To be asked before the first removal alone: apt-get takes the marks of all that it is
    about to remove away before it begins (measured), and may be cut off then.
    """
    unasked = set(came_along) & set(packages.installed(writer, distro))
    return sorted(unasked - set(packages.automatic(writer, distro))) if unasked else []


def staying(
    writer: Writer, distro: Distro, names: Sequence[str], asked_for: Iterable[str]
) -> dict[str, str]:
    """Of packages that are about to be removed, those that stay: why, by name.

    ``asked_for``: what ``by_hand`` has found.
    """
    wanted = set(asked_for)
    found = {name: "somebody installed it by hand meanwhile" for name in names if name in wanted}
    if not distro.would_uninstall:
        return found
    going = [name for name in names if name not in found]
    while going:
        affected = _affected(writer, distro, going)
        if not affected:
            break
        needed = _needed(writer, distro, going, names)
        if not needed:
            needed = dict.fromkeys(going, affected)  # only all of them together are in the way
        for name, users in needed.items():
            found[name] = f"{', '.join(sorted(users))} needs it"
        going = [name for name in going if name not in found]
    return found


def _needed(
    reader: Reader, distro: Distro, going: Sequence[str], names: Sequence[str]
) -> dict[str, set[str]]:
    """Those that cannot go even by themselves, and for whose sake."""
    found: dict[str, set[str]] = {}
    for name in going:
        others = _affected(reader, distro, [name]) - set(going)
        if others:
            found[name] = others - set(names) or others
    return found


def _affected(reader: Reader, distro: Distro, names: Sequence[str]) -> set[str]:
    """Other packages that would go along, or come in their place."""
    said = reader.ask([*distro.would_uninstall, *names], timeout=120)
    found = set(re.findall(r"^(?:Remv|Purg|Inst) (\S+)", said.out, re.MULTILINE))
    # pacman(8) refuses to break a dependency, and says whose.
    found |= set(re.findall(r"required by (\S+)", said.out + said.err))
    return {name.partition(":")[0] for name in found} - set(names)
