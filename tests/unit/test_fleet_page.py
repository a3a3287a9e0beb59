"""The page of a fleet: what it shows, and that nothing a host says can change it."""

from __future__ import annotations

import base64
import hashlib
import re
import zipimport
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Optional
from zipfile import ZipFile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysmail.fleet import page as page_module
from sysmail.fleet import row as row_module
from sysmail.fleet.page import HostRow, render
from sysmail.fleet.row import STATES, clean, shown
from sysmail.report import PROMISES

NOW = 1_767_949_440.0
CELL = {"p": "pass", "f": "fail", "u": "unknown", "n": "not checked"}
OWN_TAGS = set(
    """html head meta title style body header h1 p time ul li b small svg rect main table caption
    thead tr th span tbody td bdi code details summary footer i script wbr""".split()
)
OWN_ATTRIBUTES = set(
    """lang charset http-equiv content name datetime class data-only viewbox preserveaspectratio
    aria-hidden x width height scope data-v""".split()
)


def report(bad: Optional[dict[str, str]] = None, **more: Any) -> dict[str, Any]:
    """A report in which all promises pass but those in ``bad``."""
    verdicts = []
    for name in PROMISES:
        status = (bad or {}).get(name, "pass")
        remedy = "" if status == "pass" else f"mend {name}"
        verdict = {"check": name, "status": status, "evidence": f"saw {name}", "remedy": remedy}
        verdicts.append(verdict)
    route = {"name": "relay", "next_hop": "mailu", "reason": "the policy asks for it"}
    return {"version": 1, "route": route, "verdicts": verdicts, "errors": [], **more}


