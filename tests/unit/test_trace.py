"""What happened to a message: its lines found in logs of any kind, and put together as a story."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sysmail import logline
from sysmail.cli.render import as_text
from sysmail.commands import trace
from sysmail.errors import HostError, UsageError
from sysmail.host import scan
from sysmail.host.machine import Machine
from sysmail.host.port import Completed
from sysmail.logline import LogLine
from sysmail.report import Report
from sysmail.trace import msmtp_log
from sysmail.trace.events import LONGEST, WHOLE, read
from sysmail.trace.files import rotated
from sysmail.trace.journal import Journal, arrival_of, suppressed
from sysmail.trace.narrate import as_data
from sysmail.trace.story import session_after, stories
from sysmail.watch import runaway
from unit.cases import cases, text
from unit.fake_host import FakeHost
from unit.fake_journal import POSTFIX_UID, journalctl

LOG = "/var/log/mail.log"
ACCOUNT = f"postfix:x:{POSTFIX_UID}:105::/var/spool/postfix:/usr/sbin/nologin\n"
QUEUE_ID = "4XwYh24jQGz3mK"


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def _moment(stamp: str) -> float:
    return time.mktime(time.strptime(f"2025 {stamp}", "%Y %b %d %H:%M:%S"))


def _host(lines: Sequence[str], path: str = LOG) -> FakeHost:
    host = FakeHost()
    host.clock = _moment("Nov 22 12:00:00")
    host.put(path, text(list(lines)))
    return host


def _told(message: dict[str, Any]) -> dict[str, Any]:
    """A message of a report as the cases have it."""
    found: dict[str, Any] = {
        "queue_id": message["queue_id"],
        "outcome": message["outcome"],
        "story": [
            step["text"] + (f" (x{step['count']})" if step["count"] > 1 else "")
            for step in message["story"]
        ],
    }
    if message["notices"]:
        found["notices"] = [_told(n["message"]) for n in message["notices"] if n["message"]]
    if message.get("notice_about"):
        found["about"] = message["notice_about"]["queue_id"]
    return found


def _check(case: dict[str, Any], report: Report) -> None:
    assert report.exit_code == case["exit"]
    assert report.details["kind"] == case["kind"]
    assert [_told(message) for message in report.details["messages"]] == case["messages"]


@pytest.mark.parametrize(("_folder", "case"), cases("trace"))
def test_cases_in_a_file(_folder: str, case: dict[str, Any]) -> None:
    """The lines of a log file give this story."""
    _check(case, trace.run(_host(case["input"]), case["id"]))


@pytest.mark.parametrize(("_folder", "case"), cases("trace"))
def test_cases_in_the_journal(_folder: str, case: dict[str, Any]) -> None:
    """The same lines in the journal give the same story."""
    _check(case, trace.run(_journal_host(case["input"]), case["id"]))


@pytest.mark.parametrize(("_folder", "case"), cases("trace"))
@pytest.mark.parametrize("kind", [".gz", ".xz", ".bz2"])
def test_cases_after_rotation(
    _folder: str, case: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    """A log that is cut anywhere by a rotation, and compressed, gives the same story."""
    for cut in range(len(case["input"])):
        (tmp_path / "mail.log").write_text(text(case["input"][cut:]))
        packed = _PACKED[kind](text(case["input"][:cut]).encode())
        (tmp_path / f"mail.log.1{kind}").write_bytes(packed)
        _check(case, trace.run(_Clocked(), case["id"], str(tmp_path / "mail.log")))


class _Clocked(Machine):
    """This machine on the day of the cases, without its users."""

    def ask(self, argv: Sequence[str], **_how: Any) -> Completed:
        return Completed(tuple(argv), 2, "", "")

    def now(self) -> float:
        return _moment("Nov 22 12:00:00")


def _journal_host(
    lines: Sequence[str], uid: int = 0, uids: Optional[dict[str, int]] = None
) -> FakeHost:
    """A host whose journal has these lines, and a journalctl that knows what is asked of it.

    ``uids`` are users by what their lines hold; all others are of ``uid``.
    """
    host = FakeHost()
    host.clock = _moment("Nov 22 12:00:00")
    host.put_directory("/run/systemd/system")
    known = {"postfix/postsuper": POSTFIX_UID, **(uids or {})}
    host.programs["journalctl"] = lambda argv, _in: journalctl(argv, lines, host.clock, uid, known)
    host.programs["getent"] = lambda argv, _in: Completed(
        tuple(argv), *((0, ACCOUNT, "") if argv[-1] == "postfix" else (2, "", ""))
    )
    return host


_OTHERS = [
    "Nov 22 10:31:05 web1 postfix/smtp[1743]: connect to mx[192.0.2.1]:25: Connection refused",
    "Nov 22 10:31:05 web1 postfix/smtp[99]: 4XwYh24jQGz3mL: to=<x@y>, relay=none, delay=1,"
    " delays=1/0/0/0, dsn=4.4.1, status=deferred (no)",
    "Nov 22 10:31:05 web1 postfix/cleanup[9]: 4XwYh24jQGz3mL: message-id=<other@x>",
    "Nov 22 10:31:05 web1 postfix/qmgr[9]: 4XwYh24jQGz3mL: removed",
    "Nov 22 10:31:05 web1 systemd[1]: Reloaded postfix.service",
    "what is no line of a log at all",
    "",
]


@given(data=st.data())
def test_whatever_stands_between(data: st.DataObject) -> None:
    """Lines of other messages and programs, put in anywhere, change nothing of a story."""
    name = data.draw(st.sampled_from(sorted(case.id for case in cases("trace"))))
    case = next(found.values[1] for found in cases("trace") if found.id == name)
    lines: list[str] = []
    for line in case["input"]:
        lines += data.draw(st.lists(st.sampled_from(_OTHERS), max_size=3))
        lines.append(line)
    _check(case, trace.run(_host(lines), case["id"]))


@given(st.lists(st.lists(st.text("ab \x00é", max_size=12), max_size=6)), st.integers(1, 40))
def test_search_is_what_a_loop_over_lines_finds(parts: list[list[str]], size: int) -> None:
    """Blocks of any size, forwards and backwards, find the same lines as a loop does."""
    data = b"".join("".join(part).encode() + b"\n" for part in parts)
    texts = [b"ab", "é".encode()]
    wanted, offset = [], 0
    for line in data.split(b"\n")[:-1]:
        if any(each in line for each in texts):
            wanted.append((offset, line))
        offset += len(line) + 1
    former, scan.BLOCK = scan.BLOCK, size
    try:
        there = list(scan.forwards_in(io.BytesIO(data), texts))
        back = list(scan.backwards_in(io.BytesIO(data), texts))
    finally:
        scan.BLOCK = former
    assert [(found.offset, found.line) for found in there] == wanted
    assert list(reversed(back)) == there


def test_search_between_two_places() -> None:
    """Only lines that begin between the two places are found, either way."""
    data = b"x1\nx2\nx3\nx4\n"
    assert [f.line for f in scan.forwards_in(io.BytesIO(data), [b"x"], 3, 9)] == [b"x2", b"x3"]
    assert [f.line for f in scan.backwards_in(io.BytesIO(data), [b"x"], 9)] == [b"x3", b"x2", b"x1"]
    # Four bytes back from 9 begins within a line, which is left out.
    assert [f.line for f in scan.backwards_in(io.BytesIO(data), [b"x"], 9, 5)] == [b"x3"]


_PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: (
        subprocess.run(["zstd", "-qc"], input=data, capture_output=True, check=True).stdout
    ),
}


@pytest.mark.parametrize("kind", _PACKED)
@pytest.mark.parametrize("near", [scan.NEAR, 0])
def test_search_of_files(
    kind: str, near: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain and compressed files are searched alike, by grep or without."""
    if kind == ".zst" and shutil.which("zstd") is None:
        pytest.skip("no zstd here")
    monkeypatch.setattr(scan, "NEAR", near)
    data = b"".join(b"line %d of \xff many\n" % number for number in range(5000))
    path = tmp_path / f"log{kind}"
    path.write_bytes(_PACKED[kind](data))
    machine = Machine()
    place = data.index(b"line 4321 ")
    for start in (0, place):
        found = list(machine.search(str(path), [b"4321 ", b"-no-"], start))
        assert [(f.offset, f.line) for f in found] == [(place, b"line 4321 of \xff many")]
    assert [f.offset for f in machine.search_back(str(path), [b"4321 "])] == [place]
    assert not list(machine.search(str(path), [b"4321 "], place + len(b"line 4321 of x many\n")))


