"""The report of ``trace`` as text: each message a short story in order."""

from __future__ import annotations

import time
from typing import Any, Callable

__all__ = ["as_lines"]

Paint = Callable[[str, str], str]
_COLOURS = {"delivered": "green", "failed": "red", "waiting": "yellow"}


def as_lines(details: dict[str, Any], paint: Paint) -> list[str]:
    """Every message; what it caused is told below it, indented."""
    lines: list[str] = []
    for message in details.get("messages", []):
        lines += _message(message, paint, "")
        about = message.get("notice_about")
        if about is not None:
            lines.append("  It is a notice about:")
            lines += _message(about, paint, "    ")
    return lines


def _message(message: dict[str, Any], paint: Paint, indent: str) -> list[str]:
    name = message["queue_id"] if message["queue_id"] != "NOQUEUE" else "refused at the entrance"
    outcome = message["outcome"]
    place = f", in the queue ({message['queue']})" if message.get("queue") else ""
    head = f"{paint(outcome, _COLOURS[outcome])}{place}"
    lines = [f"{indent}{paint(name or 'msmtp', 'bold')}  {head}"]
    day = ""
    for step in message["story"]:
        moment = time.localtime(step["time"])
        today = time.strftime("%Y-%m-%d", moment)
        if today != day:
            day = today
            lines.append(f"{indent}  {paint(day, 'dim')}")
        again = ""
        if step["count"] > 1:
            again = f" ({step['count']} times until {_clock(step['until'], day)})"
        lines.append(f"{indent}  {_clock(step['time'], day)}  {step['text']}{again}")
    for notice in message["notices"]:
        if notice.get("message"):
            lines.append(f"{indent}  Notice to {notice['to']} ({notice['about']}):")
            lines += _message(notice["message"], paint, indent + "    ")
    return lines


def _clock(moment: float, day: str) -> str:
    local = time.localtime(moment)
    same = time.strftime("%Y-%m-%d", local) == day
    return time.strftime("%H:%M:%S" if same else "%Y-%m-%d %H:%M:%S", local)
