"""The units of systemd that run the watch: ``sysmail-watch.timer`` and its service. Pure."""

from __future__ import annotations

import re

from sysmail.desired import ManagedFile

__all__ = ["PATHS", "SERVICE", "TIMER", "command_of", "unit_files"]

TIMER = "sysmail-watch.timer"
SERVICE = "sysmail-watch.service"
_UNITS = "/etc/systemd/system"
PATHS = (f"{_UNITS}/{SERVICE}", f"{_UNITS}/{TIMER}")
"""The service first: a timer without one cannot be started."""

_OURS = "# Written by sysmail; changes belong in its policy."


def unit_files(command: str) -> tuple[ManagedFile, ...]:
    """The two units; ``command`` runs a sysmail that root alone may write, by absolute paths."""
    service, timer = PATHS
    return (
        ManagedFile(service, _service(command).encode()),
        ManagedFile(timer, _timer().encode()),
    )


def command_of(service: str) -> str:
    """The command in the text of the service; empty where there is none."""
    found = re.search(r"^ExecStart=(/.+) watch --quiet$", service, re.MULTILINE)
    return found.group(1) if found else ""


def _service(command: str) -> str:
    """Nothing here may keep ``alert.command`` from doing what it does from a shell of root.

    Hence no view of the file system of its own, and none of the network.
    """
    return f"""{_OURS} Format: systemd.service(5).
[Unit]
Description=Watch over the mail of this host (sysmail)

[Service]
Type=oneshot
ExecStart={command} watch --quiet
# Mail in trouble is told by the alert; what fails is a watch that cannot tell.
SuccessExitStatus=1
# Longer than all that it asks may take, one after the other.
TimeoutStartSec=600
Nice=10
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
# As low as postsuper logs what the watch puts on hold: trace and people find it there.
LogLevelMax=info
SyslogLevel=notice
"""


def _timer() -> str:
    return f"""{_OURS} Format: systemd.timer(5).
[Unit]
Description=Watch over the mail of this host, every 5 minutes (sysmail)

[Timer]
OnActiveSec=60
OnUnitActiveSec=300
RandomizedDelaySec=10
AccuracySec=1

[Install]
WantedBy=timers.target
"""