@pytest.mark.parametrize(
    "program",
    [
        "exec >&2; echo 'grep: input error'; exit 2",
        "echo 0:line 0 is one; exit 2",
        "echo 0:line 0 is one; printf 14:line; kill -9 $$",
        "echo line 0 is one; exit 0",
    ],
)
def test_a_grep_that_fails(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What grep did not search is searched all the same, and nothing is found twice."""
    monkeypatch.setattr(scan, "NEAR", 0)
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "grep").write_text(f"#!/bin/sh\n{program}\n")
    (tools / "grep").chmod(0o755)
    monkeypatch.setattr(scan, "_ENVIRONMENT", {"PATH": f"{tools}:/usr/bin:/bin"})
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"line %d is one\n" % number for number in range(3)))
    found = list(Machine().search(str(log), [b"line"]))
    assert [f.offset for f in found] == [0, 14, 28]


@pytest.mark.parametrize("kind", [".gz", ".xz", ".bz2", ".zst", ""])
def test_a_log_that_cannot_be_read(kind: str, tmp_path: Path) -> None:
    """A damaged file and one that is not there are failures with a code, not mistakes."""
    path = tmp_path / f"log{kind}"
    if kind:
        path.write_bytes(b"this is not compressed")
    with pytest.raises(HostError) as caught:
        list(Machine().search(str(path), [b"x"]))
    assert caught.value.code == "log-not-read"


def test_rotated_logs_newest_first() -> None:
    """Numbers go up as logs grow old, dates down; other files beside them are not logs."""
    host = FakeHost()
    for name in ("mail.log", "mail.log.1", "mail.log.2.gz", "mail.log.10.gz", "mail.log.old", "x"):
        host.put(f"/var/log/{name}", "x")
    assert rotated(host, LOG) == [LOG, f"{LOG}.1", f"{LOG}.2.gz", f"{LOG}.10.gz"]
    for name in ("maillog", "maillog-20251116.xz", "maillog-20251109", "maillog.20251120-120000"):
        host.put(f"/var/log/{name}", "x")
    assert rotated(host, "/var/log/maillog") == [
        "/var/log/maillog",
        "/var/log/maillog.20251120-120000",
        "/var/log/maillog-20251116.xz",
        "/var/log/maillog-20251109",
    ]


def test_newest_messages_of_a_recipient_in_full() -> None:
    """Of many messages to one recipient the newest five are told, and the others counted."""
    lines = []
    for number in range(12):
        start = f"Nov 22 10:{number:02}:00 web1 postfix"
        queue_id = f"8F3D92A0{number:02}"
        status = "bounced" if number == 2 else "sent"
        lines += [
            f"{start}/smtpd[1]: {queue_id}: client=localhost[::1]",
            f"{start}/qmgr[2]: {queue_id}: from=<ops@example.com>, size=9, nrcpt=1 (queue active)",
            f"{start}/smtp[3]: {queue_id}: to=<ops@example.com>, relay=mx[192.0.2.1]:25, delay=1,"
            f" delays=0/0/0/1, dsn=2.0.0, status={status} (250 ok)",
            f"{start}/qmgr[2]: {queue_id}: removed",
        ]
    report = trace.run(_host(lines), "OPS@example.com")
    ids = [message["queue_id"] for message in report.details["messages"]]
    assert ids == [f"8F3D92A0{number:02}" for number in range(7, 12)]
    assert report.details["others"] == {"counts": {"delivered": 6, "failed": 1}, "complete": True}
    assert "and other messages: 6 delivered, 1 failed" in report.notes
    assert report.exit_code == 0
    # As a sender alone it is nobody's recipient.
    assert trace.run(_host(lines[1:2]), "ops@example.com").exit_code == 3


def test_only_postsuper_deletes_by_hand() -> None:
    """What others log under its name has deleted nothing: it logs as Postfix's own user."""
    lines = [
        f"Nov 22 10:00:00 web1 postfix/pickup[88]: {QUEUE_ID}: uid=0 from=<root>",
        f"Nov 22 10:05:00 web1 postfix/postsuper[91]: {QUEUE_ID}: removed",
    ]
    assert trace.run(_journal_host(lines), QUEUE_ID).exit_code == 1
    host = _journal_host(lines, uids={"postfix/postsuper": 1000})
    assert trace.run(host, QUEUE_ID).exit_code == 3


def test_a_user_is_named() -> None:
    """The uid of the entrance has its name where the host knows one."""
    host = _host(cases("trace")[0].values[1]["input"])
    host.put(LOG, f"Nov 22 10:31:05 web1 postfix/pickup[1]: {QUEUE_ID}: uid=33 from=<www>\n")
    host.answer("getent", "www-data:x:33:33::/var/www:/usr/sbin/nologin\n")
    message = trace.run(host, QUEUE_ID).details["messages"][0]
    assert message["entrance"]["user"] == "www-data"
    assert message["story"][0]["text"] == "taken from sendmail of uid 33 (www-data)"


def test_what_the_log_does_not_have() -> None:
    """A message that only the queue knows is waiting; one that nobody knows is unknown: exit 3."""
    report = trace.run(FakeHost(), QUEUE_ID)
    assert (report.exit_code, report.errors[0].code) == (3, "message-not-found")
    host = FakeHost()
    entry = {"queue_id": QUEUE_ID, "queue_name": "hold", "arrival_time": 1, "message_size": 1}
    host.answer("postqueue", json.dumps({**entry, "sender": "", "recipients": []}) + "\n")
    report = trace.run(host, QUEUE_ID)
    assert (report.exit_code, report.errors[0].code) == (3, "message-not-logged")


@pytest.mark.parametrize("query", ["", "<>", "a\nb", "x" * 999, "\x1b[2J@x"])
def test_what_is_no_id(query: str) -> None:
    """What can be no id is bad usage."""
    with pytest.raises(UsageError):
        trace.run(FakeHost(), query)


def test_a_log_that_is_named_must_be_there() -> None:
    """A misspelt --log is told, and not taken for a log without the message."""
    with pytest.raises(UsageError):
        trace.run(FakeHost(), QUEUE_ID, "/var/log/nothing")
    host = FakeHost()
    host.put_directory("/var/log/a")
    with pytest.raises(UsageError):
        trace.run(host, QUEUE_ID, "/var/log/a")


def test_a_log_that_could_not_be_read_is_not_an_empty_one() -> None:
    """Where the journal cannot be searched nobody is told that it has no such message."""
    host = FakeHost()
    host.put_directory("/run/systemd/system")
    host.answer("journalctl", "", 124, "journalctl: no answer in 120 s")
    with pytest.raises(HostError) as caught:
        trace.run(host, QUEUE_ID)
    assert caught.value.code == "log-not-read"
    # Another log that knows the message is believed all the same.
    host.put(LOG, f"Nov 22 10:31:05 web1 postfix/pickup[1]: {QUEUE_ID}: uid=33 from=<www>\n")
    assert trace.run(host, QUEUE_ID).details["log"] == LOG


def test_text_for_a_person() -> None:
    """Each day stands once, each step with its time, a notice below the message that caused it."""
    case = next(c.values[1] for c in cases("trace") if "expired" in str(c.id))
    shown = as_text(trace.run(_host(case["input"]), case["id"]), colour=False).splitlines()
    assert shown[0] == "8A00000001  failed"
    assert shown[1:3] == ["  2025-11-17", "  10:00:00  taken from sendmail of uid 0"]
    assert any(line.endswith("refused (2 times until 2025-11-22 10:00:02)") for line in shown)
    assert "  Notice to postmaster (non-delivery):" in shown
    assert "    8A00000003  failed" in shown


def test_msmtp_on_the_route_mailu() -> None:
    """Without Postfix the log of msmtp has Mailu's answer, and the user whose program it was."""
    lines = [
        "Nov 22 10:00:01 web1 msmtp[9]: host=mail.example.org tls=on auth=on user=u@example.org"
        " from=u@example.org recipients=ops@example.com mailsize=9 smtpstatus=250"
        " smtpmsg='250 2.0.0 Ok: queued as 4XwYh35Qz9' exitcode=EX_OK",
        "Nov 22 10:00:01 web1 msmtp[8]: host=localhost tls=off auth=off from=alice@localhost"
        " recipients=root mailsize=9 smtpstatus=250 smtpmsg='250 Ok' exitcode=EX_OK",
        "Nov 22 10:00:05 web1 msmtp[7]: host=mail.example.org tls=on auth=on user=u@example.org"
        " from=u@example.org recipients=gone@example.com mailsize=9 smtpstatus=550"
        " smtpmsg='550 5.1.1 no' errormsg='recipient refused' exitcode=EX_DATAERR",
    ]
    host = _journal_host(lines, uids={"msmtp[9]": 62000, "msmtp[8]": 1000, "msmtp[7]": 62000})
    report = trace.run(host, "ops@example.com")
    message = report.details["messages"][0]
    assert (report.exit_code, message["entrance"]["uid"]) == (0, 1000)
    assert message["recipients"][0]["remote_queue_id"] == "4XwYh35Qz9"
    assert trace.run(host, "4XwYh35Qz9").exit_code == 0
    assert trace.run(host, "gone@example.com").exit_code == 1


def test_what_others_log_as_msmtp_is_no_delivery() -> None:
    """Anybody may log under msmtp's name; only what a user of DynamicUser= wrote is Mailu's."""
    line = (
        "Nov 22 10:00:01 web1 msmtp[9]: host=mail.example.org tls=on auth=on user=u@example.org"
        " from=u@example.org recipients=ops@example.com mailsize=9 smtpstatus=250"
        " smtpmsg='250 2.0.0 Ok: queued as 4XwYh35Qz9' exitcode=EX_OK"
    )
    for uid in (0, 1000, 61183, 65520):
        report = trace.run(_journal_host([line], uid), "ops@example.com")
        assert (report.exit_code, report.errors[0].code) == (3, "message-not-found")
    assert trace.run(_journal_host([line], 62000), "ops@example.com").exit_code == 0


def test_msmtp_into_the_relay() -> None:
    """A program's msmtp that handed a message to the relay tells whose it was."""
    lines = [
        f"Nov 22 10:00:00 web1 postfix/smtpd[1]: {QUEUE_ID}: client=localhost[::1]",
        "Nov 22 10:00:00 web1 msmtp[8]: host=localhost tls=off auth=off from=alice@localhost"
        f" recipients=root mailsize=9 smtpstatus=250 smtpmsg='250 Ok: queued as {QUEUE_ID}'"
        " exitcode=EX_OK",
    ]
    message = trace.run(_journal_host(lines, uid=1000), QUEUE_ID).details["messages"][0]
    assert message["story"][0]["text"] == "taken over SMTP from localhost[::1], msmtp of uid 1000"


def test_suppressed_messages_are_told() -> None:
    """What journald's rate limit dropped of Postfix is counted, and said beside the story."""
    lines = [f"Nov 22 10:00:00 web1 postfix/smtpd[1]: {QUEUE_ID}: client=localhost[::1]"]
    host = _journal_host(lines)
    usual: Callable[[Sequence[str], Optional[bytes]], Completed] = host.programs["journalctl"]
    notes = [
        {"MESSAGE": "Suppressed 120 messages from postfix@-.service"},
        {"MESSAGE": "Suppressed 5 messages from cron.service"},
        {"MESSAGE": "Suppressed 3 messages from postfix.service"},
    ]

    def with_notes(argv: Sequence[str], stdin: Optional[bytes]) -> Completed:
        if any(word.startswith("MESSAGE_ID=") for word in argv):
            return Completed(tuple(argv), 0, "".join(json.dumps(n) + "\n" for n in notes), "")
        return usual(argv, stdin)

    host.programs["journalctl"] = with_notes
    assert suppressed(host, 0) == 123
    asked = next(ask.what for ask in host.asked if any("MESSAGE_ID=" in w for w in ask.what))
    assert "_TRANSPORT=driver" in asked
    report = trace.run(host, QUEUE_ID)
    assert report.details["suppressed"] == 123
    assert any("journald dropped 123 messages" in note for note in report.notes)


@pytest.mark.parametrize(
    "entry",
    [
        {"MESSAGE": f"Suppressed {'9' * 5000} messages from postfix.service"},
        {"MESSAGE": f"Suppressed {'9' * 10} messages from postfix.service"},
        {"MESSAGE": ["Suppressed 1 messages from postfix.service"] * 2},
        {"MESSAGE": None},
        [],
    ],
)
def test_no_note_of_journald_makes_counting_fail(entry: Any) -> None:
    """What is no count that journald writes counts for nothing."""
    host = FakeHost()
    host.answer("journalctl", json.dumps(entry) + "\n")
    assert suppressed(host, 0) == 0


def test_a_long_queue_id_tells_when() -> None:
    """The first letters of a long queue id are the second of its arrival, as Postfix wrote it."""
    # Postfix's own: 4dDN8h4zQGz3mK arrived in November of 2025.
    assert time.gmtime(arrival_of("4dDN8h4zQGz3mK") or 0)[:2] == (2025, 11)
    assert arrival_of("8F3D92A0C1") is None


def test_journal_is_asked_for_one_message_only() -> None:
    """The journal is searched with a pattern, from the id's own moment on, by unit."""
    host = FakeHost()
    host.answer("journalctl")
    host.answer("getent", ACCOUNT)
    Journal(host).of("4dDN8h4zQGz3mK")
    asked, _, by_hand = (ask.what for ask in host.asked[-3:])
    assert asked[asked.index("-u") + 1] == "postfix*"
    assert by_hand[by_hand.index("-t") + 1] == "postfix/postsuper"
    assert f"_UID={POSTFIX_UID}" in by_hand
    assert "4dDN8h4zQGz3mK" in asked[asked.index("-g") + 1]
    since = float(asked[asked.index("--since") + 1][1:])
    assert since == pytest.approx((arrival_of("4dDN8h4zQGz3mK") or 0) - 3600)


@pytest.mark.parametrize(
    ("stamp", "now", "expected"),
    [
        ("Nov 22 10:00:00", "2025-11-22 12:00:00", "2025-11-22 10:00:00"),
        ("Dec 31 23:59:59", "2026-01-01 00:00:01", "2025-12-31 23:59:59"),
        ("Feb 29 10:00:00", "2025-03-01 00:00:00", "2024-02-29 10:00:00"),
        ("Jan  1 00:00:05", "2025-12-31 23:59:59", "2026-01-01 00:00:05"),
        ("2025-11-22T10:00:00.5+01:00", "2026-01-01 00:00:00", "2025-11-22 09:00:00"),
        ("2025-11-22T10:00:00Z", "2026-01-01 00:00:00", "2025-11-22 10:00:00"),
        ("2025-11-22 10:00:00-0530", "2026-01-01 00:00:00", "2025-11-22 15:30:00"),
        ("<22>Nov 22 10:00:00", "2025-11-22 12:00:00", "2025-11-22 10:00:00"),
        ("<22>2025-11-22T10:00:00Z", "2026-01-01 00:00:00", "2025-11-22 10:00:00"),
    ],
)
def test_stamps(stamp: str, now: str, expected: str) -> None:
    """Stamps with and without a year and a zone, also around New Year."""
    latest = time.mktime(time.strptime(now, "%Y-%m-%d %H:%M:%S"))
    line = logline.parse(f"{stamp} web1 postfix/smtp[7]: 8F3D92A0C1: x", latest)
    assert line is not None
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(line.time)) == expected
    assert (line.daemon, line.pid, line.queue_id, line.text) == ("smtp", 7, "8F3D92A0C1", "x")


