"""What differs between distributions, as data in one place.

A row is chosen by ``ID`` and ``ID_LIKE`` of os-release(5). ``tried`` says
whether the row was seen to work on booted hosts; the others are filled in
from the documentation of their package managers and packages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from sysmail.neighbours import NEIGHBOURS

__all__ = ["DISTROS", "Distro", "choose"]


@dataclass(frozen=True)
class Distro:
    """One family of distributions.

    Commands are argument lists; package names are appended. ``query`` prints
    every installed package. ``candidate`` prints what would be installed.
    ``starts_on_install`` is true where installing Postfix starts it, so that
    a loopback-only main.cf has to be there first (docs/promises.md, Debian's package).
    ``replace`` installs what excludes an installed package, which goes; ``restore`` also
    where half of it is installed, with what it depends on still missing. ``fetch``
    downloads packages, installed ones too, and installs nothing. ``submission``
    are the packages of the route mailu, msmtpd and msmtp as ``sendmail``: empty
    where that route was not tried.
    ``keep_configuration`` removes a package of which only the configuration was there before;
    empty where there is no such state. ``would_uninstall`` prints what removing packages would do.
    ``automatic`` prints the packages that only came with others, a name a line, and
    ``mark_automatic`` says so of packages.
    ``dependencies`` prints whatever packages may need, a name a line, and what those may need.
    Where it is empty ``would_remove`` prints which of packages nothing else needs.
    ``locks`` are files that the package manager has locked while it is at work,
    ``lock_files`` those that are there only then; a manager that is killed leaves them, and then
    nobody else gets in.
    ``repair`` finishes what a cut-off installation left half done, before
    anything else is possible. ``leftovers`` are files that the packages create
    outside of the package manager's books and do not take away again.
    """

    name: str
    ids: tuple[str, ...]
    tried: bool
    query: tuple[str, ...]
    refresh: tuple[str, ...]
    candidate: tuple[str, ...]
    install: tuple[str, ...]
    replace: tuple[str, ...]
    restore: tuple[str, ...]
    fetch: tuple[str, ...]
    uninstall: tuple[str, ...]
    keep_configuration: tuple[str, ...]
    would_uninstall: tuple[str, ...]
    repair: tuple[str, ...]
    environment: Mapping[str, str]
    automatic: tuple[str, ...]
    mark_automatic: tuple[str, ...]
    dependencies: tuple[str, ...]
    would_remove: tuple[str, ...]
    locks: tuple[str, ...]
    lock_files: tuple[str, ...]
    postfix: tuple[str, ...]
    sasl: tuple[str, ...]
    msmtp: tuple[str, ...]
    submission: tuple[str, ...]
    certificates: tuple[str, ...]
    starts_on_install: bool
    ca_file: str
    units: tuple[str, ...]
    other_mtas: tuple[str, ...]
    leftovers: tuple[str, ...]


_MTAS = tuple(package for found in NEIGHBOURS for package in found.packages)

_NO_MORE = ("-o", "APT::Get::AutomaticRemove=false")
"""Where the host's owner has apt remove what nobody needs: never with a call of ours."""

_APT_INSTALL = (
    "apt-get",
    "install",
    "-y",
    "-q",
    *_NO_MORE,
    "--no-install-recommends",
    "-o",
    "Dpkg::Use-Pty=0",
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
    "-o",
    "DPkg::Lock::Timeout=60",
)

APT = Distro(
    name="apt",
    ids=("debian", "ubuntu"),
    tried=True,
    query=("dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Package} ${Version}\n"),
    refresh=("apt-get", "update", "-q"),
    candidate=("apt-cache", "policy"),
    install=_APT_INSTALL,
    # What conflicts is removed, with its configuration kept, as long as nothing else needs it.
    replace=_APT_INSTALL,
    restore=(*_APT_INSTALL, "--fix-broken"),
    fetch=(*_APT_INSTALL, "--download-only", "--reinstall"),
    uninstall=(
        "apt-get",
        "purge",
        "-y",
        "-q",
        *_NO_MORE,
        "-o",
        "Dpkg::Use-Pty=0",
        "-o",
        "DPkg::Lock::Timeout=300",
    ),
    keep_configuration=(
        "apt-get",
        "remove",
        "-y",
        "-q",
        *_NO_MORE,
        "-o",
        "Dpkg::Use-Pty=0",
        "-o",
        "DPkg::Lock::Timeout=300",
    ),
    would_uninstall=("apt-get", "-s", "-q", *_NO_MORE, "purge"),
    repair=("dpkg", "--configure", "-a", "--force-confold"),
    environment={"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"},
    automatic=("apt-mark", "showauto"),
    mark_automatic=("apt-mark", "auto"),
    # Also where an installation was cut off before what it was for had come.
    dependencies=("apt-cache", "depends", "--recurse", "--important"),
    would_remove=(),
    locks=("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock"),
    lock_files=(),
    postfix=("postfix",),
    sasl=("libsasl2-modules",),
    msmtp=("msmtp",),
    submission=("msmtp-mta",),
    certificates=("ca-certificates",),
    starts_on_install=True,
    ca_file="/etc/ssl/certs/ca-certificates.crt",
    units=("postfix.service", "postfix@-.service"),
    other_mtas=_MTAS,
    leftovers=("/etc/aliases", "/etc/aliases.db", "/etc/mailname"),
)

PACMAN = Distro(
    name="pacman",
    ids=("arch",),
    tried=True,
    query=("pacman", "-Q"),
    refresh=("pacman", "-Sy", "--noconfirm", "--noprogressbar"),
    candidate=("pacman", "-Si"),
    install=("pacman", "-S", "--needed", "--noconfirm", "--noprogressbar"),
    # Without a terminal pacman refuses to replace; 4 says yes to that one question (libalpm's
    # ALPM_QUESTION_CONFLICT_PKG) and to no other.
    replace=("pacman", "-S", "--needed", "--noconfirm", "--noprogressbar", "--ask", "4"),
    restore=("pacman", "-S", "--needed", "--noconfirm", "--noprogressbar", "--ask", "4"),
    fetch=("pacman", "-Sw", "--noconfirm", "--noprogressbar"),
    uninstall=("pacman", "-Rn", "--noconfirm", "--noprogressbar"),
    keep_configuration=(),
    would_uninstall=("pacman", "-R", "--print", "--print-format", "Remv %n"),
    repair=(),
    environment={},
    automatic=("pacman", "-Qdq"),
    mark_automatic=("pacman", "-D", "--asdeps"),
    dependencies=(),
    # What anything else needs is left out: those may be somebody else's.
    would_remove=("pacman", "-Rsu", "--print", "--print-format", "Remv %n"),
    locks=("/var/lib/pacman/db.lck",),
    lock_files=("/var/lib/pacman/db.lck",),
    postfix=("postfix",),
    sasl=("cyrus-sasl",),
    msmtp=("msmtp",),
    submission=("msmtp", "msmtp-mta"),
    certificates=("ca-certificates",),
    starts_on_install=False,
    ca_file="/etc/ssl/certs/ca-certificates.crt",
    units=("postfix.service",),
    other_mtas=_MTAS,
    leftovers=(
        "/etc/postfix/aliases.db",
        "/etc/postfix/main.cf.pacsave",
        "/etc/postfix/master.cf.pacsave",
        "/var/lib/postfix",
        "/var/spool/postfix",
    ),
)

DNF = Distro(
    name="dnf",
    ids=("fedora", "rhel", "centos"),
    tried=False,
    query=("rpm", "-qa", "--qf", "%{NAME} %{VERSION}-%{RELEASE}\n"),
    refresh=("dnf", "-q", "makecache"),
    candidate=("dnf", "-q", "info"),
    install=("dnf", "-y", "-q", "install", "--setopt=install_weak_deps=False"),
    replace=("dnf", "-y", "-q", "install", "--setopt=install_weak_deps=False", "--allowerasing"),
    restore=("dnf", "-y", "-q", "install", "--setopt=install_weak_deps=False", "--allowerasing"),
    fetch=("dnf", "-y", "-q", "install", "--downloadonly"),
    uninstall=("dnf", "-y", "-q", "remove", "--noautoremove"),
    keep_configuration=(),
    would_uninstall=(),
    repair=(),
    environment={},
    automatic=(),
    mark_automatic=(),
    dependencies=(),
    would_remove=(),
    locks=(),
    lock_files=(),
    postfix=("postfix",),
    sasl=("cyrus-sasl-plain",),
    msmtp=("msmtp",),
    submission=(),
    certificates=("ca-certificates",),
    starts_on_install=False,
    ca_file="/etc/pki/tls/certs/ca-bundle.crt",
    units=("postfix.service",),
    other_mtas=_MTAS,
    leftovers=("/etc/aliases.db", "/etc/aliases.lmdb"),
)

ZYPPER = Distro(
    name="zypper",
    ids=("opensuse", "suse", "sles"),
    tried=False,
    query=("rpm", "-qa", "--qf", "%{NAME} %{VERSION}-%{RELEASE}\n"),
    refresh=("zypper", "--non-interactive", "refresh"),
    candidate=("zypper", "--non-interactive", "info"),
    install=("zypper", "--non-interactive", "install", "--no-recommends"),
    replace=("zypper", "--non-interactive", "install", "--no-recommends", "--force-resolution"),
    restore=("zypper", "--non-interactive", "install", "--no-recommends", "--force-resolution"),
    fetch=("zypper", "--non-interactive", "install", "--download-only", "--force"),
    uninstall=("zypper", "--non-interactive", "remove"),
    keep_configuration=(),
    would_uninstall=(),
    repair=(),
    environment={},
    automatic=(),
    mark_automatic=(),
    dependencies=(),
    would_remove=(),
    locks=(),
    lock_files=(),
    postfix=("postfix",),
    sasl=("cyrus-sasl-plain",),
    msmtp=("msmtp",),
    submission=(),
    certificates=("ca-certificates",),
    starts_on_install=False,
    ca_file="/etc/ssl/ca-bundle.pem",
    units=("postfix.service",),
    other_mtas=_MTAS,
    leftovers=(),
)

APK = Distro(
    name="apk",
    ids=("alpine",),
    tried=False,
    query=("apk", "list", "--installed"),
    refresh=("apk", "update"),
    candidate=("apk", "policy"),
    install=("apk", "add", "--no-progress"),
    replace=("apk", "add", "--no-progress"),
    restore=("apk", "add", "--no-progress"),
    fetch=("apk", "fetch", "--output", "/var/cache/apk"),
    uninstall=("apk", "del", "--no-progress"),
    keep_configuration=(),
    would_uninstall=(),
    repair=(),
    environment={},
    automatic=(),
    mark_automatic=(),
    dependencies=(),
    would_remove=(),
    locks=(),
    lock_files=(),
    postfix=("postfix",),
    sasl=("cyrus-sasl-login",),
    msmtp=("msmtp",),
    submission=(),
    certificates=("ca-certificates",),
    starts_on_install=False,
    ca_file="/etc/ssl/certs/ca-certificates.crt",
    units=("postfix",),
    other_mtas=_MTAS,
    leftovers=(),
)

DISTROS: tuple[Distro, ...] = (APT, PACMAN, DNF, ZYPPER, APK)
"""Every family that sysmail knows, the tried ones first."""


def choose(ids: Sequence[str]) -> Optional[Distro]:
    """The row for os-release's ``ID`` followed by the words of ``ID_LIKE``; None if unknown."""
    for name in ids:
        for row in DISTROS:
            if name in row.ids or any(name.startswith(known + "-") for known in row.ids):
                return row
    return None
