"""What a line of Postfix's log says of a message. Pure.

Formats of Postfix 3.4 to 3.10, from its source: pickup.c, smtpd.c, cleanup_message.c,
qmgr_active.c, log_adhoc.c, bounce_*.c, postsuper.c, tls_misc.c (tls_log_summary).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Optional

__all__ = ["Event", "Tls", "read", "remote_id", "tls"]

_FORMS: tuple[tuple[str, str], ...] = (
    ("pickup", r"uid=(?P<uid>\d+) from=<(?P<sender>.*?)>(?: orig_id=(?P<former>\w+))?$"),
    ("client", r"client=(?P<client>[^\s,]+)(?P<more>.*)$"),
    ("message-id", r"(?:resent-)?message-id=(?P<message_id>.*)$"),
    (
        "queued",
        r"from=<(?P<sender>.*)>, size=(?P<size>\d+), nrcpt=(?P<count>\d+) \(queue (?P<queue>\w+)\)",
    ),
    ("expired", r"from=<.*>, status=(?P<status>(?:force-)?expired), returned to sender"),
    (
        "attempt",
        r"to=<(?P<to>.*?)>(?:, orig_to=<(?P<original>.*?)>)?, relay=(?P<relay>[^\s,]+)"
        r"(?:, [a-z_]+=[^,]*)*?, delay=(?P<delay>[\d.]+), delays=(?P<delays>[\d./]+)"
        r", dsn=(?P<dsn>[\d.]+), status=(?P<status>[\w-]+) \((?P<answer>.*?)\)?$",
    ),
    (
        "notice",
        r"(?P<to>sender|postmaster) (?P<about>[a-z -]+) notification: (?P<child>\w+)$",
    ),
    ("lost", r"(?:warning: )?undeliverable postmaster notification discarded"),
    (
        "reject",
        r"(?:milter-)?(?P<verb>reject|discard): (?P<answer>.*?)"
        r"(?:; from=<(?P<sender>.*?)>(?: to=<(?P<to>.*?)>)?(?: proto=\w+)?(?: helo=<.*>)?)?$",
    ),
    ("held", r"(?:milter-)?hold: (?P<why>.*?)(?:; from=<.*)?$"),
    ("on-hold", r"placed on hold"),
    ("released", r"released from hold"),
    ("requeued", r"requeued$"),
    ("removed", r"removed$"),
)
_COMPILED = tuple((kind, re.compile(form)) for kind, form in _FORMS)

_TLS = re.compile(
    r"(?:\w+: )?(?P<trust>Anonymous|Untrusted|Trusted|Verified) TLS connection "
    r"(?:established|reused) to (?P<server>[^\s]+?)(?:\[[^]]*\])?:\d+: "
    r"(?P<version>\S+) with cipher (?P<cipher>\S+)"
)

# By whom: Postfix, Exim, Sendmail, Exchange, Gmail, qmail.
_REMOTE = tuple(
    re.compile(form)
    for form in (
        r"queued as ([\w.-]+)",
        r"\bid=([\w-]+)",
        r"\b(\w{8,}) Message accepted for delivery",
        r"\[InternalId=(\d+)",
        r"(\S+) - gsmtp",
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
    """

    trust: str
    server: str
    version: str
    cipher: str


def read(daemon: str, text: str) -> Event:
    """What a line with a queue id says; kind ``remark`` for what is not in the table."""
    for kind, form in _COMPILED:
        match = form.match(text)
        if match is not None:
            facts = {name: value for name, value in match.groupdict().items() if value is not None}
            by_hand = kind == "removed" and daemon == "postsuper"
            return Event("deleted" if by_hand else kind, facts)
    return Event("remark", {"text": text})


def tls(text: str) -> Optional[Tls]:
    """The TLS session that a line of the SMTP client tells of; None for any other line."""
    match = _TLS.match(text)
    if match is None:
        return None
    return Tls(match["trust"], match["server"], match["version"], match["cipher"])


def remote_id(answer: str) -> str:
    """The queue id that the next hop gave the message, from its answer; empty without one."""
    for form in _REMOTE:
        match = form.search(answer)
        if match is not None:
            return match.group(1)
    return ""
