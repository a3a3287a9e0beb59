"""Lets a queue leave, and stops Postfix once nothing is in it.

Programs go on sending while the backlog drains. Then both entrances are
closed, ``sendmail`` too, which takes mail also when Postfix does not run;
what came in between drains, and only then Postfix stops for good. So
nothing is left behind that was accepted, however much is being sent.
"""

from __future__ import annotations

import re
from typing import Callable

from sysmail import queue
from sysmail.apply import service
from sysmail.errors import StepError
from sysmail.facts import processes
from sysmail.facts.model import Facts
from sysmail.host.port import Writer

__all__ = ["CLOSED", "close_sendmail", "drain", "end_postdrops", "open_sendmail", "stop_for_good"]

MAIN_CF = "/etc/postfix/main.cf"
_ON_LOOPBACK = re.compile(rb"^inet_interfaces\s*=\s*(loopback-only|localhost|127\.)", re.MULTILINE)
_RETRY = b"retry:sysmail was cut off: run `sysmail apply`\n"
WAITS = (
    b"\n# sysmail: cut off before its configuration was here; mail waits for the next apply.\n"
    b"inet_interfaces = loopback-only\n"
    b"master_service_disable = inet, pickup/unix, pickup/fifo\n"
    b"default_transport = "
    + _RETRY
    + b"relay_transport = "
    + _RETRY
    + b"local_transport = "
    + _RETRY
    + b"virtual_transport = "
    + _RETRY
)
"""For a main.cf of a package. What sendmail(1) takes stays in maildrop, as it was written.

Picked up, it would be cleaned with that file and keep the sender of it: with no domain in
the host's name that is user@host.localdomain, which no table of ours knows later, and a
server with a login says 553 to (measured: all such mail bounced). And a queue has a
lifetime, maildrop has none.
"""
CLOSED = (
    b"\n# sysmail: Postfix is about to go; sendmail takes no more mail.\n"
    b"authorized_submit_users = !static:all\n"
    b"master_service_disable = inet\n"
)
"""postconf(5): nobody may use sendmail(1), which says so with an exit code, and no port is open."""


def close_sendmail(writer: Writer) -> None:
    """Let sendmail refuse mail of everybody; also where that was done already.

    One that is at work when the queue directory goes would wait for it for ever
    (measured: postdrop(1) tries again every ten seconds).
    """
    state = writer.state(MAIN_CF)
    if state is not None and state.kind == "file" and CLOSED not in state.data:
        writer.write(MAIN_CF, state.data + CLOSED, state.mode, state.uid, state.gid)


def open_sendmail(writer: Writer) -> None:
    """Let sendmail take mail again.

    Where a package's own main.cf is still there, which is open to the network and has
    mailboxes, mail waits until an apply goes on.
    """
    state = writer.state(MAIN_CF)
    if state is None or state.kind != "file":
        return
    data = state.data.replace(CLOSED, b"")
    if not _ON_LOOPBACK.search(data):
        data += WAITS
    if data != state.data:
        writer.write(MAIN_CF, data, state.mode, state.uid, state.gid)


def end_postdrops(writer: Writer) -> None:
    """End what ran postdrop(1) while a package manager had not set its modes yet.

    It tries again for ever (measured with pacman); ended, sendmail(1) tells its caller so.
    """
    for pid in processes.own(writer):
        if writer.read(f"/proc/{pid}/comm") == b"postdrop\n":
            writer.run(["sh", "-c", f"kill -TERM {pid}"])


STALLED_SECONDS = 30.0
"""How long the queue may not get smaller before it counts as one that cannot leave."""

FLUSH_SECONDS = 3.0
PAUSE = 0.1


def drain(writer: Writer, say: Callable[[str], None], oldest: float = 0.0) -> None:
    """Wait until what waits now has left. StepError that says for what it waits, when it cannot.

    What arrived before ``oldest`` is not waited for.
    """
    here = {m.queue_id for m in queue.listed(writer) if m.arrived >= oldest}
    since, flushed = writer.elapsed(), -FLUSH_SECONDS
    while here:
        if writer.elapsed() - flushed >= FLUSH_SECONDS:
            # Also what was still on its way to the former next hop at the last flush.
            writer.run(["postqueue", "-f"])
            flushed = writer.elapsed()
        messages = queue.listed(writer)
        left = here & {message.queue_id for message in messages}
        if len(left) < len(here):
            here, since = left, writer.elapsed()
            say(f"{len(left)} messages are left in the queue")
        if here and writer.elapsed() - since > STALLED_SECONDS:
            raise _stalled([message for message in messages if message.queue_id in here])
        writer.sleep(PAUSE)


def stop_for_good(writer: Writer, facts: Facts, say: Callable[[str], None]) -> None:
    """Stop a Postfix whose entrances are closed, once nothing is in its queue."""
    service.act(writer, facts, "stop")
    if queue.listed(writer):
        service.act(writer, facts, "start")
        while queue.listed(writer):
            drain(writer, say)  # what was in maildrop is another file now; there may be a notice
        service.act(writer, facts, "stop")
    service.retire(writer, facts)


def _stalled(messages: list[queue.Message]) -> StepError:
    reason, count, _ = queue.by_reason(messages)[0]
    held = sum(message.queue == "hold" for message in messages)
    remedy = "see `sysmail queue list`; the relay keeps running and tries again"
    if held:
        remedy = f"{held} are held: `sysmail queue release all` or `delete`, then retry"
    noun = "message waits" if len(messages) == 1 else "messages wait"
    return StepError(
        "queue-not-drained",
        f"{len(messages)} {noun} in the queue and cannot leave, {count} of them: "
        f"{reason or 'not tried yet'}",
        remedy,
    )
