"""What a mail program that is replaced has besides its packages: remembered, and put back."""

from __future__ import annotations

from collections.abc import Sequence

from sysmail.apply import guard, packages
from sysmail.apply.checkpoint import Checkpoint, remember, save
from sysmail.distro import Distro
from sysmail.errors import HostError, StepError
from sysmail.facts import parse
from sysmail.facts.collect import collect_neighbour_mail, collect_units
from sysmail.facts.model import UnitFacts
from sysmail.host.port import Reader, Writer
from sysmail.neighbours import NEIGHBOURS, neighbour_of

__all__ = ["put_back", "remember_neighbours", "require_empty", "set_aside"]

PAUSE = 0.2


def remember_neighbours(
    writer: Writer, checkpoint: Checkpoint, distro: Distro, replaced: Sequence[str]
) -> None:
    """Write down their configuration, their units and which packages only came with others."""
    found = [n for n in NEIGHBOURS if set(n.packages) & set(replaced)]
    for path in [path for neighbour in found for path in neighbour.files]:
        state = writer.state(path)
        if state is not None:
            remember(writer, checkpoint, path, state.data)
    checkpoint.packages_replaced = list(replaced)
    checkpoint.packages_automatic = packages.automatic(writer, distro)
    names = [name for neighbour in found for name in neighbour.units]
    checkpoint.units_before = {
        name: {"enabled": unit.enabled, "active": unit.active}
        for name, unit in _units(writer, names).items()
    }
    save(writer, checkpoint)


def require_empty(writer: Writer, replaced: Sequence[str], seconds: float = 0.0) -> None:
    """StepError where mail still waits in the queue of one of them after so many seconds.

    Undone, the program is back and goes on with that mail.
    """
    ours = [name for name in replaced if any(name in n.packages for n in NEIGHBOURS)]
    deadline = writer.elapsed() + seconds
    while True:
        waiting = {n: c for n, c in collect_neighbour_mail(writer, ours).items() if c}
        if not waiting:
            return
        if writer.elapsed() >= deadline:
            break
        writer.sleep(PAUSE)
    name, count = next(iter(waiting.items()))
    noun = "message" if count == 1 else "messages"
    raise StepError(
        "neighbour-mail-waits",
        f"{name} accepted {count} {noun} while it was about to be replaced",
        neighbour_of(name).drain + "; then run sysmail again",
    )


def set_aside(writer: Writer, checkpoint: Checkpoint) -> None:
    """Take remembered files away that would keep a package from coming back.

    They are put back with all others.
    """
    remembered = {entry["path"] for entry in checkpoint.files}
    for neighbour in NEIGHBOURS:
        if neighbour.trips and set(neighbour.packages) & set(checkpoint.packages_replaced):
            for path in remembered & set(neighbour.files):
                writer.remove(path)


def put_back(writer: Writer, checkpoint: Checkpoint) -> None:
    """Let their units be as they were, running with their former configuration."""
    now = _units(writer, list(checkpoint.units_before))
    for name, was in checkpoint.units_before.items():
        unit = now.get(name, UnitFacts())
        if unit.enabled != was["enabled"]:
            writer.run(["systemctl", "enable" if was["enabled"] else "disable", name])
        action = "restart" if was["active"] else "stop"
        done = writer.run(["systemctl", action, *guard.no_wait(writer, action), name])
        if done.status != 0:
            raise HostError(
                "service-not-restored",
                f"{name} did not {'start' if was['active'] else 'stop'} again",
                f"see `systemctl status {name}`; its files are as they were before",
            )


def _units(reader: Reader, names: Sequence[str]) -> dict[str, UnitFacts]:
    """Those of the units that exist; nothing without systemd."""
    if not names or "system" not in reader.names("/run/systemd"):
        return {}
    return {
        name: parse.unit(block)
        for name, block in zip(names, collect_units(reader, names))
        if block.get("LoadState") == "loaded"
    }
