"""A host's disk: an overlay on a base, on the machine's real disk.

The upper layer is the host's own and outlives a kill: what was written stays written, as far as
the page cache goes. On a disk of its own it can lose its power, and what was not synced.

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

from .disk import Disk
from .machine import LabError, call
from .mounts import mounts_under, remove_tree


@dataclass(frozen=True)
class Overlay:
    """`folder` holds the three parts of the overlay; `root` is where all is seen merged.

    On a `disk` the host's own layer is there, and a sync reaches that disk.
    """

    folder: Path
    layers: tuple[Path, ...]
    durable: bool = False
    disk: Disk | None = None

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
        own = self.folder
        if self.disk is not None:
            self.disk.mount()
            own = self.disk.point
        shutil.rmtree(own / "work", ignore_errors=True)
        for part in (own / "upper", own / "work", self.root):
            part.mkdir(parents=True, exist_ok=True)
        lower = ":".join(str(layer) for layer in self.layers)
        # The modes of / are those of the base: a folder made by us may be stricter.
        mode = stat.S_IMODE(self.layers[0].stat().st_mode)
        (own / "upper").chmod(mode)
        options = f"lowerdir={lower},upperdir={own}/upper,workdir={own}/work"
        # As on a real disk, a folder can be renamed wherever its files are from.
        syncs = self.durable or self.disk is not None
        options += ",redirect_dir=on" if syncs else ",redirect_dir=on,volatile"
        call(["mount", "-t", "overlay", "overlay", "-o", options, self.root])

    def cut(self) -> None:
        """The power of its disk goes."""
        if self.disk is None:
            raise LabError("this host has no disk of its own that could lose its power")
        self.disk.cut()

    def unmount(self) -> None:
        """Let go of it; the files stay. Whatever used it must have ended."""
        remove_tree(self.root)
        if self.disk is not None:
            self.disk.unmount()

    def remove(self) -> None:
        """Unmount and delete the host's own layer. Whatever used it must have ended."""
        self.unmount()
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
