"""Owners and modes of Postfix's folders and of the two programs that every user may run.

Postfix makes folders that are missing when it starts, and corrects no owner: after a restored
backup or a `chown -R` it runs, and mail stays where it is. Directory by directory as
postfix-files of Postfix's own package has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from sysmail.prove.proof import Fault, Proof

__all__ = ["faults"]

# Folder, whether its group is setgid_group, the mode, the bits that have to be set in it.
_FOLDERS = (
    *((name, False, 0o700, 0o700) for name in ("active", "bounce", "corrupt", "defer")),
    *((name, False, 0o700, 0o700) for name in ("deferred", "hold", "incoming", "private")),
    ("maildrop", True, 0o1730, 0o730),
    ("public", True, 0o2710, 0o710),
)
_OPEN = ("maildrop", "public")
_PROGRAMS = ("postdrop", "postqueue")


def faults(proof: Proof) -> Iterator[Fault]:
    """What keeps Postfix, or the users of this host, from writing where they have to."""
    if proof.situation.facts.postfix is None or not proof.relay:
        return
    owner, group = proof.parameter("mail_owner"), proof.parameter("setgid_group")
    uid, gid = _number(proof, "/etc/passwd", owner), _number(proof, "/etc/group", group)
    if uid is None or gid is None:
        return  # accounts that are not in these files: whose numbers are right is not known
    yield from _folders(proof, (owner, uid), (group, gid))
    data = proof.parameter("data_directory")
    state = proof.reader.state(data, content=False)
    if state is not None and state.uid != uid:
        yield Fault(
            "nothing-lost",
            "folder-owner",
            f"{data} does not belong to {owner}: tlsmgr and the caches of Postfix cannot start",
            f"`chown -R {owner} {data}`, then `postfix reload`",
        )
    yield from _programs(proof, group, gid)


def _folders(proof: Proof, owner: tuple[str, int], group: tuple[str, int]) -> Iterator[Fault]:
    queue = proof.parameter("queue_directory")
    for name, shared, mode, needed in _FOLDERS:
        path = f"{queue}/{name}"
        check = "local-clients" if name in _OPEN else "nothing-lost"
        state = proof.reader.state(path, content=False)
        if state is None or state.kind != "directory":
            yield Fault(
                check,
                "folder-missing",
                f"there is no folder {path}: mail cannot be kept there",
                "`postfix check` makes it; then `postfix reload`",
            )
            continue
        right = state.uid == owner[1] and (not shared or state.gid == group[1])
        if right and state.mode & needed == needed:
            continue
        whose = owner[0] if not shared else f"{owner[0]}:{group[0]}"
        effect = "no user can hand mail to sendmail" if shared else "mail stays, or is refused"
        yield Fault(
            check,
            "folder-owner",
            f"{path} has mode {state.mode:04o} and owner {state.uid}:{state.gid}: {effect}",
            f"`chown {whose} {path} && chmod {mode:o} {path}`",
        )


def _programs(proof: Proof, group: str, gid: int) -> Iterator[Fault]:
    for name in _PROGRAMS:
        path = f"{proof.parameter('command_directory')}/{name}"
        state = proof.reader.state(path, content=False)
        if state is None:
            yield Fault(
                "local-clients",
                "program-missing",
                f"there is no {path}: users cannot hand mail to sendmail, nor see the queue",
                proof.again,
            )
            continue
        if proof.reader.room(path).nosuid:
            mount = proof.reader.room(path).mount
            yield Fault(
                "local-clients",
                "not-setgid",
                f"{mount} is mounted with nosuid, and {path} has to be setgid {group}: users who "
                "are not root cannot use sendmail",
                f"`mount -o remount,suid {mount}`, and take nosuid out of /etc/fstab",
            )
        if state.gid == gid and state.mode & 0o2001 == 0o2001:
            continue
        yield Fault(
            "local-clients",
            "not-setgid",
            f"{path} has mode {state.mode:04o} and group {state.gid}, and has to be setgid {group}:"
            " users who are not root cannot use sendmail",
            f"`chgrp {group} {path} && chmod g+s,o+x {path}`",
        )


def _number(proof: Proof, path: str, name: str) -> Optional[int]:
    """The numeric id of an account or a group: passwd(5), group(5)."""
    for line in (proof.reader.read(path) or b"").decode("utf-8", "replace").splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[0] == name and fields[2].isdigit():
            return int(fields[2])
    return None
