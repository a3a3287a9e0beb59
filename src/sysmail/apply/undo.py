"""Back to what a checkpoint remembers, and recovery of what was cut off."""

from __future__ import annotations

import re
from typing import Any, Callable, Optional

from sysmail import queue
from sysmail.apply import keepers, leaving, neighbour, packages, service, submission
from sysmail.apply.checkpoint import HOME, WAITING, Checkpoint, Store, digest, save
from sysmail.apply.retire import CLOSED, close_sendmail, end_postdrops, open_sendmail
from sysmail.apply.scratch import take_away
from sysmail.errors import HostError, RefusedError
from sysmail.facts.collect import collect
from sysmail.facts.model import Facts
from sysmail.host.port import FileState, Writer
from sysmail.msmtpd import UNIT_FILE
from sysmail.postfix import skeleton

__all__ = ["check_edits", "is_pending", "recover", "removes_postfix", "revert", "undo"]

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


def check_edits(writer: Writer, checkpoints: list[Checkpoint], *, force: bool) -> None:
    """RefusedError when undoing these would overwrite somebody's edit."""
    # A path that several wrote is as the newest left it.
    newest = {entry["path"]: entry for c in checkpoints for entry in c.files}
    for path, entry in newest.items():
        if not force and not _is_ours(writer.state(path), entry):
            raise RefusedError(
                "edited-since",
                f"{path} was changed by somebody after sysmail wrote it",
                "see it with `sysmail plan`; --force puts the former file back all the same",
            )


def removes_postfix(writer: Writer, checkpoints: list[Checkpoint], facts: Facts) -> bool:
    """Whether undoing these takes Postfix away, and with it the queue."""
    return any("postfix" in _brought(writer, checkpoint, facts) for checkpoint in checkpoints)


def undo(
    writer: Writer, checkpoint: Checkpoint, say: Callable[[str], None], *, force: bool
) -> list[str]:
    """Undo a checkpoint; can be cut off and called again at any moment.

    What cannot be put back does not keep the rest from being put back; it is
    told at the end, and the checkpoint stays. A sentence for each package that stays
    because somebody else needs it. RefusedError where Postfix would go with mail: of an
    apply that was in force, the mail is let leave first.
    """
    check_edits(writer, [checkpoint], force=force)
    facts = collect(writer)
    if checkpoint.state != "done":
        _refuse_mail(writer, checkpoint, facts)
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
    if running and _changed(checkpoint, _SUBMISSION):
        submission.stop(writer, running)  # Postfix, which may come back, needs its port
    kept = _undo_packages(writer, facts, checkpoint, former, say)
    if facts.postfix is not None and "postfix" not in brought and _changed(checkpoint, _POSTFIX):
        # Stopped while its tables change back, so that no message is mapped half and half.
        service.act(writer, facts, "stop")
        _requeue(writer, checkpoint.time)
    _restore_files(writer, checkpoint, removed=bool(brought), closed="postfix" in kept)
    for path in reversed(checkpoint.directories):
        writer.rmdir(path)
    if facts.systemd and _changed(checkpoint, ("/etc/systemd/",)):
        writer.run(["systemctl", "daemon-reload"])
    facts = collect(writer)
    if facts.postfix is not None:
        _restore_service(writer, facts, checkpoint)
    _restore_submission(writer, checkpoint, facts)
    if checkpoint.packages_replaced:
        neighbour.put_back(writer, checkpoint)
    _forget(writer, checkpoint)
    return [f"{name} stays installed: {why}" for name, why in kept.items()]


def _refuse_mail(writer: Writer, checkpoint: Checkpoint, facts: Facts) -> None:
    """Of an apply that failed or was cut off nothing is let leave: the way is forward."""
    if removes_postfix(writer, [checkpoint], facts):
        count = leaving.count_waiting(writer, facts)
        if count:
            raise leaving.refuse_waiting(count)


