"""The real host: files and programs.

``Machine`` implements ``port.Writer``. Network dialogues are in ``smtp`` and
are imported when they are needed, so that a run without them starts fast.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

from sysmail.errors import HostError
from sysmail.host.outside import Outside
from sysmail.host.port import Catcher, Completed, FileState, Lock, SmtpSession
from sysmail.host.scan import LogSearch
from sysmail.host.storage import Storage
from sysmail.host.told import FILE_REMEDY, told
from sysmail.host.watching import Watching

__all__ = ["LARGEST", "Machine"]

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TEMPORARY = ".sysmail-new"
LARGEST = 100_000_000
"""Bytes of a file that is compared or kept: a statically linked mail program has some MB."""


def _environment(extra: Optional[Mapping[str, str]]) -> dict[str, str]:
    """A small, known environment: nothing of the caller's reaches a program (promise 9)."""
    env = {"PATH": PATH, "LC_ALL": "C", "HOME": "/root", "SYSTEMD_PAGER": "", "TERM": "dumb"}
    env.update(extra or {})
    return env


def _let_cool(descriptor: int) -> None:
    """Date a file 3 seconds back.

    Every Postfix program that reads a main.cf younger than 2 seconds pauses
    until it is older, in case it is being written in place (dict_load_file_xt
    of Postfix; measured: 1.5 s at each start). Ours appears whole, by rename.
    """
    then = time.time() - 3
    os.utime(descriptor, (then, then))


