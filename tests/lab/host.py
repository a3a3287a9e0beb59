"""A host of the lab: booted Debian or Arch, with a name, addresses and a cable."""

from __future__ import annotations

import shlex
import subprocess
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .bases import layers
from .chroot import chroot, services_kept_stopped
from .container import Container
from .hostsfile import stock_hosts_file
from .network import Node
from .overlay import Overlay

CHECKOUT = Path(__file__).resolve().parents[2]
CHECKOUT_INSIDE = "/opt/sysmail"


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
    ) -> None:
        """Prepare the disk: overlay, identity, names, preinstalled packages."""
        self.name = name
        self.fqdn = fqdn
        self.base = base
        self.node = node
        self._overlay = Overlay(folder, tuple(layers(base)))
        self._overlay.mount()
        self._container = Container(
            name=machine,
            root=self._overlay.root,
            node=node,
            console=folder / "console",
            binds={CHECKOUT: CHECKOUT_INSIDE},
        )
        self._write_identity(nameserver, hosts_file)
        self._install(list(packages))

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

    def _write_identity(self, nameserver: str, hosts_file: str | None) -> None:
        etc = self.root / "etc"
        # As Debian's installer does it: the short name here, the full one in /etc/hosts.
        (etc / "hostname").write_text(f"{self.fqdn.split('.')[0]}\n")
        (etc / "hosts").write_text(
            stock_hosts_file(self.fqdn) if hosts_file is None else hosts_file
        )
        domain = self.fqdn.partition(".")[2]
        search = f"search {domain}\n" if domain else ""
        (etc / "resolv.conf").unlink(missing_ok=True)
        (etc / "resolv.conf").write_text(f"{search}nameserver {nameserver}\n")
        (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
        (self.root / CHECKOUT_INSIDE.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _install(self, packages: list[str]) -> None:
        if not packages:
            return
        with services_kept_stopped(self.root):
            if self.base == "arch":
                commands = [["pacman", "-Sy", "--noconfirm", "--needed", *packages]]
            else:
                commands = [
                    ["apt-get", "-q", "update"],
                    ["apt-get", "-qy", "install", *packages],
                ]
            for command in commands:
                chroot(
                    self.root,
                    ["sh", "-c", shlex.join(command)],
                    hostname=self.fqdn,
                    netns=self.node.netns_path,
                )
