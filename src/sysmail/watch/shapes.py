"""An alert as ntfy, Slack, Telegram or a program takes it. Pure.

The address of a webhook is often its own password. It is in the ``Post`` and nowhere
else: ``shown`` is what may be told of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sysmail.policy import Policy
from sysmail.watch.findings import span
from sysmail.watch.model import TROUBLE, WELL, WORSE, Alert, plain

__all__ = ["Post", "as_document", "as_text", "post", "shown", "title"]

MAX_TEXT = 3000
"""Characters; Telegram takes 4,096."""

MAX_NTFY = 4000
"""Bytes; of more than 4,096 ntfy makes an attachment, or refuses it (docs.ntfy.sh)."""

_SAYS = {
    TROUBLE: "mail is in trouble",
    WORSE: "mail got worse",
    WELL: "mail is well again",
}


@dataclass(frozen=True)
class Post:
    """An HTTP request: POST, with these headers besides those that HTTP itself needs."""

    url: str = field(repr=False)
    body: bytes
    headers: dict[str, str]


def shown(url: str) -> str:
    """What may be told of a webhook: the scheme and the host, ``https://host/…``."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or '?'}/…"


def title(alert: Alert, host: str) -> str:
    """The alert in one short line."""
    return f"{plain(host)}: {_SAYS[alert.event]}"


def as_text(alert: Alert, host: str) -> str:
    """The alert for a person to read: what is wrong now, and what to do."""
    lines = [title(alert, host)]
    for finding in alert.findings:
        lines += [f"- {finding.text}", f"  -> {finding.remedy}"]
    if alert.event == WELL:
        lines.append(f"it was in trouble for {span(alert.time - alert.since)}")
    text = "\n".join(lines)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def as_document(alert: Alert, host: str) -> dict[str, Any]:
    """The alert as sysmail's own JSON document, version 1: keys are added, never renamed.

    Times are whole seconds since the epoch.
    """
    return {
        "version": 1,
        "source": "sysmail",
        "event": alert.event,
        "host": plain(host),
        "time": round(alert.time),
        "since": round(alert.since),
        "title": title(alert, host),
        "text": as_text(alert, host),
        "findings": [finding.as_data() for finding in alert.findings],
    }


def post(alert: Alert, host: str, policy: Policy) -> Post:
    """The request that the policy's webhook gets."""
    settings = policy.alert
    if settings.format == "ntfy":
        well = alert.event == WELL
        headers = {
            "Content-Type": "text/plain; charset=utf-8",
            "Title": title(alert, host).encode("ascii", "replace").decode(),
            "Priority": "default" if well else "high",
            "Tags": "white_check_mark" if well else "warning",
        }
        return Post(settings.webhook, _cut(as_text(alert, host).encode()), headers)
    document: dict[str, Any] = as_document(alert, host)
    if settings.format == "slack":
        document = {"text": _escaped(as_text(alert, host))}
    elif settings.format == "telegram":
        document = {
            "chat_id": settings.telegram_chat,
            "text": as_text(alert, host),
            "disable_web_page_preview": True,
        }
    body = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
    return Post(settings.webhook, body, {"Content-Type": "application/json; charset=utf-8"})


def _cut(body: bytes) -> bytes:
    """At most what ntfy takes as a text, whole characters: each may be four bytes."""
    if len(body) <= MAX_NTFY:
        return body
    return body[: MAX_NTFY - 3].decode("utf-8", "ignore").encode() + "…".encode()


def _escaped(text: str) -> str:
    """Slack gives these three characters a meaning (docs.slack.dev, formatting message text)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
