"""A host in memory: files, canned programs, scripted servers, and every call recorded.

``FakeHost`` implements ``sysmail.host.port.Writer``. What changes the host is counted, so
that a test can let the n-th change fail, or let the process die there: from then on every
call raises ``Died`` too, until the test starts a new process with ``revive``. ``watch`` is
told of each change just before it is made.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Callable, Optional

from sysmail.errors import HostError, RefusedError
from sysmail.host.port import (
    FOUND,
    Answer,
    Caught,
    Completed,
    FileState,
    Found,
    Located,
    Mailbox,
    Resolver,
    Room,
    SmtpReply,
    SmtpSession,
)
from sysmail.host.scan import backwards_in, forwards_in

__all__ = [
    "Call",
    "Died",
    "FakeCatcher",
    "FakeHost",
    "FakeLock",
    "FakeMailbox",
    "Program",
    "ScriptedSession",
]


class Died(BaseException):
    """The process was killed: nothing after this moment happens."""


@dataclass(frozen=True)
class Call:
    """A change that was asked for: the method of the port, and what it was asked to do."""

    method: str
    what: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


Program = Callable[[Sequence[str], Optional[bytes]], Completed]


class FakeLock:
    """A lock of the fake host."""

    def __init__(self, host: FakeHost, path: str, words: str) -> None:
        self._host, self._path = host, path
        if path in host.locks:
            raise RefusedError(
                "locked", f"another sysmail is changing this host: {host.locks[path]}", "wait"
            )
        host.locks[path] = words

    def release(self) -> None:
        """Give it back."""
        self._host.locks.pop(self._path, None)


class FakeCatcher:
    """A catcher that a test, or the host's own Postfix, gives messages to."""

    port = 2525

    def __init__(self, accepts: Callable[[str], bool]) -> None:
        self.accepts = accepts
        self.open = True
        self.caught: list[Caught] = []

    def messages(self) -> list[Caught]:
        """What arrived so far."""
        return list(self.caught)

    def close(self) -> None:
        """Stop listening."""
        self.open = False


class FakeMailbox:
    """A mailbox by a table: folder and Message-IDs; without ``uidplus`` it only marks."""

    def __init__(self, folders: Mapping[str, list[str]], *, uidplus: bool = True) -> None:
        self.folders = tuple(folders)
        self.content = dict(folders)
        self.marked: list[str] = []
        self._uidplus = uidplus

    def find(self, text: str, wanted: Sequence[str]) -> dict[str, Located]:
        """Where the messages are."""
        return {
            name: Located(folder, str(uid))
            for folder, names in self.content.items()
            for uid, name in enumerate(names, 1)
            if name in wanted and text in name
        }

    def remove(self, located: Located) -> bool:
        """Take it away, or mark it."""
        name = self.content[located.folder][int(located.uid) - 1]
        self.marked.append(name)
        if self._uidplus:
            self.content[located.folder][int(located.uid) - 1] = ""
        return self._uidplus

    def close(self) -> None:
        """Nothing to do."""


class ScriptedSession:
    """A server by a table: the reply to a command line is that of its longest known beginning.

    ``said`` is every line that the server was told, the first one first.
    """

    def __init__(
        self,
        replies: Mapping[str, str],
        peer: str = "mail.example.org:465",
        tls: str = "TLSv1.3",
        greeting: str = "220 mail.example.org ESMTP",
    ) -> None:
        self.peer, self.tls = peer, tls
        self.greeting = _reply(greeting)
        self.said: list[str] = []
        self._replies = replies

    def command(self, line: str) -> SmtpReply:
        """The reply to one command."""
        self.said.append(line)
        fitting = [start for start in self._replies if line.upper().startswith(start.upper())]
        return _reply(self._replies[max(fitting, key=len)] if fitting else "250 ok")

    def data(self, message: bytes) -> SmtpReply:
        """The reply to a message."""
        self.said.append(message.decode("utf-8", "replace"))
        return _reply(self._replies.get("DATA", "250 queued"))

    def close(self) -> None:
        """Nothing to do."""
        self.said.append("QUIT")


