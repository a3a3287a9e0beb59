"""Promise 9: no secret where others can read it."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
    secrets = _of_webhook(webhook)
    if password is not None:
        secrets["the password"] = (password.reveal().encode(),)
    where = _in_processes(proof, secrets)
    if where is not None:
        what, place = where
        return Verdict(NAME, FAIL, f"{what} is in {place}", f"stop that process, and change {what}")
    if password is None:
        return Verdict(NAME, PASS, "the webhook's address is in no process")
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
    return Verdict(NAME, PASS, "the password is only in files that root alone can read")


LONG = 8
"""Bytes: what is shorter is part of other words by chance."""

_OURS = frozenset({"master", "msmtpd", "msmtp", "pickup", "qmgr", "sendmail", "smtp", "sysmail"})
"""Programs whose environment sysmail or Postfix made; another may have its own use of a secret."""


def _of_webhook(webhook: str) -> dict[str, tuple[bytes, ...]]:
    """What must not be shown of the webhook's address: a token of Telegram's is one by itself."""
    token = re.search(r"/bot([^/]{8,})/", webhook)
    parts = (webhook, token.group(1) if token else "")
    return {"the webhook's address": tuple(part.encode() for part in parts if part)}


def _holds(data: bytes, secret: bytes) -> bool:
    if len(secret) >= LONG:
        return secret in data
    return secret in re.split(rb"[\0\s=:,\"']+", data)


def _in_processes(
    proof: Proof, secrets: Mapping[str, tuple[bytes, ...]]
) -> Optional[tuple[str, str]]:
    """Which secret a process shows to others, and where; None if none does."""
    read = proof.reader.read
    for pid in filter(str.isdigit, proof.reader.names("/proc")):
        arguments = read(f"/proc/{pid}/cmdline") or b""
        name = arguments.partition(b"\0")[0].rpartition(b"/")[2].decode("utf-8", "replace")
        places = {"the arguments": arguments}
        if name in _OURS:
            places["the environment"] = read(f"/proc/{pid}/environ") or b""
        for place, data in places.items():
            for what, parts in secrets.items():
                if data and any(_holds(data, part) for part in parts):
                    return what, f"{place} of process {pid}"
    return None


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
