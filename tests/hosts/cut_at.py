"""Runs sysmail on a host and stands still at its n-th moment, for the lab to cut the power there.

Copied into the host and run there: `cut_at.py NUMBER WORDS...`. A moment is just before every call
that changes a file, also those inside one write: between the content and its sync, the sync and
the rename, the rename and the sync of the directory; before and after every program; and at every
line that a package manager prints. It says `cut` on standard error and waits for its end. With a
NUMBER that is never reached it prints how many moments there were.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

sys.path.insert(0, "/opt/sysmail/src")
sys.pycache_prefix = "/run/sysmail-test-pycache"

from sysmail.cli.main import main  # noqa: E402 - the path is set just above
from sysmail.host.machine import Machine  # noqa: E402

CALLS = (
    "link",
    "rename",
    "fsync",
    "unlink",
    "mkdir",
    "rmdir",
    "symlink",
    "chown",
    "chmod",
    "write",
)


def arm(number: int) -> list[int]:
    """Stand still at the n-th moment; the count is in the list."""
    count = [0]

    def moment() -> None:
        count[0] += 1
        if count[0] == number:
            sys.stderr.write("cut\n")
            sys.stderr.flush()
            while True:
                signal.pause()

    def before(original: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            moment()
            return original(*arguments, **named)

        return call

    for name in CALLS:
        setattr(os, name, before(getattr(os, name)))
    run = Machine.run

    def run_and_after(self: Any, *arguments: Any, **named: Any) -> Any:
        moment()
        tell = named.get("on_line")
        if tell is not None:

            def on_line(line: str) -> None:
                moment()
                tell(line)

            named["on_line"] = on_line
        done = run(self, *arguments, **named)
        moment()
        return done

    setattr(Machine, "run", run_and_after)  # noqa: B010 - a method of the class, for mypy
    return count


if __name__ == "__main__":
    counted = arm(int(sys.argv[1]))
    status = main(["--json", *sys.argv[2:]])
    print(f"moments {counted[0]}", file=sys.stderr)
    sys.exit(status)
