"""The packages of a checkpoint on the way back: which came and went with it, and undoing that."""

from __future__ import annotations

from typing import Callable

from sysmail.apply import keepers, leaving, neighbour, packages, remains, service
from sysmail.apply.checkpoint import Checkpoint, save
from sysmail.apply.retire import close_sendmail, end_postdrops, open_sendmail
from sysmail.distro import Distro
from sysmail.errors import RefusedError, StepError
from sysmail.facts.model import Facts
from sysmail.host.port import Writer

__all__ = ["brought", "lost", "removes_postfix", "undo_packages"]


def removes_postfix(writer: Writer, checkpoints: list[Checkpoint], facts: Facts) -> bool:
    """Whether undoing these takes Postfix away, and with it the queue."""
    return any("postfix" in brought(writer, checkpoint, facts) for checkpoint in checkpoints)


def undo_packages(
    writer: Writer, facts: Facts, checkpoint: Checkpoint, former: str, say: Callable[[str], None]
) -> dict[str, str]:
    """Put the packages back as they were; why some stay, by name. RefusedError: nothing changed."""
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
            _stay(writer, checkpoint)
        raise
    except StepError:
        # As above, where the package manager has not removed Postfix: it takes mail again.
        whole = packages.installed(writer, facts.distro) if facts.distro is not None else {}
        ours = "postfix" in (checkpoint.packages_removing or [])
        if former == "done" and ours and "postfix" in whole and not checkpoint.packages_lost:
            leaving.reopen(writer, facts)
            _stay(writer, checkpoint)
        raise


def _stay(writer: Writer, checkpoint: Checkpoint) -> None:
    """In force, as before the way back began."""
    checkpoint.state, checkpoint.packages_removing, checkpoint.going_back = "done", None, False
    save(writer, checkpoint)


def _remove_packages(
    writer: Writer,
    facts: Facts,
    checkpoint: Checkpoint,
    came: list[str],
    say: Callable[[str], None],
    former: str,
) -> dict[str, str]:
    """Stop what they run, put back what they replaced, remove them and what they leave behind.

    Of an apply whose ``former`` state was done, mail that comes until the last moment is let
    leave. Why some packages stay, by name.
    """
    gone, before = checkpoint.packages_lost or [], checkpoint.packages_before
    if "postfix" in came and facts.postfix is not None:
        _stop_postfix(writer, facts, checkpoint, former, say)
    if facts.distro is None:
        return {}
    left = remains.purgeable(writer, facts.distro, checkpoint)
    if not (came or left or gone or checkpoint.packages_replaced):
        return {}
    if gone:
        say(f"bringing {', '.join(gone)} back")
        neighbour.set_aside(writer, checkpoint)
    if gone or checkpoint.packages_replaced:
        packages.bring_back(writer, facts.distro, gone, before, came, say)
        end_postdrops(writer)
    known = packages.installed(writer, facts.distro)
    there = [name for name in came if name in known]  # some may have gone already
    if former != "done":
        packages.mend(writer, facts.distro, there, say)
    # Also of what was cut off: somebody may have installed what needs it before this process came.
    kept = keepers.staying(writer, facts.distro, there, checkpoint.packages_by_hand)
    going = [name for name in dict.fromkeys((*came, *left)) if name not in kept]
    if going:
        say(f"removing {', '.join(going)}")
        packages.uninstall(writer, facts.distro, going, say, checkpoint.packages_configured)
        service.forget_failures(writer, facts, gone="postfix" in going)
    packages.mark(writer, facts.distro, checkpoint.packages_automatic, say)
    if "postfix" not in kept:
        remains.remove_leftovers(writer, facts.distro, checkpoint)
    _note_others(writer, facts.distro, checkpoint)
    return kept


def _note_others(writer: Writer, distro: Distro, checkpoint: Checkpoint) -> None:
    """What is half installed now is somebody else's: what came has gone, or stays for others."""
    for name in packages.half_installed(writer, distro):
        note = (
            f"{distro.name} complains of {name}, which is not fully installed: "
            "`dpkg --configure -a`, or remove it"
        )
        if note not in checkpoint.notes:
            checkpoint.notes.append(note)


def _stop_postfix(
    writer: Writer, facts: Facts, checkpoint: Checkpoint, former: str, say: Callable[[str], None]
) -> None:
    if former == "done":
        leaving.stop_empty(writer, facts, say)
    else:
        _stop_empty_at_once(writer, facts)
    if checkpoint.service.get("link_left"):
        service.act(writer, facts, "enable")  # its package leaves the links, as it did before


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


def lost(checkpoint: Checkpoint, facts: Facts) -> list[str]:
    """The packages that this transaction replaced and that are still gone."""
    if checkpoint.packages_lost is not None:
        return [name for name in checkpoint.packages_lost if name not in facts.packages]
    if checkpoint.state == "done" or checkpoint.handed_over or not checkpoint.packages_asked:
        return []
    return sorted(set(checkpoint.packages_before) - set(facts.packages))


def brought(writer: Writer, checkpoint: Checkpoint, facts: Facts) -> list[str]:
    """The packages that this transaction brought and that are still there."""
    if checkpoint.packages_brought is not None:
        return [name for name in checkpoint.packages_brought if name in facts.packages]
    if checkpoint.state == "done" or not checkpoint.packages_asked:
        return []
    if facts.distro is None:
        return []
    asked = checkpoint.packages_asked
    return packages.came_for(writer, facts.distro, asked, checkpoint.packages_before, cut_off=True)
