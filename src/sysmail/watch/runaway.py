"""Who submits too much, and which of their messages are held: from the lines of the log. Pure.

Postfix's log names a user by number where sendmail(1) is used (pickup(8), ``uid=``), and the
client's address where SMTP is (smtpd(8), ``client=``); more is not in it. All programs that
speak SMTP share the address of loopback, so a client's messages are told apart by
their sender, which qmgr(8) logs. So does the queue file of a message, as postcat(1) shows it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

__all__ = [
    "Runaway",
    "Submission",
    "named",
    "of_msmtp",
    "origins",
    "parse",
    "runaways",
    "with_senders",
]

_ID = r"([0-9A-Za-z]{6,30})"
# A message that was requeued came before: its line ends with orig_id= (pickup(8)).
_PICKUP = re.compile(rf"{_ID}: uid=([0-9]{{1,10}}) from=<(.*)>$")
# With its port where smtpd_client_port_logging is on.
_SMTPD = re.compile(rf"{_ID}: client=[^\s\[\],]*\[([0-9A-Fa-f.:]+)\](?::[0-9]+)?(?:,|$)")
_MESSAGE = re.compile(r"(?m)^\*\*\* ENVELOPE RECORDS (?:\S*/)?([0-9A-Za-z]+) \*\*\*$")
_CLIENT = re.compile(r"(?m)^named_attribute: client_address=(\S+)$")
_RECEIVED = re.compile(r"(?m)^Received: (by|from) (?:\S+ \(.*, from userid ([0-9]{1,10})\)$)?")
_QMGR = re.compile(rf"{_ID}: from=<(.*?)>, size=[0-9]+, nrcpt=")


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
    ``trouble`` is why the surplus could not be held.
    """

    who: str
    count: int
    surplus: tuple[str, ...] = ()
    held: int = 0
    name: str = ""
    trouble: str = ""


def parse(lines: Iterable[str]) -> list[Submission]:
    """Every message that came in, in order: ``lines`` are what pickup(8) and smtpd(8) said.

    The first line about a queue id counts.
    """
    found: dict[str, Submission] = {}
    for line in lines:
        pickup = _PICKUP.match(line)
        smtpd = _SMTPD.match(line) if pickup is None else None
        if pickup is not None:
            queue_id, uid, sender = pickup.groups()
            found.setdefault(queue_id, Submission(queue_id, f"uid {int(uid)}", sender))
        elif smtpd is not None:
            queue_id, address = smtpd.groups()
            found.setdefault(queue_id, Submission(queue_id, f"client {address}"))
    return list(found.values())


def with_senders(
    submissions: Iterable[Submission], lines: Iterable[str], waiting: Collection[str] = ()
) -> list[Submission]:
    """The submissions with the sender that qmgr(8) says they have.

    A client gets an id when its first recipient is accepted. One that sent no message after that,
    as our own proofs do, is left out: its id is neither qmgr's nor ``waiting``.
    """
    senders: dict[str, str] = {}
    for line in lines:
        match = _QMGR.match(line)
        if match is not None:
            senders.setdefault(match.group(1), match.group(2))
    return [
        each if each.sender else replace(each, sender=senders.get(each.queue_id, ""))
        for each in submissions
        if each.who.startswith("uid ") or each.queue_id in senders or each.queue_id in waiting
    ]


def runaways(
    submissions: Iterable[Submission],
    limit: int,
    waiting: Collection[str],
    on_hold: Collection[str],
    released: Collection[str] = (),
) -> list[Runaway]:
    """Who submitted more than ``limit``, the most first; none where the limit is 0.

    ``waiting`` and ``on_hold`` are ids in the queue; ``released`` are those that a person let
    go, which are left alone.
    """
    by_who: dict[str, list[Submission]] = {}
    for each in submissions:
        by_who.setdefault(each.who, []).append(each)
    found: list[Runaway] = []
    for who, came in by_who.items():
        if not limit or len(came) <= limit:
            continue
        surplus = tuple(
            name
            for name in _beyond(came, limit)
            if name in waiting and name not in on_hold and name not in released
        )
        held = len(surplus) + sum(each.queue_id in on_hold for each in came)
        found.append(Runaway(who, len(came), surplus, held))
    return sorted(found, key=lambda each: (-each.count, each.who))


def _beyond(came: list[Submission], limit: int) -> list[str]:
    """The ids of all but ``limit`` messages, in the order of their arrival.

    The first of each sender goes before the second of any: of somebody who sent little nothing
    is held, however many others share the address. With more senders than the limit,
    those that came first go.
    """
    turns: dict[str, int] = {}
    order: list[tuple[int, int]] = []
    for place, each in enumerate(came):
        turn = turns.get(each.sender, 0)
        turns[each.sender] = turn + 1
        order.append((turn, place))
    return [came[place].queue_id for place in sorted(place for _, place in sorted(order)[limit:])]


def of_msmtp(total: int, by_user: Mapping[int, int], limit: int) -> list[Runaway]:
    """Who submitted more than ``limit`` on the route ``mailu``, the most first; nothing is held.

    What was handed to Mailu, and no user gave to sendmail(1), came by SMTP: msmtpd(1) does not say
    from whom.
    """
    counts = {f"uid {uid}": count for uid, count in by_user.items()}
    counts["client localhost"] = total - sum(counts.values())
    found = [Runaway(who, count) for who, count in counts.items() if 0 < limit < count]
    return sorted(found, key=lambda each: (-each.count, each.who))


def origins(text: str) -> dict[str, str]:
    """Who submitted each message, by queue id: the output of ``postcat -ehq ID ...``.

    The first ``Received:`` is always Postfix's own: pickup(8) names the user in it, and smtpd(8)
    the client, whose address is also a record of the envelope.
    """
    found: dict[str, str] = {}
    parts = _MESSAGE.split(text)
    for queue_id, part in zip(parts[1::2], parts[2::2]):
        envelope, _, header = part.partition("\n*** MESSAGE CONTENTS ")
        received = _RECEIVED.search(header)
        client = _CLIENT.search(envelope)
        if received is None:
            continue
        if received.group(2):
            found.setdefault(queue_id, f"uid {int(received.group(2))}")
        elif client is not None and received.group(1) == "from":
            found.setdefault(queue_id, f"client {client.group(1)}")
    return found


def named(runaway: Runaway, accounts: Mapping[str, str]) -> Runaway:
    """The runaway as a person calls it: ``accounts`` are names by ``who``."""
    name = accounts.get(runaway.who, "")
    called = f"{runaway.who.replace('uid', 'user')} ({name})" if name else ""
    return replace(runaway, name=called)
