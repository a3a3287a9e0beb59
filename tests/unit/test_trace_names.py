"""By what a message is found: the recipient or the Message-ID, in every file that can be read."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sysmail.cli.render import as_text
from sysmail.commands import trace
from sysmail.errors import HostError
from sysmail.host import scan
from sysmail.host.machine import Machine
from sysmail.host.port import Completed
from sysmail.report import Report
from sysmail.trace import files, journal
from unit.cases import text
from unit.fake_host import FakeHost
from unit.fake_journal import journalctl

NOW = 1763812800.0
"""2025-11-22 12:00:00 UTC."""


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class _Clocked(Machine):
    """This machine on one day, without its users."""

    def ask(self, argv: Sequence[str], **_how: object) -> Completed:
        return Completed(tuple(argv), 2, "", "")

    def now(self) -> float:
        return NOW


def _message(queue_id: str, sender: str, to: str, message_id: str = "", day: int = 22) -> list[str]:
    start = f"Nov {day} 10:00:00 web1 postfix"
    return [
        f"{start}/pickup[1]: {queue_id}: uid=1000 from=<{sender}>",
        f"{start}/cleanup[2]: {queue_id}: message-id={message_id or f'<{queue_id}@web1>'}",
        f"{start}/qmgr[3]: {queue_id}: from=<{sender}>, size=300, nrcpt=1 (queue active)",
        f"{start}/smtp[4]: {queue_id}: to=<{to}>, relay=mx[192.0.2.1]:25, delay=1,"
        " delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)",
        f"{start}/qmgr[3]: {queue_id}: removed",
    ]


OPS = "ops@example.org"
OLD = _message("8F3D92A0FF", "cron@web1", OPS, day=20)
FROM_OPS = [
    line for number in range(6) for line in _message(f"8F3D92A0{number:02}", OPS, "b@example.net")
]
SAID = [
    f"Nov 22 10:00:00 web1 postfix/smtp[4]: 8F3D92B0{number:02}: to=<b@example.net>, relay=mx[192.0"
    ".2.1]:25, delay=1, delays=0/0/0/1, dsn=5.0.0, status=bounced (550 f=<x> to=<ops@example.org>)"
    for number in range(6)
]
"""What a server repeats is no recipient."""


def _logged(lines: Sequence[str]) -> FakeHost:
    host = FakeHost()
    host.clock = NOW
    host.put("/var/log/mail.log", text(list(lines)))
    return host


def _ids(report: Report) -> list[str]:
    return [message["queue_id"] for message in report.details["messages"]]


@pytest.mark.parametrize("newer", [FROM_OPS, SAID])
def test_a_recipient_who_also_sends(newer: list[str], tmp_path: Path) -> None:
    """However much names the address otherwise, its message in an older file is found."""
    (tmp_path / "mail.log.1").write_text(text(OLD))
    (tmp_path / "mail.log").write_text(text(newer))
    report = trace.run(_Clocked(), OPS, str(tmp_path / "mail.log"))
    assert (report.exit_code, _ids(report)) == (0, ["8F3D92A0FF"])


def test_a_recipient_who_also_sends_farther_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same in one file, before the end of it that is looked at first; by grep and without."""
    monkeypatch.setattr(files, "LATELY", len(text(FROM_OPS)))
    (tmp_path / "mail.log").write_text(text([*OLD, *FROM_OPS]))
    for near in (scan.NEAR, 0):
        monkeypatch.setattr(scan, "NEAR", near)
        assert _ids(trace.run(_Clocked(), OPS, str(tmp_path / "mail.log"))) == ["8F3D92A0FF"]