@pytest.mark.parametrize(
    ("head", "program", "pid"),
    [
        ("2025-11-22T10:00:00.5Z web1 postfix/smtp 7 - -", "postfix/smtp", 7),
        ("2025-11-22T11:00:00+01:00 web1 postfix/smtp - ID7 -", "postfix/smtp", 0),
        ('2025-11-22T10:00:00Z - - - - [a@1 b="c \\] \\" d"][e f=""]', "-", 0),
        ("2025-11-22T10:00:00Z web1 postfix/smtp 7 - - \ufeff", "postfix/smtp", 7),
    ],
)
def test_lines_of_rfc_5424(head: str, program: str, pid: int) -> None:
    """With structured data or without, and what is not known as ``-``."""
    space = "" if head.endswith("\ufeff") else " "
    line = logline.parse(f"<22>1 {head}{space}8F3D92A0C1: a: [b] c", 0.0)
    assert line is not None
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(line.time)) == "2025-11-22 10:00:00"
    assert (line.program, line.pid) == (program, pid)
    assert (line.queue_id, line.text) == ("8F3D92A0C1", "a: [b] c")
    assert logline.moment(f"<22>1 {head}", 0.0) == line.time


_BEGUN = "*** ENVELOPE RECORDS 8F3D92A0C1 ***\n*** MESSAGE CONTENTS \nReceived: by h (Postfix"
_MANY = "9" * 5000
"""More digits than int() takes."""


