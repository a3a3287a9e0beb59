"""Writes the generated parts of the documentation, or checks that all of it is up to date.

    python3 docs/generate.py            # write
    python3 docs/generate.py --check    # change nothing; exit 1 if something is wrong

A page says where a generated part belongs by two comments,
``<!-- generated: NAME -->`` and ``<!-- end -->``; what stands between is replaced.
The specifications and the documentation of the Ansible collection are generated whole.
The check also follows every link from page to page and to files of the repository.
"""

from __future__ import annotations

import re
import runpy
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Callable

ROOT = Path(__file__).resolve().parents[1]
# Nothing of this is installed.
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from docs.ansible_files import FILES, roles_markdown  # noqa: E402
from docs.error_codes import error_codes_markdown  # noqa: E402
from docs.test_counts import transaction_tests_markdown  # noqa: E402

from sysmail.cli.prometheus import metrics_markdown  # noqa: E402
from sysmail.distro import DISTROS, Distro  # noqa: E402
from sysmail.neighbours import NEIGHBOURS  # noqa: E402
from sysmail.policy.reference import postfix_markdown, reference_markdown  # noqa: E402
from sysmail.prove import CHECKS  # noqa: E402


def _code(words: object) -> str:
    return f"`{words}`" if words else "–"


def _codes(words: tuple[str, ...]) -> str:
    return ", ".join(f"`{word}`" for word in words) or "–"


def _command(argv: tuple[str, ...]) -> str:
    return _code(" ".join(argv).replace("\n", "\\n"))


_ROWS: tuple[tuple[str, Callable[[Distro], str]], ...] = (
    ("`ID` or `ID_LIKE` in os-release", lambda row: _codes(row.ids)),
    ("tried on booted hosts", lambda row: "yes" if row.tried else "no, from documentation"),
    ("Postfix", lambda row: _codes(row.postfix)),
    ("a login needs", lambda row: _codes(row.sasl)),
    ("msmtp", lambda row: _codes(row.msmtp)),
    ("the route mailu", lambda row: _codes(row.submission)),
    ("certificates", lambda row: _codes(row.certificates)),
    ("CA file", lambda row: _code(row.ca_file)),
    ("installing Postfix starts it", lambda row: "yes" if row.starts_on_install else "no"),
    ("units", lambda row: _codes(row.units)),
    ("what is installed", lambda row: _command(row.query)),
    ("what would be installed", lambda row: _command(row.candidate)),
    ("renew the lists", lambda row: _command(row.refresh)),
    ("install", lambda row: _command(row.install)),
    ("replace", lambda row: _command(row.replace)),
    ("bring back", lambda row: _command(row.restore)),
    ("download", lambda row: _command(row.fetch)),
    ("remove", lambda row: _command(row.uninstall)),
    ("remove, but for what was configured before", lambda row: _command(row.keep_configuration)),
    ("what removing would do", lambda row: _command(row.would_uninstall)),
    ("finish a cut-off installation", lambda row: _command(row.repair)),
    ("what only came with others", lambda row: _command(row.automatic)),
    ("mark it as such", lambda row: _command(row.mark_automatic)),
    ("what packages may need", lambda row: _command(row.dependencies)),
    ("which of packages nothing else needs", lambda row: _command(row.would_remove)),
    ("locked while it is at work", lambda row: _codes(row.locks)),
    ("environment", lambda row: _codes(tuple(f"{k}={v}" for k, v in row.environment.items()))),
    ("leftovers that are removed", lambda row: _codes(row.leftovers)),
)


def distributions_markdown() -> str:
    """Return what sysmail knows of each family of distributions: a table for each."""
    parts: list[str] = []
    for distro in DISTROS:
        lines = [f"### {distro.name}", "", "| | |", "|---|---|"]
        lines += [f"| {title} | {value(distro)} |" for title, value in _ROWS]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def other_mtas_markdown() -> str:
    """Return the other mail programs: whether they are replaced, and how a queue is emptied."""
    lines = ["| program | packages | | its queue | is emptied by |", "|---|---|---|---|---|"]
    for each in NEIGHBOURS:
        done = "replaced" if each.replaceable else "refused"
        queue = _codes(each.queue) if each.queue or not each.replaceable else "none"
        drain = each.drain.replace("|", "\\|") or "–"
        lines.append(f"| {each.name} | {_codes(each.packages)} | {done} | {queue} | {drain} |")
    return "\n".join(lines)


