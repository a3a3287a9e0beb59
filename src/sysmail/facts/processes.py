"""Which processes are the host's own: those of containers are seen beside them, and are others'."""

from __future__ import annotations

from collections.abc import Iterator

from sysmail.errors import HostError
from sysmail.host.port import Reader

__all__ = ["own", "pid_namespace"]


def own(reader: Reader) -> Iterator[str]:
    """The ids of the processes in this very PID namespace, see pid_namespaces(7)."""
    ours = pid_namespace(reader, "self")
    for pid in reader.names("/proc"):
        if pid.isdigit() and pid_namespace(reader, pid) == ours:
            yield pid


def pid_namespace(reader: Reader, pid: str) -> str:
    """namespaces(7): such as ``pid:[4026531836]``; every container has one of its own.

    A service of systemd has none of its own, other than of mounts. Empty where the process
    has ended, or the kernel has none.
    """
    try:
        state = reader.state(f"/proc/{pid}/ns/pid", content=False)
    except HostError:
        return ""
    return state.target if state is not None else ""