def _undo_packages(
    writer: Writer, facts: Facts, checkpoint: Checkpoint, former: str, say: Callable[[str], None]
) -> dict[str, str]:
    try:
        return _remove_packages(
            writer,
            facts,
            checkpoint,
            checkpoint.packages_removing or [],
            say,
            former,
        )
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


def _restore_submission(writer: Writer, checkpoint: Checkpoint, facts: Facts) -> None:
    up = {a for a, unit in facts.msmtpd.items() if unit.active and unit.enabled}
    changed = bool(checkpoint.submission) and _changed(checkpoint, _SUBMISSION)
    if not (set(checkpoint.submission) - up or changed):
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


def _restore_files(writer: Writer, checkpoint: Checkpoint, *, removed: bool, closed: bool) -> None:
    """Put every file back; ``removed``: packages that this transaction brought are gone again.

    ``closed``: a Postfix stays that others need. It does not run, takes no mail that nobody
    would send, and an update of its package finds a main.cf, or it would listen everywhere.
    """
    first: Optional[HostError] = None
    for entry in reversed(checkpoint.files):
        # What a package put there that is gone again was not there before.
        gone = removed and entry["path"] in checkpoint.absent_before
        try:
            _restore(writer, checkpoint, {**entry, "before": None} if gone else entry)
        except HostError as error:
            first = first or error
    if closed:
        file = skeleton()
        writer.write(file.path, file.data + CLOSED, file.mode, file.uid, file.gid)
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
    for path in (parent, HOME):
        writer.rmdir(path)  # empty after the last one: nothing of sysmail is left


def _remove_packages(
    writer: Writer,
    facts: Facts,
    checkpoint: Checkpoint,
    brought: list[str],
    say: Callable[[str], None],
    former: str,
) -> dict[str, str]:
    """Stop what they run, put back what they replaced, remove them and what they leave behind.

    Of an apply whose ``former`` state was done, mail that comes until the last moment is let
    leave. Why some packages stay, by name: of one that failed just now, nobody uses any.
    """
    lost, before = checkpoint.packages_lost or [], checkpoint.packages_before
    if "postfix" in brought and facts.postfix is not None:
        if former == "done":
            leaving.stop_empty(writer, facts, say)
        else:
            _stop_empty_at_once(writer, facts)
        if checkpoint.service.get("link_left"):
            service.act(writer, facts, "enable")  # its package leaves the links, as it did before
    if facts.distro is None or not (brought or lost or checkpoint.packages_replaced):
        return {}
    if lost:
        say(f"bringing {', '.join(lost)} back")
        neighbour.set_aside(writer, checkpoint)
    if lost or checkpoint.packages_replaced:
        packages.bring_back(writer, facts.distro, lost, before, brought, say)
        end_postdrops(writer)
    kept: dict[str, str] = {}
    if former in ("done", "undoing"):
        kept = keepers.staying(writer, facts.distro, brought, checkpoint.packages_along)
    going = [name for name in brought if name not in kept]
    if going:
        say(f"removing {', '.join(going)}")
        packages.uninstall(writer, facts.distro, going, say, checkpoint.packages_configured)
    packages.mark(writer, facts.distro, checkpoint.packages_automatic, say)
    if "postfix" not in kept:
        _remove_leftovers(writer, set(facts.distro.leftovers) - set(checkpoint.leftovers_before))
    return kept


def _stop_empty_at_once(writer: Writer, facts: Facts) -> None:
    close_sendmail(writer)
    service.act(writer, facts, "stop")
    count = leaving.count_waiting(writer, facts)
    if count:
        # It came between the first look and now: forward, not back.
        open_sendmail(writer)
        service.act(writer, facts, "start")
        raise leaving.refuse_waiting(count)
    service.retire(writer, facts)


def _remove_leftovers(writer: Writer, paths: set[str]) -> None:
    for path in sorted(paths):
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
    if entry.get("packaged"):
        return True  # a package's file took the place of somebody's: neither is an edit
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
