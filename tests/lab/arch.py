"""The `arch` base: pacman's view of the world on top of the `debian` base.

It is the real pacman with packages repacked from Debian's, as documented: what pacman does is
as on Arch, what Postfix does is as on Debian without Debian's patches to its set-up. Debian's own
package tools are not there, so nothing can take the host for a Debian one.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from . import archfiles
from .chroot import chroot, services_kept_stopped
from .machine import call
from .overlay import layered
from .repack import Package, newest, repack

REPOSITORY = "srv/pacman"
_DEBS = "srv/apt"
_RUNTIME_OF = ("postfix", "postfix-lmdb", "postfix-pcre", "msmtp", "msmtp-mta", "s-nail", "swaks")
# Arch has msmtpd beside msmtp, without a unit, and the link in a package of its own.
_SENDMAIL = ("usr/bin/sendmail", "usr/lib/sendmail", "usr/share/man/man8/sendmail.8.gz")
_NEWALIASES = ("usr/bin/newaliases", "usr/share/man/man1/newaliases.1.gz")
_DEBIAN_TOOLS = (
    *("usr/bin/apt*", "usr/bin/dpkg*", "usr/sbin/dpkg*", "usr/bin/deb*", "usr/sbin/deb*"),
    *("usr/bin/update-alternatives", "usr/sbin/update-rc.d", "usr/sbin/invoke-rc.d", "etc/apt"),
    *("usr/lib/apt", "usr/lib/dpkg", "usr/share/dpkg", "usr/share/debconf", "var/lib/apt"),
    *("var/lib/dpkg", "var/cache/apt", "var/cache/debconf", "usr/lib/python3/dist-packages/apt*"),
    *("etc/debian_version", "etc/debconf.conf", "etc/cron.daily/apt*", "etc/cron.daily/dpkg"),
    *("usr/lib/python3/dist-packages/_apt*", "usr/lib/systemd/system/apt*", _DEBS),
)


def build(target: Path, below: list[Path]) -> None:
    """Fill `target` with what differs from the layers `below`. About half a minute, 100 MB."""
    with layered(target, below) as (root, folder):
        _make(root, below[0] / _DEBS, folder)


def _make(root: Path, debs: Path, folder: Path) -> None:
    with services_kept_stopped(root):
        chroot(root, ["apt-get", "-q", "update"])
        install = ["apt-get", "-qy", "--no-install-recommends", "install"]
        chroot(root, [*install, "pacman-package-manager", *_runtime(root)])
    _merge_sbin(root)
    repository = root / REPOSITORY
    repository.mkdir(parents=True)
    built: list[Path] = []
    stock = folder / "stock"
    call(["dpkg-deb", "--extract", newest(debs, "postfix"), stock])
    for package in packages(stock):
        draft = folder / f"package-{package.name}"
        draft.mkdir()
        built.append(repack(package, debs, draft, repository))
    call(["repo-add", "-q", repository / "core.db.tar.gz", *built])
    _become_arch(root)
    # As on every real host, the repositories' databases are there, and pacman is a package itself,
    # there because `base` needs it. (Where no package at all is installed, or none for another's
    # sake, pacman's questions fail, and so does what asks them.) Its files are in place already.
    chroot(root, ["pacman", "-Sy", "--noconfirm", "--dbonly", "base"])


def _runtime(root: Path) -> list[str]:
    """Debian packages with the libraries that the repacked programs need."""
    said = chroot(
        root, ["apt-get", "-s", "--no-install-recommends", "install", "postfix", "postfix-lmdb"]
    )
    said += chroot(root, ["apt-get", "-s", "--no-install-recommends", "install", "msmtp", "s-nail"])
    said += chroot(root, ["apt-get", "-s", "--no-install-recommends", "install", "postfix-pcre"])
    wanted = set(re.findall(r"^Inst (\S+)", said, re.MULTILINE))
    return sorted(wanted - set(_RUNTIME_OF))


def _merge_sbin(root: Path) -> None:
    """Arch has one folder for programs; Debian has links from one of its two to the other."""
    here, there = root / "usr/bin", root / "usr/sbin"
    moved = [
        path for path in there.iterdir() if not (path.is_symlink() and (here / path.name).exists())
    ]
    call(["cp", "-a", "--remove-destination", "--target-directory", here, *moved])
    shutil.rmtree(root / "usr/sbin")
    (root / "usr/sbin").symlink_to("bin")


def _become_arch(root: Path) -> None:
    for pattern in _DEBIAN_TOOLS:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    (root / "usr/lib/os-release").write_text(archfiles.OS_RELEASE)
    (root / "etc/arch-release").write_text("")
    (root / "etc/pacman.conf").write_text(archfiles.PACMAN_CONF)
    hooks = root / "usr/share/libalpm/hooks"
    hooks.mkdir(parents=True, exist_ok=True)
    (hooks / "30-systemd-daemon-reload.hook").write_text(archfiles.RELOAD_HOOK)
    for folder in ("var/lib/pacman", "var/cache/pacman/pkg"):
        (root / folder).mkdir(parents=True, exist_ok=True)


def packages(stock: Path) -> list[Package]:
    """What the repository offers. `stock` is a folder with the files of Debian's Postfix."""
    etc = "etc/postfix"
    return [
        Package(
            "postfix",
            ("postfix",),
            depends=("cyrus-sasl",),
            provides=("smtp-server", "smtp-forwarder"),
            conflicts=("smtp-server", "smtp-forwarder"),
            backup=(f"{etc}/main.cf", f"{etc}/master.cf", f"{etc}/aliases"),
            files={
                f"{etc}/main.cf": _main_cf(stock),
                f"{etc}/master.cf": _master_cf(stock),
                f"{etc}/aliases": archfiles.POSTFIX_ALIASES,
                # Which map types there are as plug-ins is said by the packages that bring them.
                f"{etc}/dynamicmaps.cf": "",
                "usr/lib/systemd/system/postfix.service": archfiles.POSTFIX_UNIT,
            },
            install=archfiles.POSTFIX_INSTALL,
        ),
        _plugin("lmdb"),
        _plugin("pcre"),
        Package("cyrus-sasl", ("libsasl2-modules",)),
        Package("msmtp", ("msmtp", "msmtp-mta"), drop=(*_SENDMAIL, *_NEWALIASES)),
        Package(
            "msmtp-mta",
            ("msmtp-mta",),
            depends=("msmtp",),
            provides=("smtp-forwarder",),
            conflicts=("smtp-forwarder",),
            drop=("usr/bin/msmtpd", *_NEWALIASES, "usr/share/man/man1/msmtpd.1.gz"),
        ),
        Package("base", (), depends=("pacman",)),
        Package("pacman", ("pacman-package-manager",)),
        # Arch's repositories have groups, and community.general.pacman fails where there is none.
        Package("s-nail", ("s-nail",), groups=("mail-readers",)),
    ]


