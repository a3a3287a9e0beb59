"""``status``: what it tells on one screen, and as metrics that Prometheus can read."""

from __future__ import annotations

import importlib
import json
import os
import re
import time
from typing import Any

import pytest

from sysmail import maillog, queue
from sysmail.cli.prometheus import METRICS, as_prometheus
from sysmail.cli.render import as_text
from sysmail.commands import status
from sysmail.host.machine import Machine
from sysmail.host.port import Completed
from sysmail.report import Problem, Report, RouteSummary
from unit.fake_debian import FakeDebian
from unit.make import facts

WIDTH, HEIGHT = 80, 24


def _lines(now: float, count: int) -> list[str]:
    return [
        time.strftime("%b %d %H:%M:%S", time.localtime(now - 600 + number))
        + f" web1 postfix/smtp[9]: 4XwYh24jQGz3m{chr(75 + number)}: to=<ops@example.com>,"
        " relay=mx.example.com[192.0.2.25]:25, delay=1, delays=0/0/0/1, dsn=2.0.0,"
        f" status={'deferred' if number == 1 else 'sent'} (250 2.0.0 Ok: queued as 8F3D)"
        for number in range(count)
    ]


def _waiting(now: float, count: int, reasons: int) -> str:
    return "".join(
        json.dumps(
            {
                "queue_id": f"8F3D92A0{number:02}",
                "queue_name": "hold" if number == 0 else "deferred",
                "arrival_time": now - 7200 - number,
                "message_size": 1000,
                "sender": "root@localhost",
                "recipients": [
                    {
                        "address": "ops@example.com",
                        "delay_reason": f"host mx{number % reasons}.example.com said: "
                        + "no " * 40,
                    }
                ],
            }
        )
        + "\n"
        for number in range(count)
    )


def _host(count: int = 8, reasons: int = 1, waiting: int = 0) -> FakeDebian:
    host = FakeDebian(postfix=True)
    host.log = _lines(host.clock, count)
    host.answer("postqueue", _waiting(host.clock, waiting, reasons))
    return host


def test_one_screen() -> None:
    """However much waits for however many reasons, it fits a screen, and says what is left out."""
    report = status.run(_host(reasons=30, waiting=60))
    shown = as_text(report, colour=False).splitlines()
    assert len(shown) < HEIGHT
    told = [line for line in shown if not line.startswith(("error", "       ", "route"))]
    assert max(map(len, told)) <= WIDTH
    assert any(line.endswith("for other reasons: see `sysmail queue list`") for line in shown)
    assert any(re.match(r" +2 +2 h +host mx1", line) for line in shown)
    assert shown[0].startswith("queue  60 messages, the oldest for 2 h")


def test_what_left_lately() -> None:
    """Attempts of the last day are counted by what came of them; the last ones have their age."""
    report = status.run(_host())
    sent = report.details["deliveries"]
    assert (sent["sent"], sent["attempts"]) == (7, {"sent": 7, "deferred": 1})
    assert sent["complete"] is True
    assert len(sent["last"]) == 5
    assert "10 m ago  4XwYh24jQGz3mR  ops@example.com" in as_text(report, colour=False)


def test_suppressed_messages_are_told() -> None:
    """What journald dropped is a note, so that a low count is not believed."""
    host = _host()
    usual = host.programs["journalctl"]

    def journalctl(argv: Any, stdin: Any) -> Any:
        said = usual(argv, stdin)
        if any(word.startswith("MESSAGE_ID=") for word in argv):
            note = json.dumps({"MESSAGE": "Suppressed 9 messages from postfix@-.service"})
            return type(said)(said.argv, 0, note + "\n", "")
        return said

    host.programs["journalctl"] = journalctl
    report = status.run(host)
    assert report.details["suppressed"] == 9
    assert any("dropped 9 messages" in note for note in report.notes)


def _reports() -> list[Report]:
    route = RouteSummary("relay", "mailu", 'said "yes"\n\\')
    mailu: dict[str, Any] = {
        "queue": {
            "count": 0,
            "oldest": None,
            "oldest_waiting": None,
            "reasons": [],
            "by_queue": {},
        },
        "deliveries": {"sent": 3, "refused": 1, "last": [], "last_sent": 1.5, "since": 0},
        "now": 1763800000.5,
    }
    problem = Problem("not-applied", "never applied", "apply")
    return [
        status.run(_host(reasons=3, waiting=7)),
        status.run(_host()),
        Report("status", "unhealthy", 1, errors=(problem, problem)),
        Report("status", "healthy", 0, route=route, details=mailu),
    ]


