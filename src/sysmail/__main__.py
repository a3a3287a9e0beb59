"""``python3 -m sysmail``."""

from __future__ import annotations

from sysmail.cli.main import entry

if __name__ == "__main__":
    entry()
