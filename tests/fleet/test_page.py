"""The page of a fleet as a browser shows it: read, sorted, filtered, attacked, on a phone."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fleet import browser
from fleet.browser import Browser, Page
from sysmail.fleet.page import HostRow, render
from sysmail.report import PROMISES

NOW = 1_767_949_440.0
TITLE = "Outbound mail of the fleet"
HOSTS = 1000

HOSTILE = (
    "<script>document.title = 'taken'</script>",
    "</script></style></title><script>document.title = 'taken'</script>",
    '"><img src=x onerror="document.title = \'taken\'">',
    "' onmouseover='document.title = \"taken\"' '",
    "<svg onload=alert(1)>@example.org",
    "<a href='javascript:alert(1)'>mail</a>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<style>* { display: none }</style>",
    "\u202egro.elpmaxe\u2066",
    "\x00\x1b[2J\r\n",
)

NAMES = (
    "[...document.querySelectorAll('tbody tr')].filter(row => !row.hidden)"
    ".map(row => row.cells[0].textContent)"
)


def report(bad: dict[str, str], text: str = "seen") -> dict[str, Any]:
    return {
        "version": 1,
        "route": {"name": "relay", "next_hop": "mailu", "reason": "the policy asks for it"},
        "verdicts": [
            {
                "check": name,
                "status": bad.get(name, "pass"),
                "evidence": text,
                "remedy": f"mend it: {text}",
            }
            for name in PROMISES
        ],
        "errors": [],
    }


ROWS = (
    HostRow("web10", "ok", report=report({}), queue={"count": 0, "oldest": None}),
    HostRow("web9", "changed", report=report({}), queue={"count": 40, "oldest": NOW - 60}),
    HostRow("db", "ok", report=report({}), queue={"count": 7, "oldest": NOW - 86400}),
    HostRow(
        "mail",
        "failed",
        report=report({"nothing-lost": "fail", "reversible": "unknown"}, "two were lost"),
        queue={"count": 212, "oldest": NOW - 7200},
    ),
    HostRow("edge", "unreachable", "no route to host", "check the cable"),
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all tests of this file."""
    with browser.start() as running:
        yield running


@pytest.fixture
def fleet(tmp_path: Path) -> str:
    """The address of a page with a few hosts."""
    return written(tmp_path, ROWS)


def written(folder: Path, rows: tuple[HostRow, ...]) -> str:
    path = folder / "page.html"
    path.write_text(render(rows, title=TITLE, time=NOW), encoding="utf-8")
    return path.as_uri()


def opened(chromium: Browser, url: str, **more: bool) -> Page:
    page = chromium.page(**more)
    page.open(url)
    return page


def untroubled(page: Page) -> None:
    """The browser blocked nothing, nothing failed, and nothing but the page itself was loaded."""
    wrong = page.events("Log.entryAdded", "Runtime.exceptionThrown", "Page.javascriptDialogOpening")
    assert wrong == []
    asked = [
        event["params"]["request"]["url"] for event in page.events("Network.requestWillBeSent")
    ]
    assert all(url.startswith("file:") and url.endswith("/page.html") for url in asked), asked


def test_page_says_what_is_known_of_each_host(fleet: str) -> None:
    """The document that a browser makes of the page has every host, the worst first."""
    text = browser.dump(fleet)
    assert f"<title>{TITLE}</title>" in text
    rows = re.findall(r"<tr class.*?</tr>", text, re.DOTALL)
    words = [" ".join(re.sub("<[^>]+>", " ", row).split()) for row in rows]
    passes = ["pass"] * 10
    assert words == [
        "mail failed relay → mailu pass pass pass fail pass pass pass pass pass unknown 212 2 h "
        "nothing-lost two were lost mend it: two were lost "
        "1 more reversible two were lost mend it: two were lost",
        f"edge unreachable {' '.join(['not checked'] * 10)} no route to host check the cable",
        f"db proven relay → mailu {' '.join(passes)} 7 1 d",
        f"web9 proven changed relay → mailu {' '.join(passes)} 40 1 min",
        f"web10 proven relay → mailu {' '.join(passes)} 0",
    ]