@pytest.mark.parametrize("turn", range(4))
def test_metrics_as_a_client_library_reads_them(turn: int) -> None:
    """The parser of Prometheus's own client takes every line, and finds each metric once."""
    try:
        parser: Any = importlib.import_module("prometheus_client.parser")
    except ModuleNotFoundError:
        if "CI" in os.environ:
            raise
        pytest.skip("prometheus_client is not installed")
    text = as_prometheus(_reports()[turn]) + "\n"
    families = list(parser.text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names)) == text.count("# TYPE ") == text.count("# HELP ")
    samples = [s for family in families for s in family.samples]
    assert len(samples) == len(text.splitlines()) - 2 * len(names)
    assert all(family.type == "gauge" for family in families)
    assert {s.name: s.value for s in samples}["sysmail_healthy"] == float(turn == 3)


def test_metrics_of_a_queue() -> None:
    """The numbers are those of the report, with every queue of Postfix named."""
    lines = as_prometheus(status.run(_host(waiting=7))).splitlines()
    assert "sysmail_queue_messages 7" in lines
    assert 'sysmail_queue_messages_by_queue{queue="deferred"} 6' in lines
    assert 'sysmail_queue_messages_by_queue{queue="hold"} 1' in lines
    assert 'sysmail_queue_messages_by_queue{queue="active"} 0' in lines
    assert "sysmail_queue_oldest_age_seconds 7206" in lines
    assert 'sysmail_attempts_last_day{status="deferred"} 1' in lines
    assert 'sysmail_problem{code="mail-waits"} 1' in lines


def test_what_nobody_knows_is_left_out() -> None:
    """Without a log that can be read there is no number of deliveries, rather than 0."""
    host = _host(waiting=1)
    host.programs["journalctl"] = lambda argv, _in: Completed(tuple(argv), 1, "", "cut off")
    report = status.run(host)
    assert report.details["deliveries"] is None
    assert any("what was sent is not known" in note for note in report.notes)
    told = as_prometheus(report)
    assert "sysmail_queue_messages 1" in told
    assert "sysmail_sent" not in told
    assert "sysmail_attempts" not in told
    assert "sysmail_last_sent" not in told
    shown = as_text(report, colour=False)
    assert "sent   not known" in shown
    assert "in the last 24 hours" not in shown


def test_a_queue_that_cannot_be_listed() -> None:
    """It is a problem beside the rest, which is told all the same."""
    host = _host()
    host.answer("postqueue", "", 69, "postqueue: fatal: Queue report unavailable")
    report = status.run(host)
    assert "queue-not-listed" in [problem.code for problem in report.errors]
    assert (report.exit_code, report.details["queue"]) == (1, None)
    told = as_prometheus(report)
    assert "sysmail_queue" not in told
    assert "sysmail_sent_last_day 7" in told
    assert 'sysmail_problem{code="queue-not-listed"} 1' in told
    shown = as_text(report, colour=False)
    assert "queue  not known" in shown
    assert "sent   7 in the last 24 hours" in shown


def test_held_mail_is_not_overdue() -> None:
    """There is an age of what waits for the next hop, beside that of all that is in the queue."""
    told = as_prometheus(status.run(_host(waiting=1))).splitlines()
    assert "sysmail_queue_oldest_age_seconds 7200" in told
    assert "sysmail_queue_oldest_waiting_age_seconds 0" in told
    told = as_prometheus(status.run(_host(waiting=3))).splitlines()
    assert "sysmail_queue_oldest_waiting_age_seconds 7202" in told


def test_names_of_metrics() -> None:
    """Names are words of lower case, with the unit in them, and no counter's ending on a gauge."""
    for metric in METRICS:
        assert re.fullmatch("[a-z]+(_[a-z]+)*", metric.name)
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket"))
        assert not re.search("_(ms|minutes|hours|days|kb|mb|milliseconds)$", metric.name)
        assert metric.text.endswith(".")
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_a_log_of_any_size(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest lines of a long log are found, and those of the one before it."""
    now = 1_763_800_000.0

    class Clocked(Machine):
        def now(self) -> float:
            return now

    def line(when: float, word: str) -> str:
        stamp = time.strftime("%b %d %H:%M:%S", time.localtime(when))
        return f"{stamp} web1 postfix/smtp[1]: {word} status=\n"

    path = tmp_path / "mail.log"
    former = "".join(line(now - 90000 + 30 * n, f"f{n}") for n in range(2000))
    path.write_text("".join(line(now - 30000 + n, f"n{n}") for n in range(30000)))
    (tmp_path / "mail.log.1").write_text(former)
    monkeypatch.setattr(maillog, "SYSLOG_FILES", (str(path),))
    about = facts(systemd=False)
    found = maillog.lines_since(Clocked(), about, "", now - 10, "status=")
    assert found is not None
    assert len(found) == 10
    found = maillog.lines_since(Clocked(), about, "", now - 30300, "status=")
    assert found is not None
    assert len(found) == 30000 + 10
    assert found[0].split()[5] == "f1990"
    assert not queue.parse("")
