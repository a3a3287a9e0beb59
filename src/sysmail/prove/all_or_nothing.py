"""Promise 7: no change is half done."""

from __future__ import annotations

from sysmail.facts.parse import parameters
from sysmail.plan import Step, WriteFile
from sysmail.prove.proof import APPLY, Proof
from sysmail.report import FAIL, PASS, Verdict

__all__ = ["check"]

NAME = "all-or-nothing"
MAIN_CF = "/etc/postfix/main.cf"
SHOWN = 4


def check(proof: Proof) -> Verdict:
    """Looks for a transaction that was cut off, and compares every file with the policy."""
    ours = proof.situation.in_force
    number = ours.number if ours is not None else 0
    known = proof.situation.checkpoints
    cut_off = [c for c in known if c.state != "done" and c.number != number]
    if cut_off:
        return Verdict(
            NAME, FAIL, f"a {cut_off[0].kind} was cut off", "run any sysmail command as root"
        )
    steps = proof.situation.steps
    masked = _masked(proof)
    if masked:
        return Verdict(
            NAME,
            FAIL,
            f"{masked} is masked: it does not start at the next boot, and nobody can start it",
            f"`systemctl unmask {masked}`, then {APPLY}",
        )
    if ours is None:
        return Verdict(NAME, FAIL, "sysmail was never applied on this host", APPLY)
    if steps:
        from sysmail.describe import describe  # for what has to be done alone

        what = ", ".join(describe(step).summary + _in_detail(step) for step in steps[:4])
        who = "the policy was changed since it was applied, and "
        changed = ours.policy != proof.situation.asked
        return Verdict(
            NAME,
            FAIL,
            f"{who if changed else ''}the host is not as the policy asks: {what}",
            "see `sysmail plan`, then run `sysmail apply`",
        )
    count = len(proof.situation.desired.files)
    return Verdict(NAME, PASS, f"no change is under way; {count} files are as written")


def _masked(proof: Proof) -> str:
    """A unit of Postfix that is a link to /dev/null (systemd.unit(5))."""
    distro = proof.situation.facts.distro
    for unit in distro.units if distro is not None and proof.relay else ():
        state = proof.reader.state(f"/etc/systemd/system/{unit}", content=False)
        if state is not None and state.target == "/dev/null":
            return unit
    return ""


def _in_detail(step: Step) -> str:
    """Which parameters of main.cf differ, for who knows what was done to them."""
    if not isinstance(step, WriteFile) or step.file.path != MAIN_CF or step.before is None:
        return ""
    before, after = parameters(_text(step.before.data)), parameters(_text(step.file.data))
    names = sorted(n for n in {*before, *after} if before.get(n) != after.get(n))
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f" ({', '.join(names[:SHOWN])}{rest})" if names else ""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
