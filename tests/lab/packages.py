"""What the machine needs so that the lab can stand on it."""

from __future__ import annotations

import importlib.util
import os
import shutil

# Debian package -> the program of it that the lab runs.
MACHINE_PACKAGES = {
    "chromium": "chromium",
    "debootstrap": "debootstrap",
    "dnsmasq-base": "dnsmasq",
    "dpkg-dev": "dpkg-scanpackages",
    "iproute2": "ip",
    "libarchive-tools": "bsdtar",
    "makepkg": "repo-add",
    "mount": "mount",
    "openssh-client": "ssh",
    "openssl": "openssl",
    "pacman-package-manager": "pacman",
    "systemd-container": "systemd-nspawn",
    "util-linux": "nsenter",
    "zstd": "zstd",
}

# Python distributions from PyPI, besides pytest.
PYTHON_PACKAGES = ("aiosmtpd",)

# The package manager of the tests' own Python cannot be asked for programs in sbin
# when a test run was started with a user's short PATH.
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def missing() -> list[str]:
    """Names what is missing for the lab, one short line each; [] if all is there."""
    wants: list[str] = []
    if os.geteuid() != 0:
        wants.append("root (namespaces, mounts and booted hosts need it)")
    wants += [
        f"Debian package {package} (for {program})"
        for package, program in sorted(MACHINE_PACKAGES.items())
        if shutil.which(program, path=_PATH) is None
    ]
    wants += [
        f"Python package {name}"
        for name in PYTHON_PACKAGES
        if importlib.util.find_spec(name) is None
    ]
    return wants
