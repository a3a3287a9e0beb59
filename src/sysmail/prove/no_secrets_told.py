"""Promise 9: no secret where others can read it."""

from __future__ import annotations

from sysmail.apply.checkpoint import HOME
from sysmail.msmtp import DIRECTORY as MSMTP_DIRECTORY
from sysmail.postfix.maps import DIRECTORY
from sysmail.prove.proof import APPLY, Proof
from sysmail.report import FAIL, PASS, Verdict

__all__ = ["check"]

NAME = "no-secrets-told"
_FOLDERS = ("/etc/postfix", DIRECTORY, "/etc/sysmail", MSMTP_DIRECTORY)
_LARGEST = 1_000_000


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
    copy = _readable_copy(proof, secret)
    if copy:
        return Verdict(
            NAME,
            FAIL,
            f"{copy} holds the password, and every user of this host can read it",
            f"`chmod 600 {copy}` or remove it, and change the password",
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


def _readable_copy(proof: Proof, secret: bytes) -> str:
    """A file beside ours, such as an editor leaves, that holds the password and others can read."""
    managed = {file.path for file in proof.situation.desired.files}
    for folder in _FOLDERS:
        for name in proof.reader.names(folder):
            path = f"{folder}/{name}"
            state = proof.reader.state(path, content=False)
            # A former content during a transaction has a second name, which goes at its end.
            ours = path in managed or ".sysmail-" in name
            if ours or state is None or state.kind != "file" or not state.mode & 0o004:
                continue
            if state.size <= _LARGEST and secret in (proof.reader.read(path) or b""):
                return path
    return ""
