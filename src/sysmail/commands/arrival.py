"""``sysmail prove --arrival``: what the next hop took is found in the mailbox, and removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from sysmail.commands.deliver import Sent
from sysmail.commands.situation import Situation
from sysmail.errors import HostError, RefusedError, SysmailError
from sysmail.host.port import Located, Mailbox, Writer
from sysmail.policy import Hop
from sysmail.report import FAIL, PASS, UNKNOWN, Problem, Verdict
from sysmail.trace.story import DELIVERED

__all__ = ["Arrival", "mailbox_of", "prove_arrival"]

NAME = "arrival"
PORT = 993
"""IMAP over TLS from the start (RFC 8314); Mailu has it."""

SECONDS = 45.0
"""For the whole dialogue."""

ARRIVAL_SECONDS = 30.0
PAUSE = 0.3


@dataclass(frozen=True)
class Arrival:
    """The verdict, what it is made of for the JSON report, and what went wrong, if anything."""

    verdict: Verdict
    data: Mapping[str, Any]
    problem: Optional[Problem] = None


def mailbox_of(situation: Situation) -> str:
    """The address of the login's own mailbox. RefusedError where there is no such mailbox."""
    hop = situation.decision.hop
    if hop is None or not hop.username or situation.decision.next_hop == "hold":
        raise RefusedError(
            "arrival-without-login",
            "there is no mailbox to look into: mail leaves without a login",
            "use --to alone, or a next hop with a login (mailu, smarthost)",
        )
    return hop.username


def prove_arrival(writer: Writer, situation: Situation, to: str, sent: Sequence[Sent]) -> Arrival:
    """Find each message to ``to`` that the next hop took, for at most 30 seconds, and remove it.

    Pass when all are there and gone again; fail when one is not; unknown when
    nobody can look. In the mailbox nothing else is touched.
    """
    hop = situation.decision.hop
    wanted = [s.message_id for s in sent if s.to == to and s.outcome == DELIVERED]
    host = hop.host if hop is not None else ""
    data: dict[str, Any] = {
        "host": host,
        "port": PORT,
        "mailbox": hop.username if hop is not None else "",
        "messages": [],
    }
    if hop is None or situation.password is None or not wanted:
        evidence = "no message was taken that could have arrived"
        return Arrival(Verdict(NAME, UNKNOWN, evidence, "see the verdicts on the entrances"), data)
    began = writer.elapsed()
    try:
        box = _opened(writer, situation, hop)
    except SysmailError as error:
        return _unknown(error, f"the mailbox of {hop.username} cannot be looked into", data)
    try:
        found = _found(writer, box, wanted, sent[0].token)
        seconds = writer.elapsed() - began
        data["messages"] = _rows(wanted, found)
        try:
            kept = [name for name, there in found.items() if not box.remove(there)]
        except HostError as error:
            left = f"{_count(len(found))} arrived, and could not be removed again"
            return _unknown(error, left, data)
    except HostError as error:
        return _unknown(error, f"the mailbox of {hop.username} could not be looked through", data)
    finally:
        box.close()
    for row in data["messages"]:
        row["removed"] = row["folder"] != "" and row["message_id"] not in kept
    return Arrival(_verdict(wanted, found, kept, f"{hop.username} at {host}", seconds), data)


def _opened(writer: Writer, situation: Situation, hop: Hop) -> Mailbox:
    distro, password = situation.facts.distro, situation.password
    return writer.mailbox(
        hop.host,
        PORT,
        hop.username,
        password.reveal() if password is not None else "",
        ca_file=hop.ca_file or (distro.ca_file if distro is not None else ""),
        seconds=SECONDS,
    )


def _found(writer: Writer, box: Mailbox, wanted: Sequence[str], token: str) -> dict[str, Located]:
    deadline = writer.elapsed() + ARRIVAL_SECONDS
    while True:
        found = box.find(token, wanted)
        if len(found) == len(wanted) or writer.elapsed() >= deadline:
            return found
        writer.sleep(PAUSE)


def _rows(wanted: Sequence[str], found: Mapping[str, Located]) -> list[dict[str, Any]]:
    return [
        {
            "message_id": name,
            "folder": found[name].folder if name in found else "",
            "removed": False,
        }
        for name in wanted
    ]


def _verdict(
    wanted: Sequence[str],
    found: Mapping[str, Located],
    kept: Sequence[str],
    where: str,
    seconds: float,
) -> Verdict:
    folders: dict[str, int] = {}
    for there in found.values():
        folders[there.folder] = folders.get(there.folder, 0) + 1
    places = ", ".join(f"{count} in {folder}" for folder, count in folders.items())
    evidence = f"{len(found)} of {_count(len(wanted))} found in the mailbox {where}"
    evidence += f" ({places}), {seconds:.1f} s later" if places else ""
    if kept:
        evidence += "; marked as deleted, as the server cannot remove single ones (no UIDPLUS)"
    elif found:
        evidence += ", and removed again"
    if len(found) < len(wanted):
        remedy = (
            "the next hop took it: look at its log and its filters, and whether the login's "
            "mailbox is the recipient's"
        )
        return Verdict(NAME, FAIL, evidence, remedy)
    return Verdict(NAME, PASS, evidence)


def _unknown(error: SysmailError, what: str, data: Mapping[str, Any]) -> Arrival:
    problem = Problem(error.code, error.message, error.remedy)
    verdict = Verdict(NAME, UNKNOWN, f"{what}: {error.message}", error.remedy)
    return Arrival(verdict, data, problem)


def _count(number: int) -> str:
    return "1 message" if number == 1 else f"{number} messages"
