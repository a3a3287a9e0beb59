"""Back to what a checkpoint remembers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import Callable, Optional

from sysmail import queue
from sysmail.apply import (
    disk,
    guard,
    keepers,
    leaving,
    neighbour,
    packages,
    restartable,
    service,
    startable,
    submission,
    timer,
)
from sysmail.apply.bystanders import bystanders
from sysmail.apply.checkpoint import (
    FORGOTTEN,
    HOME,
    MEMORY,
    MEMORY_IN_RUN,
    SECRETS,
    TEMPORARY,
    Checkpoint,
    Store,
    save,
)
from sysmail.apply.edits import keep_edits, refuse_edits
from sysmail.apply.preflight import check_way_back, wait_for_packages
from sysmail.apply.undo_files import restore_files
from sysmail.apply.undo_packages import brought, lost, removes_postfix, undo_packages
from sysmail.distro import Distro
from sysmail.errors import HostError, StepError, SysmailError
from sysmail.facts.collect import collect
from sysmail.facts.model import Facts
from sysmail.host.port import Writer
from sysmail.msmtpd import UNIT_FILE
from sysmail.watch.units import PATHS as WATCH_UNITS

__all__ = ["check_undo", "tidy", "undo"]


def check_undo(writer: Writer, checkpoints: list[Checkpoint], *, force: bool) -> None:
    """RefusedError when undoing these would overwrite somebody's edit, or could not be finished."""
    if all(checkpoint.state == "done" for checkpoint in checkpoints):
        refuse_edits(writer, checkpoints, bystanders(writer, checkpoints), force=force)
        check_way_back(writer, collect(writer), checkpoints)
        for checkpoint in checkpoints:
            Store(writer).require_whole(checkpoint)


def undo(
    writer: Writer,
    checkpoint: Checkpoint,
    say: Callable[[str], None],
    *,
    force: bool,
    older: Optional[Checkpoint] = None,
) -> list[str]:
    """Undo a checkpoint; can be cut off and called again at any moment.

    Returns sentences that a person should see: where an edited version is kept, which
    package stays because somebody else needs it. An ``older`` checkpoint that is to be
    undone after this one takes them over; an error has those so far.

    What cannot be put back does not keep the rest from being put back; it is
    told at the end, and the checkpoint stays. RefusedError where Postfix would go with
    mail: of an apply that was in force, the mail is let leave first.
    """
    try:
        odd = _undo(writer, checkpoint, say, force=force)
        if older is not None:
            _note(older, checkpoint.notes)
            with contextlib.suppress(HostError):
                save(writer, older)  # this process tells them all the same
        _forget(writer, checkpoint)
    except SysmailError as error:
        error.notes = tuple(checkpoint.notes)
        raise
    return [*checkpoint.notes, *odd]


def _note(checkpoint: Checkpoint, notes: Iterable[str]) -> None:
    """What a person has to be told, once, also where another process ends this."""
    checkpoint.notes += [note for note in notes if note not in checkpoint.notes]


def _undo(
    writer: Writer, checkpoint: Checkpoint, say: Callable[[str], None], *, force: bool
) -> list[str]:
    """What is odd about the services now, in sentences: what is undone next may end that."""
    facts = collect(writer)
    check_undo(writer, [checkpoint], force=force)
    if checkpoint.state != "done":
        _refuse_mail(writer, checkpoint, facts)
    was = checkpoint.state
    try:
        former = _start_way_back(writer, checkpoint, facts, say)
    except HostError as error:
        if was == "done":
            error.message += f"; {checkpoint.kind} {checkpoint.number} stays in force as it was"
        raise
    came = checkpoint.packages_removing or []
    running = [address for address, unit in facts.msmtpd.items() if unit.active or unit.enabled]
    if running and _changed(checkpoint, _SUBMISSION):
        submission.stop(writer, running)  # Postfix, which may come back, needs its port
    kept = undo_packages(writer, facts, checkpoint, former, say)
    _end_watch(writer, facts, checkpoint)  # after what may still be refused
    swapped = bool(checkpoint.packages_lost or checkpoint.packages_replaced)
    swapped |= "postfix" in {*came, *checkpoint.packages_asked}
    broken, need = "", _need(checkpoint, facts, swapped=swapped)
    if facts.postfix is not None and "postfix" not in came and _changed(checkpoint, _POSTFIX):
        broken = _why_not_started(writer, facts, checkpoint)
        if not broken and need == "restart" and _has_room(writer, facts, checkpoint):
            # Stopped while its tables change back, so that no message is mapped half and half.
            service.act(writer, facts, "stop")
            _requeue(writer, checkpoint)
    closed = "postfix" in kept
    restore_files(writer, checkpoint, removed=bool(came), swapped=swapped, closed=closed)
    for path in reversed(checkpoint.directories):
        writer.rmdir(path)
    odd = _restart_services(writer, checkpoint, facts, broken, need)
    _note(checkpoint, (f"{name} stays installed: {why}" for name, why in kept.items()))
    disk.flush(writer)
    return odd