def test_headings_sort(chromium: Browser, fleet: str) -> None:
    """A click on a heading sorts by it, a second one turns it round, and aria-sort says so."""
    page = opened(chromium, fleet)
    orders = {
        ("Host", 1): (["db", "edge", "mail", "web9", "web10"], "ascending"),
        ("Outcome", 2): (["mail", "edge", "db", "web9", "web10"], "ascending"),
        ("nothing-lost", 7): (["mail", "edge", "db", "web9", "web10"], "ascending"),
        ("Queue", 14): (["mail", "web9", "db", "web10", "edge"], "descending"),
        ("Oldest", 15): (["db", "mail", "web9", "edge", "web10"], "descending"),
    }
    for (name, column), (order, direction) in orders.items():
        heading = f"thead th:nth-child({column})"
        page.click(f"{heading} button")
        assert page.run(f"document.querySelector('{heading}').textContent") == name
        assert page.run(NAMES) == order, name
        assert page.run(f"document.querySelector('{heading}').ariaSort") == direction
        assert page.run("document.querySelectorAll('[aria-sort]').length") == 1
    page.click("thead th:nth-child(14) button")
    page.click("thead th:nth-child(14) button")
    assert page.run(NAMES) == ["web10", "db", "web9", "mail", "edge"]
    untroubled(page)


def test_headings_sort_by_keyboard(chromium: Browser, fleet: str) -> None:
    """A heading is reached with the tabulator, and Enter sorts by it."""
    page = opened(chromium, fleet)
    page.run("document.querySelector('#tools select').focus()")
    page.run("document.querySelector('#tools label').style.display = 'flex'")
    page.run("document.querySelector('#tools select').focus()")
    page.key("Tab", 9)
    assert page.run("document.activeElement.textContent") == "Host"
    page.key("Enter", 13, "\r")
    assert page.run(NAMES) == ["db", "edge", "mail", "web9", "web10"]


def test_filter(chromium: Browser, fleet: str) -> None:
    """What is typed, and a click on a number of the summary, leaves only the hosts that fit."""
    page = opened(chromium, fleet)
    field = "document.querySelector('input[type=search]')"
    page.click("input[type=search]")
    page.type("LOST two")
    assert page.run(NAMES) == ["mail"]
    assert page.run("document.querySelector('output').textContent") == "1 of 5 shown"
    page.run(f"{field}.value = ''; {field}.dispatchEvent(new Event('input'))")
    assert len(page.run(NAMES)) == 5
    page.click("[data-only=waiting] button")
    assert page.run(NAMES) == ["mail", "db", "web9"]
    page.click("[data-only=unreachable] button")
    assert page.run(NAMES) == ["edge"]
    page.click("[data-only=unreachable] button")
    assert len(page.run(NAMES)) == 5
    untroubled(page)


def test_hostile_hosts_execute_nothing(chromium: Browser, tmp_path: Path) -> None:
    """Whatever hosts call themselves or report, the page shows it as text and runs none of it."""
    rows = tuple(
        HostRow(
            text,
            "failed",
            text,
            text,
            {**report({"reversible": "fail"}, text), "route": {"name": text}},
        )
        for text in HOSTILE
    )
    page = opened(chromium, written(tmp_path, rows))
    page.run("document.querySelectorAll('details').forEach(each => { each.open = true })")
    for column in (1, 3, 14, 16):
        page.click(f"thead th:nth-child({column}) button")
    assert page.run("document.title") == TITLE
    assert page.run("document.querySelectorAll('script').length") == 1
    assert not page.run("document.querySelector('img, iframe, a, svg svg, [onload], [onerror]')")
    names = page.run(NAMES)
    assert len(names) == len(HOSTILE)
    assert set(HOSTILE[:8]) <= set(names)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\x1b]", "".join(names))
    untroubled(page)


def test_policy_of_the_page_is_in_force(chromium: Browser, fleet: str) -> None:
    """A style or a picture that got into the page all the same would be refused by the browser."""
    page = opened(chromium, fleet)
    page.run(
        "(() => { const add = (tag, fill) => {"
        " const e = document.createElement(tag); fill(e); document.body.append(e); };"
        "add('style', e => e.append('body { display: none }'));"
        "add('img', e => { e.src = 'data:image/gif;base64,R0lGODlhAQABAAAAACw=' });"
        "document.body.setAttribute('style', 'display: none');"
        "document.querySelector('h1').click(); })()"
    )
    assert page.run("getComputedStyle(document.body).display") == "block"
    assert page.run("document.title") == TITLE
    blocked = {e["params"]["entry"]["text"] for e in page.events("Log.entryAdded")}
    assert all("Content Security Policy" in text for text in blocked), blocked
    assert len(blocked) == 3