@given(st.text())
@example(f"<22>1 2025-11-22T10:00:00Z web1 postfix/smtp {_MANY} - - x")
@example("<22>1 2025-11-22T10:00:00Z web1 postfix/smtp 1 - " + "[" * 5000)
@example("<22>1 2025-11-22T10:00:00Z web1 postfix/smtp 1 - " + '[a b="' * 5000)
@example("<22>1 - web1 postfix/smtp 1 - - x")
@example(f"Nov {_MANY} 10:00:00 web1 postfix/smtp[1]: x")
@example(f"Nov 22 10:00:00 web1 postfix/smtp[{_MANY}]: x")
@example(
    "host=mail.example.org tls=on auth=on recipients=a@b "
    f"mailsize={_MANY} smtpmsg='250 ok' exitcode=EX_OK"
)
@example(f"8F3D92A0C1: uid={_MANY} from=<a>")
@example(f"{_BEGUN}, from userid {_MANY})")
@example(f"from=<a>, size={_MANY}, nrcpt={_MANY} (queue active)")
@example(f"uid={_MANY} from=<a>")
@example(f"to=<a@b>, relay=none, delay={_MANY}, delays={_MANY}/0/0/0, dsn=2.0.0, status=sent (ok)")
def test_any_text_may_stand_in_a_log(line: str) -> None:
    """No line makes reading fail, in a file or as a message; all of it can be told in JSON."""
    logline.parse(line, 0.0)
    msmtp_log.parse([LogLine(1.0, "msmtp", 1, "", line)])
    runaway.parse([line])
    runaway.origins(line)
    parsed = logline.said(1.0, "postfix/smtp", 1, f"8F3D92A0C1: {line}")
    if parsed.queue_id:
        told = [as_data(story, {}) for story in stories([parsed], parsed.queue_id)]
        json.dumps(told, allow_nan=False)


