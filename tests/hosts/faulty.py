"""Runs sysmail on a host whose disk says that it is full, at the n-th write of a file and after.

Copied into the host and run there: `faulty.py NUMBER COUNT WORDS...`. The calls of the system that
take space on a disk are counted and refused with ENOSPC from the NUMBER-th on, COUNT times: 1 is
a disk that was full for a moment, many is one that stays full also on the way back. With a NUMBER
that is never reached it prints how many there were.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

sys.path.insert(0, "/opt/sysmail/src")
sys.pycache_prefix = "/run/sysmail/pycache"

from sysmail.cli.main import main  # noqa: E402 - the path is set just above

# open makes names, mkdir folders; link and rename need no room worth a name where names are.
CALLS = ("write", "mkdir", "symlink")


def arm(number: int, times: int) -> list[int]:
    """Let the calls fail; the count is in the list."""
    count = [0]

    def armed(original: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            count[0] += 1
            if number <= count[0] < number + times:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return original(*arguments, **named)

        return call

    for name in CALLS:
        setattr(os, name, armed(getattr(os, name)))
    return count


if __name__ == "__main__":
    counted = arm(int(sys.argv[1]), int(sys.argv[2]))
    status = main(["--json", *sys.argv[3:]])
    print(f"writes {counted[0]}", file=sys.stderr)
    sys.exit(status)
