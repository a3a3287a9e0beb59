"""The port to the machine: what the rest of sysmail may ask of a host.

``Reader`` is all that facts and proofs get, so that they cannot change
anything; ``Writer`` adds the changes, and only a transaction holds one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, Optional, Protocol

__all__ = [
    "ABSENT",
    "FOUND",
    "NOTHING",
    "UNANSWERED",
    "Answer",
    "Catcher",
    "Caught",
    "Completed",
    "FileState",
    "Found",
    "Located",
    "Lock",
    "Mailbox",
    "Reader",
    "Resolver",
    "Room",
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
class Room:
    """Where a path would be changed: its file system, and what stands in the way.

    ``device`` tells file systems apart. ``free`` bytes and ``inodes`` are what
    anybody can still take, as df(1) has it, ``inodes`` -1 where they are not counted.
    ``immutable`` is the path with chattr(1)'s i or a, itself or its folder, else empty.
    ``mounted``: something is mounted on the very path, so that it cannot be replaced.
    ``nosuid``: no program there gets other rights than its caller's (mount(8)).
    ``mount`` is the mount point of what is read-only or nosuid, else empty.
    """

    device: int
    free: int
    inodes: int = -1
    read_only: bool = False
    immutable: str = ""
    mounted: bool = False
    mount: str = ""
    nosuid: bool = False


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


@dataclass(frozen=True)
class Located:
    """Where a message is in a mailbox: the folder, and its UID there (RFC 3501, 2.3.1.1)."""

    folder: str
    uid: str


class Mailbox(Protocol):
    """The mailbox of a login, over IMAP. Every method may raise HostError."""

    folders: tuple[str, ...]

    def find(self, text: str, wanted: Sequence[str]) -> dict[str, Located]:
        """Where messages are, by Message-ID with brackets; ``text`` is part of each of these."""

    def remove(self, located: Located) -> bool:
        """Remove one message, and no other; False where it could only be marked as deleted."""

    def close(self) -> None:
        """Log out, as far as the server still listens, and close."""


@dataclass(frozen=True)
class Found:
    """A line of a file, without its end, and where it begins (bytes, of the text in it)."""

    offset: int
    line: bytes


class Lock(Protocol):
    """A lock that is held."""

    def release(self) -> None:
        """Give it back."""


FOUND = "found"
NOTHING = "nothing"
ABSENT = "absent"
UNANSWERED = "unanswered"


@dataclass(frozen=True)
class Answer:
    """What DNS said to one question.

    ``status`` is found; nothing: the name has no such record; absent: there is
    no such name (NXDOMAIN, or one that cannot exist); or unanswered: nobody
    knows, and ``why`` says what was met. ``values`` are, for A and AAAA,
    addresses; for MX ``10 mx.example.org``, the best first; for PTR names; for TXT the strings
    of each record joined, a byte a character. Names are in lower case, without the last dot.
    """

    status: str
    values: tuple[str, ...] = ()
    why: str = ""


class Resolver(Protocol):
    """The host's way to ask DNS."""

    def lookup(self, name: str, kind: str) -> Answer:
        """Ask for the A, AAAA, MX, PTR or TXT records of a name; never raises."""


class Reader(Protocol):
    """Looking at a host."""

    def ask(
        self, argv: Sequence[str], *, timeout: float = 30.0, env: Optional[Mapping[str, str]] = None
    ) -> Completed:
        """Run a program that changes nothing."""

    def read(self, path: str, limit: int = 16_000_000) -> Optional[bytes]:
        """The content of a file, or None where there is none. HostError when it cannot be read."""

    def search(
        self, path: str, texts: Sequence[bytes], start: int = 0, end: Optional[int] = None
    ) -> Iterator[Found]:
        """The lines of a log, compressed or not, that hold one of the texts, in order.

        Only those that begin at ``start`` or later, and before ``end``. HostError
        when it cannot be read. Memory does not grow with the file.
        """

    def search_back(
        self, path: str, texts: Sequence[bytes], end: Optional[int] = None, reach: int = 1 << 26
    ) -> Iterator[Found]:
        """The same from ``end`` backwards, the last line first, at most ``reach`` bytes back."""

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

    def euid(self) -> int:
        """The effective user."""

    def nodename(self) -> str:
        """The host name of the kernel, uname(2)."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def elapsed(self) -> float:
        """Seconds on a clock that nobody sets, to wait by."""

    def room(self, path: str) -> Room:
        """What stands in the way of a change of a path, and how much fits beside it.

        HostError where that cannot be seen.
        """

    def can_connect(self, address: str, port: int, source: str = "", timeout: float = 3.0) -> bool:
        """Whether a TCP connection is accepted."""

    def connection_trouble(
        self, address: str, port: int, source: str = "", timeout: float = 5.0
    ) -> str:
        """Why a TCP connection does not come about, in the system's words; empty if it does."""

    def source_address(self, destination: str) -> str:
        """The own address that the kernel would send from to another; empty without a route."""

    def exchangers(self, domain: str, seconds: float) -> Answer:
        """The MX records of a domain, without dnspython; never raises."""

    def resolver(self, seconds: float) -> Resolver:
        """A way to ask DNS that is done after so many seconds; HostError without dnspython."""

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

    def holder(self, path: str) -> str:
        """Who holds a lock of fcntl(2) on a file, such as ``apt-get (pid 812)``; else empty."""

    def user_of(self, path: str) -> str:
        """A process that has a file open, such as ``pacman (pid 812)``; else empty."""

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

    def keep(self, path: str, name: str) -> bool:
        """Give a file a second name, which takes no space; False where that cannot be."""

    def rename(self, path: str, name: str) -> None:
        """Put what is at ``path`` in the place of ``name`` in one step, which takes no space."""

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

    def mailbox(
        self, host: str, port: int, user: str, password: str, *, ca_file: str, seconds: float
    ) -> Mailbox:
        """Log in over IMAP with TLS, verified for ``host``, for so many seconds altogether."""

    def sleep(self, seconds: float) -> None:
        """Wait."""

    def lock(self, path: str, words: str, wait: float) -> Lock:
        """Take a lock that only one process has; RefusedError that says who holds it."""

    def catcher(self, accepts: Callable[[str], bool]) -> Catcher:
        """Start a receiving SMTP server on an unused port of 127.0.0.1."""
