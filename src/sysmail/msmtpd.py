"""The service of the route ``mailu``: msmtpd(1), once for each loopback address. Pure."""

from __future__ import annotations

__all__ = ["LOOPBACK", "UNIT_FILE", "unit_name"]

UNIT_FILE = "/etc/systemd/system/sysmail-msmtpd@.service"
LOOPBACK = ("127.0.0.1", "::1")


def unit_name(address: str) -> str:
    """The unit of the msmtpd that listens on a loopback address."""
    return f"sysmail-msmtpd@{address}.service"
