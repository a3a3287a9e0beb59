"""Changes of a host whose disk fills up at a given write, and what must hold afterwards.

The host has a disk of its own, a small file system on which /run/sysmail is, and a wrapper
(faulty.py) that fills either of them, really, just before a write that sysmail or a program of it
makes. What a change is, how a host is brought there, and how mail is counted: cutoff.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from cutoff import (
    NEVER,
    NEXT,
    Bench,
    Change,
    assert_no_trace,
    assert_same,
    assert_works,
    before_of,
    open_bench,
)
from onhost import Ran, policy, sysmail

from lab import FreshHost, Host, Lab

FAULTY = "/run/faulty.py"
WHAT = ("space", "inodes")
HOW = ("stays", "passes")
CODES = frozenset(
    (
        "disk-full",
        "no-inodes",
        "file-not-written",
        "file-not-removed",
        "configuration-not-accepted",
        "configuration-not-working",
        "not-proven",
        "packages-not-installed",
        "packages-not-removed",
        "service-not-started",
        "service-not-stopped",
        "service-not-restored",
    )
)
"""What is told, by whichever write it was."""

REASON = re.compile(
    "No space left|Insufficient system storage|has [0-9]+ kB free|room for [0-9]+ more files"
)
SMALL = (
    "mkdir -p /run/sysmail && mount -t tmpfs -o size=8m,nr_inodes=1000,mode=755 none /run/sysmail"
)
# The overlay copies a file of its base when that is first changed, which a disk does not.
COPIED = "find /etc /var -xdev -print0 | xargs -0 -n 500 chown -h --from=0:0 0:0"


class Full:
    """A host with a disk that can be full, and one change of it."""

    def __init__(self, lab: Lab, fresh_host: FreshHost, base: str, change: Change) -> None:
        def with_disk(base: str, **named: list[str]) -> Host:
            return fresh_host(base, own_disk=True, **named)

        self.bench: Bench = open_bench(lab, with_disk, base, change)
        self._change = change
        self._begun: tuple[dict[str, object], str] | None = None
        host = self.bench.host
        source = Path(__file__).with_name("faulty.py").read_text()
        host.run(["sh", "-c", f"cat > {FAULTY}"], input=source)
        host.run(f"{SMALL} && {COPIED}")
        host.run(f"python3 {FAULTY} spare")

    def writes(self, what: str) -> list[str]:
        """What the writes are called that there are when the disk has room, in order."""
        self._begin()
        ran, names = self._run(NEVER, what, "stays")
        assert ran.status == 0, ran.out
        self._begun = None
        return names

    def close(self) -> None:
        """Nobody needs the host any more."""
        self.bench.close()

    def sample(self, number: int, what: str, how: str, following: int) -> bool:
        """One write at which the disk is full. False where the change ended before it."""
        bench = self.bench
        before, former = self._begin()
        checkpoints = bench.checkpoints()
        try:
            ran, names = self._run(number, what, how)
            name = names[number - 1] if number <= len(names) else "none that it came to"
            where = f"{bench.host.base}, {self._change.name}, no {what}, which {how}, at {name}"
            told = _assert_told(ran, where) if ran.status else ""
            hindered = told != "" and bench.checkpoints() != checkpoints
            if told and not hindered:
                _assert_says_so(ran, where)
            if hindered and how == "stays":
                where = self._go_on(("status",), where, full=True)
                hindered = _is_cut_off(bench)
        finally:
            self._free()
        if hindered:
            where = self._go_on(NEXT[following % len(NEXT)], where)
        # A way back that has begun goes on to its end, and an apply after it to the new policy.
        done = not told or bench.checkpoints() != checkpoints
        if done:
            self._begun = None
        else:
            assert_same(before, _look(bench), where)
        print(f"{where}: {told or 'done'}")
        assert set(bench.checkpoints().values()) <= {"done"}, where
        if not bench.checkpoints():
            bench.assert_as_at_first(where)
        elif self._begun is None:
            assert_works(bench, former, {}, where)
        else:
            # All of the host is as before, and its file may ask for the new policy.
            if self._change.words == ("apply",):
                policy(bench.host, former)
            proven = sysmail(bench.host, "prove")
            assert proven.status == 0, f"{where}: {proven.failed()} {proven.report['errors']}"
        bench.assert_nothing_lost(where)
        assert_no_trace(bench, where)
        bench.assert_closed(where)
        return len(names) >= number

    def _begin(self) -> tuple[dict[str, object], str]:
        """Bring the host to where the change begins, unless it is there already."""
        if self._begun is None:
            self._change.start(self.bench)
        _, former = before_of(self.bench, self._change)
        self._begun = (_look(self.bench), former) if self._begun is None else self._begun
        return self._begun

    def _go_on(self, words: tuple[str, ...], where: str, *, full: bool = False) -> str:
        """The next command, which recovers and says so, or says what is still in the way."""
        ran = sysmail(self.bench.host, *words)
        where = f"{where}, then {' '.join(words)}"
        if full and _is_cut_off(self.bench):
            _assert_told(ran, where)
        else:
            assert "cut off" in " ".join(ran.report.get("notes", [])), f"{where}: {ran.out}"
        return where

    def _run(self, number: int, what: str, how: str) -> tuple[Ran, list[str]]:
        argv = ["python3", FAULTY, str(number), what, how, *self._change.words]
        done = self.bench.host.run(argv, check=False, timeout=300)
        assert "Traceback" not in done.stderr + done.stdout, done.stdout + done.stderr
        names = self.bench.host.run("cat /run/faulty.writes").stdout.splitlines()
        report = json.loads(done.stdout)
        return Ran(done.returncode, report, done.stdout, done.stderr), names

    def _free(self) -> None:
        self.bench.host.run(["python3", FAULTY, "free"])


def _look(bench: Bench) -> dict[str, object]:
    """All that must be as before; mail comes and goes meanwhile."""
    found = bench.look()
    files = found["files"]
    assert isinstance(files, dict)
    found["files"] = {path: s for path, s in files.items() if not path.startswith("var/spool/")}
    return found


def _is_cut_off(bench: Bench) -> bool:
    """Whether a way back is not at its end."""
    return set(bench.checkpoints().values()) - {"done"} != set()


def _assert_says_so(ran: Ran, where: str) -> None:
    """The host is as before, and that is said."""
    message = ran.report["errors"][0]["message"]
    sentences = ("the host is as it was before", "nothing was changed", "stays in force as it was")
    assert any(each in message for each in sentences), f"{where}: {message}"


def _assert_told(ran: Ran, where: str) -> str:
    """One error with a code, a sentence that says it is the disk, and a remedy."""
    assert (ran.status, len(ran.codes)) == (1, 1), f"{where}: {ran.out}"
    error = ran.report["errors"][0]
    print(f"{where}\n  {error['code']}: {error['message']}\n  -> {error['remedy']}", flush=True)
    assert error["code"] in CODES, f"{where}: {error}"
    assert REASON.search(error["message"]), f"{where}: {error}"
    assert error["remedy"], f"{where}: {error}"
    assert "\n" not in error["message"] + error["remedy"], f"{where}: {error}"
    return str(error["code"])
