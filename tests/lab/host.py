"""A host of the lab: booted Debian or Arch, with a name, addresses and a cable."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .bases import RECIPES, layers
from .container import Container
from .disk import Disk
from .identity import CHECKOUT_INSIDE, write_identity
from .network import Node
from .overlay import Overlay
from .preinstalled import Preinstalled, install, preinstalled

CHECKOUT = Path(__file__).resolve().parents[2]


class Host:
    """Made by Lab.host; boots when told to. Everything about it ends with its lab."""

    def __init__(  # noqa: PLR0913 - one caller, and all by name
        self,
        *,
        name: str,
        fqdn: str,
        base: str,
        folder: Path,
        machine: str,
        node: Node,
        nameserver: str,
        packages: Iterable[str] = (),
        hosts_file: str | None = None,
        durable: bool = False,
        own_disk: bool = False,
    ) -> None:
        """Prepare the disk: overlay, identity, names, preinstalled packages."""
        self.name = name
        self.fqdn = fqdn
        self.base = base
        self.node = node
        wanted = list(packages)
        network = node.netns_path
        below = layers(base)
        layer: Preinstalled | None = None
        # With a name or a file that is not as usual, packages may decide otherwise than in a layer.
        if wanted and hosts_file is None and "." in fqdn:
            layer = preinstalled(
                base, wanted, netns=network, nameserver=nameserver, ipv6=node.address6 != ""
            )
            below = [layer.tree, *below]
        disk = Disk(folder / "disk.img", folder / "disk") if own_disk else None
        folder.mkdir(parents=True, exist_ok=True)
        self._overlay = Overlay(folder, tuple(below), durable, disk)
        self._overlay.mount()
        self._container = Container(
            name=machine,
            root=self._overlay.root,
            node=node,
            console=folder / "console",
            binds={CHECKOUT: CHECKOUT_INSIDE},
            unified=RECIPES[base].unified,
        )
        write_identity(self.root, fqdn, nameserver, hosts_file)
        if layer is not None:
            layer.personalize(self.root, fqdn, network)
        elif wanted:
            install(self.root, base, wanted, fqdn, network)

    @property
    def root(self) -> Path:
        """The host's root directory seen from the machine: its disk, not its /run and /tmp."""
        return self._overlay.root

    @property
    def address(self) -> str:
        """Its IPv4 address on the lab network."""
        return self.node.address

    @property
    def address6(self) -> str:
        """Its IPv6 address on the lab network; "" on a host without IPv6."""
        return self.node.address6

    @property
    def link_local(self) -> str:
        """Its fe80:: address, without a zone; "" on a host without IPv6."""
        return self.node.link_local

    @property
    def leader(self) -> int:
        """Process id, on the machine, of the host's systemd; 0 if it is not running."""
        return self._container.leader

    @property
    def running(self) -> bool:
        """True from boot to stop or kill."""
        return self._container.running

    def boot(self) -> None:
        """Boot and wait until systemd is up. Raises LabError with the console if that fails."""
        self._overlay.mount()
        self._container.boot()

    def stop(self) -> None:
        """Shut down in order."""
        self._container.stop()

    def kill(self) -> None:
        """End all processes at one instant. Files stay; what was only in the page cache too."""
        self._container.kill()

    def cut_power(self) -> None:
        """The power goes: on its own disk nothing arrives any more, and all processes end.

        What was not synced is lost; what is left can be looked at, and `boot` boots it.
        """
        self._overlay.cut()
        self.kill()
        self._overlay.unmount()
        self._overlay.mount()

    def run(
        self,
        command: str | Sequence[str],
        *,
        check: bool = True,
        input: str | None = None,  # noqa: A002 - the name is subprocess.run's
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the host: a string by `sh -c`, a list as it is. In /, as root or `user`.

        Raises LabError with both outputs if it is not done after `timeout` seconds, and, with
        `check`, if its exit status is not 0. What it leaves running stays.
        """
        return self._container.run(
            command, check=check, input=input, user=user, env=env, timeout=timeout
        )

    def start(
        self,
        command: str | Sequence[str],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command in the host; its three streams are pipes. The caller waits for it."""
        return subprocess.Popen(
            self._container.argv(command, user, env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def argv(self, command: str | Sequence[str], user: str | None = None) -> list[str]:
        """The machine's argument list that runs a command in the host: for callers with wishes."""
        return self._container.argv(command, user, None)

    def remove(self) -> None:
        """Kill it and delete its disk."""
        self.kill()
        self._overlay.remove()
