"""What the lab's booted mail servers have in common: a name, accounts, a certificate, a cable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .ca import Ca
from .host import Host
from .network import Node


class Server:
    """`host` is its name; `machine` the booted host, for a look at its logs."""

    def __init__(self, machine: Host, ca: Ca, accounts: Mapping[str, str]) -> None:
        """`machine` is not booted yet; the first of the `accounts` is the one that tests use."""
        self.machine = machine
        self.host = machine.fqdn
        self.username, self.password = next(iter(accounts.items()))
        self.accounts = dict(accounts)
        self.ca_file: Path = ca.file
        self._certificate = ca.issue(self.host)

    @property
    def node(self) -> Node:
        """The end of its cable."""
        return self.machine.node

    @property
    def address(self) -> str:
        """Its IPv4 address."""
        return self.machine.address