def _sync_directory(path: str) -> None:
    """Bring what a directory lists to the disk; of any path its own owner and mode."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Machine(Storage, LogSearch, Outside, Watching):
    """The host that sysmail runs on."""

    def ask(
        self, argv: Sequence[str], *, timeout: float = 30.0, env: Optional[Mapping[str, str]] = None
    ) -> Completed:
        """Run a program that changes nothing."""
        return self._call(argv, None, env, timeout)

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
        """Run a program that changes the host."""
        if on_line is not None:
            from sysmail.host.stream import stream  # only where packages change

            return stream(argv, _environment(env), timeout, on_line)
        return self._call(argv, stdin, env, timeout, user)

    def _call(
        self,
        argv: Sequence[str],
        stdin: Optional[bytes],
        env: Optional[Mapping[str, str]],
        timeout: float,
        user: str = "",
    ) -> Completed:
        identity: dict[str, Any] = {}
        if user:
            try:
                account = pwd.getpwnam(user)
            except KeyError:
                return Completed(tuple(argv), 126, "", f"there is no user {user}")
            identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        try:
            done = subprocess.run(
                list(argv),
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                env=_environment(env),
                timeout=timeout,
                check=False,
                cwd="/",
                start_new_session=True,  # Ctrl-C at a terminal is for us alone
                **identity,
            )
        except FileNotFoundError:
            return Completed(tuple(argv), 127, "", f"{argv[0]}: not found")
        except OSError as error:  # not executable, or empty after a power cut
            return Completed(tuple(argv), 126, "", f"{argv[0]}: {error.strerror}")
        except subprocess.TimeoutExpired:
            return Completed(tuple(argv), 124, "", f"{argv[0]}: no answer in {timeout:g} s")
        return Completed(
            tuple(argv),
            done.returncode,
            done.stdout.decode("utf-8", "replace"),
            done.stderr.decode("utf-8", "replace"),
        )

    def read(self, path: str, limit: int = 16_000_000) -> Optional[bytes]:
        """The content of a file, at most ``limit`` bytes of it."""
        try:
            with told(path, "read"), open(path, "rb") as handle:
                return handle.read(limit)
        except HostError as error:
            # A file of /proc says "no such process" when its process ends between open and read.
            gone = (FileNotFoundError, NotADirectoryError, ProcessLookupError)
            if isinstance(error.__cause__, gone):
                return None
            raise

    def state(self, path: str, *, content: bool = True) -> Optional[FileState]:
        """The path as it is, links not followed."""
        try:
            info = os.lstat(path)
            target = os.readlink(path) if stat.S_ISLNK(info.st_mode) else ""
        except (FileNotFoundError, NotADirectoryError):
            return None  # also where it goes in between
        except OSError as error:
            raise HostError(
                "file-not-read",
                f"{path} could not be read: {error.strerror}",
                FILE_REMEDY.get(error.errno or 0, f"look at {path} and its file system"),
            ) from error
        mode, owner = stat.S_IMODE(info.st_mode), (info.st_uid, info.st_gid)
        if stat.S_ISLNK(info.st_mode):
            return FileState("link", mode, *owner, target=target, mtime=info.st_mtime)
        if stat.S_ISREG(info.st_mode):
            if content and info.st_size > LARGEST:
                raise HostError(
                    "file-too-large",
                    f"{path} has {info.st_size // 1_000_000} MB: too much to be kept and put back",
                    "see what it is, and move it away or make it smaller; then retry",
                )
            data = self.read(path, LARGEST) or b"" if content else b""
            return FileState("file", mode, *owner, data, "", info.st_size, info.st_mtime)
        kind = "directory" if stat.S_ISDIR(info.st_mode) else "other"
        return FileState(kind, mode, *owner, mtime=info.st_mtime)

    def names(self, path: str) -> list[str]:
        """The sorted names in a directory."""
        try:
            return sorted(os.listdir(path))
        except OSError:
            return []

    def link(self, path: str) -> Optional[str]:
        """The real path behind a name."""
        return os.path.realpath(path) if os.path.exists(path) else None

    def is_locked(self, path: str) -> bool:
        """Whether a process holds a lock on a file."""
        from sysmail.host.lock import is_locked

        return is_locked(path)

    def socket_inodes(self, pid: int) -> set[int]:
        """The sockets that a process has open, see proc_pid_fd(5)."""
        found: set[int] = set()
        for name in self.names(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError, ValueError):
                target = os.readlink(f"/proc/{pid}/fd/{name}")
                if target.startswith("socket:["):
                    found.add(int(target[8:-1]))
        return found

    def socket_owner(self, inode: int) -> str:
        """The program that holds a socket."""
        for pid in filter(str.isdigit, self.names("/proc")):
            if inode in self.socket_inodes(int(pid)):
                comm = (self.read(f"/proc/{pid}/comm") or b"?").decode("utf-8", "replace")
                return f"{comm.strip()} (pid {pid})"
        return ""

    def which(self, program: str) -> Optional[str]:
        """Where a program is found."""
        for directory in PATH.split(":"):
            path = os.path.join(directory, program)
            if os.access(path, os.X_OK) and os.path.isfile(path):
                return path
        return None

    def euid(self) -> int:
        """The effective user."""
        return os.geteuid()

    def nodename(self) -> str:
        """The host name of the kernel."""
        return os.uname().nodename

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def lock(self, path: str, words: str, wait: float) -> Lock:
        """Take a lock that only one process has."""
        from sysmail.host import lock

        return lock.FileLock(path, words, wait)

    def catcher(self, accepts: Callable[[str], bool]) -> Catcher:
        """Start a receiving SMTP server on an unused port of 127.0.0.1."""
        from sysmail.host import catcher

        return catcher.SmtpCatcher(accepts)

    def can_connect(self, address: str, port: int, source: str = "", timeout: float = 3.0) -> bool:
        """Whether a TCP connection is accepted."""
        from sysmail.host import smtp

        return smtp.can_connect(address, port, source, timeout)

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
        from sysmail.host import smtp

        return smtp.Session(address, port, source, name, tls, ca_file, timeout)

    def free_port(self) -> int:
        """A TCP port on 127.0.0.1 that nothing uses."""
        from sysmail.host import smtp

        return smtp.free_port()

    def write(self, path: str, data: bytes, mode: int, uid: int = 0, gid: int = 0) -> None:
        """Replace a file in one step: written beside it, synced, renamed, directory synced."""
        temporary = path + TEMPORARY
        with told(path, "written"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            # 0600 until owner and mode are set: a secret is never readable in between.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            descriptor = os.open(temporary, flags, 0o600)
            try:
                try:
                    view = memoryview(data)
                    while view:
                        view = view[os.write(descriptor, view) :]
                    os.fchown(descriptor, uid, gid)
                    os.fchmod(descriptor, mode)
                    _let_cool(descriptor)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                os.rename(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
            _sync_directory(os.path.dirname(path))

    def symlink(self, path: str, target: str) -> None:
        """Replace a path by a symbolic link in one step."""
        temporary = path + TEMPORARY
        with told(path, "written"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            os.symlink(target, temporary)
            try:
                os.rename(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
            _sync_directory(os.path.dirname(path))

    def mkdir(self, path: str, mode: int, uid: int = 0, gid: int = 0) -> None:
        """Make a directory and those above it."""
        if os.path.isdir(path):
            return
        parent = os.path.dirname(path)
        if not os.path.isdir(parent):
            self.mkdir(parent, 0o755)
        with told(path, "written"):
            umask = os.umask(0)
            try:
                os.mkdir(path, mode)  # at once: a death leaves none that is closed to its users
            finally:
                os.umask(umask)
            os.chown(path, uid, gid)
            os.chmod(path, mode)
            _sync_directory(path)  # its owner and mode
            _sync_directory(parent)

    def set_access(self, path: str, mode: int, uid: int, gid: int) -> None:
        """Set owner and mode of what is there."""
        with told(path, "written"):
            os.chown(path, uid, gid, follow_symlinks=False)
            if not os.path.islink(path):
                os.chmod(path, mode)
                _sync_directory(path)

    def remove(self, path: str) -> None:
        """Remove a file or a link."""
        with told(path, "removed"):
            try:
                os.unlink(path)
            except (FileNotFoundError, NotADirectoryError):
                return
            _sync_directory(os.path.dirname(path))

    def rmdir(self, path: str) -> bool:
        """Remove a directory if it is empty; say whether it is gone."""
        with contextlib.suppress(OSError):
            os.rmdir(path)
            _sync_directory(os.path.dirname(path))
        return not os.path.lexists(path)

    def rmtree(self, path: str) -> None:
        """Remove a directory of our own with all that is in it; links are not followed."""
        if os.path.islink(path):
            self.remove(path)
            return
        with told(path, "removed"):
            for root, directories, files in os.walk(path, topdown=False):
                for name in files:
                    os.unlink(os.path.join(root, name))
                for name in directories:
                    inner = os.path.join(root, name)
                    (os.unlink if os.path.islink(inner) else os.rmdir)(inner)
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(path)
                _sync_directory(os.path.dirname(path))