class Read(HTMLParser):
    """A page as read: its tags, its attributes, and the text of each cell of each row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.cells: list[list[str]] = []
        self.texts: dict[str, str] = {}
        self._inside = ""
        self.feed(text)
        self.close()
        self.rows = [[cell.strip() for cell in row] for row in self.cells[1:]]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Optional[str]]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self._inside = tag
        if tag == "tr":
            self.cells.append([])
        elif tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("table", "style", "script"):
            self._inside = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._inside] = self.texts.get(self._inside, "") + data
        if self.cells and self.cells[-1] and "footer" not in self.tags:
            self.cells[-1][-1] += data


def read(*rows: HostRow) -> Read:
    return Read(render(rows, title="The fleet", time=NOW))


def test_row_says_all_about_its_host() -> None:
    """A row has the name, outcome, route and next hop, ten verdicts, queue, age and troubles."""
    queue = {"count": 3, "oldest": NOW - 7200}
    bad = {"nothing-lost": "fail", "reversible": "unknown"}
    ((name, state, route, *verdicts, waiting, age, trouble),) = read(
        HostRow("web1.example.org", "changed", report=report(bad), queue=queue)
    ).rows
    assert (name, state, route) == ("web1.example.org", "failed changed", "relay → mailu")
    assert dict(zip(PROMISES, verdicts)) == dict.fromkeys(PROMISES, "pass") | bad
    assert (waiting, age) == ("3", "2 h")
    assert trouble == (
        "nothing-lost saw nothing-lostmend nothing-lost1 more"
        "reversible saw reversiblemend reversible"
    )


@pytest.mark.parametrize(
    ("given_report", "expected"),
    [({"verdicts": [{"check": "reversible", "status": s}]}, s) for s in ("pass", "fail", "unknown")]
    + [
        ({}, "not checked"),
        (None, "not checked"),
        ({"verdicts": "pass"}, "not checked"),
        ({"verdicts": [{"check": "reversible", "status": "PASS"}]}, "unknown"),
        ({"verdicts": [{"check": "reversible", "status": ["pass"]}]}, "unknown"),
        ({"verdicts": [{"check": "reversible"}]}, "unknown"),
        (
            {
                "verdicts": [
                    {"check": "reversible", "status": s} for s in ("pass", "fail", "unknown")
                ]
            },
            "fail",
        ),
    ],
)
def test_verdict(given_report: Any, expected: str) -> None:
    """A verdict is shown as it is; what is no verdict is never a pass, and of two the worse is."""
    (cells,) = read(HostRow("a", "ok", report=given_report)).rows
    assert cells[2 + len(PROMISES)] == expected
    assert cells[3] == "not checked"


@pytest.mark.parametrize("status", CELL.values())
def test_verdict_is_told_without_colour(status: str) -> None:
    """Each verdict has its own mark in the style, and its word in the page."""
    style = Path(page_module.__file__).with_name("page.css").read_text(encoding="utf-8")
    marks = dict(re.findall(r'^\.(\w)::before { content: "(.)"', style, re.MULTILINE))
    assert len(set(marks.values())) == len(CELL)
    letter = next(letter for letter, word in CELL.items() if word == status)
    assert letter in marks
    assert f'<i class="{letter}"></i> {status}' in render([], title="", time=NOW)


@pytest.mark.parametrize(
    ("row", "state"),
    [
        (HostRow("a", "ok", report=report()), "proven"),
        (HostRow("a", "changed", report=report()), "proven changed"),
        (HostRow("a", "ok", report=report({"no-takeover": "unknown"})), "not proven"),
        (HostRow("a", "ok", report=report({"no-takeover": "fail"})), "failed"),
        (
            HostRow("a", "ok", report={**report(), "verdicts": report()["verdicts"][:9]}),
            "not proven",
        ),
        (HostRow("a", "ok", report=report(), queue={"count": 1}), "proven"),
        (HostRow("a", "ok"), "not proven"),
        (HostRow("a", "failed", report=report()), "failed"),
        (HostRow("a", "unreachable", report=report()), "unreachable"),
        (HostRow("a", "skipped"), "skipped"),
        (HostRow("a", "splendid", report=report()), "not proven"),
    ],
)
def test_state(row: HostRow, state: str) -> None:
    """Proven is a host where the run succeeded and all ten promises pass, and no other."""
    assert read(row).rows[0][1] == state


def test_worst_hosts_come_first() -> None:
    """Failed, unreachable, not proven, skipped, proven; then waiting mail; then names by number."""
    broken = report({"nothing-lost": "fail", "reversible": "fail"})
    rows = [
        HostRow("web10", "ok", report=report()),
        HostRow("web9", "ok", report=report()),
        HostRow("waits", "ok", report=report(), queue={"count": 1, "oldest": NOW}),
        HostRow("never", "skipped"),
        HostRow("doubt", "ok", report=report({"reversible": "unknown"})),
        HostRow("away", "unreachable"),
        HostRow("one", "ok", report=report({"reversible": "fail"})),
        HostRow("two", "ok", report=broken),
    ]
    expected = ["two", "one", "away", "doubt", "never", "waits", "web9", "web10"]
    assert [cells[0] for cells in read(*rows).rows] == expected
    assert [cells[0] for cells in read(*rows[::-1]).rows] == expected


def test_summary_counts_hosts_and_messages() -> None:
    """The top of the page says how many hosts are proven, failed and so on, and what waits."""
    text = render(
        [
            HostRow("a", "ok", report=report(), queue={"count": 2, "oldest": NOW}),
            HostRow("b", "changed", report=report(), queue={"count": 0, "oldest": None}),
            HostRow("c", "failed", queue={"count": 5}),
            HostRow("d", "unreachable"),
        ],
        title="t",
        time=NOW,
    )
    found = re.findall(r'data-only="[a-z-]*"><b>(\d+)</b> ([a-z ]+)', text)
    assert found == [
        ("4", "hosts"),
        ("2", "proven"),
        ("1", "failed"),
        ("1", "unreachable"),
        ("2", "with waiting mail "),
    ]
    assert "<small>7 messages</small>" in text


def test_trouble_is_told_once() -> None:
    """Words of the run that only repeat an error of the report are left out, others are not."""
    error = {"code": "port-closed", "message": "no connection to mail port 25", "remedy": "look"}
    whole = report(errors=[error])
    repeated = HostRow("a", "failed", "no connection to mail port 25. Look.", "x", whole)
    other = HostRow("a", "failed", "no space left", "make room", whole)
    assert [t.label for t in shown(repeated, NOW).troubles] == ["port-closed"]
    assert [t.text for t in shown(other, NOW).troubles] == ["no space left", error["message"]]


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        ({"count": 0, "oldest": None}, ["0", ""]),
        ({"count": 12, "oldest": NOW - 90}, ["12", "1 min"]),
        ({"count": 1, "oldest": NOW + 3600}, ["1", "0 s"]),
        ({"count": 1, "oldest": NOW - 3 * 86400}, ["1", "3 d"]),
        ({"count": 1, "oldest": float("nan")}, ["1", ""]),
        ({"count": -1, "oldest": "yesterday"}, ["", ""]),
        ({"count": True}, ["", ""]),
        ({"count": 10**5000}, ["", ""]),
        ({"count": float("inf"), "oldest": -5}, ["", ""]),
        ({"count": [1]}, ["", ""]),
        ("12", ["", ""]),
        (None, ["", ""]),
    ],
)
def test_queue(queue: Any, expected: list[str]) -> None:
    """The queue is a count and an age; what is neither is not known."""
    assert read(HostRow("a", "ok", queue=queue)).rows[0][13:15] == expected


HOSTILE = (
    "<script>document.title = 'taken'</script>",
    "</script><script>document.title = 'taken'</script>",
    "</title></style><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "' onfocus=alert(1) autofocus='",
    "<!--",
    "]]>",
    "&lt;b&gt; &#x3c;",
    "`<b>code</b>`",
    "a@example.org<svg onload=alert(1)>",
    "\u202egro.elpmaxe",
    "\u2066a\u2069\u200f\u061c",
    "a\x00b\x1b[31m\x07\x7f\x9b",
    "line\r\nline\u2028line\u2029\x0b\x0c\x1c",
    "\ud800 half a pair",
    "\ufeff\u200b\u00ad\U000e0041",
    "Z" + "\u0301" * 5000,
    "x" * 3_000_000,
)


def hostile_row(text: str) -> HostRow:
    """A host that says ``text`` wherever it says something."""
    queue = {"count": text, "oldest": text}
    more = {"code": text, "message": text, "remedy": text}
    verdict = {"check": text, "status": text, "evidence": text, "remedy": text}
    known = {"check": "reversible", "status": "fail", "evidence": text, "remedy": text}
    whole: dict[str, Any] = {
        "version": text,
        "route": {"name": text, "next_hop": text, "reason": text},
        "verdicts": [verdict, known],
        "errors": [more],
        "queue": queue,
        text[:50]: text,
    }
    return HostRow(text, text, text, text, whole, queue)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str) -> None:
    """No text of a host makes a tag or an attribute, or a character that is not seen."""
    page = render([hostile_row(text)], title=text, time=NOW)
    page.encode("utf-8")
    found = Read(page)
    assert set(found.tags) <= OWN_TAGS
    assert {name for name, _ in found.attributes} <= OWN_ATTRIBUTES
    assert found.tags.count("script") == 1
    own = {"\n"}
    assert all(c.isprintable() or c in own for c in page)
    assert len(found.rows) == 1
    assert len(page) < 60_000


@given(st.text(max_size=600), st.integers(1, 300))
def test_clean_text_is_short_and_printable(text: str, length: int) -> None:
    """Whatever comes in, what comes out has no more than its length, and only what can be seen."""
    cleaned = clean(text, length)
    assert len(cleaned) <= length
    assert cleaned.isprintable()
    assert clean(cleaned, length) == cleaned


def test_marks_do_not_pile_up() -> None:
    """No letter carries so many marks that they paint over the rows above."""
    assert clean("Z" + "\u0301" * 50 + "a\u0300b") == "Z\u0301\u0301a\u0300b"


def test_ordinary_text_is_not_changed() -> None:
    """Names and sentences of any language stay as they are."""
    for text in (
        "web1.example.org",
        "Größe überschritten",
        "почта ждёт",
        "メールが待っています",
        "é",
    ):
        assert clean(text) == text


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                "route name next_hop verdicts check status evidence errors message code queue "
                "count oldest remedy".split()
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=300)
@given(ANYTHING, ANYTHING, ANYTHING, st.text(max_size=20))
def test_any_shape_is_a_row(whole: Any, queue: Any, name: Any, outcome: str) -> None:
    """A report, a queue, a name of any shape gives one row of sixteen cells, and no failure."""
    found = read(HostRow(name, outcome, report=whole, queue=queue))
    assert [len(cells) for cells in found.rows] == [16]
    assert found.rows[0][1].replace(" changed", "") in STATES


def test_page_is_small() -> None:
    """A host that has nothing wrong costs 400 bytes at most, and one that has 900."""
    empty = len(render([], title="t", time=NOW))
    queue = {"count": 0, "oldest": None}
    good = [HostRow(f"web{n}.example.org", "ok", report=report(), queue=queue) for n in range(1000)]
    bad = [
        HostRow(f"web{n}.example.org", "failed", report=report({"reversible": "fail"}))
        for n in range(1000)
    ]
    assert (len(render(good, title="t", time=NOW)) - empty) / 1000 < 400
    assert (len(render(bad, title="t", time=NOW)) - empty) / 1000 < 900
    assert empty < 20_000


def test_flood_of_troubles_is_cut() -> None:
    """Of thousands of errors a dozen is shown, and how many were left out is said."""
    errors = [{"code": "c", "message": f"error {n}"} for n in range(5000)]
    page = render([HostRow("a", "failed", report={"errors": errors})], title="t", time=NOW)
    assert page.count("<b>c</b>") == row_module.MAX_TROUBLES
    assert "and 88 not shown here" in page


def test_page_loads_nothing_and_runs_only_its_own() -> None:
    """The policy forbids everything but one style and one script, named by their hashes."""
    page = render([HostRow("a", "ok", report=report())], title="t", time=NOW)
    (policy,) = re.findall('Content-Security-Policy" content="([^"]+)"', page)
    rules = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
        assert f"</{tag}" not in text
    assert not re.search(r"\b(src|href|style)\s*=|url\(|@import|https?:", page)


def test_page_does_without_its_script() -> None:
    """Without the script it is a plain table: nothing waits to be pressed or filled in."""
    found = read(HostRow("a", "ok", report=report()))
    assert not {"button", "input", "select"} & set(found.tags)
    assert found.cells[0][3:13] == list(PROMISES)


def test_style_names_the_promises_of_the_page() -> None:
    """The names that cards show for want of headings are those of the columns."""
    style = Path(page_module.__file__).with_name("page.css").read_text(encoding="utf-8")
    named = re.findall(r'td:nth-child\((\d+)\) { --name: "([a-z-]+)"', style)
    assert named == [(str(at), name) for at, name in enumerate(PROMISES, 4)]


def test_promises_are_those_of_the_proof() -> None:
    """The page has a column for each check of the proof, in its order."""
    source = Path(row_module.__file__).parents[1] / "prove" / "__init__.py"
    checks = [
        re.findall('^NAME = "(.+)"', path.read_text(encoding="utf-8"), re.MULTILINE)
        for path in source.parent.glob("*.py")
    ]
    assert sorted(name for names in checks for name in names) == sorted(PROMISES)


def test_page_comes_out_of_a_zip(tmp_path: Path) -> None:
    """From within an archive the page is the same."""
    archive = tmp_path / "sysmail.pyz"
    folder = Path(page_module.__file__).parent
    with ZipFile(archive, "w") as into:
        for path in folder.iterdir():
            if path.suffix in (".py", ".css", ".js"):
                into.write(path, f"sysmail/fleet/{path.name}")
    loader = zipimport.zipimporter(f"{archive}/sysmail/fleet")
    assert page_module.__spec__ is not None
    for name in ("page.css", "page.js"):
        data = loader.get_data(f"{archive}/sysmail/fleet/{name}")
        assert data == (folder / name).read_bytes()
    code = loader.get_code("page")
    assert code is not None
    namespace = {"__name__": "page", "__package__": "sysmail.fleet"}
    exec(code, namespace)  # noqa: S102 - our own module, as the archive has it
    assert namespace["render"]([], title="t", time=NOW) == render([], title="t", time=NOW)  # type: ignore[operator]
