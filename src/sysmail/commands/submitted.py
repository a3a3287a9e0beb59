"""Who submitted how much lately, asked of the log, and confirmed by what is in the queue."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from sysmail import maillog, queue
from sysmail.errors import HostError
from sysmail.facts import Facts
from sysmail.host.port import Reader
from sysmail.watch.runaway import (
    Runaway,
    origins,
    parse,
    runaways,
    with_senders,
)

__all__ = ["Submitted", "account_of", "find_runaways"]

WINDOW_SECONDS = 600.0
"""Twice what lies between two runs: whatever comes in between them is seen as one."""

AT_ONCE = 500
"""Messages that one postcat(1) is asked for."""

MOST_GONE = 200
"""So many that left while they were looked at: each costs a program."""


@dataclass(frozen=True)
class Submitted:
    """Who submitted too much, and the ids of what came in lately, as far as somebody needs them."""

    runaways: tuple[Runaway, ...] = ()
    ids: frozenset[str] = frozenset()


def find_runaways(
    reader: Reader,
    facts: Facts,
    limit: int,
    waiting: list[queue.Message],
    released: Collection[str] = (),
) -> Submitted:
    """Who submitted more than ``limit`` in ten minutes. HostError where the log cannot be read.

    What says so in the journal has to come from a process of Postfix's own user, which journald
    knows from the kernel. Anybody may write into a log file by syslog: there only
    what the queue itself says of a message decides what is held.
    """
    if not limit or facts.postfix is None or not facts.master_running:
        return Submitted()
    log_file = facts.postfix["maillog_file"]
    trusted = facts.systemd and not log_file
    lines = _lines(reader, facts, ("pickup", "smtpd"), ("uid=", "client="))
    if len(lines) <= limit and not released:
        return Submitted()  # whoever they are of, and whichever
    came = parse(lines)
    ids = frozenset(each.queue_id for each in came)
    if len(came) <= limit:
        return Submitted(ids=ids)
    here = {message.queue_id for message in waiting}
    came = with_senders(came, _lines(reader, facts, ("qmgr",), ("from=<",)), here)
    on_hold = {message.queue_id for message in waiting if message.queue == "hold"}
    told = runaways(came, limit, here, on_hold, released)
    suspects = {each.who for each in told}
    of_them = [each for each in came if each.who in suspects]
    if trusted:
        known = _origins(reader, [name for each in told for name in each.surplus])
        sure = [each for each in of_them if known.get(each.queue_id, each.who) == each.who]
    else:
        known = _origins(reader, [each.queue_id for each in of_them if each.queue_id in here])
        sure = [each for each in of_them if known.get(each.queue_id) == each.who]
    return Submitted(_confirmed(told, runaways(sure, limit, here, on_hold, released)), ids)


def _confirmed(told: Sequence[Runaway], sure: Sequence[Runaway]) -> tuple[Runaway, ...]:
    """Who the log tells of, with what is sure to be theirs to be held."""
    by_who = {each.who: each for each in sure}
    return tuple(
        replace(
            each,
            surplus=by_who[each.who].surplus if each.who in by_who else (),
            held=by_who[each.who].held if each.who in by_who else 0,
        )
        for each in told
    )


def _origins(reader: Reader, ids: Sequence[str]) -> dict[str, str]:
    """Who submitted messages, as their queue files say; what has left is not there."""
    found: dict[str, str] = {}
    left, gone = list(ids), 0
    while left and gone < MOST_GONE:
        some, left = left[:AT_ONCE], left[AT_ONCE:]
        said = reader.ask(["postcat", "-ehq", *some])
        found.update(origins(said.out))
        # It ends at the first that it does not find.
        missing = re.search(r"open queue file ([0-9A-Za-z]+):", said.err)
        if said.status != 0 and missing is not None and missing.group(1) in some:
            left = some[some.index(missing.group(1)) + 1 :] + left
            gone += 1
    return found


def account_of(reader: Reader, who: str) -> dict[str, str]:
    """The name of a user that the log has by number."""
    uid = who.partition("uid ")[2]
    said = reader.ask(["getent", "passwd", uid], timeout=5) if uid else None
    name = said.out.partition(":")[0] if said is not None and said.status == 0 else ""
    return {who: name} if name else {}


def _lines(
    reader: Reader, facts: Facts, programs: tuple[str, ...], words: tuple[str, ...]
) -> list[str]:
    """What some programs of Postfix said in the last ten minutes, each with its own word."""
    now = reader.now()
    since = now - WINDOW_SECONDS
    log_file = facts.postfix["maillog_file"] if facts.postfix is not None else ""
    if facts.systemd and not log_file:
        return _journal(reader, facts, since, programs, words)
    from sysmail import logline  # a journal has other stamps

    said: list[str] = []
    for program, word in zip(programs, words):
        lines = maillog.lines_since(reader, facts, log_file, since, f": {word}")
        if lines is None:
            raise HostError(
                "log-not-read",
                "there is no mail log that can be read",
                "let syslog or journald collect the log of Postfix",
            )
        for line in lines:
            parsed = logline.parse(line, now)
            if parsed is not None and _is_of(parsed.program, program):
                said.append(f"{parsed.queue_id}: {parsed.text}")
    return said


def _is_of(tag: str, program: str) -> bool:
    return tag.startswith("postfix") and tag.endswith(f"/{program}")


def _journal(
    reader: Reader,
    facts: Facts,
    since: float,
    programs: tuple[str, ...],
    words: tuple[str, ...],
) -> list[str]:
    # By identifier: that is an index of the journal, and what other units log costs nothing.
    argv = ["journalctl", "-q", "--no-pager", "-o", "cat", "--since", f"@{int(since)}"]
    argv.append(maillog.by_postfix(reader, facts))
    for program in programs:
        argv += ["-t", f"postfix/{program}"]
    said = reader.ask([*argv, "-g", "|".join(f": {word}" for word in words)])
    # 1 alone is that nothing matches.
    if said.status not in (0, 1) or (said.status == 1 and said.err.strip()):
        raise HostError(
            "log-not-read",
            f"the journal could not be read: {said.err.strip().partition(chr(10))[0]}",
            "run `journalctl -t postfix/pickup -n 1` to see why",
        )
    return said.out.splitlines()
