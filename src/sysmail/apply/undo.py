"""Back to what a checkpoint remembers, and recovery of what was cut off."""

from __future__ import annotations

import re
from typing import Any, Callable, Optional

from sysmail import queue
from sysmail.apply import neighbour, packages, service, submission
from sysmail.apply.checkpoint import FORGOTTEN, FORMER, HOME, WAITING, Checkpoint, Store, save
from sysmail.apply.edits import changed_paths, is_former, keep_edits, refuse_edits
from sysmail.apply.preflight import check_way_back, wait_for_packages
from sysmail.apply.retire import close_sendmail, end_postdrops, open_sendmail
from sysmail.apply.scratch import take_away
from sysmail.errors import HostError, RefusedError
from sysmail.facts.collect import collect
from sysmail.facts.model import Facts
from sysmail.host.port import Writer
from sysmail.msmtpd import UNIT_FILE

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
        notes: list[str] = []
        kept = revert(writer, checkpoint, say, notes)
        told += [kept or f"a {checkpoint.kind} that was cut off has been undone", *notes]
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


def revert(
    writer: Writer,
    checkpoint: Checkpoint,
    say: Callable[[str], None],
    notes: Optional[list[str]] = None,
) -> str:
    """Undo a transaction that failed or was cut off; empty, or why it had to stay.

    ``notes`` get what is worth telling besides. It stays where undoing would remove
    Postfix with mail in its queue: mail that was accepted is never thrown away, so the
    way is forward.
    """
    if checkpoint.kind == "try":
        _drop_messages_of_a_try(writer)
    try:
        told = undo(writer, checkpoint, say, force=True)
        if notes is not None:
            notes += told
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
    if all(checkpoint.state == "done" for checkpoint in checkpoints):
        refuse_edits(writer, checkpoints, force=force)
        check_way_back(writer, checkpoints)
        for checkpoint in checkpoints:
            Store(writer).require_whole(checkpoint)
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
) -> list[str]:
    """Undo a checkpoint; can be cut off and called again at any moment.

    Returns sentences that a person should see: where an edited version is kept, for one.

    What cannot be put back does not keep the rest from being put back; it is
    told at the end, and the checkpoint stays.
    """
    check_undo(writer, [checkpoint], force=force)
    facts = collect(writer)
    notes, former = _start_way_back(writer, checkpoint, facts, say)
    brought = checkpoint.packages_removing or []
    running = [address for address, unit in facts.msmtpd.items() if unit.active or unit.enabled]
    if running and _changed(checkpoint, _SUBMISSION):
        submission.stop(writer, running)  # Postfix, which may come back, needs its port
    _undo_packages(writer, facts, checkpoint, former, say)
    if facts.postfix is not None and "postfix" not in brought and _changed(checkpoint, _POSTFIX):
        # Stopped while its tables change back, so that no message is mapped half and half.
        service.act(writer, facts, "stop")
        # A clock that was set back says nothing of what came since.
        _requeue(writer, checkpoint.time if checkpoint.time <= writer.now() else 0.0)
    swapped = bool(checkpoint.packages_lost or checkpoint.packages_replaced)
    swapped |= "postfix" in {*brought, *checkpoint.packages_asked}
    _restore_files(writer, checkpoint, removed=bool(brought), swapped=swapped)
    for path in reversed(checkpoint.directories):
        writer.rmdir(path)
    if facts.systemd and _changed(checkpoint, ("/etc/systemd/",)):
        writer.run(["systemctl", "daemon-reload"])
    facts = collect(writer)
    if facts.postfix is not None:
        notes += _restore_service(writer, facts, checkpoint)
    _restore_submission(writer, facts, checkpoint)
    if checkpoint.packages_replaced:
        neighbour.put_back(writer, checkpoint)
    _forget(writer, checkpoint)
    return notes


def _start_way_back(
    writer: Writer, checkpoint: Checkpoint, facts: Facts, say: Callable[[str], None]
) -> tuple[list[str], str]:
    """What can be refused or fail while nothing is changed; notes, and the former state."""
    if checkpoint.state == "done" and facts.distro is not None:
        wait_for_packages(writer, facts.distro)
    notes = keep_edits(writer, checkpoint) if _are_edits_of_people(checkpoint) else []
    going_back = checkpoint.state == "done" and _lost(checkpoint, facts)
    if going_back and facts.distro is not None:
        # Before anything stops: without them there would be no mail program at all.
        packages.fetch(writer, facts.distro, going_back, [], say)
    if checkpoint.packages_removing is None:
        checkpoint.packages_lost = _lost(checkpoint, facts)
        checkpoint.packages_removing = _brought(writer, checkpoint, facts)
    former, checkpoint.state = checkpoint.state, "undoing"
    try:
        save(writer, checkpoint)
    except HostError:
        if former == "done":
            raise  # nothing was changed yet
        # No space: what is open is undone in any case, also from here on.
    return notes, former


