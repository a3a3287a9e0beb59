"""A run of the watch loads what it needs, and no more: it is a new process every five minutes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import sysmail

SOURCE = Path(sysmail.__file__).resolve().parents[1]

NEEDLESS = set(
    """calendar shlex glob urllib.parse ssl
    sysmail.logline sysmail.submissions sysmail.describe sysmail.apply.transaction
    sysmail.apply.recovery sysmail.commands.tell sysmail.host.webhook
    sysmail.host.catcher""".split()
)

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from sysmail.cli.arguments import parse_arguments
from sysmail.cli import main
from sysmail.host import lock, machine, smtp
from sysmail.commands import watch
parse_arguments(["watch", "--quiet"])
machine.Machine().can_connect("127.0.0.1", 1)
print(*sys.modules)
"""


def test_the_watch_does_not_load_what_it_has_no_use_for() -> None:
    """Each of these costs a millisecond or more."""
    words = [sys.executable, "-I", "-S", "-c", SCRIPT, str(SOURCE)]
    loaded = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert "sysmail.prove" in loaded
    assert NEEDLESS & set(loaded) == set()
