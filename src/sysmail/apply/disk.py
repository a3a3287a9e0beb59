"""What other programs wrote is brought to the disk before the journal says that it is there.

Files of our own are synced one by one as they are written. What pacman(8) unpacks,
the links of systemctl(1) and a download of apt are not (read in their sources), and
after a power cut they would be missing, or there and empty, under a journal that
says ``done``.
"""

from __future__ import annotations

from sysmail.host.port import Writer

__all__ = ["flush"]

_PLACES = ("/", "/etc", "/usr", "/var")


def flush(writer: Writer) -> None:
    """Return when all of it is on the disk; sync(1) without -f for where it has none."""
    if writer.run(["sync", "-f", *_PLACES]).status != 0:
        writer.run(["sync"])
