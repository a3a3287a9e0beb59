"""Who submits too much, and which of their messages are held: from the lines of the log. Pure.

Postfix's log names a user by number where sendmail(1) is used (pickup(8), ``uid=``), and the
client's address where SMTP is (smtpd(8), ``client=``); more is not in it. All programs that
speak SMTP share the address of loopback, so a client's messages are told apart by
their sender, which qmgr(8) logs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Runaway", "Submission", "named", "parse", "runaways", "with_senders"]

_PICKUP = re.compile(r"(?:^|/pickup\[\d+\]: )([0-9A-Za-z]{6,30}): uid=(\d+) from=<([^>]*)>")
_SMTPD = re.compile(r"(?:^|/smtpd\[\d+\]: )([0-9A-Za-z]{6,30}): client=\S*\[([^\]\s]+)\]")
_QMGR = re.compile(r"(?:^|/qmgr\[\d+\]: )([0-9A-Za-z]{6,30}): from=<([^>]*)>, size=")


@dataclass(frozen=True)
class Submission:
    """One message that came in: ``who`` is ``uid 1000`` or ``client 127.0.0.1``."""

    queue_id: str
    who: str
    sender: str = ""


@dataclass(frozen=True)
class Runaway:
    """Somebody who submitted ``count`` messages, too many.

    ``surplus`` are the ids of those beyond the limit that still wait and are not on hold;
    ``held`` is how many are, once those are too. ``name`` is what a person calls them.
    """

    who: str
    count: int
    surplus: tuple[str, ...] = ()
    held: int = 0
    name: str = ""


def parse(lines: Iterable[str]) -> list[Submission]:
    """Every message that the lines say came in, in their order."""
    found: dict[str, Submission] = {}
    for line in lines:
        pickup = _PICKUP.search(line)
        smtpd = _SMTPD.search(line) if pickup is None else None
        if pickup is not None:
            queue_id, uid, sender = pickup.groups()
            found[queue_id] = Submission(queue_id, f"uid {uid}", sender)
        elif smtpd is not None:
            found[smtpd.group(1)] = Submission(smtpd.group(1), f"client {smtpd.group(2)}")
    return list(found.values())


def with_senders(submissions: Iterable[Submission], lines: Iterable[str]) -> list[Submission]:
    """The submissions with the sender that qmgr(8) says they have."""
    senders: dict[str, str] = {}
    for line in lines:
        match = _QMGR.search(line)
        if match is not None:
            senders[match.group(1)] = match.group(2)
    return [
        each if each.sender else Submission(each.queue_id, each.who, senders.get(each.queue_id, ""))
        for each in submissions
    ]


def runaways(
    submissions: Iterable[Submission],
    limit: int,
    waiting: Collection[str],
    on_hold: Collection[str],
) -> list[Runaway]:
    """Who submitted more than ``limit``, the most first; none where the limit is 0.

    ``waiting`` and ``on_hold`` are ids in the queue. The limit is shared out between the
    senders so that each gets as much as the next, or all that it asked for: of somebody who
    sent little nothing is held. What a sender submitted first goes out.
    """
    by_who: dict[str, dict[str, list[str]]] = {}
    for each in submissions:
        by_who.setdefault(each.who, {}).setdefault(each.sender, []).append(each.queue_id)
    found: list[Runaway] = []
    for who, by_sender in by_who.items():
        count = sum(map(len, by_sender.values()))
        if not limit or count <= limit:
            continue
        share = _share([len(ids) for ids in by_sender.values()], limit)
        beyond = [name for ids in by_sender.values() for name in ids[share:]]
        surplus = tuple(name for name in beyond if name in waiting and name not in on_hold)
        mine = {name for ids in by_sender.values() for name in ids}
        held = len(surplus) + sum(name in on_hold for name in mine)
        found.append(Runaway(who, count, surplus, held))
    return sorted(found, key=lambda each: (-each.count, each.who))


def _share(counts: list[int], limit: int) -> int:
    """The most that each may have so that all together have at most the limit; at least 1."""
    left = limit
    ordered = sorted(counts)
    for place, count in enumerate(ordered):
        share = left // (len(ordered) - place)
        if count > share:
            return max(share, 1)
        left -= count
    return max(ordered, default=0)


def named(runaway: Runaway, accounts: Mapping[str, str]) -> Runaway:
    """The runaway as a person calls it: ``accounts`` are names by ``who``."""
    name = accounts.get(runaway.who, "")
    called = f"{runaway.who.replace('uid', 'user')} ({name})" if name else ""
    return Runaway(runaway.who, runaway.count, runaway.surplus, runaway.held, called)
