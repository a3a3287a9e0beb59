"""What is mounted where, and how to delete a folder without harm to what is mounted in it."""

from __future__ import annotations

from pathlib import Path

from .machine import LabError, call


def mounts_under(folder: Path) -> list[str]:
    """Mount points at or under a folder, the deepest first."""
    top = str(folder.resolve())
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    plain = [point.encode().decode("unicode_escape") for point in points]
    return sorted((p for p in plain if p == top or p.startswith(top + "/")), reverse=True)


def remove_tree(folder: Path) -> None:
    """Unmount everything under a folder, then delete it; never crosses into another file system."""
    for point in mounts_under(folder):
        call(["umount", "--lazy", point])
    if folder.is_symlink() or folder.exists():
        if mounts_under(folder):
            raise LabError(f"{folder}: still has mounts; not deleted")
        call(["rm", "-rf", "--one-file-system", folder])
