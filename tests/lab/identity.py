"""What makes a root directory one particular host: its names, its resolver, its machine id."""

from __future__ import annotations

import uuid
from pathlib import Path

from .hostsfile import stock_hosts_file

CHECKOUT_INSIDE = "/opt/sysmail"


def write_identity(root: Path, fqdn: str, nameserver: str, hosts_file: str | None = None) -> None:
    """Write it as Debian's installer does: the short name here, the full one in /etc/hosts."""
    short, _, domain = fqdn.partition(".")
    etc = root / "etc"
    (etc / "hostname").write_text(f"{short}\n")
    (etc / "hosts").write_text(stock_hosts_file(fqdn) if hosts_file is None else hosts_file)
    search = f"search {domain}\n" if domain else ""
    (etc / "resolv.conf").unlink(missing_ok=True)
    (etc / "resolv.conf").write_text(f"{search}nameserver {nameserver}\n")
    (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
    (root / CHECKOUT_INSIDE.lstrip("/")).mkdir(parents=True, exist_ok=True)
