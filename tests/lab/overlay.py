"""A host's disk: an overlay on a base, on the machine's real disk.

The upper layer is the host's own and outlives a kill: what was written stays written (as far as
the page cache goes: a power cut that loses unsynced data is not what an overlay can show).
"""

from __future__ import annotations

import contextlib
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .machine import call
from .mounts import mounts_under, remove_tree


@dataclass(frozen=True)
class Overlay:
    """`folder` holds the three parts of the overlay; `root` is where all is seen merged."""

    folder: Path
    layers: tuple[Path, ...]

    @property
    def root(self) -> Path:
        """The merged root."""
        return self.folder / "root"

    def mount(self) -> None:
        """Make it, or mount it again; nothing happens if it is mounted."""
        if mounts_under(self.root):
            return
        for part in ("upper", "work", "root"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        lower = ":".join(str(layer) for layer in self.layers)
        # The modes of / are those of the base: a folder made by us may be stricter.
        mode = stat.S_IMODE(self.layers[0].stat().st_mode)
        (self.folder / "upper").chmod(mode)
        options = f"lowerdir={lower},upperdir={self.folder}/upper,workdir={self.folder}/work"
        call(["mount", "-t", "overlay", "overlay", "-o", options, self.root])

    def remove(self) -> None:
        """Unmount and delete the host's own layer. Whatever used it must have ended."""
        remove_tree(self.root)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def layered(target: Path, below: list[Path]) -> Iterator[tuple[Path, Path]]:
    """For recipes: a merged root over `below` to work in, and a folder for what is in between.

    When the block is left in good order, what it changed in the root is in `target`.
    """
    # On the same file system as the base: an overlay wants its two folders side by side.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{target.name}-work-") as name:
        overlay = Overlay(Path(name) / "overlay", tuple(below))
        overlay.mount()
        try:
            yield overlay.root, Path(name)
        finally:
            call(["umount", overlay.root])
        for path in (overlay.folder / "upper").iterdir():
            path.rename(target / path.name)