def _plugin(kind: str) -> Package:
    """A map type of Postfix as a package of its own."""
    line = f"{kind}\tpostfix-{kind}.so\tdict_{kind}_open\tmkmap_{kind}_open\n"
    if kind == "pcre":  # it has no database to make
        line = f"{kind}\tpostfix-{kind}.so\tdict_{kind}_open\n"
    return Package(
        f"postfix-{kind}",
        (f"postfix-{kind}",),
        depends=("postfix",),
        files={f"etc/postfix/dynamicmaps.cf.d/{kind}": line},
    )


def _main_cf(root: Path) -> str:
    """Upstream's main.cf as its own installation leaves it: all commented but the places."""
    text = (root / "usr/share/postfix/main.cf.dist").read_text()
    # Debian's own settings in it; upstream has these as comments.
    for name in ("mynetworks", "smtpd_banner"):
        text = re.sub(rf"^{name} = .*\n", "", text, flags=re.MULTILINE)
    for name, value in archfiles.POSTFIX_PLACES.items():
        text, count = re.subn(
            rf"^#?{name} *=.*$", f"{name} = {value}", text, count=1, flags=re.MULTILINE
        )
        if count == 0:
            text += f"{name} = {value}\n"
    return text


def _master_cf(root: Path) -> str:
    """Upstream's master.cf: nothing runs in a chroot."""
    text = (root / "usr/share/postfix/master.cf.dist").read_text()
    return re.sub(r"^(#?\S+ +(?:inet|unix|fifo|pass) +\S +\S +)y", r"\1n", text, flags=re.MULTILINE)
