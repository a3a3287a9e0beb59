"""What a line of Postfix's log says of a message. Pure.

Formats of Postfix 3.4 to 3.10, from its source: pickup.c, smtpd.c, cleanup_message.c,
qmgr_active.c, log_adhoc.c, bounce_*.c, postsuper.c, tls_misc.c (tls_log_summary).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Optional

__all__ = ["Event", "Tls", "certificate", "read", "remote_id", "tls"]

_FORMS: tuple[tuple[str, str], ...] = (
    ("pickup", r"uid=(?P<uid>[0-9]{1,10}) from=<(?P<sender>.*?)>(?: orig_id=(?P<former>\w+))?$"),
    ("client", r"client=(?P<client>[^\s,]+)(?P<more>.*)$"),
    ("message-id", r"(?:resent-)?message-id=(?P<message_id>.*)$"),
    (
        "queued",
        r"from=<(?P<sender>.*)>, size=(?P<size>[0-9]{1,18}), nrcpt=(?P<count>[0-9]{1,9})"
        r" \(queue (?P<queue>\w+)\)$",
    ),
    ("expired", r"from=<.*>, status=(?P<status>(?:force-)?expired), returned to sender$"),
    (
        "notice",
        r"(?P<to>sender|postmaster) (?P<about>[a-z -]+) notification: (?P<child>\w+)$",
    ),
    ("lost", r"(?:warning: )?undeliverable postmaster notification discarded"),
    ("held", r"(?:milter-)?hold: (?P<why>.*?)(?:; from=<.*)?$"),
    ("on-hold", r"placed on hold"),
    ("released", r"released from hold"),
    ("requeued", r"requeued$"),
    ("removed", r"removed$"),
)
_COMPILED = tuple((kind, re.compile(form)) for kind, form in _FORMS)

LONGEST = 4096
"""Characters: Postfix ends its own lines after 2,000 (msg_output). Nothing longer is taken apart,
as what programs wrote into addresses may be made to be slow to read."""

WHOLE = 1800
"""Characters of a line that was surely not cut off, whatever stands before its queue id."""

# An address as it is logged (info_log_address_format), and what follows it. A quoted one may hold
# all that a line is made of, and its domain is not quoted.
_ADDRESS = r'(?:[^"<>\\]|\\.|"(?:[^"\\]|\\.)*")*'
_TO = re.compile(rf"to=<(?P<to>{_ADDRESS})>(?:, orig_to=<(?P<original>{_ADDRESS})>)?$")
_ANY_TO = re.compile(r"to=<(?P<to>.*)>$", re.DOTALL)
_RESULT = re.compile(
    r"(?<=>), relay=(?P<relay>[^\s,]+)(?:, [a-z_]+=[^,\s]*){0,4}, delay=(?P<delay>[\d.]+)"
    r", delays=(?P<delays>[\d./]+), dsn=(?P<dsn>[\d.]+), status=(?P<status>[\w-]+) \("
)
_REJECT = re.compile(r"(?:milter-)?(?P<verb>reject|discard): ")
_ENVELOPE = re.compile(
    rf"; from=<(?P<sender>{_ADDRESS})>(?: to=<(?P<to>{_ADDRESS})>)?(?: proto=\w+)?(?: helo=<.*>)?$"
)
_TAKEN = frozenset({"sent", "deliverable"})

_TLS = re.compile(
    r"(?:\w+: )?(?P<trust>Anonymous|Untrusted|Trusted|Verified) TLS connection "
    r"(?:established|reused) to (?P<server>[^\s]+?)(?:\[[^]]*\])?:\d+: "
    r"(?P<version>\S+) with cipher (?P<cipher>\S+)"
)

_CERTIFICATE = re.compile(
    r"(?P<server>[^\s\[]+)\[[^]\s]*\]:\d+: subject_CN=(?P<subject>.*), issuer(?:_CN)?="
)

# By whom: Postfix, Exim, Sendmail, Exchange, Gmail, qmail.
_REMOTE = tuple(
    re.compile(form)
    for form in (
        r"queued as ([\w.-]+)",
        r"\bid=([\w-]+)",
        r"\b(\w{8,}) Message accepted for delivery",
        r"\[InternalId=(\d+)",
        r"(?<!\S)(\S+) - gsmtp",
        r"\bqp (\d+)",
        r"^250 (?:2\.\d\.\d )?Ok:? ([0-9a-f-]{20,})$",
    )
)


@dataclass(frozen=True)
class Event:
    """What one line says: ``kind`` is a word of the table above, ``facts`` what it names."""

    kind: str
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tls:
    """A TLS session of the SMTP client: ``trust`` is Verified, Trusted, Untrusted or Anonymous.

    ``server`` is whom it was with; the certificate was checked for that name where it is Verified.
    ``subject`` is the certificate's own name, where it was logged.
    """

    trust: str
    server: str
    version: str
    cipher: str
    subject: str = ""


def read(daemon: str, text: str) -> Event:
    """What a line with a queue id says; kind ``remark`` for what is not in the table."""
    if len(text) > LONGEST:
        return Event("remark", {"text": text[:LONGEST]})
    apart = _attempt(text) if text.startswith("to=<") else _reject(text)
    if apart is not None:
        return apart
    for kind, form in _COMPILED:
        match = form.match(text)
        if match is not None:
            facts = {name: value for name, value in match.groupdict().items() if value is not None}
            by_hand = kind == "removed" and daemon == "postsuper"
            return Event("deleted" if by_hand else kind, facts)
    return Event("remark", {"text": text})


def _attempt(text: str) -> Optional[Event]:
    """An attempt to hand a message on, see log_adhoc(3).

    The recipient is what a program wrote, and the answer what a server did, which may repeat the
    recipient: either can hold what looks like a result. A line with several is read as the
    first one by which the message was not taken, so that no address can say "delivered".
    """
    found = list(_RESULT.finditer(text))
    if not found:
        return None
    result = next((each for each in found if each["status"] not in _TAKEN), found[0])
    if result["status"] in _TAKEN and not (text.endswith(")") and len(text) <= WHOLE):
        return None  # cut off: what really became of it may have stood behind
    head = text[: result.start()]
    whom = _TO.match(head) or _ANY_TO.match(head)
    if whom is None:
        return None
    answer = text[result.end() :]
    facts = {**result.groupdict(), **whom.groupdict(), "answer": answer.removesuffix(")")}
    return Event("attempt", {name: value for name, value in facts.items() if value is not None})


def _reject(text: str) -> Optional[Event]:
    """A refusal by smtpd(8) or cleanup(8), with the envelope as far as it was known."""
    verb = _REJECT.match(text)
    if verb is None:
        return None
    at = text.find("; from=<", verb.end())
    while at >= 0:
        envelope = _ENVELOPE.match(text, at)
        if envelope is not None:
            known = {name: value for name, value in envelope.groupdict().items() if value}
            answer = text[verb.end() : at]
            return Event("reject", {"verb": verb["verb"], "answer": answer, **known})
        at = text.find("; from=<", at + 1)
    return Event("reject", {"verb": verb["verb"], "answer": text[verb.end() :]})


def tls(text: str) -> Optional[Tls]:
    """The TLS session that a line of the SMTP client tells of; None for any other line."""
    match = _TLS.match(text)
    if match is None:
        return None
    return Tls(match["trust"], match["server"], match["version"], match["cipher"])


def certificate(text: str) -> Optional[tuple[str, str]]:
    """A server, and the name in the certificate that it showed; None for any other line.

    Logged just before the session, with ``peercert`` in smtp_tls_loglevel (tls_client.c).
    """
    match = _CERTIFICATE.match(text[:LONGEST])
    return None if match is None else (match["server"], match["subject"])


def remote_id(answer: str) -> str:
    """The queue id that the next hop gave the message, from its answer; empty without one."""
    for form in _REMOTE:
        match = form.search(answer)
        if match is not None:
            return match.group(1)
    return ""
