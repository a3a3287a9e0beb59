"""``sysmail prove --bounce``: messages that must fail, and the notices about them.

The relay's own transport table has an address that always fails, so that
nothing of it depends on a server of somebody else but the notice's way.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Optional

from sysmail.commands.deliver import SENDER, last_attempt, waits
from sysmail.commands.follow import Followed, follow, is_settled
from sysmail.commands.send import send
from sysmail.commands.situation import Situation
from sysmail.entrances import Entrance, message_id
from sysmail.errors import RefusedError, SysmailError
from sysmail.host.port import Reader, Writer
from sysmail.postfix.maps import ALWAYS_FAILS
from sysmail.report import FAIL, PASS, UNKNOWN, Verdict
from sysmail.trace.narrate import ending, recipient
from sysmail.trace.story import DELIVERED, FAILED, WAITING, Story

__all__ = ["Bounced", "check_bounce", "prove_bounces"]

_SENDERS = (
    ("bounce", SENDER, "sender", "a message of root that must fail"),
    # Nobody can be told but the postmaster: by stock Postfix it is lost without a word.
    ("bounce-null-sender", "<>", "postmaster", "a message without sender that must fail"),
)


@dataclass(frozen=True)
class Bounced:
    """A message that had to fail, and what became of the notice about it."""

    entrance: Entrance
    message_id: str
    verdict: Verdict
    story: Optional[Story] = None
    notices: tuple[tuple[str, str, Optional[Story]], ...] = ()

    def as_data(self) -> dict[str, Any]:
        """As in the JSON report."""
        story = self.story
        return {
            "check": self.entrance.name,
            "to": self.entrance.recipient,
            "message_id": self.message_id,
            "queue_id": story.queue_id if story is not None else "",
            "notices": [
                {
                    "to": to,
                    "queue_id": queue_id,
                    "outcome": notice.outcome() if notice is not None else "unknown",
                    "delivery": _delivery(notice),
                }
                for to, queue_id, notice in self.notices
            ],
        }


def _delivery(notice: Optional[Story]) -> Optional[dict[str, Any]]:
    last = last_attempt(notice) if notice is not None else None
    return recipient(last) if last is not None else None


def check_bounce(reader: Reader, situation: Situation) -> None:
    """RefusedError where a message that fails cannot be proven to reach admin; sends nothing."""
    if not situation.desired.relay:
        raise RefusedError(
            "bounce-without-queue",
            "on the route mailu nothing is queued on this host: what Mailu refuses, the program "
            "that sends it is told at once, and Mailu itself returns what fails later to "
            f"{situation.sender}",
            'for notices that reach admin use `route = "relay"` with next_hop = "mailu"',
        )
    if not situation.policy.admin:
        raise RefusedError(
            "bounce-without-admin",
            "notices about mail that fails go to admin, and the policy names none",
            "set admin in the policy, and run `sysmail apply`",
        )
    if situation.decision.next_hop == "hold":
        raise RefusedError(
            "bounce-on-hold",
            "all mail is held here, and notices are mail too: none leaves",
            "prove it with another next_hop in the policy",
        )
    if not _always_fails(reader, situation):
        raise RefusedError(
            "bounce-not-set-up",
            f"the Postfix of this host has no address that always fails ({ALWAYS_FAILS}): it was "
            "set up by an earlier sysmail, or its transport_maps were changed",
            "run `sysmail apply` first",
        )


def _always_fails(reader: Reader, situation: Situation) -> bool:
    """Whether the live tables send the address to error(8); else a server would get the message."""
    postfix = situation.facts.postfix
    tables = postfix["transport_maps"].replace(",", " ").split() if postfix is not None else []
    for table in tables:
        said = reader.ask(["postmap", "-q", ALWAYS_FAILS, table], timeout=10)
        if said.status == 0 and said.out.strip():
            return said.out.startswith("error:")
    return False


def prove_bounces(writer: Writer) -> list[Bounced]:
    """Two messages that fail, of root and of nobody: pass once admin's server took the notice."""
    token, started = secrets.token_hex(8), writer.now()
    ways: list[tuple[Entrance, str]] = []
    refused: dict[str, SysmailError] = {}
    for name, sender, told, summary in _SENDERS:
        argv = ("sendmail", "-i", "-f", sender, ALWAYS_FAILS)
        entrance = Entrance(name, summary, ALWAYS_FAILS, argv=argv, subject="test of a failure")
        ways.append((entrance, told))
        try:
            send(writer, entrance, SENDER, token)
        except SysmailError as error:
            refused[name] = error
    ids = {message_id(e, token): told for e, told in ways if e.name not in refused}

    def is_done(found: Followed) -> bool:
        return all(_is_done(found, each, told) for each, told in ids.items())

    followed = follow(writer, token, started, is_done) if ids else Followed()
    rows: list[Bounced] = []
    for entrance, told in ways:
        name = message_id(entrance, token)
        why = refused.get(entrance.name)
        if why is not None:
            verdict = Verdict(entrance.name, FAIL, why.message, why.remedy)
            rows.append(Bounced(entrance, name, verdict))
            continue
        story = followed.stories.get(name)
        verdict = _verdict(entrance, told, followed, story)
        notices = tuple(
            (n.to, n.queue_id, followed.notices.get(n.queue_id))
            for n in (story.notices if story is not None else ())
        )
        rows.append(Bounced(entrance, name, verdict, story, notices))
    return rows


def _is_done(found: Followed, name: str, told: str) -> bool:
    story = found.stories.get(name)
    if story is None or not is_settled(story):
        return False
    # The notices are logged before the message is gone from the queue.
    notices = [n.queue_id for n in story.notices]
    there = any(n.to == told for n in story.notices) or bool(story.ended)
    return there and all(is_settled(found.notices.get(each)) for each in notices)


def _verdict(entrance: Entrance, told: str, followed: Followed, story: Optional[Story]) -> Verdict:
    name = entrance.name
    if story is None:
        why = followed.trouble.message if followed.trouble is not None else "not in the mail log"
        return Verdict(name, UNKNOWN, f"{entrance.summary}: {why}", "see the mail log")
    if story.outcome() == DELIVERED:
        evidence = f"{story.queue_id} was to fail, and was taken: {entrance.recipient}"
        return Verdict(name, FAIL, evidence, "look at transport_maps, and run `sysmail apply`")
    if story.outcome() == WAITING:
        said, remedy = waits(story)
        return Verdict(name, UNKNOWN, f"{story.queue_id} was to fail, and {said}", remedy)
    queue_id = next((n.queue_id for n in story.notices if n.to == told), "")
    if not queue_id:
        evidence = f"{story.queue_id} failed as it must, and no notice to the {told} was made"
        return Verdict(name, FAIL, evidence, "look at notify_classes, and run `sysmail apply`")
    return _of_notice(name, story.queue_id, queue_id, followed.notices.get(queue_id))


def _of_notice(name: str, failed: str, queue_id: str, notice: Optional[Story]) -> Verdict:
    begun = f"{failed} failed as it must; its notice {queue_id}"
    last = last_attempt(notice) if notice is not None else None
    if notice is None or last is None or notice.outcome() == WAITING:
        said, remedy = waits(notice) if notice is not None else ("is not in the mail log", "")
        return Verdict(name, UNKNOWN, f"{begun} {said}", remedy or "see the mail log")
    if notice.outcome() == FAILED:
        remedy = "that server's answer says why; set admin in the policy to an address it takes"
        return Verdict(name, FAIL, f"{begun} {ending(last)}", remedy)
    return Verdict(name, PASS, f"{begun} {ending(last)}")
