"""The facts as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional

from sysmail.distro import Distro

__all__ = ["Facts", "Listener", "PostfixFacts", "ServiceFacts", "UnitFacts"]


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket; ``inode`` tells whose it is (proc_pid_fd(5)).

    ``owner`` is that program, where it was asked for and can be seen; ``contained``:
    it runs in a container that has this host's network. ``beside``: it is not of the
    Postfix that runs, which has other addresses of the same port.
    """

    address: str
    port: int
    inode: int
    owner: str = ""
    contained: bool = False
    beside: bool = False


@dataclass(frozen=True)
class PostfixFacts:
    """The installed Postfix, as it tells itself.

    ``parameters`` are the effective ones, defaults included; ``own`` names
    those that main.cf sets; ``complaint`` is what postconf(1) printed on
    standard error; ``map_types`` from ``postconf -m``; ``services`` are those of
    master.cf that listen, such as ``smtp smtpd``.
    """

    version: str
    parameters: Mapping[str, str]
    complaint: str = ""
    own: frozenset[str] = frozenset()
    map_types: tuple[str, ...] = ()
    services: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> str:
        return self.parameters.get(name, "")


@dataclass(frozen=True)
class ServiceFacts:
    """Postfix as a service.

    ``active`` is what the service manager says, not what is true: Debian's
    postfix.service is active while postfix@-.service has failed (docs/promises.md).
    ``forking`` are the units that start a daemon: which one is master's differs by release.
    """

    exists: bool = False
    active: bool = False
    enabled: bool = False
    failed: tuple[str, ...] = ()
    forking: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnitFacts:
    """One unit of systemd: ``pid`` is its main process, 0 where none runs."""

    active: bool = False
    enabled: bool = False
    pid: int = 0


@dataclass(frozen=True)
class Facts:
    """A host, at one moment.

    ``msmtpd``: by loopback address, the units that sysmail has for the route
    mailu. ``neighbour_mail``: how many messages wait, by package of another
    mail program that is installed. ``old_main_cf``: there is a main.cf, and no Postfix.
    ``exim_settings`` are the answers in Debian's update-exim4.conf.conf; ``exim_by_hand``: there is
    a configuration that takes their place; ``exim_macros`` are those that its owner sets beside
    them. ``root_readers`` are whom root's mail goes to, by aliases(5). ``forwards`` is where the
    packet filter passes port 25 on to, where that was asked for.
    ``watch`` is the timer of the watch; ``tool`` a command that runs a sysmail that root
    alone may write.
    """

    os_name: str
    distro: Optional[Distro]
    systemd: bool
    nodename: str
    fqdn: str
    ipv6_loopback: bool
    addresses: tuple[str, ...]
    listeners: tuple[Listener, ...]
    packages: Mapping[str, str]
    candidates: Mapping[str, str] = field(default_factory=dict)
    sendmail: str = ""
    postfix: Optional[PostfixFacts] = None
    service: ServiceFacts = ServiceFacts()
    master_running: bool = False
    sasl_plain: bool = True
    log_socket: bool = True
    mailboxes: tuple[str, ...] = ()
    msmtpd: Mapping[str, UnitFacts] = field(default_factory=dict)
    neighbour_mail: Mapping[str, int] = field(default_factory=dict)
    exim_role: str = ""
    old_main_cf: bool = False
    exim_settings: Mapping[str, str] = field(default_factory=dict)
    exim_by_hand: bool = False
    exim_macros: tuple[str, ...] = ()
    root_readers: tuple[str, ...] = ()
    forwards: tuple[str, ...] = ()
    watch: UnitFacts = UnitFacts()
    tool: str = ""

    def listeners_on(self, port: int) -> tuple[Listener, ...]:
        """What listens on a port."""
        return tuple(found for found in self.listeners if found.port == port)

    @property
    def name(self) -> str:
        """The fully qualified name, or the kernel's where there is none."""
        return self.fqdn or self.nodename
