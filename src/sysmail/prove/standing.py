"""What stands still: mail that no program takes on, and a Postfix that is not as it was set up."""

from __future__ import annotations

from collections.abc import Iterator

from sysmail.prove.proof import APPLY, Fault, Proof

__all__ = ["faults"]

PATIENCE = 600.0
"""Seconds: pickup(8) looks every minute and qmgr(8) more often; a loaded host may take some."""


DEFERRED = "deferred transport"
"""What qmgr(8) says of a transport in defer_transports (qmgr_error.c; measured)."""


def faults(proof: Proof) -> Iterator[Fault]:
    """An alert that reaches nobody, mail that lies where it should not, and who started Postfix."""
    yield from _nobody_told(proof)
    facts = proof.situation.facts
    if facts.postfix is None or not proof.relay or not facts.master_running:
        return
    yield from _not_taken_on(proof)
    yield from _otherwise(proof)
    yield from _by_hand(proof)


def _nobody_told(proof: Proof) -> Iterator[Fault]:
    """The command of the policy that the watch would run, on the day on which it has to."""
    name = next(iter(proof.situation.policy.alert.command), "")
    if not name:
        return
    path = name if name.startswith("/") else proof.reader.which(name)
    real = proof.reader.link(path) if path else None
    state = proof.reader.state(real, content=False) if real else None
    if state is None or not state.mode & 0o111:
        what = "is not there" if state is None else "is no program (its mode has no x)"
        yield Fault(
            "all-or-nothing",
            "alert-command-missing",
            f"the command of [alert] in the policy {what}: the watch could tell nobody",
            f"put {name} back, or set alert.command in the policy; then {APPLY}",
        )


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


def _otherwise(proof: Proof) -> Iterator[Fault]:
    """qmgr(8) puts off what main.cf does not ask it to: main.cf was changed, and qmgr not told.

    Who has just mended main.cf and reloaded has such mail until it is tried again.
    """
    state = proof.reader.state(proof.parameter("config_directory") + "/main.cf", content=False)
    new = state is not None and abs(proof.reader.now() - state.mtime) < PATIENCE
    if proof.parameter("defer_transports") or new:
        return
    put_off = [
        message
        for message in proof.waiting or ()
        if message.queue != "hold" and any(r.reason == DEFERRED for r in message.recipients)
    ]
    if put_off:
        yield Fault(
            "nothing-lost",
            "otherwise-in-memory",
            f"{len(put_off)} in the queue with the reason `{DEFERRED}`, and main.cf has no "
            "defer_transports: the Postfix that runs was told otherwise",
            "`postfix reload`, then `postqueue -f`",
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