def _reply(text: str) -> SmtpReply:
    lines = text.split("\n")
    return SmtpReply(int(lines[0][:3]), "\n".join(line[4:] for line in lines))


class FakeHost:
    """A bare Linux host without any program; ``programs`` and ``servers`` give it some.

    ``dynamic`` are files whose content is made when they are read, as below /proc.
    """

    def __init__(self) -> None:
        self.entries: dict[str, FileState] = {}
        self.dynamic: dict[str, Callable[[], bytes]] = {}
        self.programs: dict[str, Program] = {}
        self.servers: dict[tuple[str, int], Callable[[], SmtpSession]] = {}
        self.mailboxes: dict[tuple[str, str], Callable[[], Mailbox]] = {}
        self.sockets: dict[int, set[int]] = {}
        self.owners: dict[int, str] = {}
        self.dns: Optional[Resolver] = None
        self.sources: dict[str, str] = {}
        self.troubles: dict[str, str] = {}
        self.mx = Answer(FOUND, ("10 mx.example.org",))
        self.reached = {"mx.example.org"}
        self.connected: list[tuple[str, int, str]] = []
        self.locks: dict[str, str] = {}
        self.held: set[str] = set()
        self.rooms: dict[str, Room] = {}
        self.catchers: list[FakeCatcher] = []
        self.user = 0
        self.name = "web1"
        self.command = ""
        self.posted: list[tuple[str, bytes, dict[str, str]]] = []
        self.post_trouble = ""
        self.clock = 1_763_800_000.0
        self.changes: list[Call] = []
        self.asked: list[Call] = []
        self.smtp_asked: list[tuple[str, int, str]] = []
        self.fail_at = 0
        self.die_at = 0
        self._dead = False
        self.watch: Callable[[Call], None] = lambda _call: None
        for path in ("/", "/etc", "/run", "/var", "/var/lib"):
            self.put_directory(path)

    # What a test does to the host: not recorded, never fails.

    def put(
        self, path: str, data: bytes | str, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        """Put a file there, with the directories above it."""
        path = self._at(path)
        self._parents(path)
        content = data.encode() if isinstance(data, str) else data
        self.entries[path] = FileState(
            "file", mode, uid, gid, content, size=len(content), mtime=self.clock
        )

    def put_directory(self, path: str, mode: int = 0o755) -> None:
        """Put a directory there, with those above it."""
        if path not in self.entries:
            self._parents(path)
            self.entries[path] = FileState("directory", mode, 0, 0)

    def put_link(self, path: str, target: str) -> None:
        """Put a symbolic link there; ``target`` is absolute."""
        self._parents(path)
        self.entries[path] = FileState("link", 0o777, 0, 0, target=target)

    def take(self, path: str) -> None:
        """Take away a path and all below it."""
        for name in [n for n in self.entries if n == path or n.startswith(path + "/")]:
            del self.entries[name]

    def text(self, path: str) -> str:
        """The content of a file as text; empty where there is none."""
        path = self._at(path)
        return self.entries[path].data.decode() if path in self.entries else ""

    def answer(self, program: str, out: str = "", status: int = 0, err: str = "") -> None:
        """Give the host a program that always says the same."""
        self.programs[program] = lambda argv, _stdin: Completed(tuple(argv), status, out, err)

    def tree(self) -> dict[str, FileState]:
        """Every path as it is, without times, to compare with later."""
        return {path: replace(state, mtime=0.0) for path, state in self.entries.items()}

    def revive(self) -> None:
        """A new process on the same host: its locks are gone, its changes are counted anew."""
        self._dead = False
        self.fail_at = self.die_at = 0
        self.locks.clear()
        self.changes.clear()

    def _parents(self, path: str) -> None:
        parent = path.rpartition("/")[0] or "/"
        if parent != path:
            self.put_directory(parent)

    def _alive(self) -> None:
        if self._dead:
            raise Died

    def change(self, method: str, *what: str, env: Optional[Mapping[str, str]] = None) -> None:
        """Record a change that is about to be made; this is where one fails or the process dies."""
        self._alive()
        self.changes.append(Call(method, what, dict(env or {})))
        self.watch(self.changes[-1])
        if len(self.changes) == self.die_at:
            self._dead = True
            raise Died
        if len(self.changes) == self.fail_at:
            raise HostError("file-not-written", f"{' '.join(what[:2])}: no space left", "df -h")

    # The reading half of the port.

    def ask(
        self, argv: Sequence[str], *, timeout: float = 30.0, env: Optional[Mapping[str, str]] = None
    ) -> Completed:
        """Run a program that changes nothing."""
        self._alive()
        assert timeout > 0
        self.asked.append(Call("ask", tuple(argv), dict(env or {})))
        return self._program(argv, None)

    def _program(self, argv: Sequence[str], stdin: Optional[bytes]) -> Completed:
        program = self.programs.get(argv[0])
        if program is None:
            return Completed(tuple(argv), 127, "", f"{argv[0]}: not found")
        return program(argv, stdin)

    def read(self, path: str, limit: int = 16_000_000) -> Optional[bytes]:
        """The content of a file, links followed."""
        self._alive()
        real = self._real(path)
        if real in self.dynamic:
            return self.dynamic[real]()[:limit]
        state = self.entries.get(real)
        if state is not None and state.kind != "file":
            raise HostError("file-not-read", f"{path} could not be read: it is a directory", "ls")
        return None if state is None else state.data[:limit]

    def search(
        self, path: str, texts: Sequence[bytes], start: int = 0, end: Optional[int] = None
    ) -> Iterator[Found]:
        """The lines of a file that hold one of the texts."""
        return forwards_in(io.BytesIO(self.read(path) or b""), texts, start, end)

    def search_back(
        self, path: str, texts: Sequence[bytes], end: Optional[int] = None, reach: int = 1 << 26
    ) -> Iterator[Found]:
        """The same, the last line first."""
        return backwards_in(io.BytesIO(self.read(path) or b""), texts, end, reach)

    def state(self, path: str, *, content: bool = True) -> Optional[FileState]:
        """The path as it is, links not followed."""
        self._alive()
        state = self.entries.get(self._at(path))
        return state if content or state is None else replace(state, data=b"")

    def names(self, path: str) -> list[str]:
        """The sorted names in a directory."""
        self._alive()
        top = self._real(path).rstrip("/") + "/"
        inner = {
            name[len(top) :].partition("/")[0]
            for name in (*self.entries, *self.dynamic)
            if name.startswith(top)
        }
        return sorted(inner - {""})

    def link(self, path: str) -> Optional[str]:
        """The real path behind a name."""
        self._alive()
        real = self._real(path)
        return real if real in self.entries or real in self.dynamic else None

    def _real(self, path: str) -> str:
        for _ in range(20):
            parts = path.split("/")
            for end in range(2, len(parts) + 1):
                state = self.entries.get("/".join(parts[:end]))
                if state is not None and state.kind == "link":
                    path = "/".join([state.target, *parts[end:]])
                    break
            else:
                return path
        return path

    def which(self, program: str) -> Optional[str]:
        """Where a program is found."""
        self._alive()
        return f"/usr/sbin/{program}" if program in self.programs else None

    def own_command(self) -> str:
        """The command that sysmail was started by."""
        self._alive()
        return self.command

    def euid(self) -> int:
        """The effective user."""
        self._alive()
        return self.user

    def nodename(self) -> str:
        """The host name of the kernel."""
        self._alive()
        return self.name

    def now(self) -> float:
        """Seconds since the epoch."""
        self._alive()
        return self.clock

    def elapsed(self) -> float:
        """The clock of the fake host, which nobody sets back."""
        self._alive()
        return self.clock

    def room(self, path: str) -> Room:
        """As much as a test says, by the longest beginning of the path."""
        self._alive()
        fitting = [s for s in self.rooms if (path + "/").startswith(s.rstrip("/") + "/")]
        return self.rooms[max(fitting, key=len)] if fitting else Room(1, 10**12)

    def holder(self, path: str) -> str:
        """Who holds a lock."""
        self._alive()
        return "apt-get (pid 4711)" if path in self.held else ""

    def user_of(self, path: str) -> str:
        """Who has a file open."""
        self._alive()
        return "pacman (pid 4712)" if path in self.entries else ""

    def can_connect(self, address: str, port: int, source: str = "", timeout: float = 3.0) -> bool:
        """Whether a TCP connection is accepted."""
        self._alive()
        assert timeout > 0
        assert source is not None
        return (address, port) in self.servers

    def connection_trouble(
        self, address: str, port: int, source: str = "", timeout: float = 5.0
    ) -> str:
        """Why a TCP connection does not come about."""
        if address in self.reached:
            return ""
        self.connected.append((address, port, source))
        known = self.troubles.get(address, "Connection refused")
        return "" if self.can_connect(address, port, source, timeout) else known

    def source_address(self, destination: str) -> str:
        """The own address that the kernel would send from."""
        self._alive()
        return self.sources.get("ipv6" if ":" in destination else "ipv4", "")

    def exchangers(self, domain: str, seconds: float) -> Answer:
        """What a test says of the domain, else an exchanger that answers."""
        self._alive()
        assert domain
        assert seconds > 0
        return self.mx

    def resolver(self, seconds: float) -> Resolver:
        """A way to ask DNS."""
        self._alive()
        assert seconds > 0
        if self.dns is None:
            raise HostError("dnspython-missing", "there is no dnspython", "install it")
        return self.dns

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
        """Open an SMTP dialogue."""
        self._alive()
        assert timeout > 0
        assert (name, ca_file) is not None
        self.smtp_asked.append((address, port, tls))
        server = self.server(address, port, source)
        if server is None:
            raise HostError("port-closed", f"no connection to {address} port {port}", "start it")
        return server()

    def server(self, address: str, port: int, source: str) -> Optional[Callable[[], SmtpSession]]:
        """What answers there, None for a closed port; a host with its own Postfix overrides it."""
        assert source is not None
        return self.servers.get((address, port))

    def free_port(self) -> int:
        """A TCP port that nothing uses."""
        self._alive()
        return 2526

    def is_locked(self, path: str) -> bool:
        """Whether somebody holds a lock on a file."""
        self._alive()
        return path in self.held

    def socket_inodes(self, pid: int) -> set[int]:
        """The sockets that a process has open."""
        self._alive()
        return self.sockets.get(pid, set())

    def socket_owner(self, inode: int) -> str:
        """The program that holds a socket."""
        self._alive()
        return self.owners.get(inode, "")

    # The writing half of the port.

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
        """Run a program that changes the host; one that fails ends with status 1."""
        assert timeout > 0
        try:
            self.change("run", *argv, env={**(env or {}), **({"USER": user} if user else {})})
            done = self._program(argv, stdin)
        except HostError as error:
            done = Completed(tuple(argv), 1, "", error.message)
        if on_line is not None:
            for line in done.out.splitlines():
                on_line(line)
        return done

    def write(self, path: str, data: bytes, mode: int, uid: int = 0, gid: int = 0) -> None:
        """Replace a file in one step."""
        self.change("write", path)
        self._replace(path, FileState("file", mode, uid, gid, data, "", len(data), self.clock))

    def symlink(self, path: str, target: str) -> None:
        """Replace a path by a symbolic link in one step."""
        self.change("symlink", path, target)
        self._replace(path, FileState("link", 0o777, 0, 0, target=target))

    def keep(self, path: str, name: str) -> bool:
        """Give a file a second name."""
        path, name = self._at(path), self._at(name)
        if path not in self.entries:
            return False
        try:
            self.change("keep", path, name)
        except HostError:
            return False
        self.entries[name] = self.entries[path]
        return True

    def rename(self, path: str, name: str) -> None:
        """Put a path, with all below it, in the place of another."""
        self.change("rename", path, name)
        path, name = self._at(path), self._at(name)
        there = self.entries.get(name)
        if there is not None and there.kind == "directory":
            raise HostError("file-not-written", f"{name} could not be written: a directory", "ls")
        if path == name or (there is not None and there is self.entries[path]):
            return  # two names of one file: rename(2) does nothing
        for each in [n for n in self.entries if n == path or n.startswith(path + "/")]:
            self.entries[name + each[len(path) :]] = self.entries.pop(each)

    def _at(self, path: str) -> str:
        """The same name in the real folder: a link on the way is followed, the last name is not."""
        folder, _, name = path.rpartition("/")
        return f"{self._real(folder)}/{name}"

    def _replace(self, path: str, state: FileState) -> None:
        path = self._at(path)
        parent = self.entries.get(path.rpartition("/")[0])
        there = self.entries.get(path)
        if parent is None or parent.kind != "directory":
            raise HostError("file-not-written", f"{path} could not be written: no directory", "ls")
        if there is not None and there.kind == "directory":
            raise HostError("file-not-written", f"{path} could not be written: a directory", "ls")
        self.entries[path] = state

    def mkdir(self, path: str, mode: int, uid: int = 0, gid: int = 0) -> None:
        """Make a directory and those above it: with its mode at once, then with its owner."""
        self._alive()
        path = self._at(path)
        if self._real(path) in self.entries:
            return
        parent = path.rpartition("/")[0] or "/"
        if parent not in self.entries:
            self.mkdir(parent, 0o755)
        self.change("mkdir", path)
        self.entries[path] = FileState("directory", mode, 0, 0)
        self.change("chown", path)
        self.entries[path] = FileState("directory", mode, uid, gid)

    def set_access(self, path: str, mode: int, uid: int, gid: int) -> None:
        """Set owner and mode of what is there."""
        self.change("set_access", path)
        path = self._at(path)
        self.entries[path] = replace(self.entries[path], mode=mode, uid=uid, gid=gid)

    def remove(self, path: str) -> None:
        """Remove a file or a link; only what is there counts as a change."""
        self._alive()
        path = self._at(path)
        there = self.entries.get(path)
        if there is None:
            return
        self.change("remove", path)
        if there.kind == "directory":
            raise HostError("file-not-removed", f"{path} could not be removed: a directory", "ls")
        del self.entries[path]

    def rmdir(self, path: str) -> bool:
        """Remove a directory if it is empty."""
        self._alive()
        path = self._at(path)
        if path in self.entries and not self.names(path):
            self.change("rmdir", path)
            del self.entries[path]
        return path not in self.entries

    def rmtree(self, path: str) -> None:
        """Remove a directory with all that is in it, a file at a time, journals last.

        readdir(3) promises no order, so this is the one that hurts most.
        """
        self._alive()
        inner = [name for name in self.entries if name.startswith(path + "/")]
        for name in sorted(inner, key=lambda n: (-n.count("/"), n)):
            self.change("unlink", name)
            del self.entries[name]
        if path in self.entries:
            self.change("rmdir", path)
            del self.entries[path]

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, ca_file: str, timeout: float
    ) -> None:
        """Take what is posted; ``post_trouble`` is why it does not arrive."""
        self._alive()
        assert ca_file is not None
        assert timeout > 0
        if self.post_trouble:
            raise HostError("webhook-failed", self.post_trouble, "look at the web server")
        self.posted.append((url, body, dict(headers)))

    def mailbox(
        self, host: str, port: int, user: str, password: str, *, ca_file: str, seconds: float
    ) -> Mailbox:
        """The mailbox of a login that a test put there."""
        del password, ca_file, seconds
        self.change("mailbox", host, str(port), user)
        if (host, user) not in self.mailboxes:
            raise HostError("port-closed", f"no connection to {host} port {port}", "look")
        return self.mailboxes[host, user]()

    def sleep(self, seconds: float) -> None:
        """Time passes at once."""
        self._alive()
        self.clock += seconds

    def lock(self, path: str, words: str, wait: float) -> FakeLock:
        """Take a lock that only one process has."""
        self._alive()
        assert wait >= 0
        return FakeLock(self, path, words)

    def catcher(self, accepts: Callable[[str], bool]) -> FakeCatcher:
        """Start a receiving SMTP server."""
        self._alive()
        self.catchers.append(FakeCatcher(accepts))
        return self.catchers[-1]
