"""The lab's network: one bridge in a namespace of its own, and nodes joined to it.

The switch namespace has no way out and no address: nothing a test sends can leave.
A node is a network namespace with one interface, `eth0`, whose other end is a port of the
bridge. Taking that port down is pulling the cable: the node sees its carrier go.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .machine import call, wait_until

NETNS_FOLDER = Path("/run/netns")
PREFIX4 = "10.77"
PREFIX6 = "fd77:6c61:6200"
# Before any interface exists, so that addresses are usable at once and stay what we chose:
# no duplicate address detection, no router advertisements, no temporary addresses.
_QUIET_IPV6 = [
    f"net.ipv6.conf.{scope}.{key}={value}"
    for scope in ("all", "default")
    for key, value in {
        "accept_dad": 0,
        "dad_transmits": 0,
        "accept_ra": 0,
        "use_tempaddr": 0,
    }.items()
]
_NO_IPV6 = [f"net.ipv6.conf.{scope}.disable_ipv6=1" for scope in ("all", "default", "lo")]


@dataclass(frozen=True)
class Node:
    """One end of a cable: where it is and how it is reached. Addresses are plain strings."""

    netns: str
    port: str
    address: str
    address6: str
    link_local: str

    @property
    def netns_path(self) -> Path:
        """The file that holds the node's network namespace."""
        return NETNS_FOLDER / self.netns


class HasNode(Protocol):
    """Anything with a cable: a host, the DNS server, the MX, the smarthost."""

    @property
    def node(self) -> Node:
        """The end of its cable."""
        ...


def inside(netns: str, *argv: str | Path) -> list[str]:
    """The argument list that runs `argv` on the machine's files, in a node's network."""
    return ["nsenter", f"--net={NETNS_FOLDER / netns}", "--", *(str(word) for word in argv)]


@dataclass
class Network:
    """The switch and all nodes of one lab. `prefix` begins every namespace's name."""

    prefix: str
    nodes: list[Node] = field(default_factory=list)
    _last: int = 1

    @property
    def switch(self) -> str:
        """Name of the namespace with the bridge."""
        return f"{self.prefix}-switch"

    def open(self) -> None:
        """Make the switch."""
        call(["ip", "netns", "add", self.switch])
        call(
            ["ip", "-n", self.switch, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0"]
        )
        # The bridge is no host: it must not answer, nor keep IPv6 state of its own.
        call(inside(self.switch, "sysctl", "-qw", *_NO_IPV6))
        call(["ip", "-n", self.switch, "link", "set", "br0", "up"])

    def add(self, name: str, *, ipv6: bool = True) -> Node:
        """Make a node with the next free address; without `ipv6` its kernel has none at all."""
        self._last += 1
        number = self._last
        high, low = divmod(number, 256)
        netns, port = f"{self.prefix}-{name}", f"p{number}"
        address = f"{PREFIX4}.{high}.{low}"
        address6 = f"{PREFIX6}::{number:x}" if ipv6 else ""
        call(["ip", "netns", "add", netns])
        call(inside(netns, "sysctl", "-qw", *(_QUIET_IPV6 if ipv6 else _NO_IPV6)))
        commands = [
            f"-n {netns} link set lo up",
            f"-n {self.switch} link add {port} type veth peer name eth0 netns {netns}",
            f"-n {self.switch} link set {port} master br0 up",
            f"-n {netns} link set eth0 address 02:77:00:00:{high:02x}:{low:02x}",
            f"-n {netns} addr add {address}/16 brd + dev eth0",
            f"-n {netns} link set eth0 up",
        ]
        if ipv6:
            commands.insert(-1, f"-n {netns} addr add {address6}/64 dev eth0 nodad")
        for command in commands:
            call(["ip", *command.split()])
        node = Node(netns, port, address, address6, _link_local(netns) if ipv6 else "")
        self.nodes.append(node)
        return node

    def remove(self, node: Node) -> None:
        """Take a node away; its processes must have ended."""
        if node in self.nodes:
            self.nodes.remove(node)
            call(["ip", "-n", self.switch, "link", "del", node.port])
            call(["ip", "netns", "del", node.netns])

    def cut(self, node: Node) -> None:
        """Pull the node's cable."""
        call(["ip", "-n", self.switch, "link", "set", node.port, "down"])

    def join(self, node: Node) -> None:
        """Put the node's cable back."""
        call(["ip", "-n", self.switch, "link", "set", node.port, "up"])

    def close(self) -> None:
        """Take all nodes and the switch away."""
        for node in list(self.nodes):
            self.remove(node)
        call(["ip", "netns", "del", self.switch])


def _link_local(netns: str) -> str:
    """The kernel's fe80:: address of eth0, which comes a moment after the interface is up."""
    found: list[str] = []

    def has_one() -> bool:
        shown: list[dict[str, Any]] = json.loads(
            call(["ip", "-n", netns, "-j", "-6", "addr", "show", "dev", "eth0"])
        )
        entries = [entry for interface in shown for entry in interface.get("addr_info", ())]
        locals_ = [str(entry.get("local", "")) for entry in entries]
        found.extend(address for address in locals_ if address.startswith("fe80:"))
        return bool(found)

    wait_until(f"{netns}: eth0 has a link-local address", has_one)
    return found[0]
