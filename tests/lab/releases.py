"""The bases `debian11` and `debian13`: another Debian, and with it another Postfix and Python.

Only as much of it as a mail relay needs: no more packages than systemd boots with, and sysmail and
Ansible run on, and a repository of what sysmail installs. Made like the `debian` base, by
debootstrap from the mirror of the machine's own release.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from .aptfiles import debian_sources, fetch_settings
from .chroot import chroot, services_kept_stopped
from .debian import _offer_packages, _settle
from .machine import LabError, call

INSTALLED = (
    *("systemd", "systemd-sysv", "dbus", "python3", "iproute2"),
    *("openssh-server", "sudo", "python3-apt"),  # as Ansible finds a host
)
OFFERED = ("postfix", "msmtp", "libsasl2-modules", "ca-certificates")
ALTERNATIVE = ("msmtp-mta",)  # excludes Postfix, so it is fetched by itself


class NotOfferedError(LabError):
    """The mirror has not, or no more, the release a base is made of."""


def building(suite: str) -> Callable[[Path, list[Path]], None]:
    """The `build` of a recipe for the Debian release `suite`."""
    return functools.partial(build, suite)


def build(suite: str, target: Path, below: list[Path]) -> None:  # noqa: ARG001 - as every recipe
    """Fill `target`. Takes two minutes and about 350 MB. `below` is empty.

    Raises NotOfferedError if the mirror does not have the suite.
    """
    mirror = debian_sources()[0].uri
    _must_be_offered(suite, mirror)
    call(
        [
            *("debootstrap", "--variant=minbase", f"--include={','.join(INSTALLED)}"),
            *(suite, target, mirror),
        ],
        timeout=1800,
    )
    resolver = target / "etc/resolv.conf"
    resolver.unlink(missing_ok=True)
    shutil.copy("/etc/resolv.conf", resolver)
    settings = target / "etc/apt/apt.conf.d/99build"
    settings.write_text(fetch_settings())
    with services_kept_stopped(target):
        # What the base itself is made of is not offered: nobody removes and reinstalls it here.
        chroot(target, ["apt-get", "clean"])
        chroot(target, ["apt-get", "-q", "update"])
        for together in (OFFERED, ALTERNATIVE):
            chroot(target, ["apt-get", "-qy", "--download-only", "install", *together])
    _settle(target)
    settings.unlink()
    _offer_packages(target)


def _must_be_offered(suite: str, mirror: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = f"{mirror.rstrip('/')}/dists/{suite}/InRelease"
        try:
            # apt's own way to fetch, with all that the machine has configured for it.
            call(["/usr/lib/apt/apt-helper", "download-file", file, f"{folder}/InRelease"])
        except LabError as problem:
            said = [line for line in f"{problem}".splitlines() if line.startswith("E: Failed")]
            why = said[0][3:] if said else f"{problem}"
            raise NotOfferedError(f"the mirror does not offer Debian {suite}: {why}") from None
