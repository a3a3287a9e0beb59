"""Packages that a host has before it boots: a layer on its base, made once for each list of them.

Packages write down the name of the host they are installed on: Postfix in main.cf and
/etc/mailname, debconf in its database, ssl-cert in a certificate. So a layer is made on a host
with a name that nothing else contains, and a new host gets its own name wherever that name is.
The host is then as if the packages had been installed on it, but that hosts share what is random
in an installation (the key of ssl-cert), and that files are as old as the layer. Of binary files
only the two known ones get the name; should there ever be others, they keep the layer's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import snakeoil
from .bases import key, layers
from .cache import cache_folder, made_once, meaning
from .chroot import chroot, services_kept_stopped
from .identity import write_identity
from .overlay import layered

SHORT, DOMAIN = "name-of-the-host", "domain-of-the-host.test"
NAME = f"{SHORT}.{DOMAIN}"
# `lab build` makes these, since most tests want one of them.
OFTEN = (
    *(("debian", ("postfix", "msmtp")), ("arch", ("postfix", "msmtp"))),
    *(("debian", ("exim4",)), ("debian", ("postfix",))),
)
_ALIASES = "etc/aliases.db"  # Postfix writes into the database on which host it was made
_SOURCES = ("preinstalled.py", "identity.py", "chroot.py", "hostsfile.py")


@dataclass(frozen=True)
class Preinstalled:
    """A finished layer: `folder` holds its files, and the list of those that contain the name."""

    folder: Path

    @property
    def tree(self) -> Path:
        """The layer itself."""
        return self.folder / "tree"

    def personalize(self, root: Path, fqdn: str, netns: Path) -> None:
        """Put the name of the host with the root directory `root` where the layer's own is."""
        short, _, domain = fqdn.partition(".")
        for path in (self.folder / "named").read_text().splitlines():
            file = root / path
            before = file.stat()
            text = file.read_bytes()
            # The short name and the domain are parts of the full name, and also stand alone.
            text = text.replace(SHORT.encode(), short.encode())
            file.write_bytes(text.replace(DOMAIN.encode(), domain.encode()))
            # Postfix waits two seconds before it reads a file that has just been changed.
            os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        if _mentions(self.tree / _ALIASES):
            chroot(root, ["newaliases"], hostname=fqdn, netns=netns)
        if (self.tree / snakeoil.CERTIFICATE).exists():
            snakeoil.reissue(root, fqdn)


def preinstalled(
    base: str, packages: Iterable[str], *, netns: Path, nameserver: str, ipv6: bool
) -> Preinstalled:
    """The layer with `packages` on `base`, made if it is not there yet.

    `netns` is the network of the host that wants it, since maintainer scripts may look at it;
    hosts with and without `ipv6` have layers of their own.
    """
    wanted = sorted(set(packages))
    digest = hashlib.sha256(key(base).encode())
    for source in _SOURCES:
        digest.update(meaning(Path(__file__).parent / source))
    current = f"{base}-{digest.hexdigest()[:12]}-"
    digest.update(repr((wanted, ipv6)).encode())

    def make(draft: Path) -> None:
        tree = draft / "tree"
        tree.mkdir()
        with layered(tree, layers(base)) as (root, _):
            write_identity(root, NAME, nameserver)
            install(root, base, wanted, NAME, netns)
        (draft / "named").write_text("".join(f"{path}\n" for path in _named(tree)))

    target = cache_folder() / "preinstalled" / f"{current}{digest.hexdigest()[:12]}"
    return Preinstalled(made_once(target, base, current, make))


def install(root: Path, base: str, packages: list[str], fqdn: str, netns: Path) -> None:
    """Install packages in a root that is not booted; their services start when it is."""
    commands = [["apt-get", "-q", "update"], ["apt-get", "-qy", "install", *packages]]
    if base == "arch":
        commands = [["pacman", "-Sy", "--noconfirm", "--needed", *packages]]
    with services_kept_stopped(root):
        for command in commands:
            chroot(root, command, hostname=fqdn, netns=netns)


def _named(tree: Path) -> list[Path]:
    """The texts of the layer that contain the name; those of a host's identity are its own."""
    own = {Path("etc") / name for name in ("hostname", "hosts", "resolv.conf", "machine-id")}
    found = [path for path in sorted(tree.rglob("*")) if _mentions(path)]
    texts = [path.relative_to(tree) for path in found if b"\0" not in path.read_bytes()]
    return [path for path in texts if path not in own]


def _mentions(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    content = path.read_bytes()
    return SHORT.encode() in content or DOMAIN.encode() in content
