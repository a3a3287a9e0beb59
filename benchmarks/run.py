"""How fast sysmail is: ratios of things run side by side on booted hosts of the lab.

Run as root: `make bench`, or `make bench ARGS="drain sendmail"` for some of it. Prints the
machine and each figure with its bound. Exits 1 when a bound is broken.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/hosts"))

import applies
import backlog
import drain
import prove
import role
import sendmail
import trace_log

from lab import Lab

# Each prints its figures, and returns the names of those that are out of bounds.
SECTIONS = {
    "apply": applies.section,
    "drain": drain.section,
    "sendmail": sendmail.section,
    "backlog": backlog.section,
    "role": role.section,
    "prove": prove.section,
    "trace": trace_log.section,
}


def machine() -> str:
    """One line about where the figures are from."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} x {model}, Linux {platform.release().split('-')[0]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    wanted = parser.parse_args().sections or list(SECTIONS)
    if unknown := set(wanted) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    print(machine())
    broken: list[str] = []
    for name in wanted:
        # A lab for each: hosts of another section would only take the processors' time.
        with Lab() as lab:
            broken += SECTIONS[name](lab)
    if broken:
        print("out of bounds: " + ", ".join(broken))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
