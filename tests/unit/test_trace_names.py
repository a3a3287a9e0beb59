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
