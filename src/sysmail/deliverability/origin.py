"""Where mail comes from in the eyes of others: addresses, a name, a sender. Plain data."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Optional

from sysmail.deliverability.names import Address
from sysmail.facts.parse import plain_address

__all__ = ["FAMILIES", "Origin", "Way", "way"]

FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}


@dataclass(frozen=True)
class Way:
    """How mail leaves by one family.

    ``source`` is the address that packets leave this host with, None for no way out, and then
    ``why`` says it; ``bound``: Postfix is told to use it. ``seen`` is what others see, None
    where nobody here can know; ``given``: the operator said so.
    """

    family: str
    source: Optional[Address] = None
    bound: str = ""
    seen: Optional[Address] = None
    given: bool = False
    why: str = ""
    trouble: str = ""

    @property
    def name(self) -> str:
        """The family as people write it."""
        return FAMILIES[self.family]


@dataclass(frozen=True)
class Origin:
    """The host as a sender.

    ``helo`` is the name in the greeting, ``sender`` the envelope sender of
    local mail, whose domain is that of From too. ``own_domain``: that domain
    is the host's own name, so nobody else sends for it. ``admin`` may be empty.
    """

    ways: tuple[Way, ...]
    helo: str
    sender: str
    admin: str = ""
    own_domain: bool = True

    @property
    def domain(self) -> str:
        """The sender's domain."""
        return self.sender.rpartition("@")[2].lower().rstrip(".")

    @property
    def used(self) -> tuple[Way, ...]:
        """The ways by which mail can leave."""
        return tuple(way for way in self.ways if way.source is not None)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The addresses that others see, as far as they are known."""
        return tuple(way.seen for way in self.used if way.seen is not None)

    @property
    def hidden(self) -> tuple[Way, ...]:
        """The ways of which nobody here knows the address that others see."""
        return tuple(way for way in self.used if way.seen is None)


def way(
    family: str,
    *,
    protocols: str,
    kernel: str,
    bind: str,
    bind_name: str,
    given: Optional[Address],
    own: tuple[str, ...],
) -> Way:
    """A way out.

    ``protocols`` is Postfix's inet_protocols, ``kernel`` the address that
    routing gives, ``bind`` the value of its parameter ``bind_name``, ``given``
    the outside address that the operator named, ``own`` the host's addresses.
    """
    words = protocols.lower().replace(",", " ").split()
    if "all" not in words and family not in words:
        return Way(family, why=f"Postfix does not use it (inet_protocols = {protocols})")
    trouble = ""
    bind = plain_address(bind)
    if bind and bind not in [plain_address(address) for address in own]:
        trouble, bind = f"{bind_name} is {bind}, an address that this host does not have", ""
    text = bind or kernel
    if not text:
        return Way(family, why="this host has no route", trouble=trouble)
    source = ipaddress.ip_address(text)
    bound = bind_name if bind else ""
    if given is not None:
        return Way(family, source, bound, given, given=True, trouble=trouble)
    return Way(family, source, bound, source if source.is_global else None, trouble=trouble)
