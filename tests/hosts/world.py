"""Everything of a host that a fault must leave as it was, and where its packages come from."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from onhost import differences, listeners, packages, snapshot, units

from lab import Host

REPOSITORY = "srv/apt"


def world(host: Host) -> dict[str, str]:
    """Files with owner and mode, packages, units and sockets, as one thing to compare."""
    found = snapshot(host)
    parts = {"package": packages(host), "unit": units(host), "listener": listeners(host)}
    return found | {f"{kind} {line}": "there" for kind, lines in parts.items() for line in lines}


def same(before: dict[str, str], host: Host) -> list[str]:
    """What differs now; empty where the host is as it was."""
    return differences(before, world(host))


@contextlib.contextmanager
def repository(host: Host) -> Iterator[Path]:
    """The host's package repository, put back afterwards."""
    folder, kept = host.root / REPOSITORY, host.root / "srv/apt.kept"
    shutil.copytree(folder, kept)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        kept.rename(folder)
        host.run("rm -rf /var/lib/apt/lists/*_* /var/cache/apt/archives/*.deb")


def index(host: Host, folder: Path) -> None:
    """Let apt see what is in the repository now."""
    said = subprocess.run(
        ["dpkg-scanpackages", "--multiversion", "."],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    (folder / "Packages").write_text(said.stdout)
    host.run("apt-get -q update")


def newer(folder: Path, name: str, script: str, lines: str, work: Path) -> None:
    """Add a newer version of a package whose maintainer script begins with these lines."""
    deb = sorted(folder.glob(f"{name}_*.deb"))[-1]
    tree = work / name
    subprocess.run(["dpkg-deb", "--raw-extract", deb, tree], check=True)
    control = tree / "DEBIAN/control"
    version = re.sub(r"(?m)^(Version: .*)$", r"\1+newer1", control.read_text())
    control.write_text(version)
    path = tree / "DEBIAN" / script
    text = path.read_text() if path.exists() else "#!/bin/sh\n"
    first, _, rest = text.partition("\n")
    path.write_text(f"{first}\n{lines}\n{rest}")
    path.chmod(0o755)
    subprocess.run(
        ["dpkg-deb", "--build", "-Znone", tree, folder / f"{name}_newer.deb"],
        check=True,
        capture_output=True,
    )