def test_a_session_of_another_process_is_not_taken() -> None:
    """TLS is told of the process that delivered, and only with the server it delivered to."""
    session = (
        "Verified TLS connection established to a.example[192.0.2.1]:25: TLSv1.3 with cipher X"
    )
    attempt = (
        "to=<x@y>, relay=a.example[192.0.2.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0,"
        " status=sent (ok)"
    )

    def told(pid: int, words: str) -> Any:
        lines = [
            LogLine(1, "postfix/smtp", pid, "", words),
            LogLine(2, "postfix/smtp", 7, "8F3D92A0C1", attempt),
        ]
        return stories(lines, "8F3D92A0C1")[0].attempts[0].tls

    assert told(7, session) is not None
    assert told(8, session) is None
    assert told(7, session.replace("a.example", "b.example")) is None


_RESULT = ", relay=none, delay=0.1, delays=0.1/0/0/0, dsn={}, status={} ({})"
_TAKEN = _RESULT.format("2.0.0", "sent", "250 2.0.0 Ok: queued as FORGED")
_GONE = _RESULT.format("5.1.1", "bounced", "host mx said: 550 5.1.1 no such user")
_DEFERRED = _RESULT.format("4.4.1", "deferred", "connect to mx: Connection refused")


@pytest.mark.parametrize(
    "line",
    [
        f'to=<"x>{_TAKEN}"@example.com>{_GONE}',  # a quoted local part
        f'to=<"x>{_TAKEN}"@example.com>, orig_to=<"x>{_TAKEN}">{_GONE}',
        f"to=<a@b>{_TAKEN}>{_GONE}",  # a domain, which is never quoted
        f"to=<x>{_TAKEN}@example.com>{_DEFERRED}",  # info_log_address_format = internal
        f'to=<a@b>, orig_to=<"x>{_TAKEN}"@c>{_DEFERRED}',
        # A server that repeats the recipient in its answer.
        "to=<a@b>"
        + _RESULT.format("5.1.1", "bounced", f'host mx said: 550 <"x>{_TAKEN}"@b>: unknown'),
        # What is behind is cut off by the length of a line.
        (f'to=<"x>{_TAKEN}{")" * 3000}"@example.com>{_GONE}')[:1990],
        f'to=<"x>{_TAKEN[:-1]}"@example.com',
    ],
)
def test_no_address_says_that_it_was_delivered(line: str) -> None:
    """What looks like a result within an address, or an answer, never makes a message delivered."""
    event = read("smtp", line)
    assert event.facts.get("status") != "sent", event
    assert event.kind == "attempt" or len(line) > WHOLE or not line.endswith(")")


