"""The page of a fleet: one HTML file that needs nothing else, for people to look at.

All that comes from hosts is cut and made printable (``row``) and escaped here. The
page may run and load nothing but its own style and script, which its
Content-Security-Policy names by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import pkgutil
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from functools import cache
from html import escape

from sysmail.fleet.row import (
    FAILED,
    PROVEN,
    STATES,
    HostRow,
    Shown,
    Trouble,
    clean,
    shown,
)
from sysmail.report import PROMISES

__all__ = ["HostRow", "render"]

# One letter a cell: a fleet has ten times as many of them as hosts.
_CELL = {"pass": "p", "fail": "f", "unknown": "u", "not checked": "n"}

# Heading, and how its column is sorted: by text, by state, by number, by verdict.
_HEADINGS = (
    ("Host", "text"),
    ("Outcome", "state"),
    ("Route", "text"),
    *((name, "verdict") for name in PROMISES),
    ("Queue", "number"),
    ("Oldest", "number"),
    ("What failed, and what to do", "text"),
)
_TITLE_LENGTH = 120
_OPEN = 1
"""So many things that failed are read without opening anything."""


def render(rows: Sequence[HostRow], *, title: str, time: float) -> str:
    """The page of these hosts as it was at ``time``, in seconds since the epoch."""
    hosts = sorted((shown(row, time) for row in rows), key=lambda host: host.order)
    heading = escape(clean(title, _TITLE_LENGTH))
    when = datetime.fromtimestamp(time, timezone.utc)
    style, script = _part("page.css"), _part("page.js")
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )
    headings = "".join(
        f'<th scope="col" class="{kind}"><span>{name}</span>' for name, kind in _HEADINGS
    )
    return "\n".join(
        (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{heading}</title><style>{style}</style></head><body>",
            f"<header><h1>{heading}</h1><p>As found on "
            f'<time datetime="{when:%Y-%m-%dT%H:%M:%SZ}">{when:%Y-%m-%d at %H:%M} UTC</time></p>',
            *_summary(hosts),
            "</header><main><table><caption>Every host, the worst first</caption>",
            f"<thead><tr>{headings}</thead><tbody>",
            *("".join(_row(host)) for host in hosts),
            "</tbody></table></main>",
            f"<footer>{_LEGEND}</footer>",
            f"<script>{script}</script></body></html>",
            "",
        )
    )


_LEGEND = "".join(
    f'<span><i class="{letter}"></i> {status}</span>' for status, letter in _CELL.items()
)


@cache
def _part(name: str) -> str:
    """A file beside this one, also from within a zip."""
    data = pkgutil.get_data(__package__, name)
    if data is None:  # pragma: no cover - only a loader without data does this
        raise FileNotFoundError(name)
    return data.decode("utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _summary(hosts: Sequence[Shown]) -> Iterator[str]:
    """How many hosts are what, as words and as a bar."""
    total = len(hosts)
    counts = {state: sum(host.state == state for host in hosts) for state in STATES}
    yield f'<ul><li data-only=""><b>{total}</b> {_plural(total, "host")}'
    for state in (PROVEN, *STATES[:-1]):
        if counts[state] or state in (PROVEN, FAILED):
            name = _class(state)
            yield f'<li class="{name}" data-only="{name}"><b>{counts[state]}</b> {state}'
    waiting = [host.waiting for host in hosts if host.waiting]
    if waiting:
        messages = f"{sum(waiting)} {_plural(sum(waiting), 'message')}"
        yield (
            f'<li data-only="waiting"><b>{len(waiting)}</b> with waiting mail'
            f" <small>{messages}</small>"
        )
    yield "</ul>"
    if total:
        yield f'<svg viewBox="0 0 {total} 1" preserveAspectRatio="none" aria-hidden="true">'
        at = 0
        for state in (PROVEN, *STATES[:-1]):
            if counts[state]:
                yield (
                    f'<rect class="{_class(state)}" x="{at}" width="{counts[state]}" height="1"/>'
                )
            at += counts[state]
        yield "</svg>"


def _class(state: str) -> str:
    return state.replace(" ", "-")


def _plural(number: int, noun: str) -> str:
    return noun if number == 1 else f"{noun}s"


def _row(host: Shown) -> Iterator[str]:
    """A host; cells are left without end tags, which HTML allows: a fleet has many of them."""
    state = _class(host.state)
    classes = f'"{state} waiting"' if host.waiting else state
    name = escape(host.name).replace(".", ".<wbr>")
    yield f"<tr class={classes}><th scope=row>{name}"
    yield f"<td>{host.state}" + (" <small>changed</small>" if host.changed else "")
    way = (escape(part) for part in (host.route, host.next_hop) if part)
    yield "<td>" + " → ".join(f"<bdi>{part}</bdi>" for part in way)
    for status in host.verdicts:
        yield f"<td class={_CELL[status]}>{status}"
    yield "<td>" + ("" if host.waiting is None else str(host.waiting))
    yield "<td>" if host.age is None else f"<td data-v={host.age:.0f}>{_age(host.age)}"
    yield "<td>"
    if host.troubles:
        open_, others = host.troubles[:_OPEN], host.troubles[_OPEN:]
        yield from map(_trouble, open_)
        if others:
            number = len(others) + host.left_out
            yield f"<details><summary>{number} more</summary>{''.join(map(_trouble, others))}"
            yield f"<p>and {host.left_out} not shown here" if host.left_out else ""
            yield "</details>"
    yield "</tr>"


def _trouble(trouble: Trouble) -> str:
    label = f"<b>{escape(trouble.label)}</b> " if trouble.label else ""
    remedy = f"<small>{_words(trouble.remedy)}</small>" if trouble.remedy else ""
    return f"<p>{label}<bdi>{_words(trouble.text)}</bdi>{remedy}"


def _words(text: str) -> str:
    """Escaped; what stands between backticks is a command or a parameter."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"
