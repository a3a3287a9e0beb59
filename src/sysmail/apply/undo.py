"""Back to what a checkpoint remembers, and recovery of what was cut off."""

from __future__ import annotations

import re
from typing import Any, Callable, Optional

from sysmail import queue
from sysmail.apply import neighbour, packages, service, submission, timer
from sysmail.apply.checkpoint import (
    HOME,
    MEMORY,
    WAITING,
    Checkpoint,
    Store,
    digest,
    save,
)
from sysmail.apply.retire import close_sendmail, end_postdrops, open_sendmail
from sysmail.apply.scratch import take_away
from sysmail.errors import HostError, RefusedError
from sysmail.facts.collect import collect
from sysmail.facts.model import Facts
from sysmail.host.port import FileState, Writer
from sysmail.msmtpd import UNIT_FILE
from sysmail.watch.units import PATHS as WATCH_UNITS

__all__ = ["check_undo", "is_pending", "recover", "revert", "undo"]

_TEMPORARY = ".sysmail-new"
# Longer than a package manager that waits for its lock and then for a slow mirror.
PACKAGES_SECONDS = 1800.0


def recover(writer: Writer, say: Callable[[str], None]) -> list[str]:
    """Undo what was cut off; a sentence for each transaction that was. The lock must be held.

    One that waits for its packages is left alone as long as those may still
    come: a package manager outlives an Ansible that was killed, and a Postfix
    that it installs without the loopback-only main.cf is open to the network.
    """
    take_away(writer)  # a trial of a candidate that was cut off
    _tidy(writer)
    told: list[str] = []
    for checkpoint in reversed(Store(writer).load()):
        if checkpoint.state == "done" or is_pending(writer, checkpoint):
            continue
        say(f"undoing the {checkpoint.kind} that was cut off")
        kept = revert(writer, checkpoint, say)
        told.append(kept or f"a {checkpoint.kind} that was cut off has been undone")
    return told


def is_pending(
    writer: Writer, checkpoint: Checkpoint, *, seconds: float = PACKAGES_SECONDS
) -> bool:
    """Whether it waits for packages that somebody else may still be installing.

    That is so for ``seconds`` after they were asked for, and as long as a package
    manager is at work.
    """
    if not checkpoint.handed_over or checkpoint.state not in {WAITING, "open"}:
        return False
    facts = collect(writer)
    if all(name in facts.packages for name in checkpoint.packages_asked):
        return checkpoint.state == WAITING and _is_young(writer, checkpoint, seconds)
    if checkpoint.state == WAITING and _is_young(writer, checkpoint, seconds):
        return True
    return facts.distro is not None and packages.at_work(writer, facts.distro)


def _is_young(writer: Writer, checkpoint: Checkpoint, seconds: float) -> bool:
    # A clock that went back says nothing about an age.
    return 0 <= writer.now() - checkpoint.time < seconds


def revert(writer: Writer, checkpoint: Checkpoint, say: Callable[[str], None]) -> str:
    """Undo a transaction that failed or was cut off; empty, or why it had to stay.

    It stays where undoing would remove Postfix with mail in its queue: mail
    that was accepted is never thrown away, so the way is forward.
    """
    if checkpoint.kind == "try":
        _drop_messages_of_a_try(writer)
    try:
        undo(writer, checkpoint, say, force=True)
    except RefusedError as error:
        if error.code != "queue-not-empty":
            raise
        open_sendmail(writer)
        facts = collect(writer)
        if not facts.master_running:
            service.act(writer, facts, "start")
        checkpoint.state = "done"
        save(writer, checkpoint)
        return f"{error.message}: it stays as it is now; `sysmail apply` goes on from there"
    return ""


def _drop_messages_of_a_try(writer: Writer) -> None:
    """A try that was killed while it sent: its messages are nobody's, and must not get out."""
    for message in queue.waiting(writer) or []:
        if message.sender.endswith("@sysmail-try.invalid"):
            writer.run(["postsuper", "-d", message.queue_id])


def check_undo(writer: Writer, checkpoints: list[Checkpoint], *, force: bool) -> None:
    """RefusedError when undoing these would overwrite somebody's edit, or throw away mail."""
    # A path that several wrote is as the newest left it.
    newest = {entry["path"]: entry for c in checkpoints for entry in c.files}
    for path, entry in newest.items():
        if not force and not _is_ours(writer.state(path), entry):
            raise RefusedError(
                "edited-since",
                f"{path} was changed by somebody after sysmail wrote it",
                "see it with `sysmail plan`; --force puts the former file back all the same",
            )
    facts = collect(writer)
    if any("postfix" in _brought(writer, checkpoint, facts) for checkpoint in checkpoints):
        count = _waiting(writer, facts)
        if count:
            raise _queue_not_empty(count)


def _waiting(writer: Writer, facts: Facts) -> int:
    """How many messages there are, also where a Postfix that is half there cannot list them."""
    messages = queue.waiting(writer)
    if messages is not None:
        return len(messages)
    directory = facts.postfix["queue_directory"] if facts.postfix is not None else ""
    return queue.stored(writer, directory or "/var/spool/postfix")


