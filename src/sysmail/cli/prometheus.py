"""``status --prometheus``: the text format that node_exporter's textfile collector reads.

https://prometheus.io/docs/instrumenting/exposition_formats/ (0.0.4) and
https://prometheus.io/docs/practices/naming/: base units, and the unit in the
name. All are gauges: sysmail keeps no counts between two runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Callable

from sysmail import __version__
from sysmail.report import Report

__all__ = ["METRICS", "Metric", "as_prometheus", "metrics_markdown"]

Samples = Iterator[tuple[dict[str, str], float]]


@dataclass(frozen=True)
class Metric:
    """One metric: its name without ``sysmail_``, its labels, its help, and its samples."""

    name: str
    labels: tuple[str, ...]
    text: str
    samples: Callable[[Report], Samples]


def _healthy(report: Report) -> Samples:
    yield {}, 1.0 if report.outcome == "healthy" else 0.0


def _info(report: Report) -> Samples:
    if report.route is not None:
        way = {"route": report.route.name, "next_hop": report.route.next_hop}
        yield {"version": __version__, **way}, 1.0


def _known(report: Report, name: str) -> dict[str, Any]:
    """A part of the report; empty where nobody knows."""
    found: dict[str, Any] = report.details.get(name) or {}
    return found


def _queue(report: Report) -> Samples:
    if queue := _known(report, "queue"):
        yield {}, queue["count"]


def _by_queue(report: Report) -> Samples:
    if queue := _known(report, "queue"):
        for name in ("maildrop", "incoming", "active", "deferred", "hold"):
            yield {"queue": name}, queue["by_queue"].get(name, 0)


def _oldest(report: Report, key: str = "oldest") -> Samples:
    if queue := _known(report, "queue"):
        oldest = queue[key]
        yield {}, max(report.details["now"] - oldest, 0) if oldest is not None else 0.0


def _oldest_waiting(report: Report) -> Samples:
    return _oldest(report, "oldest_waiting")


def _sent(report: Report) -> Samples:
    if deliveries := _known(report, "deliveries"):
        yield {}, deliveries["sent"]


def _attempts(report: Report) -> Samples:
    deliveries = _known(report, "deliveries")
    counts = deliveries.get("attempts")
    if counts is None and deliveries:
        counts = {"sent": deliveries["sent"], "bounced": deliveries.get("refused", 0)}
    if counts is not None:
        for status in sorted({"sent", "deferred", "bounced", *counts}):
            yield {"status": status}, counts.get(status, 0)


def _last(report: Report) -> Samples:
    last = _known(report, "deliveries").get("last_sent")
    if last is not None:
        yield {}, last


def _suppressed(report: Report) -> Samples:
    if "suppressed" in report.details:
        yield {}, report.details["suppressed"]


def _problems(report: Report) -> Samples:
    for code in dict.fromkeys(error.code for error in report.errors):
        yield {"code": code}, 1.0


METRICS = (
    Metric("healthy", (), "Whether sysmail is in force and no mail is overdue.", _healthy),
    Metric(
        "info",
        ("version", "route", "next_hop"),
        "The version of sysmail and the way mail takes; always 1.",
        _info,
    ),
    Metric("queue_messages", (), "Messages in the queue, held ones included.", _queue),
    Metric(
        "queue_oldest_age_seconds",
        (),
        "Age of the oldest message, held ones included; 0 without one.",
        _oldest,
    ),
    Metric(
        "queue_oldest_waiting_age_seconds",
        (),
        "Age of the oldest message that is not held; 0 without one.",
        _oldest_waiting,
    ),
    Metric(
        "queue_messages_by_queue",
        ("queue",),
        "Messages in each of Postfix's queues.",
        _by_queue,
    ),
    Metric("sent_last_day", (), "Deliveries that the next hop took in 24 hours.", _sent),
    Metric(
        "attempts_last_day",
        ("status",),
        "Attempts to hand a message on in 24 hours, by what came of them.",
        _attempts,
    ),
    Metric(
        "last_sent_timestamp_seconds",
        (),
        "When the next hop last took a message; absent where none was taken in 24 hours.",
        _last,
    ),
    Metric(
        "log_suppressed_last_day",
        (),
        "Messages of Postfix that journald's rate limit dropped in 24 hours.",
        _suppressed,
    ),
    Metric("problem", ("code",), "1 for each thing that is wrong, by its code.", _problems),
)
"""Every metric, in the order in which they are printed."""


def as_prometheus(report: Report) -> str:
    """The metrics with their help and type; what is not known is left out."""
    lines: list[str] = []
    for metric in METRICS:
        samples = list(metric.samples(report))
        if samples:
            lines.append(f"# HELP sysmail_{metric.name} {metric.text}")
            lines.append(f"# TYPE sysmail_{metric.name} gauge")
        lines += [f"sysmail_{metric.name}{_set(labels)} {value:.15g}" for labels, value in samples]
    return "\n".join(lines)


def _set(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def metrics_markdown() -> str:
    """The metrics as a table, for docs/metrics.md."""
    rows = ["| metric | labels | what it is |", "|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
        rows.append(f"| `sysmail_{metric.name}` | {labels} | {metric.text} |")
    return "\n".join(rows)
