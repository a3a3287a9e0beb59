"""Who submitted how much lately, asked of the log."""

from __future__ import annotations

from sysmail import maillog, queue
from sysmail.facts import Facts
from sysmail.host.port import Reader
from sysmail.watch.runaway import Runaway, parse, runaways, with_senders

__all__ = ["account_of", "find_runaways"]

WINDOW_SECONDS = 600.0
"""Twice what lies between two runs: whatever comes in between them is seen as one."""


def find_runaways(
    reader: Reader, facts: Facts, limit: int, waiting: list[queue.Message]
) -> tuple[Runaway, ...]:
    """Who submitted more than ``limit`` in ten minutes, where the log can be read."""
    if not limit or facts.postfix is None or not facts.master_running:
        return ()
    came = parse(_lines(reader, facts, ("pickup", "smtpd"), ("uid=", "client=")))
    if len(came) <= limit:
        return ()
    came = with_senders(came, _lines(reader, facts, ("qmgr",), ("from=<",)))
    here = {message.queue_id for message in waiting}
    on_hold = {message.queue_id for message in waiting if message.queue == "hold"}
    return tuple(runaways(came, limit, here, on_hold))


def account_of(reader: Reader, who: str) -> dict[str, str]:
    """The name of a user that the log has by number."""
    uid = who.partition("uid ")[2]
    said = reader.ask(["getent", "passwd", uid], timeout=5) if uid else None
    name = said.out.partition(":")[0] if said is not None and said.status == 0 else ""
    return {who: name} if name else {}


def _lines(
    reader: Reader, facts: Facts, programs: tuple[str, ...], words: tuple[str, ...]
) -> list[str]:
    """What some programs of Postfix logged in the last ten minutes, each with its own word."""
    since = reader.now() - WINDOW_SECONDS
    log_file = facts.postfix["maillog_file"] if facts.postfix is not None else ""
    if facts.systemd and not log_file:
        return _journal(reader, since, programs, words)
    return [
        line
        for program, word in zip(programs, words)
        for line in maillog.lines_since(reader, facts, log_file, since, f": {word}") or []
        if f"/{program}[" in line
    ]


def _journal(
    reader: Reader, since: float, programs: tuple[str, ...], words: tuple[str, ...]
) -> list[str]:
    # By identifier: that is an index of the journal, and what other units log costs nothing.
    argv = ["journalctl", "-q", "--no-pager", "-o", "cat", "--since", f"@{int(since)}"]
    for program in programs:
        argv += ["-t", f"postfix/{program}"]
    said = reader.ask([*argv, "-g", "|".join(f": {word}" for word in words)])
    return said.out.splitlines()
