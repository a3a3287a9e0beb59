"""Promise 7: no change is half done."""

from __future__ import annotations

from sysmail.describe import describe
from sysmail.prove.proof import APPLY, Proof
from sysmail.report import FAIL, PASS, Verdict

__all__ = ["check"]

NAME = "all-or-nothing"


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
    if ours is None:
        return Verdict(NAME, FAIL, "sysmail was never applied on this host", APPLY)
    if steps:
        what = ", ".join(describe(step).summary for step in steps[:4])
        return Verdict(
            NAME,
            FAIL,
            f"the host is not as the policy asks: {what}",
            "see `sysmail plan`, then run `sysmail apply`",
        )
    count = len(proof.situation.desired.files)
    return Verdict(NAME, PASS, f"no change is under way; {count} files are as written")
