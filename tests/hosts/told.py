"""Looks for a secret where it must not be: processes, files, logs and what a command prints."""

from __future__ import annotations

import base64
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lab import Host

SCREENED = "/etc /home /root /run /tmp /usr/local /var /srv /dev/shm"


def forms(login: str, secret: str) -> list[bytes]:
    """How a secret looks where it is told: as it is, and as SMTP's logins have it."""
    plain = secret.encode()
    both = b"\0" + login.encode() + b"\0" + plain
    # Without the last characters, which depend on what follows.
    return [plain, base64.b64encode(plain)[:-4], base64.b64encode(both)[:-4]]


class Watch:
    """Looks at the arguments and environments of all processes of some network namespaces.

    ``processes`` are those with a secret, ``programs`` what was seen at all.
    """

    def __init__(
        self, spaces: set[tuple[str, int]], secrets: Sequence[bytes], also: Callable[[], None]
    ) -> None:
        """Watch namespaces, each a kind and an inode; ``also`` is called each time round."""
        self._spaces, self._secrets, self._also = spaces, secrets, also
        self.processes: set[str] = set()
        self.programs: set[str] = set()
        self._over = False
        self._wrong: list[Exception] = []

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Look all the time until the block ends."""
        self._over = False
        thread = threading.Thread(target=self._loop)
        thread.start()
        try:
            yield
        finally:
            self._over = True
            thread.join()
        assert self._wrong == []

    def _loop(self) -> None:
        try:
            while not self._over:
                for name in os.listdir("/proc"):  # noqa: PTH208 - it has to be quick
                    if name.isdigit():
                        with contextlib.suppress(OSError):  # it has ended
                            self._process(name)
                self._also()
                time.sleep(0.002)
        except Exception as problem:  # noqa: BLE001 - told by looking()
            self._wrong.append(problem)

    def _process(self, pid: str) -> None:
        ours = {(kind, os.stat(f"/proc/{pid}/ns/{kind}").st_ino) for kind in ("net", "pid")}  # noqa: PTH116
        if not ours & self._spaces:
            return
        for file in ("cmdline", "environ"):
            data = Path(f"/proc/{pid}/{file}").read_bytes()
            if file == "cmdline":
                self.programs.update(Path(word).name for word in data.decode().split("\0")[:2])
            if any(secret in data for secret in self._secrets):
                self.processes.add(f"{file}: {data!r}")


def spaces_of(host: Host) -> set[tuple[str, int]]:
    """The namespaces of a host, for a Watch."""
    return {
        ("net", host.node.netns_path.stat().st_ino),
        ("pid", Path(f"/proc/{host.leader}/ns/pid").stat().st_ino),
    }


def files_with(host: Host, secrets: Sequence[bytes], user: str) -> list[str]:
    """The files with a secret that a user of the host can read."""
    patterns = b"\n".join(secrets).decode()
    # The pattern goes by standard input: in an argument it would find itself.
    done = host.run(
        f"grep -rlasF -D skip -f - {SCREENED} || test $? -le 2", input=patterns, user=user
    )
    return done.stdout.splitlines()


def journal(host: Host) -> bytes:
    """Everything in a host's journal."""
    said = host.run(["journalctl", "--no-pager", "--output=export", "--all"]).stdout
    return said.encode(errors="surrogateescape")
