"""Runs sysmail on a host and cuts it off at its n-th moment.

Copied into the host and run there: `killed.py NUMBER HOW WORDS...`. Every change that the tool
makes goes through host/machine.py. Moments are, in the order in which they come:

    before each call of the system that changes a file (open, write, fchown, fsync, rename, ...),
    with half of what a write has to write written,
    before a program is run, once it has been started, at each line it prints (where the tool
    reads them as they come: a package manager), and when it has ended,
    when all is done, before the report is printed.

HOW: `kill` is SIGKILL of the process alone: a program that it runs goes on as an orphan, and
loses its reader. `kill-all` is SIGKILL of what it runs and then of itself. `int` and `hup` are
signals to the process and what it runs, as a terminal sends them; `term` is one to the process
alone. `int-int` is two of them, the second some moments later, on the way back. `stand` says `cut`
on standard error and stands still, for the lab to cut the power. The moments of the
run are written to /run/killed.moments: with a NUMBER that is never reached all of them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, "/opt/sysmail/src")
sys.pycache_prefix = "/run/sysmail/pycache"

from sysmail.cli import main, output  # noqa: E402 - the path is set just above
from sysmail.host import machine, storage  # noqa: E402

CALLS = frozenset(
    """open write fchown fchmod utime fsync link rename unlink symlink mkdir chown chmod
    rmdir""".split()
)
SIGNALS = {"int": signal.SIGINT, "term": signal.SIGTERM, "hup": signal.SIGHUP}
AGAIN = 7
"""How many moments after the first signal the second one comes."""


def descendants(pid: int) -> list[int]:
    """What a process runs, and what that runs, the deepest first; daemons are not among them."""
    found: list[int] = []
    for name in [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]:
        try:
            parent = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue
        if parent == pid:
            found += [*descendants(int(name)), int(name)]
    return found


class Cut:
    """Counts moments, and cuts the process off at one of them."""

    def __init__(self, number: int, how: str) -> None:
        self.number, self.how = number, how
        self.count = 0
        self.log = Path("/run/killed.moments").open("w", buffering=1)  # noqa: SIM115

    def moment(self, name: str, descriptor: int = -1, data: bytes = b"") -> int:
        """One moment; with a descriptor and data these are half written when it comes.

        Returns the bytes that were written: who holds a signal back goes on with the others.
        """
        self.count += 1
        self.log.write(f"{self.count} {name}\n")
        written = 0
        if self.count == self.number:
            if data:
                written = os.write(descriptor, data[: len(data) // 2])
            self._cut()
        elif self.how == "int-int" and self.count == self.number + AGAIN:
            os.killpg(0, signal.SIGINT)
        return written

    def _cut(self) -> None:
        if self.how == "stand":
            sys.stderr.write("cut\n")
            sys.stderr.flush()
            while True:
                signal.pause()
        if self.how == "kill-all":
            for pid in descendants(os.getpid()):
                os.kill(pid, signal.SIGKILL)
        if self.how.startswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        number = SIGNALS[self.how.partition("-")[0]]
        if number == signal.SIGTERM:
            os.kill(os.getpid(), number)
        else:
            os.killpg(0, number)


class Calls:
    """The module os as host/machine.py and host/storage.py see it."""

    def __init__(self, cut: Cut) -> None:
        self._cut = cut

    def __getattr__(self, name: str) -> Any:
        original = getattr(os, name)
        if name not in CALLS:
            return original

        def call(*arguments: Any, **named: Any) -> Any:
            what = " ".join(str(x) for x in arguments if isinstance(x, str))
            if name == "write":
                descriptor, data = arguments[0], bytes(arguments[1])
                written = self._cut.moment("inside write", descriptor, data)
                return written + original(descriptor, data[written:])
            self._cut.moment(f"before {name} {what}".rstrip())
            return original(*arguments, **named)

        return call


def arm(cut: Cut) -> None:
    """Let every change that the tool makes pass by the counter."""
    vars(machine)["os"] = vars(storage)["os"] = Calls(cut)
    running: list[str] = []
    original, popen = machine.Machine.run, subprocess.Popen

    class Started(popen):  # type: ignore[misc, valid-type]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            if running:
                cut.moment(f"during {running[-1]}")

    def run(self: Any, argv: Any, **named: Any) -> Any:
        words = " ".join(argv)[:100]
        cut.moment(f"before {words}")
        tell = named.get("on_line")
        if tell is not None:

            def told(line: str) -> None:
                cut.moment(f"during {words}: {line[:60]}")
                tell(line)

            named["on_line"] = told
        running.append(words)
        try:
            done = original(self, argv, **named)
        finally:
            running.pop()
        cut.moment(f"after {words}")
        return done

    vars(subprocess)["Popen"] = Started
    setattr(machine.Machine, "run", run)  # noqa: B010 - mypy lets nobody assign to a method
    put = vars(output)["put"]

    def put_at_the_end(text: str) -> Any:
        cut.moment("at the end")
        return put(text)

    vars(output)["put"] = put_at_the_end


if __name__ == "__main__":
    with contextlib.suppress(PermissionError):  # it leads a session already
        os.setpgid(0, 0)
    counter = Cut(int(sys.argv[1]), sys.argv[2])
    arm(counter)
    status = main.main(["--json", *sys.argv[3:]])
    print(f"moments {counter.count}", file=sys.stderr)
    sys.exit(status)
