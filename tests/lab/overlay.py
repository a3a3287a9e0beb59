"""A host's disk: an overlay on a base, on the machine's real disk.

The upper layer is the host's own and outlives a kill: what was written stays written (as far as
the page cache goes: a power cut that loses unsynced data is not what an overlay can show).

For the same reason a sync inside a host does nothing, unless the overlay is `durable`: the calls
are made and succeed, so that a trace shows them, but nobody waits for the machine's disk. Without
that each file that is copied up would be synced, and each host that ends would sync the machine.
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
    durable: bool = False

    @property
    def root(self) -> Path:
        """The merged root."""
        return self.folder / "root"

    def mount(self) -> None:
        """Make it, or mount it again; nothing happens if it is mounted."""
        if mounts_under(self.root):
            return
        # A volatile overlay marks it, and is not mounted again with the mark: that is for the case
        # that the machine went down in between.
        shutil.rmtree(self.folder / "work", ignore_errors=True)
        for part in ("upper", "work", "root"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        lower = ":".join(str(layer) for layer in self.layers)
        # The modes of / are those of the base: a folder made by us may be stricter.
        mode = stat.S_IMODE(self.layers[0].stat().st_mode)
        (self.folder / "upper").chmod(mode)
        options = f"lowerdir={lower},upperdir={self.folder}/upper,workdir={self.folder}/work"
        # As on a real disk, a folder can be renamed wherever its files are from.
        options += ",redirect_dir=on" if self.durable else ",redirect_dir=on,volatile"
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
