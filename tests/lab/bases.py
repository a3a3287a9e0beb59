"""The base systems: each built once, named by what went into it.

A base is a folder `<cache>/bases/<name>-<key>/` that no host ever writes to; hosts are overlays
on it. The key is a hash of the recipe's source and of what the recipe says it depends on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import arch, debian, mailhost, relayhost, releases
from .cache import cache_folder, made_once, meaning
from .machine import LabError


@dataclass(frozen=True)
class Recipe:
    """How one base is made. `build(target, below)` fills `target`; `below` are finished bases.

    With `unified` its systemd gets the control groups of version 2 alone, whatever the machine
    has: from 256 on systemd does not boot with those of version 1.
    """

    build: Callable[[Path, list[Path]], None]
    sources: tuple[str, ...]
    below: tuple[str, ...] = ()
    unified: bool = False


_RELEASE = ("releases.py", "debian.py", "aptfiles.py")
# A base with others below it holds only what differs from them (it is an overlay's upper layer).
RECIPES = {
    "debian": Recipe(debian.build, ("debian.py", "aptfiles.py")),
    "arch": Recipe(arch.build, ("arch.py", "repack.py", "archfiles.py"), below=("debian",)),
    "smarthost": Recipe(relayhost.build, ("relayhost.py",), below=("debian",)),
    "mailu": Recipe(mailhost.build, ("mailhost.py",), below=("debian",)),
    "debian11": Recipe(releases.building("bullseye"), _RELEASE),
    "debian13": Recipe(releases.building("trixie"), _RELEASE, unified=True),
}


def key(name: str) -> str:
    """The hash that names the base `name` as its recipe is now."""
    recipe = RECIPES[name]
    digest = hashlib.sha256()
    for below in recipe.below:
        digest.update(key(below).encode())
    for source in recipe.sources:
        digest.update(meaning(Path(__file__).parent / source))
    return digest.hexdigest()[:12]


def layers(name: str) -> list[Path]:
    """The folders that make up a base, topmost first, built if they are not there yet.

    Raises LabError if the name is unknown or the build fails.
    """
    if name not in RECIPES:
        raise LabError(f"no base {name!r}; there are: {', '.join(RECIPES)}")
    below = [folder for under in RECIPES[name].below for folder in layers(under)]
    return [_built(name, below), *below]


def _built(name: str, below: list[Path]) -> Path:
    target = cache_folder() / "bases" / f"{name}-{key(name)}"
    return made_once(target, name, target.name, lambda draft: RECIPES[name].build(draft, below))
