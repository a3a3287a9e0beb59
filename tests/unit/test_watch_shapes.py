"""What an alert looks like to each service, and that the webhook's address is told to nobody."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmail.policy import Policy, parse
from sysmail.watch.model import TROUBLE, WELL, Alert, Finding
from sysmail.watch.shapes import MAX_TEXT, Post, as_document, as_text, post, shown

URL = "https://alerts.example.org/services/T0/s3cret?auth=s3cret"
HOST = "web1.example.org"
BAD = Finding("oldest", 1, "the oldest of 3 messages <a&b> waits", "see `sysmail status`")
ALERT = Alert(TROUBLE, 1_763_800_000.4, (BAD,), 1_763_799_000.0)
AGAIN = Alert(WELL, 1_763_803_600.0, (), 1_763_800_000.0)


def policy(form: str = "json", **more: str) -> Policy:
    return parse({"alert": {"webhook": URL, "format": form, **more}})


def body(found: Post) -> dict[str, Any]:
    assert found.headers["Content-Type"] == "application/json; charset=utf-8"
    data: dict[str, Any] = json.loads(found.body)
    return data


def test_own_document() -> None:
    """sysmail's own shape: version, event, host, times, a text, and each finding."""
    found = post(ALERT, HOST, policy())
    assert found.url == URL
    assert body(found) == {
        "version": 1,
        "source": "sysmail",
        "event": "trouble",
        "host": HOST,
        "time": 1_763_800_000,
        "since": 1_763_799_000,
        "title": "web1.example.org: mail is in trouble",
        "text": as_text(ALERT, HOST),
        "findings": [BAD.as_data()],
    }


def test_ntfy() -> None:
    """ntfy takes the text as it is, and a title, priority and tags as headers in ASCII."""
    found = post(ALERT, HOST, policy("ntfy"))
    assert found.body.decode() == as_text(ALERT, HOST)
    assert found.headers == {
        "Content-Type": "text/plain; charset=utf-8",
        "Title": "web1.example.org: mail is in trouble",
        "Priority": "high",
        "Tags": "warning",
    }
    assert post(AGAIN, HOST, policy("ntfy")).headers["Priority"] == "default"


def test_slack() -> None:
    """Slack takes a text, in which three characters are escaped."""
    text = body(post(ALERT, HOST, policy("slack")))["text"]
    assert "&lt;a&amp;b&gt;" in text
    assert set(body(post(ALERT, HOST, policy("slack")))) == {"text"}


def test_telegram() -> None:
    """Telegram takes the chat and a plain text."""
    data = body(post(ALERT, HOST, policy("telegram", telegram_chat="-100123")))
    assert data["chat_id"] == "-100123"
    assert data["text"] == as_text(ALERT, HOST)
    assert "parse_mode" not in data


def test_text() -> None:
    """A person reads what is wrong and what to do; at the end how long it took."""
    assert as_text(ALERT, HOST).splitlines() == [
        "web1.example.org: mail is in trouble",
        "- the oldest of 3 messages <a&b> waits",
        "  -> see `sysmail status`",
    ]
    assert as_text(AGAIN, HOST).splitlines()[1] == "it was in trouble for 60 minutes"


def test_ntfy_counts_bytes() -> None:
    """A text of characters that take three bytes each stays a text, and whole characters."""
    found = tuple(Finding(f"{at}", 1, "\u90f5" * 500, "see") for at in range(4))
    alert = Alert(TROUBLE, 1.0, found, 1.0)
    assert len(as_text(alert, HOST)) < MAX_TEXT
    sent = post(alert, HOST, policy("ntfy")).body
    assert 4000 - 3 <= len(sent) <= 4000
    assert sent.decode().endswith("\u90f5…")


@given(st.text(), st.text(min_size=1), st.sampled_from(["json", "ntfy", "slack"]))
def test_any_text(text: str, remedy: str, form: str) -> None:
    """Whatever a server said: a body that can be sent, of bounded length, headers on one line."""
    alert = Alert(TROUBLE, 1.0, (Finding("a", 1, text * 50, remedy * 50),), 1.0)
    found = post(alert, HOST, policy(form))
    assert len(as_text(alert, HOST)) <= MAX_TEXT
    assert found.body
    assert not [v for v in found.headers.values() if re.search(r"[\r\n]", v)]
    if form != "ntfy":
        json.loads(found.body)


def test_shown() -> None:
    """What may be told of a webhook is where it is; and a post does not show its own address."""
    assert shown(URL) == "https://alerts.example.org/…"
    assert "s3cret" not in repr(post(ALERT, HOST, policy()))
    assert "s3cret" not in repr(policy())
    assert "s3cret" not in json.dumps(as_document(ALERT, HOST))


@pytest.mark.parametrize(
    ("alert", "key"),
    [
        ({"webhook": URL, "format": "telegram"}, "alert.format"),
        ({"webhook": URL, "telegram_chat": "1"}, "alert.telegram_chat"),
        ({"command": "/bin/a", "format": "slack"}, "alert.format"),
        ({"ca_file": "/a"}, "alert.ca_file"),
        ({"command": "/bin/a", "queue": 0}, "alert.queue"),
        ({"command": "/bin/a", "oldest": "1s"}, "alert.oldest"),
        ({"command": "/bin/a", "proof_age": "1h"}, "alert.proof_age"),
    ],
)
def test_policies_that_cannot_be_meant(alert: dict[str, Any], key: str) -> None:
    """A policy of which a part would be without effect, or without end, is refused by its key."""
    from sysmail.errors import PolicyError

    with pytest.raises(PolicyError) as caught:
        parse({"alert": alert})
    assert caught.value.key == key
    assert "s3cret" not in caught.value.message + caught.value.remedy