def _are_edits_of_people(checkpoint: Checkpoint) -> bool:
    """Whether nothing but a person can have changed files: no package manager was cut off."""
    if checkpoint.state == "done":
        return True
    asked = bool(checkpoint.packages_asked)
    return checkpoint.state == "open" and not (asked and checkpoint.packages_brought is None)


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


def _restore_submission(writer: Writer, facts: Facts, checkpoint: Checkpoint) -> None:
    up = {a for a, unit in facts.msmtpd.items() if unit.active and unit.enabled}
    changed = checkpoint.submission and _changed(checkpoint, _SUBMISSION)
    if not changed and not set(checkpoint.submission) - up:
        return
    unit = (writer.read(UNIT_FILE) or b"").decode("utf-8", "replace")
    port = re.search(r"--port=(\d+)", unit)
    submission.start(writer, checkpoint.submission, int(port.group(1)) if port else 25)


def _requeue(writer: Writer, since: float) -> None:
    """Give what came since to the former tables (postsuper(1)); what is held stays held."""
    messages = queue.waiting(writer) or []
    ids = [m.queue_id for m in messages if m.queue != "hold" and m.arrived >= since - 1]
    if ids:
        writer.run(["postsuper", "-r", "-"], stdin="\n".join(ids).encode())


def _restore_files(writer: Writer, checkpoint: Checkpoint, *, removed: bool, swapped: bool) -> None:
    """Put every file back; ``removed``: packages that this transaction brought are gone again.

    Where none of a mail program's was ``swapped``, what was only remembered was never
    changed, and stays: it may be of a newer version of its package by now.
    """
    first: Optional[HostError] = None
    changed = changed_paths(checkpoint)
    for entry in reversed(checkpoint.files):
        if not swapped and entry["path"] not in changed and writer.state(entry["path"]):
            continue
        # What a package put there that is gone again was not there before.
        gone = removed and entry["path"] in checkpoint.absent_before
        try:
            _restore(writer, checkpoint, {**entry, "before": None} if gone else entry)
        except HostError as error:
            first = first or error
    if first is not None:
        raise first


def _forget(writer: Writer, checkpoint: Checkpoint) -> None:
    """Remove a checkpoint: renamed first, so that a half-removed one is none."""
    writer.rename(checkpoint.directory, checkpoint.directory + FORGOTTEN)
    _tidy(writer)


def _tidy(writer: Writer) -> None:
    """Remove what has no journal (begun or removed, and cut off), and empty directories."""
    parent = f"{HOME}/checkpoints"
    for name in writer.names(parent):
        inner = writer.names(f"{parent}/{name}")
        # Former contents without a journal are a damaged checkpoint, and not ours to throw away.
        begun = "journal.json" in inner or any(each.isdigit() for each in inner)
        if name.endswith(FORGOTTEN) or not begun:
            writer.rmtree(f"{parent}/{name}")
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


def _restore(writer: Writer, checkpoint: Checkpoint, entry: dict[str, Any]) -> None:
    path, before = entry["path"], entry["before"]
    writer.remove(path + _TEMPORARY)
    former = writer.state(path + FORMER)
    if before is not None and former is not None and is_former(former, before):
        writer.rename(path + FORMER, path)  # takes no space
    if former is not None:
        writer.remove(path + FORMER)
    if before is None:
        writer.remove(path)
        return
    if is_former(writer.state(path), before):
        return
    parent = path.rpartition("/")[0]
    if writer.state(parent, content=False) is None:
        writer.mkdir(parent, 0o755)
    if before["kind"] == "link":
        writer.symlink(path, before["target"])
        return
    data = Store(writer).backup(checkpoint, entry)
    writer.write(path, data, before["mode"], before["uid"], before["gid"])


def _restore_service(writer: Writer, facts: Facts, checkpoint: Checkpoint) -> list[str]:
    was = checkpoint.service
    if facts.systemd and facts.service.enabled != was.get("enabled", False):
        service.act(writer, facts, "enable" if was.get("enabled") else "disable")
    if was.get("running"):
        # Not reload: inet_interfaces may differ (docs/promises.md).
        odd = service.restart_anyhow(writer, facts)
        if not service.is_running(writer, facts):
            raise HostError(
                "service-not-restored",
                "Postfix did not start again with its former configuration",
                "look at the log of Postfix; its files are as they were before",
            )
        return [odd] if odd else []
    if facts.master_running:
        service.act(writer, facts, "stop")
    return []
