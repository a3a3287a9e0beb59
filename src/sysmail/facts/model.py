"""The facts as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping, Optional, Tuple

from sysmail.distro import Distro

__all__ = ["Facts", "Listener", "PostfixFacts", "ServiceFacts"]


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket; ``owner`` is the program's name, empty when it is not known."""

    address: str
    port: int
    inode: int
    owner: str = ""


@dataclass(frozen=True)
class PostfixFacts:
    """The installed Postfix, as it tells itself.

    ``parameters`` are the effective ones, defaults included; ``complaint`` is
    what postconf(1) printed on standard error; ``map_types`` from ``postconf -m``.
    """

    version: str
    parameters: Mapping[str, str]
    complaint: str = ""
    map_types: Tuple[str, ...] = ()

    def __getitem__(self, name: str) -> str:
        return self.parameters.get(name, "")


@dataclass(frozen=True)
class ServiceFacts:
    """Postfix as a service. ``active`` is what the service manager says, not what is true:
    Debian's postfix.service is active while postfix@-.service has failed (FACTS.md)."""

    exists: bool = False
    active: bool = False
    enabled: bool = False
    failed: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """A host, at one moment."""

    os_name: str
    distro: Optional[Distro]
    systemd: bool
    nodename: str
    fqdn: str
    ipv6_loopback: bool
    addresses: Tuple[str, ...]
    listeners: Tuple[Listener, ...]
    packages: Mapping[str, str]
    candidates: Mapping[str, str] = field(default_factory=dict)
    sendmail: str = ""
    postfix: Optional[PostfixFacts] = None
    service: ServiceFacts = ServiceFacts()
    master_running: bool = False
    sasl_plain: bool = True
    log_socket: bool = True
    mailboxes: Tuple[str, ...] = ()

    def listeners_on(self, port: int) -> Tuple[Listener, ...]:
        """What listens on a port."""
        return tuple(found for found in self.listeners if found.port == port)

    @property
    def name(self) -> str:
        """The fully qualified name, or the kernel's where there is none."""
        return self.fqdn or self.nodename
