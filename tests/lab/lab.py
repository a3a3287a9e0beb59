"""The lab: a switch, DNS, an MX, and hosts that are booted when a test asks for them."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from . import ansible
from .ca import Ca
from .clean import OWNER_FILE, clean, run_folder, take_away
from .controller import Controller
from .dns import Dns
from .host import Host
from .knock import Knocker
from .machine import start_time
from .mailu import Mailu
from .mx import Mx
from .network import HasNode, Network
from .smarthost import Smarthost

DOMAIN = "lab.test"
RECEIVED_DOMAINS = ("example.org", "example.net", DOMAIN)
# A booted systemd takes about a dozen; the kernel's default of 128 is full with ten hosts.
_INOTIFY_INSTANCES = 1024
_BOOTS_AT_ONCE = 4

_numbers = itertools.count(1)


class Lab:
    """Use as a context manager: whatever happens inside, nothing of it stays on the machine."""

    mx: Mx
    dns: Dns
    ca: Ca

    def __init__(self) -> None:
        """Nothing is made before the lab is entered."""
        # The owner's process id is in every name, so that what a dead run left can be told apart.
        self.id = f"sml{os.getpid()}x{next(_numbers)}"
        self._folder = run_folder() / self.id
        self._network = Network(self.id)
        self._hosts: list[Host] = []
        self._counter = itertools.count(1)
        self._lock = threading.Lock()
        self._smarthost: Smarthost | None = None
        self._smarthost_lock = threading.Lock()
        self._mailu: Mailu | None = None
        self._mailu_lock = threading.Lock()
        self._controller: Controller | None = None
        self._controller_lock = threading.Lock()
        self._handler: Any = None

    def __enter__(self) -> Self:
        """Take away what dead runs left, then make switch, DNS and MX (under a second)."""
        clean()
        self._catch_sigterm()
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take everything away."""
        self.close()

    def host(  # noqa: PLR0913 - what a host is like has no natural groups, and all is by name
        self,
        name: str,
        base: str = "debian",
        *,
        fqdn: str | None = None,
        ipv6: bool = True,
        packages: Iterable[str] = (),
        hosts_file: str | None = None,
        durable: bool = False,
        own_disk: bool = False,
        boot: bool = True,
    ) -> Host:
        """Make a host and boot it.

        `fqdn` is `<name>.lab.test` unless given, and is in DNS forward and reverse. Without `ipv6`
        its kernel has no IPv6 at all. `packages` are installed before it boots: from a layer that
        is made when a list of packages is first asked for. `hosts_file` is the text of its
        /etc/hosts in place of the stock one. On a `durable` host a sync reaches the machine's
        disk, and takes as long as that takes. One with its `own_disk` can lose its power.
        Raises LabError if it does not boot.
        """
        full = fqdn or f"{name}.{DOMAIN}"
        with self._lock:
            number = next(self._counter)
            node = self._network.add(f"{name}{number}", ipv6=ipv6)
            self._name_in_dns(full, node.address, node.address6)
        host = Host(
            name=name,
            fqdn=full,
            base=base,
            folder=self._folder / "hosts" / f"{name}{number}",
            machine=f"{self.id}-{name}{number}",
            node=node,
            nameserver=self.dns.address,
            packages=packages,
            hosts_file=hosts_file,
            durable=durable,
            own_disk=own_disk,
        )
        with self._lock:
            self._hosts.append(host)
        if boot:
            host.boot()
        return host

    def hosts(
        self, wanted: Mapping[str, Mapping[str, Any]], at_once: int = _BOOTS_AT_ONCE
    ) -> dict[str, Host]:
        """Make and boot several hosts, `at_once` at the same time: name -> arguments of host().

        Raises LabError if one of them does not boot; the others are there then.
        """
        with ThreadPoolExecutor(at_once) as pool:
            made = {name: pool.submit(self.host, name, **how) for name, how in wanted.items()}
        return {name: host.result() for name, host in made.items()}

    @property
    def smarthost(self) -> Smarthost:
        """The submission server, made and booted when it is first asked for (a few seconds)."""
        with self._smarthost_lock:
            if self._smarthost is None:
                machine = self.host("smarthost", "smarthost", boot=False)
                smarthost = Smarthost(machine, self.ca)
                smarthost.start()
                self._smarthost = smarthost
            return self._smarthost

    @property
    def mailu(self) -> Mailu:
        """A mail server that asks what Mailu asks, made when first asked for (a few seconds)."""
        with self._mailu_lock:
            if self._mailu is None:
                mailu = Mailu(self.host("mail", "mailu", boot=False), self.ca)
                mailu.boot()
                self._mailu = mailu
            return self._mailu

    @property
    def controller(self) -> Controller:
        """A node to run playbooks from, made when first asked for (a minute, the first time)."""
        with self._controller_lock:
            if self._controller is None:
                collections = ansible.collections()  # what can fail comes first
                with self._lock:
                    node = self._network.add("controller")
                # A short name: sockets of ssh are in it, whose paths must not be long.
                self._controller = Controller(node, self._folder / "ctl", collections)
            return self._controller

    def remove(self, host: Host) -> None:
        """Kill a host and take it away, with its disk, its cable and its name."""
        if self._controller is not None:
            self._controller.forget(host)
        host.remove()
        with self._lock:
            if host in self._hosts:
                self._hosts.remove(host)
            self._network.remove(host.node)
            self.dns.remove(host.fqdn)

    def knock(self, host: HasNode, ports: Iterable[int] = (25,)) -> Knocker:
        """A stranger who knocks at all addresses of a host, from a node of its own."""
        with self._lock:
            node = self._network.add(f"knock{next(self._counter)}")
        return Knocker(node, host.node, ports)

    def cut(self, thing: HasNode) -> None:
        """Pull the cable of a host, of `lab.mx`, `lab.smarthost`, `lab.mailu` or `lab.dns`."""
        self._network.cut(thing.node)

    def join(self, thing: HasNode) -> None:
        """Put the cable back."""
        self._network.join(thing.node)

    def close(self) -> None:
        """Take everything away; does nothing the second time. An interrupt has to wait for it."""
        with _no_interrupts():
            for host in self._hosts:
                with contextlib.suppress(OSError):
                    host.kill()
            self._hosts.clear()
            for server in (getattr(self, "mx", None), getattr(self, "dns", None)):
                if server is not None:
                    server.stop()
            take_away(self.id)
            self._release_sigterm()

    def _make(self) -> None:
        self._folder.mkdir(parents=True)
        (self._folder / OWNER_FILE).write_text(start_time(os.getpid()))
        _raise_inotify_limit()
        self._network.open()
        self.ca = Ca(self._folder / "ca")
        self.dns = Dns(self._network.add("dns"), self._folder / "dns")
        node = self._network.add("mx")
        self.mx = Mx(node, self._folder / "mx", self.ca.issue("mx.lab.test"))
        for domain in RECEIVED_DOMAINS:
            self.dns.add(domain, "MX", self.mx.host)
        self._name_in_dns("dns.lab.test", self.dns.address, self.dns.node.address6)
        self._name_in_dns(self.mx.host, node.address, node.address6)
        self.dns.start()
        self.mx.start()

    def _name_in_dns(self, fqdn: str, address: str, address6: str) -> None:
        self.dns.add(fqdn, "ADDRESS", address)
        if address6:
            self.dns.add(fqdn, "ADDRESS", address6)

    def _catch_sigterm(self) -> None:
        """Make a polite end of this process an exception, so that the lab is closed on the way."""
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, _interrupt)

    def _release_sigterm(self) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
            self._handler = None


def _interrupt(number: int, _frame: FrameType | None) -> None:
    # pytest ends a run on this one and closes its fixtures; on SystemExit it would go on.
    raise KeyboardInterrupt(f"signal {number}")


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = [
        (number, signal.signal(number, lambda number, _frame: waiting.append(number)))
        for number in (signal.SIGINT, signal.SIGTERM)
    ]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
        if waiting:
            raise KeyboardInterrupt(f"signal {waiting[0]}")


def _raise_inotify_limit() -> None:
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    if int(limit.read_text()) < _INOTIFY_INSTANCES:
        limit.write_text(str(_INOTIFY_INSTANCES))
