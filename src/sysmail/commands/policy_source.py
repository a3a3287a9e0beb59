"""Where the policy of a run comes from, and the password that it names.

A policy from Ansible, or a file that is named, else ``/etc/sysmail/policy.toml``
(or .json) if it is there, else the policy of the last apply, else the
defaults; flags go on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional, Union

from sysmail.errors import HostError, NotPermittedError, PolicyError, UsageError
from sysmail.host.port import Reader
from sysmail.msmtp import PASSWORD as SUBMISSION_PASSWORD
from sysmail.policy import Hop, Policy, Secret, parse, with_flags
from sysmail.policy.text import read_document
from sysmail.postfix.main_cf import SASL_PASSWORDS

__all__ = [
    "DEFAULT_FILES",
    "Given",
    "complete",
    "installed_password",
    "load_password",
    "load_policy",
]

Given = Union[str, Mapping[str, object]]
"""A policy: the path of a file, ``""`` for the default one, or from Ansible as plain data."""

ANSIBLE = "Ansible"
NOTHING_KEPT: Mapping[str, str] = {}

DEFAULT_FILES = ("/etc/sysmail/policy.toml", "/etc/sysmail/policy.json")
MAX_POLICY = 20_000_000
MAX_PASSWORD = 4096


def load_policy(
    reader: Reader,
    given: Given,
    flags: Mapping[str, Optional[object]],
    last: Optional[Mapping[str, object]],
    *,
    kept: Mapping[str, str] = NOTHING_KEPT,
    relay: bool = False,
) -> tuple[Policy, str]:
    """The policy and where it is from. UsageError (64) for any file that cannot be used.

    ``kept`` are secrets that the ``last`` one brought along itself, by table.
    ``relay``: the relay is meant where the policy names no route.
    """
    data, source = _read(reader, given)
    if data is None and last:
        data, source = complete(last, kept), "the last apply"
    if data is None:
        data, source = {}, "the defaults"
    if relay and isinstance(data, Mapping) and data.get("route") is None:
        data = {**data, "route": "relay"}
    inline = source in {"the last apply", ANSIBLE}
    return with_flags(parse(data, from_ansible=inline), flags), source


def _read(reader: Reader, given: Given) -> tuple[Any, str]:
    """What is given, not trusted to be a mapping; None where nothing is."""
    if not isinstance(given, str):
        return given, ANSIBLE
    if given:
        return _from_file(reader, given, must_exist=True), given
    for name in DEFAULT_FILES:
        data = _from_file(reader, name, must_exist=False)
        if data is not None:
            return data, name
    return None, ""


def complete(last: Mapping[str, object], kept: Mapping[str, str]) -> Mapping[str, object]:
    """What was recorded, with the secrets that are recorded elsewhere."""
    found = dict(last)
    for name, secret in kept.items():
        # A table that holds nothing else is not recorded at all.
        table = last.get(name, {})
        if isinstance(table, Mapping):
            found[name] = {**table, ("webhook" if name == "alert" else "password"): secret}
    return found


def _from_file(reader: Reader, path: str, must_exist: bool) -> Optional[object]:
    try:
        real = reader.link(path) or path
        state = reader.state(real)
    except HostError as error:
        raise UsageError("policy-not-read", error.message, error.remedy) from error
    if state is None:
        if must_exist:
            raise UsageError(
                "policy-not-found",
                f"there is no policy file {path}",
                "check the name after --policy; without it, sysmail uses its defaults",
            )
        return None
    if state.kind != "file":
        raise UsageError("policy-not-read", f"{path} is not a file", "name a file after --policy")
    if state.mode & 0o002 or (state.mode & 0o020 and state.gid != 0):
        raise UsageError(
            "policy-file-writable",
            f"{path} can be written by others than root (mode {state.mode:04o}), "
            "and what it says is carried out as root",
            f"chmod go-w {path}",
        )
    if state.uid not in (0, reader.euid()):
        raise UsageError(
            "policy-file-writable",
            f"{path} belongs to user {state.uid}, and what it says is carried out as root",
            f"chown root {path}",
        )
    if state.size > MAX_POLICY:
        raise UsageError("policy-not-read", f"{path} is larger than 20 MB", "name a policy file")
    try:
        text = state.data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            "policy-syntax", f"{path} is not UTF-8 text: {error.reason}", "save it as UTF-8"
        ) from error
    data = read_document(text, path)
    alert = data.get("alert")
    if isinstance(alert, Mapping) and alert.get("webhook") and state.mode & 0o007:
        raise UsageError(
            "policy-file-readable",
            f"{path} has a webhook, which is a secret, and every user of this host can read it "
            f"(mode {state.mode:04o})",
            f"chmod 600 {path}, and change the webhook's address: somebody may have read it",
        )
    return data


def load_password(reader: Reader, hop: Optional[Hop]) -> Optional[Secret]:
    """The password of a login, None where there is none. Its file must be closed to others."""
    if hop is None or not hop.username:
        return None
    if hop.password is not None:
        return hop.password
    if hop.password_command:
        said = reader.ask(list(hop.password_command))
        if said.status != 0:
            raise UsageError(
                "password-not-read",
                f"password_command failed with exit status {said.status}",
                "run it by hand as root; it must print the password and nothing else",
            )
        return _password(said.out, "password_command")
    path = hop.password_file
    try:
        state = reader.state(reader.link(path) or path)
    except HostError as error:
        raise NotPermittedError("password-not-read", error.message, error.remedy) from error
    if state is None or state.kind != "file":
        raise UsageError(
            "password-not-read",
            f"there is no file {path}, which password_file names",
            f"write the password into {path} and chmod 600 it",
        )
    if state.mode & 0o007:
        raise UsageError(
            "password-file-readable",
            f"{path} can be read by every user of this host (mode {state.mode:04o})",
            f"chmod 600 {path}, and change the password: somebody may have read it",
        )
    return _password(state.data[:MAX_PASSWORD].decode("utf-8", "replace"), path)


def installed_password(reader: Reader, hop: Optional[Hop]) -> Optional[Secret]:
    """The password of a login; that of a ``password_command`` as it was installed."""
    if hop is None or not hop.password_command:
        return load_password(reader, hop)
    for path, before in ((SASL_PASSWORDS, f" {hop.username}:"), (SUBMISSION_PASSWORD, "")):
        raw = reader.read(path)
        if raw is not None:
            text = raw.decode("utf-8", "replace")
            return _password(text.partition(before)[2] if before else text, path)
    return load_password(reader, hop)


def _password(text: str, source: str) -> Secret:
    password = text.rstrip("\r\n")
    if not password or any(ord(c) < 32 or ord(c) == 127 for c in password):
        raise PolicyError(
            "password-unusable",
            f"the password from {source} is empty, or has more than one line",
            "one line, without control characters",
        )
    if password != password.strip():
        raise PolicyError(
            "password-unusable",
            f"the password from {source} begins or ends with a space",
            "choose one without: Postfix's tables cannot hold it (postconf(5), texthash)",
        )
    return Secret(password)
