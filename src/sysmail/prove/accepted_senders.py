"""Promise 6: local senders are rewritten to one that the next hop accepts."""

from __future__ import annotations

from sysmail.msmtp import DIRECTORY as MSMTP_DIRECTORY
from sysmail.postfix.maps import DIRECTORY
from sysmail.prove.proof import APPLY, Proof
from sysmail.report import FAIL, PASS, Verdict

__all__ = ["check"]

NAME = "accepted-senders"


def check(proof: Proof) -> Verdict:
    """Looks at the map in effect, and compares the tables with those that the policy asks for."""
    if not proof.relay:
        return _msmtp(proof)
    wanted = f"regexp:{DIRECTORY}/generic"
    if proof.parameter("smtp_generic_maps") != wanted:
        return Verdict(
            NAME, FAIL, f"smtp_generic_maps is {proof.parameter('smtp_generic_maps')!r}", APPLY
        )
    for file in proof.situation.desired.files:
        if file.path in (f"{DIRECTORY}/generic", f"{DIRECTORY}/sender_is_local"):
            state = proof.situation.files.get(file.path)
            if state is None or state.data != file.data:
                return Verdict(NAME, FAIL, f"{file.path} is not as the policy asks", APPLY)
    sender = proof.situation.sender
    if proof.situation.policy.sender:
        return Verdict(NAME, PASS, f"local senders leave as {sender}; the null sender stays null")
    return Verdict(NAME, PASS, f"local senders leave with the host's name, such as {sender}")


def _msmtp(proof: Proof) -> Verdict:
    wrong = proof.changed(MSMTP_DIRECTORY)
    if wrong:
        return Verdict(NAME, FAIL, f"{wrong} is not as the policy asks", APPLY)
    sender = proof.situation.sender
    return Verdict(NAME, PASS, f"every sender leaves as {sender}; the null sender stays null")
