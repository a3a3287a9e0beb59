"""``sysmail prove --to``: a message through every entrance, followed to the next hop's answer."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any, Optional

from sysmail import submissions
from sysmail.commands.follow import Followed, follow, is_settled
from sysmail.commands.send import send
from sysmail.commands.situation import Situation
from sysmail.entrances import Entrance, entrances, message_id
from sysmail.errors import SysmailError
from sysmail.host.port import Writer
from sysmail.report import FAIL, PASS, UNKNOWN, Verdict
from sysmail.trace.events import remote_id
from sysmail.trace.narrate import ending, recipient
from sysmail.trace.story import DELIVERED, FAILED, WAITING, Attempt, Story

__all__ = ["SENDER", "Sent", "last_attempt", "prove_deliveries", "waits"]

SENDER = "root@localhost"
LOG_SECONDS = 5.0
PAUSE = 0.1
SMTP_PORT = 25


@dataclass(frozen=True)
class Sent:
    """A message that went through an entrance, or was to.

    ``outcome`` is delivered (the next hop took it), failed, waiting, refused
    (by the entrance) or unknown; ``to`` is who it is for, after aliases.
    """

    entrance: Entrance
    token: str
    to: str
    outcome: str
    verdict: Verdict
    queue_id: str = ""
    delivery: Optional[dict[str, Any]] = field(default=None)

    @property
    def message_id(self) -> str:
        """With brackets."""
        return message_id(self.entrance, self.token)

    def as_data(self) -> dict[str, Any]:
        """As in the JSON report."""
        return {
            "entrance": self.entrance.name,
            "summary": self.entrance.summary,
            "to": self.entrance.recipient,
            "message_id": self.message_id,
            "queue_id": self.queue_id,
            "outcome": self.outcome,
            "delivery": self.delivery,
        }


def prove_deliveries(writer: Writer, situation: Situation, to: str) -> list[Sent]:
    """A message through each entrance, with its verdict: pass once the next hop took it.

    Fail when it was refused, unknown when it still waits after 30 seconds or
    when there is no log that tells.
    """
    facts, admin = situation.facts, situation.policy.admin
    has_msmtp = writer.which("msmtp") is not None
    # Without admin there is nowhere for root's mail to go: no-mailboxes tells that.
    ways = [
        entrance
        for entrance in entrances(SENDER, to, facts.ipv6_loopback, has_msmtp)
        if admin or entrance.recipient == to
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
    ids = [message_id(entrance, token) for entrance in ways if entrance.name not in refused]

    def is_done(found: Followed) -> bool:
        return all(is_settled(found.stories.get(each)) for each in ids)

    followed = follow(writer, token, started, is_done) if ids else Followed()
    sent: list[Sent] = []
    for entrance in ways:
        whom = admin if entrance.recipient == "root" else to
        if entrance.name in refused:
            sent.append(_refused(entrance, token, whom, refused[entrance.name]))
        else:
            sent.append(_sent(entrance, token, whom, followed))
    return sent


def _sent(entrance: Entrance, token: str, to: str, followed: Followed) -> Sent:
    name = f"entrance-{entrance.name}"
    story = followed.stories.get(message_id(entrance, token))
    if story is None:
        why = followed.trouble.message if followed.trouble is not None else "not in the mail log"
        remedy = followed.trouble.remedy if followed.trouble is not None else "see the mail log"
        verdict = Verdict(name, UNKNOWN, f"{entrance.summary}: {why}", remedy)
        return Sent(entrance, token, to, "unknown", verdict)
    outcome, last = story.outcome(), last_attempt(story)
    if outcome == WAITING or last is None:
        said, remedy = waits(story)
        verdict = Verdict(name, UNKNOWN, f"{story.queue_id} {said}", remedy)
        outcome = WAITING
    elif outcome == FAILED:
        remedy = "the next hop's answer says why; admin has a notice"
        verdict = Verdict(name, FAIL, f"{story.queue_id} {ending(last)}", remedy)
    else:
        verdict = Verdict(name, PASS, f"{story.queue_id} {ending(last)}")
    delivery = recipient(last) if last is not None else None
    return Sent(entrance, token, to, outcome, verdict, story.queue_id, delivery)


def last_attempt(story: Story) -> Optional[Attempt]:
    """The last attempt for a message of one recipient; None where there was none yet."""
    return next(reversed(story.by_recipient().values()), None)


def waits(story: Story) -> tuple[str, str]:
    """Why a message waits, and what to do."""
    last = last_attempt(story)
    held = next((r.text for r in story.remarks if r.kind in ("held", "on-hold")), None)
    if held is not None:
        return "is held in the queue", f"`sysmail queue release {story.queue_id}` lets it go"
    if last is None:
        return "waits in the queue", f"see `sysmail queue show {story.queue_id}`"
    said = f"waits after {last.delay:g} s: {last.answer}"
    return said, "the answer says why; it is tried again by itself"


def _refused(entrance: Entrance, token: str, to: str, error: SysmailError) -> Sent:
    verdict = Verdict(f"entrance-{entrance.name}", FAIL, error.message, error.remedy)
    return Sent(entrance, token, to, "refused", verdict)


def _prove_submissions(writer: Writer, situation: Situation, ways: list[Entrance]) -> list[Sent]:
    """The route mailu: msmtp waits for Mailu's answer, and its log has it."""
    token = secrets.token_hex(8)
    hop = situation.decision.hop
    found: list[Sent] = []
    for entrance in ways:
        if entrance.address and situation.desired.port != SMTP_PORT:
            continue  # that port is another program's
        to = situation.policy.admin if entrance.recipient == "root" else entrance.recipient
        started, began = writer.now(), writer.elapsed()
        try:
            send(writer, entrance, SENDER, token)
        except SysmailError as error:
            found.append(_refused(entrance, token, to, error))
            continue
        seconds = writer.elapsed() - began
        host = hop.host if hop is not None else ""
        found.append(_submitted(writer, entrance, token, to, (started, seconds, host)))
    return found


