"""Checkpoints: what a transaction changed, written down before it changed it.

Each is a directory ``/var/lib/sysmail/checkpoints/NNNN`` (root only) with
``journal.json`` and the former contents of files. What may hold a secret is
apart, in ``/var/lib/sysmail/secrets/NNNN``: a checkpoint can be shown to
somebody. States of a journal:

    open      a transaction is under way, or was cut off: recovery undoes it
    packages  prepared; somebody else installs packages, and then goes on with it
    done      in force
    undoing   it is being undone, or that was cut off: recovery goes on
    (gone)    undone: the directory is removed
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Optional

from sysmail.apply import journal
from sysmail.errors import HostError
from sysmail.host.port import FileState, Reader, Writer
from sysmail.msmtp import DIRECTORY as SUBMISSION
from sysmail.msmtp import MSMTPRC

__all__ = [
    "FORGOTTEN",
    "FORMER",
    "HOME",
    "MEMORY",
    "MEMORY_IN_RUN",
    "SECRETS",
    "TEMPORARY",
    "WAITING",
    "Checkpoint",
    "Store",
    "digest",
    "finish",
    "keep_passwords",
    "remember",
    "save",
]

HOME = "/var/lib/sysmail"
SECRETS = f"{HOME}/secrets"
MEMORY = f"{HOME}/watch.json"
"""What the watch remembers."""

MEMORY_IN_RUN = "/run/sysmail/watch.json"
"""The same where that cannot be written: a disk that is full or read-only."""

TEMPORARY = ".sysmail-new"
"""How host/machine.py names a file until it is whole."""

FORGOTTEN = ".gone"
"""The end of the name of a checkpoint that is being removed."""

FORMER = ".sysmail-old"
"""The end of a second name of a file that is about to change: the way back needs no space."""

WAITING = "packages"


def digest(data: bytes) -> str:
    """The SHA-256 of a content, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Checkpoint:
    """One transaction.

    ``files`` are entries {path, before, after, access} in the order of the changes;
    ``before`` is None for a path that was not there, ``after`` the hash of what was written,
    None for a removal, ``access`` its mode, owner and group where those were set.
    ``absent_before`` are managed paths that were not there
    when the transaction began, whatever an installed package has put there
    since. ``packages_automatic`` only came with others when ``packages_replaced``
    went, and ``units_before`` are what units those had. ``submission`` are the
    addresses on which sysmail's msmtpd ran before. ``mailu_down_since`` is when an
    apply first found the Mailu in use to be down, ``mailu_down_seen`` when one
    last did; 0 while it answers. Notices that were lost before ``losses_since``
    are known to a person and no longer turn a proof red. Times are in seconds
    since the epoch. ``steps`` are those that were done before the packages came,
    as in a report. ``relay_asked``: the relay was asked for, not only decided on.
    ``packages_along`` are those of the brought ones that only came for others' sake,
    ``packages_by_hand`` those of them that a person had asked for when a removal began, and
    ``packages_configured`` those of which the configuration alone was there before.
    ``handed_over``: its packages were left to somebody else, whose package manager may
    outlive whatever happens to us. ``watch``: the timer of the watch ran before.
    ``fetching``: packages are being downloaded, so that the lock that a package manager left
    which was killed with us is ours. ``going_back``: it was in force, and a rollback or a remove
    has begun to undo it. ``notes`` are what a person has to be told of the way back, by whoever
    ends it. ``unserved``: Postfix was not yet asked to read anything, or to stop: what runs, runs
    as before. ``folders`` are those that a package may take along: {path, mode, uid, gid}, and
    the target of one that is a link. ``found`` is what was there at the end beside the files that
    were written (apply/bystanders.py), None where nobody looked; ``folder_goes``: with the
    package, and with all that is in it.
    """

    number: int
    kind: str
    state: str = "open"
    time: float = 0.0
    losses_since: float = 0.0
    policy: dict[str, Any] = field(default_factory=dict)
    route: dict[str, str] = field(default_factory=dict)
    service: dict[str, bool] = field(default_factory=dict)
    submission: list[str] = field(default_factory=list)
    mailu_down_since: float = 0.0
    mailu_down_seen: float = 0.0
    files: list[dict[str, Any]] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    packages_before: list[str] = field(default_factory=list)
    packages_asked: list[str] = field(default_factory=list)
    packages_brought: Optional[list[str]] = None
    packages_lost: Optional[list[str]] = None
    packages_replaced: list[str] = field(default_factory=list)
    packages_automatic: list[str] = field(default_factory=list)
    units_before: dict[str, dict[str, bool]] = field(default_factory=dict)
    packages_removing: Optional[list[str]] = None
    packages_along: list[str] = field(default_factory=list)
    packages_by_hand: list[str] = field(default_factory=list)
    packages_configured: list[str] = field(default_factory=list)
    absent_before: list[str] = field(default_factory=list)
    leftovers_before: list[str] = field(default_factory=list)
    folders: list[dict[str, Any]] = field(default_factory=list)
    found: Optional[dict[str, str]] = None
    folder_goes: bool = False
    steps: list[dict[str, Any]] = field(default_factory=list)
    relay_asked: bool = False
    handed_over: bool = False
    watch: bool = False
    fetching: bool = False
    going_back: bool = False
    unserved: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def directory(self) -> str:
        """Where the checkpoint is kept."""
        return f"{HOME}/checkpoints/{self.number:04d}"

    @property
    def secrets(self) -> str:
        """Where those former contents are kept that may hold a secret."""
        return f"{SECRETS}/{self.number:04d}"

    def kept(self, before: Mapping[str, Any]) -> str:
        """Where the former content of a file is kept."""
        folder = self.secrets if before.get("secret") else self.directory
        return f"{folder}/{before['backup']}"