@pytest.mark.parametrize("issuer", ["issuer_CN=An Authority", "issuer=An Authority"])
def test_certificate_of_nobody_known(issuer: str) -> None:
    """Its name is told with the session that follows it, in the words of any version of Postfix."""
    peer = "mx.example.net[2001:db8::25]:25"
    lines = [
        f"{peer}: subject_CN=mx.own.name, {issuer}, fingerprint=AA",
        f"Untrusted TLS connection established to {peer}: TLSv1.3 with cipher X (256/256 bits)",
        f"Trusted TLS connection established to {peer}: TLSv1.2 with cipher Y (256/256 bits)",
        "other.example[192.0.2.1]:25: subject_CN=other, issuer_CN=x, fingerprint=AA",
        f"Untrusted TLS connection established to {peer}: TLSv1.3 with cipher Z (256/256 bits)",
    ]
    session, seen = None, []
    for line in lines:
        session = session_after(session, line)
        seen.append((session.cipher, session.subject) if session is not None else None)
    assert seen == [
        ("", "mx.own.name"),
        ("X", "mx.own.name"),
        ("Y", ""),
        ("", "other"),
        ("Z", ""),
    ]


def test_quoted_addresses_are_whole() -> None:
    """A quoted recipient is told as it is, with what it was before."""
    event = read("smtp", f'to=<"a>, \\"b, relay=c"@d.example>, orig_to=<"r, oo>t">{_TAKEN}')
    assert event.facts["to"] == '"a>, \\"b, relay=c"@d.example'
    assert event.facts["original"] == '"r, oo>t"'
    assert event.facts["status"] == "sent"
    event = read(
        "smtpd",
        'reject: RCPT from localhost[::1]: 554 5.7.1 <"; from=<a> to=<b>"@c>: Relay access denied; '
        'from=<x@y> to=<"; from=<a> to=<b>"@c> proto=ESMTP helo=<z>',
    )
    assert (event.facts["sender"], event.facts["to"]) == ("x@y", '"; from=<a> to=<b>"@c')


@pytest.mark.parametrize("part", [">, orig_to=<", "; from=<", '"', "a=b, ", "\\", ">, relay=x"])
def test_lines_longer_than_postfix_writes(part: str) -> None:
    """They are not taken apart, whatever somebody made them of."""
    for start in ("to=<", "reject: ", ""):
        assert read("smtp", start + part * LONGEST).kind == "remark"
        read("smtp", (start + part * LONGEST)[:LONGEST])
