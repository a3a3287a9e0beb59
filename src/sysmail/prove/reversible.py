"""Promise 10: what was there before is kept, whole, and can be put back."""

from __future__ import annotations

from sysmail.apply.checkpoint import HOME, Store
from sysmail.errors import HostError
from sysmail.prove.proof import APPLY, Proof
from sysmail.report import FAIL, PASS, Verdict

__all__ = ["check"]

NAME = "reversible"


def check(proof: Proof) -> Verdict:
    """Reads every checkpoint and compares its former contents with their hashes."""
    store, checkpoints = Store(proof.reader), proof.situation.checkpoints
    if not checkpoints:
        return Verdict(NAME, FAIL, "there is no checkpoint: sysmail was never applied", APPLY)
    try:
        files = sum(store.require_whole(checkpoint) for checkpoint in checkpoints)
    except HostError as error:
        remedy = f"put that copy back from a backup of {HOME}; where there is none, {error.remedy}"
        return Verdict(NAME, FAIL, error.message, remedy)
    return Verdict(
        NAME, PASS, f"checkpoints: {len(checkpoints)}, former files in them: {files}, all intact"
    )
