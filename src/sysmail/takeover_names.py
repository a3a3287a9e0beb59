"""Whether the names that a mail program takes mail for are this host's own. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from sysmail.facts.model import Facts

__all__ = ["foreign_names"]


def foreign_names(facts: Facts, names: Sequence[str], own: str = "") -> list[str]:
    """Those that are none of this host's; ``own``: what the program itself calls the host.

    One other domain behind the first label is this host as it was called when the program
    came, since packages write that down once. Several are domains of somebody's.
    """
    whole = {each.lower() for each in (facts.nodename, facts.fqdn, own)}
    shorts = {"localhost"} | {name.partition(".")[0] for name in whole}
    others = [name for name in names if name.partition(".")[0] not in shorts]
    former = {
        name
        for name in names
        if "." in name and name not in {*whole, *others} and not name.startswith("localhost.")
    }
    return [name for name in names if name in others or (len(former) > 1 and name in former)]
