"""The `debian` base: what a small Debian server is, and an offline repository of mail packages.

No mail transport agent is installed in it. Its only apt source is /srv/apt, a flat repository
of packages downloaded while the base was built, so hosts run the real `apt-get update` and
`apt-get install` without a network.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from .aptfiles import debian_sources, fetch_settings
from .chroot import chroot, services_kept_stopped
from .machine import call

INSTALLED = (
    *("systemd", "systemd-sysv", "dbus", "python3", "python3-apt", "iproute2", "procps", "less"),
    *("ca-certificates", "openssh-server", "cron", "sudo", "netbase", "iputils-ping", "libc-bin"),
)
# These can be installed side by side, so they are fetched at once, with all they need.
OFFERED = (
    *("msmtp", "libsasl2-modules", "sasl2-bin", "ssl-cert", "openssl", "bsd-mailx", "s-nail"),
    *("mailutils", "swaks", "dovecot-core", "dovecot-imapd", "rsyslog", "python3-tomli"),
    *("faketime", "strace", "acl", "pacman-package-manager"),  # the last is for the arch base
    *("dovecot-lmtpd", "nftables"),
)
# These exclude each other: fetched one by one, each with what is its own.
ALTERNATIVES = (
    *(("postfix", "postfix-lmdb", "postfix-pcre", "postfix-cdb"), ("msmtp-mta",), ("nullmailer",)),
    *(("exim4", "exim4-base", "exim4-config", "exim4-daemon-light"), ("dma",)),
    *(("opensmtpd",), ("sendmail",), ("courier-mta",)),
)
REPOSITORY = "srv/apt"
# These wait for hardware, for the network's manager or for a clock that a container lacks.
MASKED = (
    *(
        "systemd-networkd-wait-online.service",
        "systemd-timesyncd.service",
        "systemd-resolved.service",
    ),
    *("systemd-udevd.service", "systemd-udev-trigger.service", "apt-daily.timer"),
    *("apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("console-getty.service", "getty@tty1.service", "getty.target", "systemd-logind.service"),
    *("sys-kernel-config.mount", "sys-kernel-debug.mount", "dev-hugepages.mount"),
)


def build(target: Path, below: list[Path]) -> None:  # noqa: ARG001 - every recipe has both
    """Fill `target`. Takes one to three minutes and about 500 MB. `below` is empty."""
    sources = debian_sources()
    first = sources[0]
    call(
        [
            *("debootstrap", "--variant=minbase", f"--include={','.join(INSTALLED)}"),
            *(first.suite, target, first.uri),
        ],
        timeout=1800,
    )
    resolver = target / "etc/resolv.conf"
    resolver.unlink(missing_ok=True)
    shutil.copy("/etc/resolv.conf", resolver)
    (target / "etc/apt/sources.list").write_text("".join(f"{s.line()}\n" for s in sources))
    (target / "etc/apt/apt.conf.d/99build").write_text(fetch_settings())
    with services_kept_stopped(target):
        chroot(target, ["apt-get", "-q", "update"])
        # First, so that what hosts install later fits to what they have.
        chroot(target, ["apt-get", "-qy", "dist-upgrade"])
        _fetch_packages(target)
    _settle(target)
    (target / "etc/apt/apt.conf.d/99build").unlink()
    _offer_packages(target)


def _fetch_packages(target: Path) -> None:
    fetch = ["apt-get", "-qy", "--download-only", "install"]
    # What the base has is fetched too, so that hosts can remove it and have it back.
    chroot(target, [*fetch, "--reinstall", *INSTALLED])
    for together in (OFFERED, *ALTERNATIVES):
        chroot(target, [*fetch, *together])


def _offer_packages(target: Path) -> None:
    """Make the flat repository, and make it the only source."""
    repository = target / REPOSITORY
    repository.mkdir(parents=True)
    for package in (target / "var/cache/apt/archives").glob("*.deb"):
        package.rename(repository / package.name)
    index = call(["dpkg-scanpackages", "--multiversion", "."], cwd=repository)
    (repository / "Packages").write_text(index)
    (target / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:/{REPOSITORY} ./\n")
    for leftover in (target / "var/lib/apt/lists").glob("*_*"):
        leftover.unlink()


def _settle(target: Path) -> None:
    """Everything about the base that is no package: users, names, units."""
    chroot(target, ["useradd", "--create-home", "--shell", "/bin/bash", "alice"])
    for unit in MASKED:
        (target / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (target / "etc/systemd/system/default.target").symlink_to(
        "/lib/systemd/system/multi-user.target"
    )
    # Each host gets an identity of its own. ("uninitialized" would be a first boot for systemd,
    # which enables every unit that is installed: no host in real life does that twice.)
    (target / "etc/machine-id").write_text("")
    for file in ("etc/hostname", "etc/resolv.conf"):
        (target / file).unlink(missing_ok=True)
    # The journal's own limits stay as Debian ships them: how they lose lines is a fact of life.
    (target / "var/log/journal").mkdir(exist_ok=True)