class Store:
    """The checkpoints of a host."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def load(self) -> list[Checkpoint]:
        """Every checkpoint, oldest first. HostError when one cannot be read."""
        found: list[Checkpoint] = []
        for name in self._reader.names(f"{HOME}/checkpoints"):
            if name.endswith(FORGOTTEN):
                continue
            path = f"{HOME}/checkpoints/{name}/journal.json"
            try:
                text = self._reader.read(path)
                if text is None:
                    self._require_nothing_kept(name)
                    continue  # cut off before its journal was there: nothing was changed yet
                data = journal.read(text, _TYPES)
                if name != f"{data['number']:04d}":
                    raise ValueError(f"it is the journal of checkpoint {data['number']}")
                unknown = sorted(set(data) - {each.name for each in fields(Checkpoint)})
                if unknown:
                    raise HostError(
                        "journal-newer",
                        f"{path} was written by a newer sysmail: it has {unknown[0]}",
                        "use that version, or bring this one up to date",
                    )
                found.append(Checkpoint(**data))
            except (ValueError, TypeError) as error:
                raise _damaged(name, f"{path} is damaged: {error}") from error
            except HostError as error:
                if error.code != "file-not-read":
                    raise
                raise _damaged(name, error.message) from error
        return found

    def _require_nothing_kept(self, name: str) -> None:
        """HostError where former contents of files have lost their journal."""
        folders = (f"{HOME}/checkpoints/{name}", f"{SECRETS}/{name}")
        if any(each.isdigit() for folder in folders for each in self._reader.names(folder)):
            path = f"{HOME}/checkpoints/{name}"
            raise _damaged(name, f"{path} has lost its journal.json")

    def is_clean(self) -> bool:
        """Whether nothing was cut off: every checkpoint is whole and done, nothing is half written.

        A directory that is still or already empty was cut off too.
        """
        names = self._reader.names(f"{HOME}/checkpoints")
        found = self.load()
        if not found:
            # What a person changed and a way back replaced stays there: apply/edits.py.
            left = self._reader.names(HOME)
            return left == ["kept"] or self._reader.state(HOME, content=False) is None
        secrets = set(self._reader.names(SECRETS))
        whole = len(found) == len(names) and secrets <= {f"{c.number:04d}" for c in found}
        if not whole or any(c.state != "done" or c.fetching for c in found):
            return False
        if self._reader.state(MEMORY + TEMPORARY, content=False) is not None:
            return False
        return not any(self.half_written(c) for c in found)

    def half_written(self, checkpoint: Checkpoint) -> list[str]:
        """What a write of a checkpoint that was cut off has left beside its files."""
        return [
            f"{folder}/{name}"
            for folder in (checkpoint.directory, checkpoint.secrets)
            for name in self._reader.names(folder)
            if name.endswith(TEMPORARY)
        ]

    def in_force(self) -> Optional[Checkpoint]:
        """The checkpoint of the last apply, None where sysmail is not in force."""
        done = [c for c in self.load() if c.state == "done"]
        return done[-1] if done else None

    def passwords(self, checkpoint: Checkpoint) -> dict[str, str]:
        """The secrets that a policy brought along itself, by table: passwords, a webhook."""
        path = _passwords(checkpoint)
        try:
            found = json.loads(self._reader.read(path) or b"{}")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            raise HostError(
                "journal-damaged",
                f"{path}, the secrets that came with the policy, is damaged",
                "remove that file, then apply the policy again, which brings them",
            )
        return found

    def require_whole(self, checkpoint: Checkpoint) -> int:
        """How many former contents there are. HostError when one is damaged."""
        kept = [e for e in checkpoint.files if e["before"] is not None and "backup" in e["before"]]
        for entry in kept:
            self.backup(checkpoint, entry)
        return len(kept)

    def backup(self, checkpoint: Checkpoint, entry: dict[str, Any]) -> bytes:
        """The former content of a file, verified. HostError when it is damaged."""
        before = entry["before"]
        path = checkpoint.kept(before)
        state = self._reader.state(path)
        data = state.data if state is not None and state.kind == "file" else None
        if data is None or digest(data) != before["sha256"]:
            raise HostError(
                "journal-damaged",
                f"{path}, the former content of {entry['path']}, is missing or damaged",
                f"restore {entry['path']} from your backup, then move {checkpoint.directory} away",
            )
        return data


def _damaged(name: str, what: str) -> HostError:
    return HostError(
        "journal-damaged",
        what,
        "the former contents of files are beside it, those that may hold a secret in "
        f"{SECRETS}/{name}; put back what you need of both, then move "
        f"{HOME}/checkpoints/{name} away, with which the others go too",
    )


def _passwords(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.secrets}/passwords.json"


_TYPES = {each.name: str(each.type) for each in fields(Checkpoint)}


def keep_passwords(writer: Writer, checkpoint: Checkpoint, passwords: Mapping[str, str]) -> None:
    """Keep what a policy from Ansible brought along, for the commands that come after it."""
    if not passwords:
        writer.remove(_passwords(checkpoint))
    else:
        _make_secrets(writer, checkpoint)
        text = json.dumps(passwords, sort_keys=True) + "\n"
        writer.write(_passwords(checkpoint), text.encode(), 0o600)


def save(writer: Writer, checkpoint: Checkpoint) -> None:
    """Write the journal, durably."""
    writer.mkdir(HOME, 0o700)
    writer.mkdir(f"{HOME}/checkpoints", 0o700)
    writer.mkdir(checkpoint.directory, 0o700)
    writer.write(f"{checkpoint.directory}/journal.json", _text(checkpoint), 0o600)


def finish(writer: Writer, checkpoint: Checkpoint) -> None:
    """Write the journal of a transaction that is done, and take its second names away.

    What needs space comes first, so that the way back is still there where it fails;
    the change of one name is the end.
    """
    written = f"{checkpoint.directory}/journal.new"
    # Not done in memory before it is on the disk: what fails here is undone as what is open is.
    writer.write(written, _text(replace(checkpoint, state="done")), 0o600)
    for entry in checkpoint.files:
        writer.remove(entry["path"] + FORMER)
    if any(entry["path"].startswith(SUBMISSION + "/") for entry in checkpoint.files):
        writer.rmdir(SUBMISSION)  # where all in it was removed
    writer.rename(written, f"{checkpoint.directory}/journal.json")
    checkpoint.state = "done"


def _text(checkpoint: Checkpoint) -> bytes:
    return (json.dumps(checkpoint.__dict__, indent=1, sort_keys=True) + "\n").encode()


def remember(
    writer: Writer,
    checkpoint: Checkpoint,
    path: str,
    after: Optional[bytes],
    access: Optional[tuple[int, int, int]] = None,
) -> None:
    """Write down what a path is before it changes; the journal is durable on return."""
    state = writer.state(path)
    before: Optional[dict[str, Any]] = None
    if state is not None and state.kind not in {"file", "link"}:
        raise HostError(
            "not-a-file",
            f"{path} is a {state.kind}, and sysmail has to write a file there",
            f"move {path} away, then retry",
        )
    if state is not None:
        before = {"kind": state.kind, "mode": state.mode, "uid": state.uid, "gid": state.gid}
        before.update(_content(writer, checkpoint, path, state))
    entry: dict[str, Any] = {"path": path, "before": before}
    entry["after"] = None if after is None else digest(after)
    if access is not None:
        entry["access"] = list(access)
    checkpoint.files.append(entry)
    save(writer, checkpoint)


def _content(writer: Writer, checkpoint: Checkpoint, path: str, state: FileState) -> dict[str, Any]:
    if state.kind == "link":
        return {"target": state.target}
    name = f"{len(checkpoint.files):03d}"
    found: dict[str, Any] = {"backup": name, "sha256": digest(state.data)}
    if not _may_hold_secret(path, state):
        writer.write(f"{checkpoint.directory}/{name}", state.data, 0o600)
        return found
    _make_secrets(writer, checkpoint)
    writer.write(f"{checkpoint.secrets}/{name}", state.data, 0o600)
    return {**found, "secret": True}


def _may_hold_secret(path: str, state: FileState) -> bool:
    """Whether somebody kept it from others, or could have written a password into it."""
    return (
        not state.mode & 0o004
        or path == MSMTPRC
        or any(word in state.data.lower() for word in (b"passw", b"_pw", b"secret"))
    )


def _make_secrets(writer: Writer, checkpoint: Checkpoint) -> None:
    writer.mkdir(SECRETS, 0o700)
    writer.mkdir(checkpoint.secrets, 0o700)
