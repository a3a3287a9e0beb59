"""Recovery: what failed or was cut off is undone, but for what others may still be at."""

from __future__ import annotations

from typing import Callable, Optional

from sysmail import queue, signals
from sysmail.apply import guard, packages, service
from sysmail.apply.bystanders import write_down
from sysmail.apply.checkpoint import WAITING, Checkpoint, Store, finish, save
from sysmail.apply.retire import open_sendmail
from sysmail.apply.scratch import take_away
from sysmail.apply.undo import tidy, undo
from sysmail.apply.undo_packages import brought, lost
from sysmail.errors import RefusedError
from sysmail.facts.collect import collect
from sysmail.facts.model import Facts
from sysmail.host.port import Writer

__all__ = ["is_pending", "recover", "revert"]

# Longer than a package manager that waits for its lock and then for a slow mirror.
PACKAGES_SECONDS = 1800.0


def recover(writer: Writer, say: Callable[[str], None]) -> list[str]:
    """Undo what was cut off; a sentence for each transaction that was. The lock must be held.

    One that waits for its packages is left alone as long as those may still
    come: a package manager outlives an Ansible that was killed, and a Postfix
    that it installs without the loopback-only main.cf is open to the network.
    """
    take_away(writer)  # a trial of a candidate that was cut off
    tidy(writer)
    told: list[str] = []
    booting = guard.is_running_at_boot(writer)
    for checkpoint in reversed(Store(writer).load()):
        for path in Store(writer).half_written(checkpoint):
            writer.remove(path)
        seconds = packages.BOOT_SECONDS if booting else PACKAGES_SECONDS
        if checkpoint.fetching and checkpoint.state == "done":
            # A rollback that had not changed anything.
            _let_packages_end(writer, checkpoint, say, seconds)
            checkpoint.fetching = False
            save(writer, checkpoint)
        if checkpoint.state == "done":
            continue
        # A package manager did not outlive a boot.
        if not booting and is_pending(writer, checkpoint):
            continue
        _let_packages_end(writer, checkpoint, say, seconds)
        say(f"undoing the {checkpoint.kind} that was cut off")
        notes: list[str] = []
        with signals.held():
            kept = revert(writer, checkpoint, say, notes)
        told += [kept or _undone(checkpoint), *notes]
    return told


def _undone(checkpoint: Checkpoint) -> str:
    kind = checkpoint.kind
    if checkpoint.going_back:
        return f"the way back from {kind} {checkpoint.number}, which was cut off, is at its end"
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} that was cut off has been undone"


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


def _let_packages_end(
    writer: Writer, checkpoint: Checkpoint, say: Callable[[str], None], seconds: float
) -> None:
    """A package manager outlives a sysmail that was killed, and lets nobody else in until it ends.

    What it installs meanwhile stays closed: the loopback-only main.cf is there
    until it has ended.
    """
    at_it = checkpoint.packages_brought is None or checkpoint.state == "undoing"
    if checkpoint.fetching or (checkpoint.packages_asked and at_it):
        distro = collect(writer).distro
        if distro is not None:
            packages.let_end(writer, distro, seconds, say)


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
    take_away(writer)  # a signal may have come while the trial of a candidate was taken away
    if writer.state(f"{checkpoint.directory}/journal.json", content=False) is None:
        tidy(writer)  # nothing was changed before its journal was there
        return ""
    if checkpoint.kind == "try":
        _drop_messages_of_a_try(writer)
    try:
        told = undo(writer, checkpoint, say, force=True)
        if notes is not None:
            notes += told
    except RefusedError as error:
        if error.code != "queue-not-empty":
            raise
        if notes is not None:
            notes += error.notes
        open_sendmail(writer)
        facts = collect(writer)
        # Its package's may be all that it has read so far: of the files that stay, not one.
        service.act(writer, facts, "reload" if facts.master_running else "start")
        _take_stock(writer, facts, checkpoint)
        finish(writer, checkpoint)
        return f"{error.message}: it stays as it is now; `sysmail apply` goes on from there"
    return ""


def _take_stock(writer: Writer, facts: Facts, checkpoint: Checkpoint) -> None:
    """Of what stays after all: which packages are its own, so that a later way back knows them."""
    if checkpoint.packages_removing is not None:
        service.act(writer, facts, "enable")  # a removal that came as far as stopping Postfix
    elif checkpoint.packages_asked and checkpoint.packages_brought is None:
        came = brought(writer, checkpoint, facts)
        along = packages.automatic(writer, facts.distro) if facts.distro is not None else []
        checkpoint.packages_lost = lost(checkpoint, facts)
        checkpoint.packages_brought = came
        checkpoint.packages_along = sorted(set(along) & set(came))
    checkpoint.packages_removing = None
    write_down(writer, checkpoint, facts.distro)


def _drop_messages_of_a_try(writer: Writer) -> None:
    """A try that was killed while it sent: its messages are nobody's, and must not get out."""
    for message in queue.waiting(writer) or []:
        if message.sender.endswith("@sysmail-try.invalid"):
            writer.run(["postsuper", "-d", message.queue_id])
