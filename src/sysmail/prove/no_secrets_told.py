"""Promise 9: no secret where others can read it."""

from __future__ import annotations

import re
from typing import Optional

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
    """Looks at the modes of what holds a secret, and for it in arguments and environments."""
    password = proof.situation.password
    home = proof.reader.state(HOME, content=False)
    if home is not None and home.mode & 0o077:
        return Verdict(NAME, FAIL, f"{HOME} has mode {home.mode:04o}", f"chmod 700 {HOME}")
    webhook = proof.situation.policy.alert.webhook
    if password is None and not webhook:
        return Verdict(NAME, PASS, "this policy has no secret")
    told = _of_webhook(proof, webhook)
    if told is not None or password is None:
        passed = Verdict(NAME, PASS, "the webhook's address is in no process")
        return told or passed
    secret = password.reveal().encode()
    for file in proof.situation.desired.files:
        state = proof.situation.files.get(file.path)
        if state is None or not _holds(state.data, secret):
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
    where = _in_processes(proof, secret)
    if where:
        return Verdict(
            NAME, FAIL, f"the password is in {where}", "stop that process, and change the password"
        )
    return Verdict(NAME, PASS, "the password is only in files that root alone can read")


LONG = 8
"""Bytes: what is shorter is part of other words by chance."""

_OURS = frozenset({"master", "msmtpd", "msmtp", "pickup", "qmgr", "sendmail", "smtp", "sysmail"})
"""Programs whose environment sysmail or Postfix made; another may have its own use of a secret."""


def _of_webhook(proof: Proof, webhook: str) -> Optional[Verdict]:
    """What is wrong with how the webhook's address is kept: it is a secret, in a path or a token.

    The token of a bot of Telegram is one by itself.
    """
    token = re.search(r"/bot([^/]{8,})/", webhook)
    for secret in filter(None, (webhook, token.group(1) if token else "")):
        where = _in_processes(proof, secret.encode())
        if where:
            return Verdict(
                NAME,
                FAIL,
                f"the webhook's address is in {where}",
                "stop that process, and change the webhook's address",
            )
    return None


def _holds(data: bytes, secret: bytes) -> bool:
    if len(secret) >= LONG:
        return secret in data
    return secret in re.split(rb"[\0\s=:,\"']+", data)


def _in_processes(proof: Proof, secret: bytes) -> str:
    """Where a process shows a secret to others; empty if none does."""
    read = proof.reader.read
    for pid in filter(str.isdigit, proof.reader.names("/proc")):
        if _holds(read(f"/proc/{pid}/cmdline") or b"", secret):
            return f"the arguments of process {pid}"
        name = (read(f"/proc/{pid}/comm") or b"").decode("utf-8", "replace").strip()
        if name in _OURS and _holds(read(f"/proc/{pid}/environ") or b"", secret):
            return f"the environment of process {pid}"
    return ""


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
            if state.size <= _LARGEST and _holds(proof.reader.read(path) or b"", secret):
                return path
    return ""
