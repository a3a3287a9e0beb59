"""Counts the tests that hold up what docs/transaction.md promises, by collecting them with pytest.

Counted are cases, as pytest would run them: a test with ten parameters is ten.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# What is promised, and the files whose tests try to break it.
TRANSACTION: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("killed, or interrupted", ("hosts/test_killed.py", "unit/test_killed.py")),
    ("killed at every moment", ("torture/test_killed_everywhere.py",)),
    ("the power goes", ("hosts/test_power_cut.py", "unit/test_guard.py")),
    ("the power goes at every moment", ("torture/test_power_cut_everywhere.py",)),
    ("the disk is full", ("hosts/test_disk_full.py", "unit/test_disk_full.py")),
    ("the disk is full at every write", ("torture/test_disk_full_everywhere.py",)),
    ("candidates are tried first", ("hosts/test_lint.py", "hosts/test_next_hops.py")),
    (
        "faults",
        ("hosts/test_faults.py", "unit/test_preflight.py", "unit/test_packages_of_others.py"),
    ),
    ("people's edits", ("hosts/test_edits.py", "unit/test_edits.py", "unit/test_bystanders.py")),
    ("no take-over", ("hosts/test_takeover.py", "unit/test_takeover.py")),
    ("back", ("hosts/test_remove.py", "hosts/test_neighbours.py", "unit/test_remove.py")),
    ("nothing is lost", ("hosts/test_switching.py", "hosts/test_ten_thousand.py")),
    ("secrets", ("hosts/test_secrets.py", "fleet/test_secrets.py")),
    ("fuzzing", ("fuzz/test_policies.py", "fuzz/test_outputs.py")),
)


def transaction_tests_markdown() -> str:
    """Return the table of what is promised, the files that try to break it, and their cases."""
    counts = _collected({name for _, names in TRANSACTION for name in names})
    lines = ["| | tests | cases |", "|---|---|---|"]
    for what, names in TRANSACTION:
        links = ", ".join(f"[{name}](../tests/{name})" for name in names)
        lines.append(f"| {what} | {links} | {sum(counts[name] for name in names)} |")
    return "\n".join(lines)


def _collected(names: set[str]) -> Counter[str]:
    """How many cases each file has; RuntimeError with pytest's words when one cannot be read."""
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0"]
    done = subprocess.run(  # noqa: S603 - this Python, and names from above
        [*argv, *(f"tests/{name}" for name in sorted(names))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    found = (line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line)
    return Counter(path.removeprefix("tests/") for path in found)
