"""What is left of packages that sysmail brought and that somebody has replaced since.

dpkg keeps the configuration of a package that another one pushed out, and with Postfix its
queue, until it is purged; and what both kinds of mail program use, such as /etc/aliases, is
the other one's now (measured: without that file exim4 defers all local mail).
"""

from __future__ import annotations

from sysmail import queue
from sysmail.apply import packages
from sysmail.apply.bystanders import is_left_by_package
from sysmail.apply.checkpoint import Checkpoint
from sysmail.distro import Distro
from sysmail.host.port import Writer

__all__ = ["purgeable", "remove_leftovers"]

QUEUE = "/var/spool/postfix"


def purgeable(writer: Writer, distro: Distro, checkpoint: Checkpoint) -> list[str]:
    """Packages of this transaction of which the configuration alone is left, and may go.

    Postfix's goes with its queue: where mail is in it, it stays, and the checkpoint notes that.
    """
    ours = set(checkpoint.packages_brought or ()) - set(checkpoint.packages_configured)
    found = ours & packages.only_configured(writer, distro) if ours else set[str]()
    if "postfix" in found and _holds_mail(writer, checkpoint):
        found.discard("postfix")
    return sorted(found)


def remove_leftovers(writer: Writer, distro: Distro, checkpoint: Checkpoint) -> None:
    """Remove what a package's removal leaves behind and was not there before.

    Not what a mail program that somebody put in its place uses, nor a queue with mail.
    """
    paths = sorted(set(distro.leftovers) - set(checkpoint.leftovers_before))
    there = [path for path in paths if writer.state(path, content=False) is not None]
    came = set(packages.installed(writer, distro)) - set(checkpoint.packages_before)
    users = sorted((came & set(distro.other_mtas)) - set(distro.submission))
    shared = [path for path in there if users and "postfix" not in path]
    if shared:
        verb = "stays" if len(shared) == 1 else "stay"
        _note(checkpoint, f"{', '.join(shared)} {verb}, for {', '.join(users)}, which came since")
    kept = {*shared, *([QUEUE] if QUEUE in there and _holds_mail(writer, checkpoint) else [])}
    for path in there:
        if path not in kept:
            _remove(writer, checkpoint, path)


def _remove(writer: Writer, checkpoint: Checkpoint, path: str) -> None:
    state = writer.state(path, content=False)
    if state is not None and state.kind == "directory":
        writer.rmtree(path)
    elif is_left_by_package(checkpoint, path):
        writer.remove(path)


def _holds_mail(writer: Writer, checkpoint: Checkpoint) -> bool:
    """Whether mail lies in the queue of a Postfix that is gone; the checkpoint then notes it."""
    count = queue.stored(writer, QUEUE) + queue.corrupt(writer, QUEUE)
    if count:
        what = "1 message is" if count == 1 else f"{count} messages are"
        _note(
            checkpoint,
            f"{what} in {QUEUE} of the Postfix that somebody removed since, so that stays: "
            "install Postfix again to send that mail; to purge it throws it away",
        )
    return bool(count)


def _note(checkpoint: Checkpoint, note: str) -> None:
    checkpoint.notes += [note] if note not in checkpoint.notes else []
