"""``status --prometheus``: the text format that node_exporter's textfile collector reads."""

from __future__ import annotations

from sysmail.report import Report

__all__ = ["as_prometheus"]


def as_prometheus(report: Report) -> str:
    """Gauges with their help and type; those of the queue are left out where it is not known."""
    rows = [("healthy", "Whether sysmail is in force and no mail is overdue.", _flag(report))]
    queue, sent = report.details.get("queue"), report.details.get("deliveries")
    if queue is not None and sent is not None:
        oldest = queue["oldest"]
        age = report.details["now"] - oldest if oldest is not None else 0.0
        rows += [
            ("queue_messages", "Messages in the queue, held ones included.", queue["count"]),
            ("queue_oldest_age_seconds", "Age of the oldest message; 0 without one.", max(age, 0)),
            ("sent_last_day", "Deliveries that the next hop took in 24 hours.", sent["sent"]),
        ]
    return "\n".join(
        f"# HELP sysmail_{name} {text}\n# TYPE sysmail_{name} gauge\nsysmail_{name} {value:g}"
        for name, text, value in rows
    )


def _flag(report: Report) -> float:
    return 1.0 if report.outcome == "healthy" else 0.0
