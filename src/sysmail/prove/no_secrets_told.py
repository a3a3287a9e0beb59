"""Promise 9: no secret where others can read it."""

from __future__ import annotations

from sysmail.apply.checkpoint import HOME
from sysmail.prove.proof import APPLY, Proof
from sysmail.report import FAIL, PASS, Verdict

__all__ = ["check"]

NAME = "no-secrets-told"


def check(proof: Proof) -> Verdict:
    """Looks at the modes of what holds a password, and for it in the arguments of processes."""
    password = proof.situation.password
    home = proof.reader.state(HOME, content=False)
    if home is not None and home.mode & 0o077:
        return Verdict(NAME, FAIL, f"{HOME} has mode {home.mode:04o}", f"chmod 700 {HOME}")
    if password is None:
        return Verdict(NAME, PASS, "this policy has no secret")
    secret = password.reveal().encode()
    for file in proof.situation.desired.files:
        state = proof.situation.files.get(file.path)
        if state is None or secret not in state.data:
            continue
        if state.mode & 0o077 or state.uid != 0:
            return Verdict(
                NAME, FAIL, f"{file.path} holds the password and has mode {state.mode:04o}", APPLY
            )
    told = _in_arguments(proof, secret)
    if told:
        return Verdict(
            NAME,
            FAIL,
            f"the password is in the arguments of process {told[0]}",
            "stop that process, and change the password",
        )
    return Verdict(NAME, PASS, "the password is only in files that root alone can read")


def _in_arguments(proof: Proof, secret: bytes) -> list[str]:
    return [
        pid
        for pid in proof.reader.names("/proc")
        if pid.isdigit() and secret in (proof.reader.read(f"/proc/{pid}/cmdline") or b"")
    ]
