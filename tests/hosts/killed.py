"""Runs sysmail on a host and kills it, with SIGKILL, at its n-th change of that host.

Copied into the host and run there: `killed.py NUMBER before|after WORDS...`. Every change that
the tool makes goes through the Writer, so counting its calls counts every moment that matters.
With a NUMBER that is never reached it prints how many changes there were.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

sys.path.insert(0, "/opt/sysmail/src")
sys.pycache_prefix = "/run/sysmail/pycache"

from sysmail.cli.main import main  # noqa: E402 - the path is set just above
from sysmail.host.machine import Machine  # noqa: E402

CHANGES = ("write", "symlink", "mkdir", "set_access", "remove", "rmdir", "rmtree", "run")


def arm(number: int, moment: str) -> list[int]:
    """Make the n-th change the last thing this process does; the count is in the list."""
    count = [0]

    def armed(original: Any) -> Any:
        def change(*arguments: Any, **named: Any) -> Any:
            count[0] += 1
            if count[0] == number and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*arguments, **named)
            if count[0] == number and moment == "after":
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return change

    for name in CHANGES:
        setattr(Machine, name, armed(getattr(Machine, name)))
    return count


if __name__ == "__main__":
    counted = arm(int(sys.argv[1]), sys.argv[2])
    status = main(["--json", *sys.argv[3:]])
    print(f"changes {counted[0]}", file=sys.stderr)
    sys.exit(status)