@pytest.mark.parametrize("limit", [20_000, 4])
def test_more_lines_of_a_sender_than_are_held(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They take no place of the recipient's, in a file or in the journal."""
    for module in (files, journal):
        monkeypatch.setattr(module, "LIMIT", limit)
    (tmp_path / "mail.log").write_text(text([*OLD, *FROM_OPS]))
    assert _ids(trace.run(_Clocked(), OPS, str(tmp_path / "mail.log"))) == ["8F3D92A0FF"]

    def newest(argv: Sequence[str], _in: object) -> Completed:
        rows = journalctl(argv, [*OLD, *FROM_OPS], NOW).out.splitlines(keepends=True)
        kept = rows[: int(argv[argv.index("-n") + 1])]
        return Completed(tuple(argv), 0 if kept else 1, "".join(kept), "")

    host = FakeHost()
    host.clock = NOW
    host.put_directory("/run/systemd/system")
    host.programs["journalctl"] = newest
    assert _ids(trace.run(host, OPS)) == ["8F3D92A0FF"]


@pytest.mark.parametrize("near", [scan.NEAR, 0])
@pytest.mark.parametrize("logged", ["<a.[1]+b@web1>", "a.[1]+b@web1"])
def test_message_ids_with_and_without_brackets(
    logged: str, near: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program's Message-ID is found as it logged it, asked for with ``<>`` or without."""
    monkeypatch.setattr(scan, "NEAR", near)
    monkeypatch.setattr(files, "LATELY", near)
    other = _message("8F3D92A0EE", "x@y", "z@y", logged.replace("web1", "web12"))
    (tmp_path / "mail.log").write_text(
        text([*other, *_message("8F3D92A0FF", "x@y", "z@y", logged)])
    )
    for query in ("a.[1]+b@web1", "<a.[1]+b@web1>"):
        report = trace.run(_Clocked(), query, str(tmp_path / "mail.log"))
        assert (report.details["kind"], _ids(report)) == ("message-id", ["8F3D92A0FF"])


def _damaged(folder: Path) -> str:
    """A log with a file in the middle that was cut off, as by a power cut."""
    (folder / "mail.log").write_text(text(_message("8F3D92A0AA", "x@y", "new@y", "<new@w>")))
    (folder / "mail.log.1").write_text(text(_message("8F3D92A0BB", "x@y", "z@y", day=21)))
    lines = text(_message("8F3D92A0CC", "x@y", "cut@y", "<cut@w>", day=20))
    # The second part is cut off.
    packed = gzip.compress(lines.encode()) + gzip.compress(text(OLD).encode())
    (folder / "mail.log.2.gz").write_bytes(packed[:-60])
    lines = text(_message("8F3D92A0DD", "x@y", "old@y", "<old@w>", day=19))
    (folder / "mail.log.3.gz").write_bytes(gzip.compress(lines.encode()))
    return str(folder / "mail.log")


@pytest.mark.parametrize(
    ("queries", "found"),
    [
        (("8F3D92A0AA", "new@y", "<new@w>"), "8F3D92A0AA"),
        (("8F3D92A0CC", "cut@y", "<cut@w>"), "8F3D92A0CC"),
        (("8F3D92A0DD", "old@y", "<old@w>"), "8F3D92A0DD"),
    ],
)
def test_a_damaged_file_hides_nothing_else(
    queries: Sequence[str], found: str, tmp_path: Path
) -> None:
    """What stands in the others, and before the damage, is told, with what could not be read."""
    log = _damaged(tmp_path)
    for query in queries:
        report = trace.run(_Clocked(), query, log)
        assert (report.exit_code, _ids(report)) == (0, [found])
        # A queue id in the newest file is not looked for in others.
        told = [note for note in report.notes if f"{log}.2.gz could not be read" in note]
        assert len(told) == (query != "8F3D92A0AA"), (query, report.notes)


def test_not_found_beside_a_damaged_file(tmp_path: Path) -> None:
    """Nobody is told that there is no such message without the file that may have it."""
    log = _damaged(tmp_path)
    for query in ("nobody@y", "<nothing@w>", "8F3D92A099"):
        report = trace.run(_Clocked(), query, log)
        assert (report.exit_code, report.errors[0].code) == (3, "message-not-found")
        assert f"{log}.2.gz could not be read" in as_text(report, colour=False)
        assert "may have been in it" in json.dumps(report.notes)


def test_a_log_of_which_nothing_can_be_read(tmp_path: Path) -> None:
    """That is a failure, and no log without the message."""
    (tmp_path / "mail.log.1.gz").write_bytes(b"not gzip")
    with pytest.raises(HostError) as caught:
        trace.run(_Clocked(), OPS, str(tmp_path / "mail.log.1.gz"))
    assert caught.value.code == "log-not-read"


def test_another_log_beside_one_that_cannot_be_read() -> None:
    """What it has is believed, and the note says once what was not read."""
    host = _logged(_message("8F3D92A0AA", "a@b", OPS))
    host.put_directory("/run/systemd/system")
    host.answer("journalctl", "", 124, "journalctl: no answer in 120 s")
    report = trace.run(host, OPS)
    assert (report.exit_code, len(report.notes)) == (0, 1)
    assert "the journal could not be read" in report.notes[0]


def test_two_names_of_one_mailbox() -> None:
    """root and postmaster of one message, both rewritten to the admin, are told of both."""
    start = "Nov 22 10:00:00 web1 postfix"
    result = "relay=mx[192.0.2.1]:25, delay=1, delays=0/0/0/1, dsn={}, status={} (250 ok)"
    lines = [
        f"{start}/pickup[1]: 8F3D92A0FF: uid=1000 from=<a@web1>",
        f"{start}/cleanup[2]: 8F3D92A0FF: message-id=<x@web1>",
        f"{start}/qmgr[3]: 8F3D92A0FF: from=<a@web1>, size=300, nrcpt=2 (queue active)",
        f"{start}/smtp[4]: 8F3D92A0FF: to=<{OPS}>, orig_to=<root>, "
        + result.format("2.0.0", "sent"),
        f"{start}/smtp[4]: 8F3D92A0FF: to=<{OPS}>, orig_to=<postmaster>, "
        + result.format("5.1.1", "bounced"),
        f"{start}/qmgr[3]: 8F3D92A0FF: removed",
    ]
    for query, exit_code in (("root", 0), ("postmaster", 1), (OPS, 1), ("8F3D92A0FF", 1)):
        report = trace.run(_logged(lines), query)
        assert report.exit_code == exit_code, query
        told = report.details["messages"][0]["recipients"]
        assert [each["original"] for each in told] == ["root", "postmaster"]


def test_older_deliveries_beside_refusals_are_counted_as_what_they_are() -> None:
    """Where refusals at the entrance are newer, messages that are only counted stay delivered."""
    lines = [
        line for number in range(5) for line in _message(f"8F3D92A0{number:02}", "a@b", OPS, day=20)
    ]
    lines += [
        "Nov 22 10:00:00 web1 postfix/smtpd[88]: NOQUEUE: reject: RCPT from x[::1]: 554 no; "
        f"from=<a@b> to=<{OPS}> proto=ESMTP helo=<app>"
    ] * 3
    report = trace.run(_logged(lines), OPS)
    assert report.details["others"]["counts"] == {"delivered": 3}
    assert [m["outcome"] for m in report.details["messages"]] == ["delivered"] * 2 + ["failed"] * 3


def test_a_recipient_of_what_was_queued_anew() -> None:
    """Each message is told once, and the one that was queued anew as what it came to."""
    start = "Nov 22 10:00:00 web1 postfix"
    lines = [
        *_message("8F3D92A0AA", "a@b", OPS, day=20)[:3],
        f"{start}/smtp[4]: 8F3D92A0AA: to=<{OPS}>, relay=none, delay=1, delays=0/0/1/0, dsn=4.4.1,"
        " status=deferred (connect to mx[192.0.2.1]:25: Connection refused)",
        f"{start}/postsuper[5]: 8F3D92A0AA: requeued",
        f"{start}/pickup[1]: 8F3D92A0BB: uid=0 from=<a@b> orig_id=8F3D92A0AA",
        *_message("8F3D92A0BB", "a@b", OPS)[1:],
        f"{start}/pickup[1]: 8F3D92A0CC: uid=0 from=<a@b>",
        f"{start}/smtp[4]: 8F3D92A0CC: to=<{OPS}>, relay=none, delay=1, delays=0/0/1/0, dsn=4.4.1,"
        " status=deferred (connect to mx[192.0.2.1]:25: Connection refused)",
    ]
    report = trace.run(_logged(lines), OPS)
    told = [(m["queue_id"], m["outcome"]) for m in report.details["messages"]]
    assert told == [
        ("8F3D92A0AA", "delivered"),
        ("8F3D92A0BB", "delivered"),
        ("8F3D92A0CC", "waiting"),
    ]
    assert report.exit_code == 3


def test_a_recipient_whom_only_the_queue_knows() -> None:
    """What is held before its first try is waiting, and no unknown message."""
    host = _logged(_message("8F3D92A0AA", "a@b", "other@y"))
    entry = {"queue_id": "8F3D92A0BB", "queue_name": "hold", "arrival_time": 1, "message_size": 1}
    recipients = [{"address": OPS}]
    host.answer("postqueue", json.dumps({**entry, "sender": "", "recipients": recipients}) + "\n")
    for query in (OPS, OPS.upper(), f"<{OPS}>"):
        report = trace.run(host, query)
        assert (report.exit_code, report.errors[0].code) == (3, "message-not-logged")
        assert "8F3D92A0BB" in report.errors[0].message
    host.put("/var/log/mail.log", text(_message("8F3D92A0AA", "a@b", OPS)))
    assert trace.run(host, OPS).notes[0].startswith("1 more for this recipient in the queue")
    entry["queue_id"] = "8F3D92A0AA"
    host.answer("postqueue", json.dumps({**entry, "sender": "", "recipients": recipients}) + "\n")
    assert not trace.run(host, OPS).notes


def test_a_message_that_waited_over_new_year() -> None:
    """Stamps without a year, in files of both years, are told in order."""
    host = FakeHost()
    host.clock = NOW + 45 * 86400  # January 6
    lines = _message("8F3D92A0AA", "a@b", OPS)
    for path, part in (("/var/log/mail.log.1", lines[:3]), ("/var/log/mail.log", lines[3:])):
        day = "Dec 31 23:59:50" if path.endswith("1") else "Jan  1 00:00:20"
        host.put(path, text([line.replace("Nov 22 10:00:00", day) for line in part]))
    for query in (OPS, "8F3D92A0AA"):
        message = trace.run(host, query).details["messages"][0]
        assert message["last"] - message["first"] == 30
        assert message["outcome"] == "delivered"
