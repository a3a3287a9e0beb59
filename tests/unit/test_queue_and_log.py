"""What waits and what happened: the queue and the log of Postfix."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmail import logline, maillog, queue
from sysmail.facts.model import Facts
from sysmail.host.port import Completed
from unit.cases import cases, text
from unit.fake_debian import FakeDebian
from unit.fake_host import FakeHost
from unit.make import facts


@pytest.mark.parametrize(("_folder", "case"), cases("queue"))
def test_queue_cases(_folder: str, case: dict[str, Any]) -> None:
    """The output of postqueue gives these messages, oldest first, and these reasons."""
    messages = queue.parse(text(case["input"]))
    assert [message.as_data() for message in messages] == case["messages"]
    assert [list(row) for row in queue.by_reason(messages)] == case["reasons"]


def test_queue_that_cannot_be_listed_is_not_an_empty_one() -> None:
    """Where postqueue fails or is not there, nobody is told that the queue is empty."""
    host = FakeHost()
    assert queue.waiting(host) is None
    host.answer("postqueue", "", 69, "postqueue: fatal: Queue report unavailable")
    assert queue.waiting(host) is None
    host.answer("postqueue")
    assert queue.waiting(host) == []


@pytest.mark.parametrize(
    ("listings", "expected"),
    [
        (["", "AB", "AB"], "AB"),  # all moved behind the first listing's back
        (["AAB", "AB"], "AB"),  # one moved in front of it, and was named twice
        (["AB", "A", "A"], "A"),  # what has left is not named
        (["", ""], ""),
        (["A", "B", "A", "B"], "AB"),  # never still: what either of the last two named
        (["!", "A", "A"], "A"),  # showq ended in the middle of its answer, as master stopped
        (["A", "!", "A", "A"], "A"),
    ],
)
def test_queue_that_moves_while_it_is_listed(listings: list[str], expected: str) -> None:
    """A message that qmgr moves past a listing is named all the same, and named once."""
    host = FakeHost()
    said = iter([*listings, *listings[-1:] * 2])

    def postqueue(argv: Sequence[str], _stdin: Optional[bytes]) -> Completed:
        ids = next(said)
        if ids == "!":
            return Completed(tuple(argv), 69, "", "fatal: malformed showq server response")
        return Completed(tuple(argv), 0, "".join(map(_listed, ids)), "")

    host.programs["postqueue"] = postqueue
    assert "".join(message.queue_id for message in queue.waiting(host) or []) == expected


def _listed(queue_id: str) -> str:
    entry = {
        "queue_id": queue_id,
        "queue_name": "active",
        "arrival_time": ord(queue_id),
        "message_size": 300,
        "sender": "",
        "recipients": [{"address": "ops@example.org"}],
    }
    return json.dumps(entry) + "\n"


@pytest.mark.parametrize("collected", ["journal", "file", "syslog"])
@pytest.mark.parametrize(("_folder", "case"), cases("maillog"))
def test_maillog_cases(_folder: str, case: dict[str, Any], collected: str) -> None:
    """Lines of the log say the same, whoever collects them."""
    host, about, log_file = _logging_host(collected, case["input"])
    lines = maillog.lines_since(host, about, log_file, 0)
    assert lines == case["input"]
    lost = maillog.losses(host, about, log_file, 0)
    assert lost is not None
    assert len(lost) == case["lost"]
    now = _moment("Nov 22 10:50:30") if case["fatal"] else _moment("Nov 22 12:00:00")
    host.clock = now
    assert maillog.last_fatal(host, about, log_file) == case["fatal"]


def _moment(stamp: str) -> float:
    return time.mktime(time.strptime(f"2025 {stamp}", "%Y %b %d %H:%M:%S"))


def _logging_host(collected: str, lines: list[str]) -> tuple[FakeHost, Facts, str]:
    if collected == "journal":
        host = FakeDebian(postfix=True)
        host.log = lines
        return host, facts(systemd=True), ""
    plain = FakeHost()
    plain.clock = _moment("Nov 22 12:00:00")
    path = "/var/log/postfix.log" if collected == "file" else "/var/log/mail.log"
    plain.put(path, text(lines))
    return plain, facts(systemd=False), path if collected == "file" else ""


def test_lines_before_the_moment_are_left_out() -> None:
    """In a file only the lines from the moment on count, and only those with the text."""
    host = FakeHost()
    host.clock = _moment("Nov 22 12:00:00")
    lines = [
        "Nov 22 10:00:00 web1 postfix/a[1]: old word",
        "Nov 22 11:00:00 web1 postfix/a[1]: new word",
        "Nov 22 11:30:00 web1 postfix/a[1]: new y",
        "2025-11-22T11:40:00.1+00:00 web1 postfix/a[1]: iso word",
        "2025-11-22T09:40:00.1+00:00 web1 postfix/a[1]: iso old word",
    ]
    host.put("/var/log/maillog", text(lines))
    since = _moment("Nov 22 11:00:00")
    found = maillog.lines_since(host, facts(systemd=False), "", since, "word")
    assert found == [lines[1], lines[3]]


def test_a_line_of_december_is_of_last_year_in_january() -> None:
    """syslog writes no year: a line that would be in the future is from last year."""
    host = FakeHost()
    host.clock = time.mktime((2026, 1, 2, 12, 0, 0, 0, 0, -1))
    host.put("/var/log/mail.log", "Dec 31 10:00:00 web1 x\nJan  2 10:00:00 web1 y\n")
    since = time.mktime((2026, 1, 1, 0, 0, 0, 0, 0, -1))
    found = maillog.lines_since(host, facts(systemd=False), "", since)
    assert found == ["Jan  2 10:00:00 web1 y"]


def test_without_any_log_nothing_is_claimed() -> None:
    """Where no log can be read the answer is that, and not that nothing happened."""
    host = FakeHost()
    assert maillog.lines_since(host, facts(systemd=False), "", 0) is None
    assert maillog.losses(host, facts(systemd=False), "", 0) is None
    host.answer("journalctl", "", 1, "No journal files were opened due to permissions")
    assert maillog.losses(host, facts(systemd=True), "", 0) is None


def test_whether_a_file_has_a_line_of_postfix_since() -> None:
    """What others say, and lines of before, are none; what was just rotated away counts."""
    host = FakeHost()

    def line(age: float, program: str) -> str:
        stamp = time.strftime("%b %e %H:%M:%S", time.localtime(host.clock - age))
        return f"{stamp} web1 {program}[9]: connect from localhost postfix\n"

    def silent() -> bool:
        return maillog.is_silent(host, facts(systemd=False), "", host.clock - 3600, 60)

    assert silent()
    host.put("/var/log/mail.log", line(90, "postfix/smtpd") + line(5, "sshd"))
    assert silent()
    host.put("/var/log/mail.log", line(90, "postfix/smtpd") + line(5, "postfix/smtpd"))
    assert not silent()
    host.put("/var/log/mail.log.1", host.text("/var/log/mail.log"))
    host.put("/var/log/mail.log", "")
    assert not silent()


@pytest.mark.parametrize(
    ("entry", "start", "silent"),
    [
        ("", 1000.0, True),
        (
            '{"__REALTIME_TIMESTAMP": "1500000000", "__MONOTONIC_TIMESTAMP": "700000000"}',
            1e3,
            False,
        ),
        ('{"__REALTIME_TIMESTAMP": "999000000", "__MONOTONIC_TIMESTAMP": "700000000"}', 1e3, True),
        ('{"__REALTIME_TIMESTAMP": "1500000000", "__MONOTONIC_TIMESTAMP": "100000000"}', 1e3, True),
        ("no JSON", 1000.0, False),
        ("{}", 1000.0, False),
        ("[1]", 1000.0, False),
    ],
)
def test_whether_the_journal_has_a_line_of_postfix(entry: str, start: float, silent: bool) -> None:
    """By the clocks of the journal: a host whose own clock is wrong is another fault."""
    host = FakeHost()
    host.clock = 9e9
    host.answer("getent", "postfix:x:102:105::/var/spool/postfix:/usr/sbin/nologin\n")
    host.answer("journalctl", entry)
    host.put("/proc/uptime", "760.55 1500.00\n")
    assert maillog.is_silent(host, facts(systemd=True), "", start, 600) is silent


def test_journal_without_a_match_is_an_empty_answer() -> None:
    """journalctl -g ends with 1 where nothing matches; that is no failure."""
    host = FakeHost()
    host.answer("journalctl", "", 1)
    host.answer("getent", "postfix:x:102:105::/var/spool/postfix:/usr/sbin/nologin\n")
    assert maillog.losses(host, facts(systemd=True), "", 0) == []


def test_journal_is_asked_for_every_unit_of_postfix() -> None:
    """The journal is asked by unit, from a moment on, and with the text to look for."""
    host = FakeHost()
    host.answer("journalctl")
    maillog.lines_since(host, facts(systemd=True), "", 1700000000.9, "status=")
    asked = host.asked[-1].what
    assert asked[asked.index("-u") + 1] == "postfix*"
    assert asked[asked.index("--since") + 1] == "@1700000000"
    assert re.search(asked[asked.index("-g") + 1], "x status=sent")


@given(
    line=st.text(), stamp=st.from_regex(r"([A-Z][a-z]{2} +\d+|\d{4}-\d\d-\d\d)[T ]\d\d:\d\d:\d\d")
)
def test_any_line_has_a_time(line: str, stamp: str) -> None:
    """No line of a log file makes reading it fail, whatever its date."""
    host = FakeHost()
    host.put("/var/log/mail.log", f"{stamp} {line}")
    assert maillog.lines_since(host, facts(systemd=False), "", 0) is not None


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time of Berlin, where summer time ends at 03:00 on 2025-10-26 (01:00 UTC)."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


FIRST = 1761438600.0
"""02:30 of summer time; an hour later it is 02:30 again."""


def _lately(lines: list[str], now: float, mtime: float = 0.0) -> list[str]:
    host = FakeHost()
    host.clock = mtime or now
    host.put("/var/log/mail.log", text(lines))
    host.clock = now
    found = maillog.lines_since(host, facts(systemd=False), "", now - 600)
    assert found is not None
    return found


@pytest.mark.usefixtures("in_berlin")
def test_the_hour_that_autumn_repeats() -> None:
    """In a log file the same stamps come twice: the first ones are an hour old."""
    lines = [
        "Oct 26 02:25:00 web1 postfix/a[1]: first",
        "Oct 26 02:55:00 web1 postfix/a[1]: first, later",
        "Oct 26 02:26:00 web1 postfix/a[1]: second",
    ]
    assert _lately(lines[:1], FIRST) == lines[:1]
    assert _lately(lines, FIRST + 3600) == lines[2:]
    # Nothing was written since: the file itself is that old.
    assert _lately(lines[:1], FIRST + 3600, FIRST - 300) == []
    assert logline.moment(lines[2], FIRST + 3600) == FIRST + 3600 - 240
    assert logline.moment(lines[0], FIRST) == FIRST - 300


@pytest.mark.usefixtures("in_berlin")
def test_a_file_of_more_than_a_year() -> None:
    """A stamp has no year: what stands before a line of later in the year is of the last one."""
    now = FIRST + 40 * 86_400
    today = time.strftime("%b %d %H:%M:%S", time.localtime(now - 60))
    tomorrow = time.strftime("%b %d %H:%M:%S", time.localtime(now + 2 * 86_400))
    lines = [f"{when} web1 postfix/a[1]: x{n}" for n, when in enumerate((today, tomorrow, today))]
    assert _lately(lines, now) == lines[2:]
