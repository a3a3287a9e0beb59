"""What a host should have: files, packages and a running service. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Desired", "ManagedFile"]


@dataclass(frozen=True)
class ManagedFile:
    """A file that sysmail writes whole. ``secret``: its content is never shown."""

    path: str
    data: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    secret: bool = False

    def __repr__(self) -> str:
        return f"ManagedFile({self.path!r}, mode={self.mode:#o})"


@dataclass(frozen=True)
class Desired:
    """The state that a policy asks for.

    ``packages`` must be installed, and ``replaced`` are installed ones that
    exclude them and go; ``absent`` are files of sysmail's that this policy has
    no use for. ``listen`` are the loopback addresses on which ``port`` takes
    mail: of Postfix where ``relay``, else of msmtpd. ``watch``: a timer runs the watch.
    """

    packages: tuple[str, ...]
    files: tuple[ManagedFile, ...]
    absent: tuple[str, ...]
    listen: tuple[str, ...]
    needs_sasl: bool = False
    relay: bool = True
    port: int = 25
    replaced: tuple[str, ...] = ()
    watch: bool = False