def _queue_not_empty(count: int) -> RefusedError:
    return RefusedError(
        "queue-not-empty",
        f"mail waits in the queue ({count}), and removing Postfix would lose it",
        "see `sysmail queue list`; flush, release or delete what is there, then retry",
    )


def undo(
    writer: Writer, checkpoint: Checkpoint, say: Callable[[str], None], *, force: bool
) -> None:
    """Undo a checkpoint; can be cut off and called again at any moment.

    What cannot be put back does not keep the rest from being put back; it is
    told at the end, and the checkpoint stays.
    """
    check_undo(writer, [checkpoint], force=force)
    facts = collect(writer)
    going_back = checkpoint.state == "done" and _lost(checkpoint, facts)
    if going_back and facts.distro is not None:
        # Before anything stops: without them there would be no mail program at all.
        packages.fetch(writer, facts.distro, going_back, [], say)
    if checkpoint.packages_removing is None:
        checkpoint.packages_lost = _lost(checkpoint, facts)
        checkpoint.packages_removing = _brought(writer, checkpoint, facts)
    former, checkpoint.state = checkpoint.state, "undoing"
    save(writer, checkpoint)
    brought = checkpoint.packages_removing
    running = [address for address, unit in facts.msmtpd.items() if unit.active or unit.enabled]
    _end_watch(writer, facts, checkpoint)
    if running and _changed(checkpoint, _SUBMISSION):
        submission.stop(writer, running)  # Postfix, which may come back, needs its port
    _undo_packages(writer, facts, checkpoint, former, say)
    if facts.postfix is not None and "postfix" not in brought and _changed(checkpoint, _POSTFIX):
        # Stopped while its tables change back, so that no message is mapped half and half.
        service.act(writer, facts, "stop")
        _requeue(writer, checkpoint.time)
    _restore_files(writer, checkpoint, removed=bool(brought))
    for path in reversed(checkpoint.directories):
        writer.rmdir(path)
    if facts.systemd and _changed(checkpoint, ("/etc/systemd/",)):
        writer.run(["systemctl", "daemon-reload"])
    facts = collect(writer)
    if facts.postfix is not None:
        _restore_service(writer, facts, checkpoint)
    up = {a for a, unit in facts.msmtpd.items() if unit.active and unit.enabled}
    if set(checkpoint.submission) - up or (
        checkpoint.submission and _changed(checkpoint, _SUBMISSION)
    ):
        _restore_submission(writer, checkpoint)
    if checkpoint.packages_replaced:
        neighbour.put_back(writer, checkpoint)
    _restore_watch(writer, facts, checkpoint)
    _forget(writer, checkpoint)


def _undo_packages(
    writer: Writer, facts: Facts, checkpoint: Checkpoint, former: str, say: Callable[[str], None]
) -> None:
    try:
        _remove_packages(writer, facts, checkpoint, checkpoint.packages_removing or [], say)
    except RefusedError:
        # Nothing was undone, so a later command must not go on with it by itself.
        if former == "done":
            checkpoint.state, checkpoint.packages_removing = former, None
            save(writer, checkpoint)
        raise


_POSTFIX = ("/etc/postfix/", "/etc/systemd/system/postfix")
_SUBMISSION = ("/etc/sysmail-msmtpd/", UNIT_FILE)


def _changed(checkpoint: Checkpoint, beginnings: tuple[str, ...]) -> bool:
    return any(entry["path"].startswith(beginnings) for entry in checkpoint.files)


def _end_watch(writer: Writer, facts: Facts, checkpoint: Checkpoint) -> None:
    """Before its units change: it is not to look at what is half undone."""
    if _changed(checkpoint, WATCH_UNITS) and (facts.watch.active or facts.watch.enabled):
        timer.stop(writer)


def _restore_watch(writer: Writer, facts: Facts, checkpoint: Checkpoint) -> None:
    if checkpoint.watch and not (facts.watch.active and facts.watch.enabled):
        timer.start(writer)


def _restore_submission(writer: Writer, checkpoint: Checkpoint) -> None:
    unit = (writer.read(UNIT_FILE) or b"").decode("utf-8", "replace")
    port = re.search(r"--port=(\d+)", unit)
    submission.start(writer, checkpoint.submission, int(port.group(1)) if port else 25)


def _requeue(writer: Writer, since: float) -> None:
    """Give what came since to the former tables (postsuper(1)); what is held stays held."""
    messages = queue.waiting(writer) or []
    ids = [m.queue_id for m in messages if m.queue != "hold" and m.arrived >= since - 1]
    if ids:
        writer.run(["postsuper", "-r", "-"], stdin="\n".join(ids).encode())


def _restore_files(writer: Writer, checkpoint: Checkpoint, *, removed: bool) -> None:
    """Put every file back; ``removed``: packages that this transaction brought are gone again."""
    first: Optional[HostError] = None
    for entry in reversed(checkpoint.files):
        # What a package put there that is gone again was not there before.
        gone = removed and entry["path"] in checkpoint.absent_before
        try:
            _restore(writer, checkpoint, {**entry, "before": None} if gone else entry)
        except HostError as error:
            first = first or error
    if first is not None:
        raise first