def by_products_markdown() -> str:
    """Return what a comparison of a host that was put back leaves out, from the tests."""
    found = runpy.run_path(str(ROOT / "tests/hosts/by_products.py"))
    reasons: dict[str, list[str]] = {}
    for path, why in {**found["BY_PRODUCTS"], **found["CACHES"]}.items():
        reasons.setdefault(why, []).append(f"`/{path}`")
    return "\n".join(f"- {', '.join(paths)}: {why}" for why, paths in reasons.items())


def _faults() -> list[Any]:
    """Return the faults of tests/faults, as their tests read them."""
    found: list[Any] = runpy.run_path(str(ROOT / "tests/hosts/fault_files.py"))["faults"]()
    return found


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def faults_markdown(check: str, command: str = "prove") -> str:
    """Return the table of the faults that a check has to find; with "" the errors of a command."""
    lines = ["| fault | what is said | what to do | `postfix check` |", "|---|---|---|---|"]
    for fault in _faults():
        of_command = fault.check not in CHECKS and fault.command[0] == command
        if fault.check != check if check else not of_command:
            continue
        host = "" if fault.host == "relay" else f" ({fault.host})"
        source = f" ([seen]({fault.source}))" if fault.source else ""
        says = " … ".join(f"`{words}`" for words in fault.says)
        says += "" if check else f" (`{fault.check}`)"
        remedy = " … ".join(fault.remedy)
        lines.append(
            f"| {_cell(fault.fault)}{host}{source} | {_cell(says)} | {_cell(remedy)} | "
            f"{fault.postfix_check} |"
        )
    return "\n".join(lines)


def faults_in_numbers() -> str:
    """Return how many faults there are, and how many of them Postfix's own check finds."""
    found = [fault for fault in _faults() if fault.postfix_check != "none"]
    counts = Counter(fault.postfix_check for fault in found)
    return (
        f"{len(_faults())} faults, {len(found)} of them on hosts with Postfix. Of those `postfix "
        f"check` lets {counts['passes']} pass without a word, warns of {counts['warns']} and fails "
        f"for {counts['fails']}."
    )


PARTS: dict[str, Callable[[], str]] = {
    **{f"faults-{check}": partial(faults_markdown, check) for check in CHECKS},
    "faults-of-commands": partial(faults_markdown, ""),
    "faults-of-status": partial(faults_markdown, "", "status"),
    "faults-in-numbers": faults_in_numbers,
    "policy-keys": reference_markdown,
    "postfix-parameters": postfix_markdown,
    "error-codes": error_codes_markdown,
    "distributions": distributions_markdown,
    "other-mtas": other_mtas_markdown,
    "by-products": by_products_markdown,
    "roles": roles_markdown,
    "metrics": metrics_markdown,
    "transaction-tests": transaction_tests_markdown,
}

_PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def render(text: str) -> str:
    """Return a page's text with its generated parts made anew."""
    return _PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]().strip()}\n\n{found[3]}", text)


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in headings}


def broken_links(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    broken: list[str] = []
    for path, anchor in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor[1:] not in _anchors(target)
        ):
            broken.append(path + anchor)
    return broken


def _wanted() -> Iterator[tuple[Path, str, str]]:
    """Yield each file that is generated, in whole or in part: as it is, and as it has to be."""
    for page in sorted((ROOT / "docs").rglob("*.md")):
        before = page.read_text(encoding="utf-8")
        yield page, before, render(before)
    for name, text in FILES.items():
        path = ROOT / name
        yield path, path.read_text(encoding="utf-8") if path.exists() else "", text()


def main(arguments: list[str]) -> int:
    """Write or check everything that is generated; returns the exit status."""
    stale = 0
    for page, before, after in _wanted():
        if before == after:
            continue
        stale += 1
        print(f"{page.relative_to(ROOT)}: {'out of date' if arguments else 'written'}")
        if not arguments:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(after, encoding="utf-8")
    if not arguments:
        return 0
    if stale:
        print("Run `make docs` and look at what it changed.")
    broken = [
        f"{page.relative_to(ROOT)}: no such target: {link}"
        for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
        for link in broken_links(page)
    ]
    print("\n".join(broken), end="\n" if broken else "")
    return 1 if stale or broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
