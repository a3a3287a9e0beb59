"""Makes a pacman package of the files of a Debian package.

pacman then installs, asks, conflicts and removes as it does on Arch; only the programs inside
were compiled by Debian.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from .machine import LabError, call

# Parts of a Debian package that belong to other Debian programs, or are made when it is installed.
_DEBIAN_ONLY = (
    *("etc/init.d", "etc/network", "etc/ppp", "etc/resolvconf", "etc/insserv.conf.d", "etc/ufw"),
    *("etc/rsyslog.d", "etc/apparmor.d", "usr/lib/networkd-dispatcher", "usr/share/lintian"),
    *("usr/share/doc", "usr/share/bug", "usr/share/vim", "var/spool"),
    *("usr/lib/systemd/system", "usr/lib/systemd/system-generators"),
)


@dataclass(frozen=True)
class Package:
    """A package to be: its name, the Debian packages whose files it gets, and its relations.

    Its version is that of the first of them; without any it has none of their files, and is 1.
    """

    name: str
    debian: tuple[str, ...]
    depends: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    backup: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()  # paths, as they are after the move to /usr/bin and /usr/lib
    files: dict[str, str] = field(default_factory=dict)  # path -> text, added or replaced
    install: str = ""  # the functions that pacman calls


def repack(package: Package, debs: Path, work: Path, target: Path) -> Path:
    """Write the package file to `target`, working in the empty folder `work`.

    `debs` holds the Debian packages. Raises LabError if one of them is not there.
    """
    version = ""
    for name in package.debian:
        deb = newest(debs, name)
        version = version or call(["dpkg-deb", "--field", deb, "Version"]).strip()
        call(["dpkg-deb", "--extract", deb, work])
    _move_to_usr(work)
    for path in (*_DEBIAN_ONLY, *package.drop):
        _drop(work / path)
    for path, text in package.files.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text)
    _drop_empty(work)
    upstream = version.rpartition(":")[2].split("-")[0].split("+")[0] or "1"
    (work / ".PKGINFO").write_text(_pkginfo(package, f"{upstream}-1", _size(work)))
    if package.install:
        (work / ".INSTALL").write_text(package.install)
    call(["chown", "-R", "--no-dereference", "0:0", work])
    file = target / f"{package.name}-{upstream}-1-x86_64.pkg.tar.zst"
    members = sorted(path.name for path in work.iterdir())
    call(["bsdtar", "--zstd", "-cf", file, "-C", work, *members])
    return file


def newest(debs: Path, name: str) -> Path:
    """The file of a Debian package; there is one version of each, but for what was upgraded."""
    found = sorted(debs.glob(f"{name}_*.deb"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise LabError(f"no Debian package {name} in {debs}")
    return found[-1]


def _move_to_usr(root: Path) -> None:
    """/lib, /bin, /sbin and /usr/sbin are links on Arch; pacman refuses files there."""
    moves = {"lib": "usr/lib", "bin": "usr/bin", "sbin": "usr/bin", "usr/sbin": "usr/bin"}
    for old, new in moves.items():
        if (root / old).is_dir():
            (root / new).mkdir(parents=True, exist_ok=True)
            call(["cp", "-a", "--remove-destination", f"{root / old}/.", root / new])
            shutil.rmtree(root / old)


def _drop(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _drop_empty(root: Path) -> None:
    folders = [path for path in root.rglob("*") if path.is_dir() and not path.is_symlink()]
    for folder in sorted(folders, reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _size(root: Path) -> int:
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file())


def _pkginfo(package: Package, version: str, size: int) -> str:
    lines = [
        f"pkgname = {package.name}",
        f"pkgbase = {package.name}",
        f"pkgver = {version}",
        f"pkgdesc = {package.name}, repacked from Debian for tests",
        "url = https://example.org/",
        "builddate = 0",
        "packager = sysmail test lab",
        f"size = {size}",
        "arch = x86_64",
        *(f"provides = {name}" for name in package.provides),
        *(f"conflict = {name}" for name in package.conflicts),
        *(f"group = {name}" for name in package.groups),
        *(f"depend = {name}" for name in package.depends),
        *(f"backup = {path}" for path in package.backup),
    ]
    return "".join(f"{line}\n" for line in lines)
