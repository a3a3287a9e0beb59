"""The cache of base systems: each built once, named by what went into it.

A base is a folder `<cache>/bases/<name>-<key>/` that no host ever writes to; hosts are overlays
on it. The key is a hash of the recipe's source and of what the recipe says it depends on, so a
changed recipe is built anew and what nobody can use any more is deleted.
The cache is `$SYSMAIL_LAB_CACHE`, or /var/cache/sysmail-lab.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import arch, debian, relayhost
from .machine import LabError
from .mounts import remove_tree


@dataclass(frozen=True)
class Recipe:
    """How one base is made. `build(target, below)` fills `target`; `below` are finished bases."""

    build: Callable[[Path, list[Path]], None]
    sources: tuple[str, ...]
    below: tuple[str, ...] = ()


# A base with others below it holds only what differs from them (it is an overlay's upper layer).
RECIPES = {
    "debian": Recipe(debian.build, ("debian.py", "aptfiles.py")),
    "arch": Recipe(arch.build, ("arch.py", "repack.py", "archfiles.py"), below=("debian",)),
    "smarthost": Recipe(relayhost.build, ("relayhost.py",), below=("debian",)),
}


def cache_folder() -> Path:
    """Where everything that outlives a test run is kept."""
    return Path(os.environ.get("SYSMAIL_LAB_CACHE") or "/var/cache/sysmail-lab")


def key(name: str) -> str:
    """The hash that names the base `name` as its recipe is now."""
    recipe = RECIPES[name]
    digest = hashlib.sha256()
    for below in recipe.below:
        digest.update(key(below).encode())
    for source in recipe.sources:
        digest.update(_meaning((Path(__file__).parent / source).read_text()).encode())
    return digest.hexdigest()[:12]


def _meaning(source: str) -> str:
    """Python source without its layout, comments and docstrings: those build nothing."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


def layers(name: str) -> list[Path]:
    """The folders that make up a base, topmost first, built if they are not there yet.

    Raises LabError if the name is unknown or the build fails.
    """
    if name not in RECIPES:
        raise LabError(f"no base {name!r}; there are: {', '.join(RECIPES)}")
    below = [folder for under in RECIPES[name].below for folder in layers(under)]
    return [_built(name, below), *below]


def _built(name: str, below: list[Path]) -> Path:
    bases = cache_folder() / "bases"
    bases.mkdir(parents=True, exist_ok=True)
    target = bases / f"{name}-{key(name)}"
    if target.is_dir():
        return target
    with _lock(bases / f".{name}.lock"):
        if target.is_dir():  # somebody else built it while this run waited
            return target
        began = time.monotonic()
        print(f"lab: building base {name} (once) ...", file=sys.stderr, flush=True)
        draft = bases / f".{name}-draft"
        remove_tree(draft)
        draft.mkdir()
        RECIPES[name].build(draft, below)
        draft.rename(target)
        for other in bases.glob(f"{name}-*"):
            if other != target and not _in_use(other):
                remove_tree(other)
        print(f"lab: base {name} built in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return target


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _in_use(folder: Path) -> bool:
    """True if some overlay has the folder as a layer."""
    return any(f"{folder}" in line for line in Path("/proc/mounts").read_text().splitlines())
