"""Mail for users of this host, notices about mail that failed, and senders: what swallows them."""

from __future__ import annotations

from collections.abc import Iterator

from sysmail.postfix.lint.candidate import Candidate, Finding, seconds
from sysmail.postfix.lint.maps import answers, tables

__all__ = ["RULES"]

_WANTED = ("bounce", "2bounce", "delay", "data")
_CLASSES = frozenset((*_WANTED, "policy", "protocol", "resource", "software"))
_SWALLOW = ("error", "discard")
_HOUR = 3600
# Below this a notice about a message does not fit beside it (policy/schema.py).
_SMALLEST = 20_000
# A stock notice quotes up to 50,000 bytes (bounce_size_limit), with a text of its own around.
_NOTICE_ROOM = 60_000


def _destination(given: Candidate) -> Iterator[Finding]:
    """A host in mydestination with a local_transport that refuses: mail and bounce are gone."""
    transport = given["local_transport"].partition(":")[0].strip()
    if given.words("mydestination") and transport in _SWALLOW:
        yield Finding(
            "local-mail-destroyed",
            "mydestination",
            f"with local_transport = {transport} mail for root and its bounce are both destroyed, "
            "and nobody is told",
            "leave mydestination empty, and send mail for local users to an address outside",
        )


def _aliases(given: Candidate) -> Iterator[Finding]:
    """Only local(8) reads aliases, and without mydestination it gets no mail."""
    if given.words("mydestination") or given["virtual_alias_maps"].strip():
        return
    yield Finding(
        "aliases-do-nothing",
        "virtual_alias_maps",
        "mydestination is empty, so /etc/aliases is not looked at: mail to root leaves for "
        "root@$myorigin",
        "send mail for local users to an address outside by virtual_alias_maps",
    )


def _alias_domains(given: Candidate) -> Iterator[Finding]:
    """By default every key of virtual_alias_maps that is a bare domain is one of ours."""
    if given.written("virtual_alias_domains").strip() != "$virtual_alias_maps":
        return
    for table in tables(given["virtual_alias_maps"]):
        if any(each.kind in ("regexp", "pcre", "static") for each in table.each()):
            yield Finding(
                "domains-taken-over",
                "virtual_alias_domains",
                "it is the same table as virtual_alias_maps: a pattern that fits a bare domain "
                "makes all mail bounce",
                "leave virtual_alias_domains empty",
            )
            return


def _null_sender(given: Candidate) -> Iterator[Finding]:
    """The null sender of a bounce must stay null, or bounces go round without end."""
    for name in ("sender_canonical_maps", "canonical_maps"):
        classes = given.words(name.replace("_maps", "_classes")) or ["envelope_sender"]
        if "envelope_sender" not in classes:
            continue
        if any(answers(given, table, "") for table in tables(given[name])):
            yield Finding(
                "null-sender-rewritten",
                name,
                "a pattern of it fits the null sender <>: bounces get a sender, bounce again, and "
                "multiply",
                "use patterns that need an address, such as /^.+@localhost$/",
            )


def _notices(given: Candidate) -> Iterator[Finding]:
    """Mail that fails has to be told to somebody."""
    classes = set(given.words("notify_classes"))
    unknown = sorted(classes - _CLASSES)
    if unknown:
        yield Finding(
            "notices-not-readable",
            "notify_classes",
            f"`{unknown[0][:60]}` is no class of notices: smtp and bounce end, nobody is told",
            "write resource, software, bounce, 2bounce, delay, data",
        )
    lacking = [name for name in _WANTED if name not in classes]
    if lacking:
        yield Finding(
            "nobody-is-told",
            "notify_classes",
            f"it lacks {', '.join(lacking)}: a failed message with a null sender, and every double "
            "bounce, is dropped and nobody is told",
            "write resource, software, bounce, 2bounce, delay, data",
        )


def _lifetime(given: Candidate) -> Iterator[Finding]:
    """At the end of its life mail is bounced, and the bounce too: both are gone."""
    mail = seconds(given["maximal_queue_lifetime"], "d")
    bounce = seconds(given["bounce_queue_lifetime"], "d")
    for name, value in (("maximal_queue_lifetime", mail), ("bounce_queue_lifetime", bounce)):
        if value < _HOUR:
            yield Finding(
                "lifetime-too-short",
                name,
                "an outage of the next hop that is longer than that destroys mail and its bounce",
                "write an hour at least; five days is Postfix's own",
            )


def _retries(given: Candidate) -> Iterator[Finding]:
    """How long a backlog waits after the next hop is back."""
    longest = seconds(given["maximal_backoff_time"], "s")
    run = seconds(given["queue_run_delay"], "s")
    if longest + run > _HOUR:
        yield Finding(
            "tried-too-seldom",
            "maximal_backoff_time",
            f"after an outage mail waits {longest + run} seconds more before it is tried",
            "write half an hour at most, with a queue_run_delay that is not longer",
        )


def _sizes(given: Candidate) -> Iterator[Finding]:
    """A notice quotes the message, and has to fit as well."""
    limit = _size(given["message_size_limit"])
    if 0 < limit < _SMALLEST:
        yield Finding(
            "message-size",
            "message_size_limit",
            "a notice about a message does not fit: the message stays as `bounce failed`, and "
            "nobody is told",
            "write 20000 at least",
        )
    for service in given.services:
        inner = _size(service.options.get("message_size_limit", given["message_size_limit"]))
        if service.command == "cleanup" and limit and 0 < inner < limit + _NOTICE_ROOM:
            yield Finding(
                "no-room-for-notices",
                "message_size_limit",
                "cleanup has no room for a notice about the largest message: it stays as `bounce "
                "failed`, and nobody is told",
                "give cleanup in master.cf a message_size_limit that is larger by 1000000",
            )


def _size(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1


RULES = (
    _destination,
    _aliases,
    _alias_domains,
    _null_sender,
    _notices,
    _lifetime,
    _retries,
    _sizes,
)
