"""A whole host, to be compared with itself later."""

from __future__ import annotations

from dataclasses import dataclass

from onhost import differences, listeners, packages, snapshot, units

from lab import Host

STATE = "systemctl show -p Id,ActiveState,UnitFileState"


@dataclass(frozen=True)
class Look:
    """What of a host must be the same after `remove`."""

    files: dict[str, str]
    rest: dict[str, list[str]]

    @classmethod
    def at(cls, host: Host, runs: str = "") -> Look:
        """Look now; ``runs`` are the units of interest."""
        automatic = "pacman -Qdq" if host.base == "arch" else "apt-mark showauto"
        failed = "systemctl list-units --failed --no-legend --plain"
        asked = {"automatic": automatic, "failed": failed, "runs": f"{STATE} {runs}"}
        rest = {name: host.run(line).stdout.splitlines() for name, line in asked.items()}
        rest |= {"packages": packages(host), "units": units(host), "sockets": listeners(host)}
        return cls(snapshot(host), rest)

    def assert_same(self, host: Host, runs: str = "", moving: str = "\0") -> None:
        """Everything is as it was, but below ``moving``; what differs is named."""
        now = Look.at(host, runs)
        changed = [d for d in differences(self.files, now.files) if not d.startswith(moving)]
        changed += [
            f"{name}: {sorted(set(was) ^ set(now.rest[name]))}"
            for name, was in self.rest.items()
            if was != now.rest[name]
        ]
        assert not changed, "\n".join(changed)
