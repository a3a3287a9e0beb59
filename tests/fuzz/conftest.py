"""Says at the end of a run how many examples each test ran."""

from __future__ import annotations

import os

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each test, and their sum."""
    total = 0
    for report in terminalreporter.getreports("passed"):
        figures = dict(report.user_properties)
        if "figures" in figures:
            total += int(str(figures["ran"]))
            terminalreporter.write_line(str(figures["figures"]))
    seed = os.environ.get("SYSMAIL_SEED", "always the same")
    terminalreporter.write_line(f"fuzzing: {total} examples in all; seed: {seed}")
