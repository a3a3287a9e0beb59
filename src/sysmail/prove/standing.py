"""What stands still: mail that no program takes on, and a Postfix that is not as it was set up."""

from __future__ import annotations

from collections.abc import Iterator

from sysmail.prove.proof import APPLY, Fault, Proof

__all__ = ["faults"]

PATIENCE = 600.0
"""Seconds: pickup(8) looks every minute and qmgr(8) more often; a loaded host may take some."""


def faults(proof: Proof) -> Iterator[Fault]:
    """Mail that lies where it is to stay for a moment only, and who started Postfix."""
    facts = proof.situation.facts
    if facts.postfix is None or not proof.relay or not facts.master_running:
        return
    yield from _not_taken_on(proof)
    yield from _by_hand(proof)


def _not_taken_on(proof: Proof) -> Iterator[Fault]:
    """In maildrop for pickup, or in incoming for qmgr: what lies there was not looked at."""
    old = proof.reader.now() - PATIENCE
    for queue, program in (("maildrop", "pickup"), ("incoming", "qmgr")):
        lie = [m for m in proof.waiting or () if m.queue == queue and m.arrived < old]
        if lie:
            noun = "message has" if len(lie) == 1 else "messages have"
            yield Fault(
                "nothing-lost",
                "not-taken-on",
                f"{len(lie)} {noun} been in {queue} for more than {PATIENCE / 60:.0f} minutes: "
                f"{program} does not take mail on",
                "`postfix reload`; what stops that program is in the mail log, such as a full disk",
            )


def _by_hand(proof: Proof) -> Iterator[Fault]:
    """What systemd knows is started again: a master that somebody started is not among it."""
    facts = proof.situation.facts
    if not facts.systemd or not facts.service.forking:
        return
    directory = proof.parameter("queue_directory")
    pid = (proof.reader.read(f"{directory}/pid/master.pid") or b"").decode("ascii", "replace")
    group = (proof.reader.read(f"/proc/{pid.strip()}/cgroup") or b"").decode("utf-8", "replace")
    if "/" in group and ".service" not in "".join(x for x in group.splitlines() if "postfix" in x):
        yield Fault(
            "all-or-nothing",
            "not-by-its-unit",
            "Postfix was started by hand: systemd does not know of it, and starts nothing when it "
            "ends",
            f"`postfix stop`, then {APPLY}",
        )