def _why_not_started(writer: Writer, facts: Facts, checkpoint: Checkpoint) -> str:
    """Why the Postfix that ran before will not start again, in its own words, or empty.

    At boot an address of the host's may not be there yet: nothing is asked then.
    """
    if not checkpoint.service.get("running") or guard.is_running_at_boot(writer):
        return ""
    return startable.why_not_started(writer, facts, checkpoint)


def _need(checkpoint: Checkpoint, facts: Facts, *, swapped: bool) -> str:
    """What Postfix needs to go on with its former files: nothing, ``reload`` or ``restart``.

    It is not stopped where it need not: a full disk may not let it start again. ``swapped``:
    its package was changed.
    """
    if not swapped and not _changed(checkpoint, _POSTFIX):
        return ""
    untouched = checkpoint.unserved and not checkpoint.going_back and not swapped
    return "reload" if untouched and facts.master_running else "restart"


def _has_room(writer: Writer, facts: Facts, checkpoint: Checkpoint) -> bool:
    """Whether Postfix may stop: it is not to run then, or would start again."""
    try:
        if checkpoint.service.get("running") and facts.master_running:
            restartable.require_room(writer, facts)
    except StepError:
        return False  # told once its files are back
    return True


def _restart_services(
    writer: Writer, checkpoint: Checkpoint, facts: Facts, broken: str, need: str
) -> list[str]:
    """Everything runs as it did, with its former files; a sentence for what is odd.

    ``broken``: why Postfix would not start with those; ``need``: as `_need` says.
    """
    units = _changed(checkpoint, ("/etc/systemd/",)) or guard.is_running_at_boot(writer)
    if facts.systemd and units:
        writer.run(["systemctl", "daemon-reload"])
    facts = collect(writer)
    notes = [_still(facts, broken)] if broken else []
    if facts.postfix is not None:
        _restore_link(writer, facts, checkpoint)
        notes += [] if broken else _restore_service(writer, facts, checkpoint, need)
    _restore_submission(writer, checkpoint, facts)
    if checkpoint.packages_replaced:
        neighbour.put_back(writer, checkpoint)
    if checkpoint.watch and not (facts.watch.active and facts.watch.enabled):
        timer.start(writer)
    return notes


def _refuse_mail(writer: Writer, checkpoint: Checkpoint, facts: Facts) -> None:
    """Of an apply that failed or was cut off nothing is let leave: the way is forward."""
    if removes_postfix(writer, [checkpoint], facts):
        count = leaving.count_waiting(writer, facts)
        if count:
            raise leaving.refuse_waiting(count)


def _start_way_back(
    writer: Writer, checkpoint: Checkpoint, facts: Facts, say: Callable[[str], None]
) -> str:
    """What can be refused or fail while nothing is changed; the former state."""
    if checkpoint.state == "done" and facts.distro is not None:
        wait_for_packages(writer, facts.distro)
    if _are_edits_of_people(checkpoint):
        _note(checkpoint, keep_edits(writer, checkpoint, bystanders(writer, [checkpoint])))
    going_back = checkpoint.state == "done" and lost(checkpoint, facts)
    if going_back and facts.distro is not None:
        # Before anything stops: without them there would be no mail program at all.
        _fetch(writer, facts.distro, checkpoint, going_back, say)
    if checkpoint.packages_removing is None:
        checkpoint.packages_lost = lost(checkpoint, facts)
        checkpoint.packages_removing = brought(writer, checkpoint, facts)
        if checkpoint.state == "done" and facts.distro is not None:
            along = set(checkpoint.packages_along) & set(checkpoint.packages_removing)
            checkpoint.packages_by_hand = keepers.by_hand(writer, facts.distro, along)
    _place_guard(writer, checkpoint)
    former, checkpoint.state = checkpoint.state, "undoing"
    checkpoint.going_back |= former == "done"
    try:
        save(writer, checkpoint)
    except HostError:
        if former == "done":
            raise  # nothing was changed yet
        # No space: what is open is undone in any case, also from here on.
    return former


def _fetch(
    writer: Writer,
    distro: Distro,
    checkpoint: Checkpoint,
    names: list[str],
    say: Callable[[str], None],
) -> None:
    checkpoint.fetching = True
    save(writer, checkpoint)
    try:
        packages.fetch(writer, distro, names, [], say)
    finally:
        checkpoint.fetching = False  # with the next state on the disk; else by recovery


def _place_guard(writer: Writer, checkpoint: Checkpoint) -> None:
    """A way back that is under way does without what it cannot place."""
    try:
        guard.place(writer)
    except HostError as error:
        if checkpoint.state == "done":
            raise
        _note(checkpoint, [f"recovery at boot is not set up: {error.message}"])


def _are_edits_of_people(checkpoint: Checkpoint) -> bool:
    """Whether nothing but a person can have changed files: no package manager was cut off."""
    if checkpoint.state == "done":
        return True
    asked = bool(checkpoint.packages_asked)
    return checkpoint.state == "open" and not (asked and checkpoint.packages_brought is None)


