"""Where the report goes: an output that is closed, that is full, that nobody reads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sysmail.cli.main import main
from unit.fake_debian import FakeDebian

ROOT = Path(__file__).resolve().parents[2]
FULL = "the report could not be written: No space left on device\n"


def _shell(line: str) -> subprocess.CompletedProcess[str]:
    """What a shell makes of it; ``$P`` is a program that imports this checkout."""
    return subprocess.run(
        ["bash", "-c", line],
        env={"P": sys.executable, "PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("words", ["--json plan", "plan"])
def test_closed(words: str, closed: str) -> None:
    """It ends as it would have with an output: here over a policy that is not there."""
    done = _shell(f"$P -m sysmail --policy /nonexistent/policy.toml {words} {closed}")
    assert "Traceback" not in done.stderr
    assert done.returncode == 64
    assert bool(done.stdout) == (">&-" not in closed.replace("2>&-", ""))


def test_no_file_becomes_standard_output() -> None:
    """The first file that is opened is none of the three, nor is what programs write to it."""
    done = _shell(
        "$P -c 'from sysmail.cli import output; output.open_missing(); "
        'import subprocess; file = open("/dev/null"); '
        'raise SystemExit(file.fileno() if subprocess.call(["true"]) == 0 else 99)\' <&- >&- 2>&-'
    )
    assert done.returncode == 3


@pytest.mark.parametrize("words", ["--json plan", "plan"])
def test_full(words: str) -> None:
    """It is said, and is no success."""
    done = _shell(f"$P -m sysmail --policy /nonexistent/policy.toml {words} >/dev/full")
    assert (done.returncode, done.stderr) == (64, FULL)


def test_lost_report_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What would have been 0 is 1: nobody has seen what was done."""
    host = FakeDebian()
    with Path("/dev/full").open("w", encoding="ascii") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(["apply", "--admin", "a@example.com"], host) == 1
    assert capfd.readouterr().err.endswith(FULL)
    monkeypatch.undo()
    assert main(["apply", "--admin", "a@example.com"], host) == 0


def test_nobody_reads() -> None:
    """`| head` has seen enough: nothing is said, and the status is the command's own."""
    done = _shell(
        "$P -m sysmail --policy /nonexistent/policy.toml plan | exec true; exit ${PIPESTATUS[0]}"
    )
    assert (done.returncode, done.stderr) == (64, "")
