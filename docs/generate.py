"""Writes the generated parts of the documentation, or checks that they are up to date.

    python3 docs/generate.py            # write
    python3 docs/generate.py --check    # change nothing; exit 1 if something is out of date

A page says where a generated part belongs by two comments,
``<!-- generated: NAME -->`` and ``<!-- end -->``; what stands between is replaced.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Callable

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from sysmail.policy import postfix_markdown, reference_markdown  # noqa: E402  # not installed

PARTS: dict[str, Callable[[], str]] = {
    "policy-keys": reference_markdown,
    "postfix-parameters": postfix_markdown,
}

_PART = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(text: str) -> str:
    """Return a page's text with its generated parts made anew."""
    return _PART.sub(lambda found: f"{found[1]}\n{PARTS[found[2]]()}\n{found[3]}", text)


def main(arguments: list[str]) -> int:
    """Write or check all pages; returns the exit status."""
    stale = 0
    for page in sorted((ROOT / "docs").rglob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = render(before)
        if before == after:
            continue
        stale += 1
        print(f"{page.relative_to(ROOT)}: {'out of date' if arguments else 'written'}")
        if not arguments:
            page.write_text(after, encoding="utf-8")
    if stale and arguments:
        print("Run `make docs` and look at what it changed.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
