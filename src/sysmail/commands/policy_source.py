"""Where the policy of a run comes from, and the password that it names.

A file that is named, else ``/etc/sysmail/policy.toml`` (or .json) if it is
there, else the policy of the last apply, else the defaults; flags go on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from sysmail.errors import HostError, NotPermittedError, PolicyError, UsageError
from sysmail.host.port import Reader
from sysmail.policy import Hop, Policy, Secret, parse, parse_text, with_flags

__all__ = ["DEFAULT_FILES", "load_password", "load_policy"]

DEFAULT_FILES = ("/etc/sysmail/policy.toml", "/etc/sysmail/policy.json")
MAX_POLICY = 20_000_000
MAX_PASSWORD = 4096


def load_policy(
    reader: Reader,
    path: str,
    flags: Mapping[str, Optional[object]],
    last: Optional[Mapping[str, object]],
) -> tuple[Policy, str]:
    """The policy and where it is from. UsageError (64) for any file that cannot be used."""
    if path:
        policy, source = _from_file(reader, path, must_exist=True), path
    else:
        policy, source = None, ""
        for name in DEFAULT_FILES:
            policy = _from_file(reader, name, must_exist=False)
            if policy is not None:
                source = name
                break
    if policy is None and last:
        policy, source = parse(last), "the last apply"
    if policy is None:
        policy, source = parse({}), "the defaults"
    return with_flags(policy, flags), source


def _from_file(reader: Reader, path: str, must_exist: bool) -> Optional[Policy]:
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
    return parse_text(text, path)


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