def _forget(writer: Writer, checkpoint: Checkpoint) -> None:
    """Remove a checkpoint: its journal first, so that a half-removed one is none."""
    writer.remove(f"{checkpoint.directory}/journal.json")
    _tidy(writer)


def _tidy(writer: Writer) -> None:
    """Remove what has no journal (begun or removed, and cut off), and empty directories."""
    parent = f"{HOME}/checkpoints"
    for name in writer.names(parent):
        if writer.state(f"{parent}/{name}/journal.json", content=False) is None:
            writer.rmtree(f"{parent}/{name}")
    if not writer.names(parent):
        writer.remove(MEMORY)  # nobody watches over what is not there
    for path in (parent, HOME):
        writer.rmdir(path)  # empty after the last one: nothing of sysmail is left


def _remove_packages(
    writer: Writer,
    facts: Facts,
    checkpoint: Checkpoint,
    brought: list[str],
    say: Callable[[str], None],
) -> None:
    """Stop what they run, put back what they replaced, remove them and what they leave behind."""
    lost, before = checkpoint.packages_lost or [], checkpoint.packages_before
    if "postfix" in brought and facts.postfix is not None:
        close_sendmail(writer)
        service.act(writer, facts, "stop")
        count = _waiting(writer, facts)
        if count:
            # It came between the first look and now: forward, not back.
            open_sendmail(writer)
            service.act(writer, facts, "start")
            raise _queue_not_empty(count)
        service.retire(writer, facts)
    if facts.distro is None or not (brought or lost or checkpoint.packages_replaced):
        return
    if lost:
        say(f"bringing {', '.join(lost)} back")
        neighbour.set_aside(writer, checkpoint)
    if lost or checkpoint.packages_replaced:
        packages.bring_back(writer, facts.distro, lost, before, brought, say)
        end_postdrops(writer)
    if brought:
        say(f"removing {', '.join(brought)}")
        packages.uninstall(writer, facts.distro, brought, say)
    packages.mark(writer, facts.distro, checkpoint.packages_automatic, say)
    for path in facts.distro.leftovers:
        if path in checkpoint.leftovers_before:
            continue
        state = writer.state(path, content=False)
        if state is not None and state.kind == "directory":
            writer.rmtree(path)
        else:
            writer.remove(path)


def _lost(checkpoint: Checkpoint, facts: Facts) -> list[str]:
    """The packages that this transaction replaced and that are still gone."""
    if checkpoint.packages_lost is not None:
        return [name for name in checkpoint.packages_lost if name not in facts.packages]
    if checkpoint.state == "done" or checkpoint.handed_over or not checkpoint.packages_asked:
        return []
    return sorted(set(checkpoint.packages_before) - set(facts.packages))


def _brought(writer: Writer, checkpoint: Checkpoint, facts: Facts) -> list[str]:
    """The packages that this transaction brought and that are still there."""
    if checkpoint.packages_brought is not None:
        return [name for name in checkpoint.packages_brought if name in facts.packages]
    if checkpoint.state == "done" or not checkpoint.packages_asked:
        return []
    if checkpoint.handed_over and facts.distro is not None:
        asked = checkpoint.packages_asked
        return packages.came_for(writer, facts.distro, asked, checkpoint.packages_before)
    # Cut off while installing: what is there now and was not before came with it.
    return sorted(set(facts.packages) - set(checkpoint.packages_before))


def _is_ours(state: FileState | None, entry: dict[str, Any]) -> bool:
    """Whether a path is as the transaction left it, or as it was before."""
    before = entry["before"]
    if state is None:
        return entry["after"] is None or before is None
    if state.kind == "link":
        return before is not None and before.get("target") == state.target
    known = {entry["after"], (before or {}).get("sha256")}
    return digest(state.data) in known


def _restore(writer: Writer, checkpoint: Checkpoint, entry: dict[str, Any]) -> None:
    path, before = entry["path"], entry["before"]
    writer.remove(path + _TEMPORARY)
    if before is None:
        writer.remove(path)
        return
    parent = path.rpartition("/")[0]
    if writer.state(parent, content=False) is None:
        writer.mkdir(parent, 0o755)
    if before["kind"] == "link":
        writer.symlink(path, before["target"])
        return
    data = Store(writer).backup(checkpoint, entry)
    writer.write(path, data, before["mode"], before["uid"], before["gid"])


def _restore_service(writer: Writer, facts: Facts, checkpoint: Checkpoint) -> None:
    was = checkpoint.service
    if facts.systemd and facts.service.enabled != was.get("enabled", False):
        service.act(writer, facts, "enable" if was.get("enabled") else "disable")
    if was.get("running"):
        # Not reload: inet_interfaces may differ (docs/promises.md).
        service.act(writer, facts, "restart")
        if not service.is_running(writer, facts):
            raise HostError(
                "service-not-restored",
                "Postfix did not start again with its former configuration",
                "look at the log of Postfix; its files are as they were before",
            )
    elif facts.master_running:
        service.act(writer, facts, "stop")
