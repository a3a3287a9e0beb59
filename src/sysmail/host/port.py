"""The port to the machine: what the rest of sysmail may ask of a host.

``Reader`` is all that facts and proofs get, so that they cannot change
anything; ``Writer`` adds the changes, and only a transaction holds one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, Optional, Protocol

__all__ = [
    "Catcher",
    "Caught",
    "Completed",
    "FileState",
    "Lock",
    "Reader",
    "SmtpReply",
    "SmtpSession",
    "Writer",
]


@dataclass(frozen=True)
class Completed:
    """A program that ended: its exit status and what it printed.

    ``status`` 127 stands for a program that is not there, 124 for one that
    ran into its time limit, as a shell and timeout(1) say it.
    """

    argv: tuple[str, ...]
    status: int
    out: str
    err: str


@dataclass(frozen=True)
class FileState:
    """One path as it is: ``kind`` is file, link, directory or other; ``data`` only for a file.

    ``mode`` is the permission bits, ``uid`` and ``gid`` the numeric owner,
    ``target`` where a link points.
    """

    kind: str
    mode: int
    uid: int
    gid: int
    data: bytes = b""
    target: str = ""
    size: int = 0
    mtime: float = 0.0


@dataclass(frozen=True)
class SmtpReply:
    """An SMTP reply (RFC 5321, 4.2): the code and its lines joined by newlines."""

    code: int
    text: str


class SmtpSession(Protocol):
    """A dialogue with an SMTP server. Every method may raise HostError."""

    greeting: SmtpReply
    peer: str
    tls: str

    def command(self, line: str) -> SmtpReply:
        """Send one command line and return the reply."""

    def data(self, message: bytes) -> SmtpReply:
        """Send DATA and the message (dot-stuffed here); return the final reply."""

    def close(self) -> None:
        """QUIT, as far as the server still listens, and close."""


@dataclass(frozen=True)
class Caught:
    """A message that a catcher took: envelope, content and when (seconds since the epoch)."""

    sender: str
    recipients: tuple[str, ...]
    data: bytes
    time: float


class Catcher(Protocol):
    """A receiving SMTP server of our own, for a try."""

    port: int

    def messages(self) -> list[Caught]:
        """What arrived so far."""

    def close(self) -> None:
        """Stop listening."""


class Lock(Protocol):
    """A lock that is held."""

    def release(self) -> None:
        """Give it back."""


class Reader(Protocol):
    """Looking at a host."""

    def ask(
        self, argv: Sequence[str], *, timeout: float = 30.0, env: Optional[Mapping[str, str]] = None
    ) -> Completed:
        """Run a program that changes nothing."""

    def read(self, path: str, limit: int = 16_000_000) -> Optional[bytes]:
        """The content of a file, or None where there is none. HostError when it cannot be read."""

    def state(self, path: str, *, content: bool = True) -> Optional[FileState]:
        """The path with owner, mode and (if asked) content, links not followed; None if absent."""

    def names(self, path: str) -> list[str]:
        """The sorted names in a directory; empty where there is none."""

    def link(self, path: str) -> Optional[str]:
        """The real path behind a name after all links; None where there is none."""

    def which(self, program: str) -> Optional[str]:
        """Where a program is found, on a PATH that includes the sbin directories."""

    def own_command(self) -> str:
        """The path of the command that this very sysmail was started by; empty if not known."""

    def tail(self, path: str, limit: int) -> Optional[bytes]:
        """The last ``limit`` bytes of a file, or None where there is none. HostError as read."""

    def euid(self) -> int:
        """The effective user."""

    def nodename(self) -> str:
        """The host name of the kernel, uname(2)."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def can_connect(self, address: str, port: int, source: str = "", timeout: float = 3.0) -> bool:
        """Whether a TCP connection is accepted."""

    def smtp(
        self,
        address: str,
        port: int,
        *,
        source: str = "",
        name: str = "",
        tls: str = "none",
        ca_file: str = "",
        timeout: float = 10.0,
    ) -> SmtpSession:
        """Open an SMTP dialogue; ``tls`` is none, starttls or implicit, verified for ``name``."""

    def free_port(self) -> int:
        """A TCP port on 127.0.0.1 that nothing uses."""

    def is_locked(self, path: str) -> bool:
        """Whether a process holds a lock of fcntl(2) on a file; False where there is none."""

    def socket_inodes(self, pid: int) -> set[int]:
        """The sockets that a process has open, by inode; empty where it may not be seen."""

    def socket_owner(self, inode: int) -> str:
        """The program that holds a socket, such as ``exim4 (pid 812)``; empty if not known."""


class Writer(Reader, Protocol):
    """Changing a host."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Optional[bytes] = None,
        env: Optional[Mapping[str, str]] = None,
        timeout: float = 120.0,
        user: str = "",
        on_line: Optional[Callable[[str], None]] = None,
    ) -> Completed:
        """Run a program that changes the host; ``on_line`` sees what it prints as it prints it."""

    def write(self, path: str, data: bytes, mode: int, uid: int = 0, gid: int = 0) -> None:
        """Replace a file in one step: as a whole or not at all, also when the power goes."""

    def symlink(self, path: str, target: str) -> None:
        """Replace a path by a symbolic link in one step."""

    def mkdir(self, path: str, mode: int, uid: int = 0, gid: int = 0) -> None:
        """Make a directory and those above it; nothing happens where it is there."""

    def set_access(self, path: str, mode: int, uid: int, gid: int) -> None:
        """Set owner and mode of what is there."""

    def remove(self, path: str) -> None:
        """Remove a file or a link; nothing happens where there is none."""

    def rmdir(self, path: str) -> bool:
        """Remove a directory if it is empty; say whether it is gone."""

    def rmtree(self, path: str) -> None:
        """Remove a directory of our own with all that is in it; links are not followed."""

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, ca_file: str, timeout: float
    ) -> None:
        """POST to a web server, verified. HostError, without the URL, unless it says 2xx."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def lock(self, path: str, words: str, wait: float) -> Lock:
        """Take a lock that only one process has; RefusedError that says who holds it."""

    def catcher(self, accepts: Callable[[str], bool]) -> Catcher:
        """Start a receiving SMTP server on an unused port of 127.0.0.1."""
