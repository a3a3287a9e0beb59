"""``sysmail prove --to``: a message through every entrance, followed to the next hop's answer."""

from __future__ import annotations

import secrets
from typing import Optional

from sysmail import maillog, submissions
from sysmail.commands.send import send
from sysmail.commands.situation import Situation
from sysmail.entrances import Entrance, entrances, message_id
from sysmail.errors import SysmailError
from sysmail.host.port import Writer
from sysmail.report import FAIL, PASS, UNKNOWN, Verdict

__all__ = ["prove_deliveries"]

SENDER = "root@localhost"
FOLLOW_SECONDS = 30.0
LOG_SECONDS = 5.0
PAUSE = 0.1
SMTP_PORT = 25
FINAL = frozenset({"sent", "bounced", "expired"})


def prove_deliveries(writer: Writer, situation: Situation, recipient: str) -> list[Verdict]:
    """A verdict for each entrance: pass once the next hop took the message.

    Fail when it was refused, unknown when it still waits after 30 seconds or
    when there is no log that tells.
    """
    facts = situation.facts
    ways = [
        entrance
        for entrance in entrances(
            SENDER, recipient, facts.ipv6_loopback, writer.which("msmtp") is not None
        )
        # Without admin there is nowhere for root's mail to go: no-mailboxes tells that.
        if situation.policy.admin or entrance.recipient == recipient
    ]
    if not situation.desired.relay:
        return _prove_submissions(writer, situation, ways)
    token, started = secrets.token_hex(8), writer.now()
    refused: dict[str, SysmailError] = {}
    for entrance in ways:
        try:
            send(writer, entrance, SENDER, token)
        except SysmailError as error:
            refused[entrance.name] = error
    followed = _follow(writer, situation, ways, token, started, len(ways) - len(refused))
    return [
        _refused(entrance, refused[entrance.name])
        if entrance.name in refused
        else _verdict(entrance, *followed.get(entrance.name, ("", None)))
        for entrance in ways
    ]


Followed = dict[str, tuple[str, Optional[maillog.Delivery]]]


def _follow(
    writer: Writer,
    situation: Situation,
    ways: list[Entrance],
    token: str,
    started: float,
    expected: int,
) -> Followed:
    """By entrance: the queue id and the last attempt, as far as the log tells in time."""
    postfix = situation.facts.postfix
    log_file = postfix["maillog_file"] if postfix is not None else ""
    deadline = writer.elapsed() + FOLLOW_SECONDS
    while True:
        lines = maillog.lines_since(writer, situation.facts, log_file, started - 1) or []
        found: Followed = {}
        for entrance in ways:
            queue_id = maillog.queue_id_of(lines, message_id(entrance, token))
            if queue_id:
                attempts = maillog.deliveries(lines, queue_id)
                found[entrance.name] = (queue_id, attempts[-1] if attempts else None)
        done = [d for _, d in found.values() if d is not None and d.status in FINAL]
        if len(done) >= expected or writer.elapsed() >= deadline:
            return found
        writer.sleep(PAUSE)


def _prove_submissions(writer: Writer, situation: Situation, ways: list[Entrance]) -> list[Verdict]:
    """The route mailu: msmtp waits for Mailu's answer, and its log has it."""
    token = secrets.token_hex(8)
    found: list[Verdict] = []
    for entrance in ways:
        if entrance.address and situation.desired.port != SMTP_PORT:
            continue  # that port is another program's
        started = writer.now()
        try:
            send(writer, entrance, SENDER, token)
        except SysmailError as error:
            found.append(_refused(entrance, error))
            continue
        to = situation.policy.admin if entrance.recipient == "root" else entrance.recipient
        hop = situation.decision.hop
        host = hop.host if hop is not None else ""
        found.append(_submitted(writer, entrance, to, started, host))
    return found


def _submitted(
    writer: Writer, entrance: Entrance, recipient: str, started: float, host: str
) -> Verdict:
    name = f"entrance-{entrance.name}"
    deadline = writer.elapsed() + LOG_SECONDS
    while True:
        handed = submissions.since(writer, started, host) or []
        ours = [each for each in handed if recipient in each.recipients]
        if ours:
            evidence = f"taken by {ours[0].host}: {ours[0].answer}"
            if ours[0].accepted:
                return Verdict(name, PASS, evidence)
            return Verdict(name, FAIL, evidence, "Mailu's answer says why")
        if writer.elapsed() >= deadline:
            return Verdict(
                name, UNKNOWN, f"{entrance.summary}: not seen in the log", "see the mail log"
            )
        writer.sleep(PAUSE)


def _refused(entrance: Entrance, error: SysmailError) -> Verdict:
    return Verdict(f"entrance-{entrance.name}", FAIL, error.message, error.remedy)


def _verdict(entrance: Entrance, queue_id: str, last: Optional[maillog.Delivery]) -> Verdict:
    name = f"entrance-{entrance.name}"
    if not queue_id:
        return Verdict(
            name, UNKNOWN, f"{entrance.summary}: not seen in the mail log", "see the mail log"
        )
    if last is None:
        return Verdict(
            name, UNKNOWN, f"{queue_id} waits in the queue", f"see `sysmail queue show {queue_id}`"
        )
    evidence = f"{queue_id} {last.status} by {last.relay} after {last.delay:g} s: {last.answer}"
    if last.status == "sent":
        return Verdict(name, PASS, evidence)
    remedy = "the next hop's answer says why; it is tried again by itself"
    if last.status in FINAL:
        return Verdict(name, FAIL, evidence, "the next hop's answer says why; admin has a notice")
    return Verdict(name, UNKNOWN, evidence, remedy)
