"""Promise 7 on booted hosts: cut off at sampled moments; SYSMAIL_SEED repeats what is printed.

All moments: tests/torture. One host of each base, and one with another mail program, serve all.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

import pytest
from cutoff import CHANGES, NEXT, Bench, Change, draw, interrupt, kill, moment, open_bench

from lab import Host, Lab

SEED = int(os.environ["SYSMAIL_SEED"])
TIMES = 3
SIGNALS = ("int", "term", "hup", "int-int")
Benches = Callable[[str, Change], Bench]


_drawn = random.Random(SEED)  # noqa: S311 - a sample, not a secret


def _each_on_one_base() -> pytest.MarkDecorator:
    """Every change, on a base that is drawn anew each time."""
    rows = [(_drawn.choice(["debian", "arch"]), change) for change in CHANGES]
    names = [f"{change.name}-{base}" for base, change in rows]
    return pytest.mark.parametrize(("base", "change"), rows, ids=names)


@pytest.fixture(scope="module")
def benches(lab: Lab) -> Iterator[dict[tuple[str, bool], Bench]]:
    """The hosts, booted when first asked for; port 25 was open at no moment on any."""
    opened: dict[tuple[str, bool], Bench] = {}
    try:
        yield opened
        for bench in opened.values():
            bench.close()
    finally:
        for bench in opened.values():
            lab.remove(bench.host)
        lab.mx.behave([])


@pytest.fixture
def bench(
    lab: Lab, benches: dict[tuple[str, bool], Bench], base: str, change: Change
) -> Iterator[Bench]:
    """A host for the change; one on which something failed serves no other test."""
    key = (base, change.other)
    if key not in benches:

        def boot(base: str, **kwargs: list[str]) -> Host:
            name = f"{base}{'other' if change.other else ''}"
            return lab.host(name, base, packages=kwargs["packages"])

        benches[key] = open_bench(lab, boot, base, change)
    found = benches[key]
    yield found
    if not found.sound:
        del benches[key]
        lab.remove(found.host)
        found.close()


@_each_on_one_base()
def test_killed(bench: Bench, change: Change) -> None:
    """SIGKILL at any moment leaves a host that the next command repairs; no mail is lost."""
    print(f"SYSMAIL_SEED={SEED}")
    for drawn, how, following in draw(SEED, bench, change, change.samples):
        number = drawn
        while not kill(bench, change, number, how, following):
            number //= 2  # it ended before that moment came
            assert number, "never cut off"


BY_NAME = {change.name: change for change in CHANGES}
ONCE_BROKEN = [
    # What sendmail takes with the package's main.cf gets a sender that no server takes: a
    # domain is made up there where the host's name has none.
    (
        "arch",
        BY_NAME["route to relay"],
        "after postfix -c /run/sysmail/scratch/etc start",
        "kill-all",
    ),
    # Postfix is started by what completes its installation, and still stops when it is purged.
    ("debian", BY_NAME["try"], "Adding group `postdrop'", "kill-all"),
    # dpkg removes nothing that was killed while it was unpacked.
    ("debian", BY_NAME["in place of another"], "libsecret-common_", "kill"),
]


@pytest.mark.parametrize(
    ("base", "change", "words", "how"), ONCE_BROKEN, ids=["sender", "unit", "unpacked"]
)
def test_killed_where_it_was_broken(bench: Bench, change: Change, words: str, how: str) -> None:
    """Moments at which something was wrong once; their numbers differ a little from run to run."""
    following = NEXT.index(("status",))
    assert any(
        kill(bench, change, moment(bench, change, words), how, following) for _ in range(TIMES)
    ), "the change ended before the moment came, each time"


@_each_on_one_base()
def test_interrupted(bench: Bench, change: Change) -> None:
    """A signal at any moment: at once as before, and nothing is left for the next command."""
    print(f"SYSMAIL_SEED={SEED}")
    for number, how, _ in draw(SEED + 1, bench, change, 1):
        interrupt(bench, change, number, SIGNALS[(number + len(how)) % len(SIGNALS)])