_POSTFIX = ("/etc/postfix/", "/etc/systemd/system/postfix")
_SUBMISSION = ("/etc/sysmail-msmtpd/", UNIT_FILE)


def _changed(checkpoint: Checkpoint, beginnings: tuple[str, ...]) -> bool:
    return any(entry["path"].startswith(beginnings) for entry in checkpoint.files)


def _end_watch(writer: Writer, facts: Facts, checkpoint: Checkpoint) -> None:
    """Before its units change: it is not to look at what is half undone."""
    if _changed(checkpoint, WATCH_UNITS) and (facts.watch.active or facts.watch.enabled):
        timer.stop(writer)


def _restore_submission(writer: Writer, checkpoint: Checkpoint, facts: Facts) -> None:
    up = {a for a, unit in facts.msmtpd.items() if unit.active and unit.enabled}
    changed = bool(checkpoint.submission) and _changed(checkpoint, _SUBMISSION)
    if not (set(checkpoint.submission) - up or changed):
        return
    unit = (writer.read(UNIT_FILE) or b"").decode("utf-8", "replace")
    port = re.search(r"--port=(\d+)", unit)
    submission.start(writer, checkpoint.submission, int(port.group(1)) if port else 25)


def _requeue(writer: Writer, checkpoint: Checkpoint) -> None:
    """Give what came since to the former tables (postsuper(1)); what is held stays held."""
    # A clock that was set back says nothing of what came since.
    since = checkpoint.time if checkpoint.time <= writer.now() else 0.0
    messages = queue.waiting(writer) or []
    ids = [m.queue_id for m in messages if m.queue != "hold" and m.arrived >= since - 1]
    if ids:
        writer.run(["postsuper", "-r", "-"], stdin="\n".join(ids).encode())


def _forget(writer: Writer, checkpoint: Checkpoint) -> None:
    """Remove a checkpoint: renamed first, so that a half-removed one is none."""
    writer.rename(checkpoint.directory, checkpoint.directory + FORGOTTEN)
    tidy(writer)


def tidy(writer: Writer) -> None:
    """Remove what has no journal (begun or removed, and cut off), and empty directories."""
    parent = f"{HOME}/checkpoints"
    for name in writer.names(parent):
        inner = writer.names(f"{parent}/{name}")
        contents = [*inner, *writer.names(f"{SECRETS}/{name}")]
        # Former contents without a journal are a damaged checkpoint, and not ours to throw away.
        begun = "journal.json" in inner or any(each.isdigit() for each in contents)
        if name.endswith(FORGOTTEN) or not begun:
            writer.rmtree(f"{parent}/{name}")
    for name in set(writer.names(SECRETS)) - set(writer.names(parent)):
        writer.rmtree(f"{SECRETS}/{name}")
    writer.rmdir(SECRETS)
    writer.remove(MEMORY + TEMPORARY)
    if writer.rmdir(parent):  # empty after the last one: nothing of sysmail is left
        writer.remove(MEMORY_IN_RUN)
        writer.remove(MEMORY)  # nobody watches over what is not there
        guard.take_away(writer)
        writer.rmdir(HOME)


def _still(facts: Facts, broken: str) -> str:
    """The sentence for a Postfix whose former files are broken, whoever broke them."""
    now = "still runs, though what it starts now reads the broken files"
    return (
        f"Postfix {now if facts.master_running else 'does not run'}; it will not start again until "
        f"its files, which are as they were before, are mended: {broken}"
    )


def _restart(writer: Writer, facts: Facts) -> str:
    """A Postfix that must not be stopped at least reads its former files."""
    try:
        return service.restart_anyhow(writer, facts)
    except StepError:
        if service.is_running(writer, facts):
            with contextlib.suppress(StepError):
                service.act(writer, facts, "reload")
        raise


def _restore_link(writer: Writer, facts: Facts, checkpoint: Checkpoint) -> None:
    enabled = checkpoint.service.get("enabled", False)
    if facts.systemd and facts.service.enabled != enabled:
        service.act(writer, facts, "enable" if enabled else "disable")


def _restore_service(writer: Writer, facts: Facts, checkpoint: Checkpoint, need: str) -> list[str]:
    was = checkpoint.service
    if was.get("running"):
        if facts.master_running and need != "restart":
            if need:
                service.act(writer, facts, need)
                _requeue(writer, checkpoint)
            return []
        # Not reload: inet_interfaces may differ (docs/promises.md).
        odd = _restart(writer, facts)
        if not guard.is_running_at_boot(writer) and not service.is_running(writer, facts):
            words, remedy = service.why_not(writer, facts)
            raise HostError(
                "service-not-restored",
                f"Postfix did not start again with its former configuration: {words}",
                f"{remedy}; its files are as they were before",
            )
        return [odd] if odd else []
    if facts.master_running or (guard.is_running_at_boot(writer) and not was.get("enabled")):
        service.act(writer, facts, "stop")  # at boot: it waits for us, to start then
    return []