def test_narrow_screen_shows_cards(chromium: Browser, fleet: str) -> None:
    """On a phone each host is a card, what is not kept has its name, and nothing is cut off."""
    page = opened(chromium, fleet)
    assert page.run("getComputedStyle(document.querySelector('tbody tr')).display") == "table-row"
    page.resize(390, 844, phone=True)
    assert page.run("document.documentElement.scrollWidth") == 390
    assert page.run("getComputedStyle(document.querySelector('thead')).display") == "none"
    cards = page.run(
        "[...document.querySelectorAll('tbody tr')].map(r => r.getBoundingClientRect())"
        ".map(r => ({left: r.left, right: r.right, top: r.top, bottom: r.bottom}))"
    )
    assert all(0 < card["left"] < card["right"] < 390 for card in cards)
    assert all(above["bottom"] < below["top"] for above, below in pairwise(cards))
    shown = "getComputedStyle(document.querySelector('tbody td.f'), '::after').content"
    assert json.loads(page.run(shown)) == "nothing-lost"
    page.run(
        "(choice => { choice.value = 0; choice.dispatchEvent(new Event('change')) })"
        "(document.querySelector('select'))"
    )
    assert page.run(NAMES) == ["db", "edge", "mail", "web9", "web10"]
    untroubled(page)


def test_page_without_scripts(chromium: Browser, fleet: str) -> None:
    """Where scripts are off, the table is there, and nothing that would not work."""
    page = opened(chromium, fleet, scripts=False)
    assert page.run(NAMES) == ["mail", "edge", "db", "web9", "web10"]
    assert page.run("document.querySelectorAll('button, input, select').length") == 0


def test_paper(chromium: Browser, fleet: str) -> None:
    """Printed, the page is a table without controls, with its marks, black on white."""
    page = opened(chromium, fleet)
    page.media("print", prefers_color_scheme="dark")
    assert page.run("getComputedStyle(document.querySelector('#tools')).display") == "none"
    assert page.run("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.resize(700, 900)
    assert page.run("getComputedStyle(document.querySelector('tbody tr')).display") == "table-row"
    assert (
        page.run("getComputedStyle(document.querySelector('td.f'), '::before').fontSize") != "0px"
    )


def test_screen_reader_hears_the_verdicts(chromium: Browser, fleet: str) -> None:
    """The tree for assistive programs has the word of each verdict, and no mark in its place."""
    page = opened(chromium, fleet)
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    kept = [n for n in nodes if not n.get("ignored")]
    names = [n.get("name", {}).get("value", "") for n in kept]
    roles = [n["role"]["value"] for n in kept]
    assert roles.count("rowheader") == len(ROWS)
    assert roles.count("columnheader") == 16
    cells = [
        n["name"]["value"]
        for n in kept
        if n["role"]["value"] in ("cell", "gridcell") and n.get("name", {}).get("value")
    ]
    assert cells.count("fail") == 1
    assert cells.count("unknown") == 1
    assert cells.count("pass") == 38
    assert not any(mark in name for name in names for mark in "✓✕")


def test_thousand_hosts_open_at_once(chromium: Browser, tmp_path: Path) -> None:
    """A page of a thousand hosts is there, and sorted, within a few seconds of a busy machine."""
    bad = {"nothing-lost": "fail", "verified-next-hop": "unknown"}
    rows = tuple(
        HostRow(
            f"web{n}.example.org",
            "failed" if n % 10 == 0 else "ok",
            report=report(bad if n % 10 == 0 else {}),
            queue={"count": n % 7, "oldest": NOW - n if n % 7 else None},
        )
        for n in range(HOSTS)
    )
    began = time.monotonic()
    url = written(tmp_path, rows)
    rendered = time.monotonic() - began
    page = chromium.page()
    took = page.open(url)
    assert page.run("document.querySelectorAll('tbody tr').length") == HOSTS
    began = time.monotonic()
    page.click("thead th:nth-child(1) button")
    assert page.run(NAMES)[:3] == ["web0.example.org", "web1.example.org", "web2.example.org"]
    clicked = time.monotonic() - began
    size = (tmp_path / "page.html").stat().st_size
    print(
        f"{HOSTS} hosts: {size / 1000:.0f} kB, rendered in {rendered:.2f} s, "
        f"open in {took:.2f} s, sorted in {clicked:.2f} s"
    )
    assert size < 700_000
    assert took < 10
    assert clicked < 5
    untroubled(page)