def _submitted(
    writer: Writer, entrance: Entrance, token: str, to: str, how: tuple[float, float, str]
) -> Sent:
    """``how``: when it was handed over (since the epoch), in how many seconds, and to whom."""
    name = f"entrance-{entrance.name}"
    started, seconds, host = how
    deadline = writer.elapsed() + LOG_SECONDS
    while True:
        handed = submissions.since(writer, started, host)
        ours = [each for each in handed or () if to in each.recipients]
        if ours:
            there = remote_id(ours[0].answer) if ours[0].accepted else ""
            known = f", there {there}" if there else ""
            evidence = f"taken by {host}{known}, in {seconds:.2f} s: {ours[0].answer}"
            delivery = {
                "address": to,
                "relay": host,
                "remote_queue_id": there,
                "answer": ours[0].answer,
                "delay": round(seconds, 3),
            }
            if ours[0].accepted:
                verdict = Verdict(name, PASS, evidence)
                return Sent(entrance, token, to, DELIVERED, verdict, delivery=delivery)
            verdict = Verdict(name, FAIL, f"refused by {host}: {ours[0].answer}", _MAILU_SAYS)
            return Sent(entrance, token, to, FAILED, verdict, delivery=delivery)
        if writer.elapsed() >= deadline:
            why, remedy = "not seen in the log", "see the mail log"
            if handed is None:
                why = "the journal cannot be read"
                remedy = "run `journalctl -t msmtp -n 1` to see why"
            verdict = Verdict(name, UNKNOWN, f"{entrance.summary}: {why}", remedy)
            return Sent(entrance, token, to, "unknown", verdict)
        writer.sleep(PAUSE)


_MAILU_SAYS = "Mailu's answer says why"
