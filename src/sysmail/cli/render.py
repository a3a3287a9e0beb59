"""A report as text for a person: short, aligned, in colour on a terminal."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from typing import Any, Callable

from sysmail.cli import stories
from sysmail.report import FAIL, PASS, Report

__all__ = ["as_json", "as_text"]

Paint = Callable[[str, str], str]
_COLOURS = {"green": "32", "red": "31", "yellow": "33", "bold": "1", "dim": "2"}


def as_json(report: Report) -> str:
    """Version 1 of the JSON contract, one line."""
    return json.dumps(report.as_data(), ensure_ascii=False, sort_keys=False)


def as_text(report: Report, *, colour: bool) -> str:
    """The report for a person to read."""
    report = _clean(report)

    def paint(text: str, name: str) -> str:
        return f"\033[{_COLOURS[name]}m{text}\033[0m" if colour else text

    lines: list[str] = []
    if report.route is not None:
        route = report.route
        way = f"{route.name} to {route.next_hop}" if route.next_hop else route.name
        lines.append(f"{paint('route', 'bold')}  {way}: {route.reason}")
    lines += _steps(report, paint)
    lines += _verdicts(report, paint)
    details = _DETAILS.get(report.command)
    if details is not None:
        lines += details(report.details, paint)
    for problem in report.errors:
        lines.append(f"{paint('error', 'red')}  {problem.message}")
        lines.append(f"       {problem.remedy}")
    lines += [paint(note, "dim") for note in report.notes]
    lines.append(paint(_closing(report), "green" if report.exit_code in (0, 2) else "red"))
    return "\n".join(lines)


_MULTILINE = frozenset({"content", "diff"})


def _printable(text: str, *, lines: bool = False) -> str:
    """Without control characters that came from outside (a server's answer, a file).

    A line break from outside could forge a verdict, so only texts that are
    ``lines`` keep theirs.
    """
    text = text.replace("\t", "    ")
    if not lines:
        text = " ".join(text.split("\n"))
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def _clean(value: Any, name: str = "") -> Any:
    """A report, or a part of one, with every text in it fit for a terminal."""
    if isinstance(value, str):
        return _printable(value, lines=name in _MULTILINE)
    if isinstance(value, (list, tuple)):
        return type(value)(_clean(item) for item in value)
    if isinstance(value, dict):
        return {_clean(key): _clean(item, key) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{f.name: _clean(getattr(value, f.name), f.name) for f in fields(value)}
        )
    return value


def _steps(report: Report, paint: Paint) -> list[str]:
    lines: list[str] = []
    for step in report.steps:
        lines.append(f"{paint('step', 'bold')}   {step.summary}")
        if report.command == "plan":
            for text in step.diff.splitlines()[2:] if "\n+++" in step.diff else []:
                colour = {"+": "green", "-": "red"}.get(text[:1])
                lines.append("         " + (paint(text, colour) if colour else text))
    return lines


def _verdicts(report: Report, paint: Paint) -> list[str]:
    lines: list[str] = []
    width = max((len(v.check) for v in report.verdicts), default=0)
    for verdict in report.verdicts:
        colour = {PASS: "green", FAIL: "red"}.get(verdict.status, "yellow")
        status = paint(f"{verdict.status:<7}", colour)
        lines.append(f"{status} {verdict.check:<{width}}  {verdict.evidence}")
        if verdict.remedy:
            lines.append(f"{'':7} {'':<{width}}  -> {verdict.remedy}")
    return lines


def _messages_of_try(details: dict[str, Any], paint: Paint) -> list[str]:
    lines: list[str] = []
    rows = details.get("messages", [])
    width = max((len(row["summary"]) for row in rows), default=0)
    for row in rows:
        if row["arrived"]:
            mark = paint("arrived", "green")
            how = f"as {row['queue_id']} after {row['delay']:.2f} s at {row['recipient']}"
            lines.append(f"{mark} {row['summary']:<{width}}  {how}")
        else:
            lines.append(f"{paint('missing', 'red')} {row['summary']}")
    return lines


def _queue(details: dict[str, Any], paint: Paint) -> list[str]:
    if "content" in details:
        return str(details["content"]).splitlines()
    lines: list[str] = []
    for row in details.get("messages", []):
        age = _age(details["now"] - row["arrived"])
        lines.append(
            f"{paint(row['queue_id'], 'bold')}  {row['queue']:<8} {age:>6}  "
            f"{row['size']:>8} B  from {row['sender'] or '<>'}"
        )
        lines += [f"    to {r['address']}  {paint(r['reason'], 'dim')}" for r in row["recipients"]]
    return lines


REASONS = 6
WIDTH = 80
"""Characters: what `status` tells of mail fits a screen of 24 lines."""


def _fit(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def _status(details: dict[str, Any], paint: Paint) -> list[str]:
    if "queue" not in details:
        return []
    return [*_status_queue(details, paint), *_status_sent(details, paint)]


def _status_queue(details: dict[str, Any], paint: Paint) -> list[str]:
    queue = details["queue"]
    if queue is None:
        return [f"{paint('queue', 'bold')}  not known"]
    oldest = queue["oldest"]
    age = f", the oldest for {_age(details['now'] - oldest)}" if oldest is not None else ""
    lines = [f"{paint('queue', 'bold')}  {_count(queue['count'], 'message')}{age}"]
    for row in queue["reasons"][:REASONS]:
        since = _age(details["now"] - row["oldest"])
        lines.append(_fit(f"  {row['count']:>6} {since:>6}  {row['reason']}"))
    if len(queue["reasons"]) > REASONS:
        others = sum(row["count"] for row in queue["reasons"][REASONS:])
        lines.append(f"  {others:>6}         for other reasons: see `sysmail queue list`")
    return lines


def _status_sent(details: dict[str, Any], paint: Paint) -> list[str]:
    sent = details["deliveries"]
    if sent is None:
        return [f"{paint('sent', 'bold')}   not known"]
    refused = f", {sent['refused']} refused" if sent.get("refused") else ""
    lines = [f"{paint('sent', 'bold')}   {sent['sent']} in the last 24 hours{refused}"]
    for row in sent["last"]:
        when = _age(details["now"] - row["time"]) + " ago" if "time" in row else ""
        name = row["queue_id"] or row["answer"][:40]
        lines.append(_fit(f"  {when:>11}  {name}  {row['recipient']}"))
    return lines


_DETAILS: dict[str, Callable[[dict[str, Any], Paint], list[str]]] = {
    "try": _messages_of_try,
    "queue": _queue,
    "status": _status,
    "trace": stories.as_lines,
}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _closing(report: Report) -> str:
    others = ("entrance-", "arrival", "bounce", "deliverability:")
    promises = [v for v in report.verdicts if not v.check.startswith(others)]
    passed = sum(v.status == PASS for v in promises)
    kept = passed == len(promises)
    proof = f", {passed} of {len(promises)} promises proven" if promises else ""
    sentences = {
        "applied": f"applied: {_count(len(report.steps), 'step')}{proof}",
        "unchanged": f"nothing to change{proof}",
        "not-proven": f"in force, but not proven{proof}",
        "next-hop-down": f"in force, but the next hop is down{proof}",
        "changes": f"{_count(len(report.steps), 'step')} would be done; `sysmail apply` does them",
        "nothing-to-do": "nothing to do",
        "well": "all is well",
        "trouble": "something is wrong",
        "busy": "another sysmail is at work; the next run of the watch looks again",
        "proven": proof[2:],
        "broken": f"{'a check failed' if kept else 'a promise is broken'}{proof}",
        "unknown": f"not everything could be determined{proof}",
    }
    return sentences.get(report.outcome, report.outcome.replace("-", " "))
