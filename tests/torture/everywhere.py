"""One trial for each chosen moment of a change, each told as it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable, Protocol, TypeVar

from lab import LabError

__all__ = ["everywhere"]


class _Trial(Protocol):
    def close(self) -> None:
        """Nobody uses it any more."""


Trial = TypeVar("Trial", bound=_Trial)


def everywhere(
    what: str,
    opened: Callable[[], Trial],
    named: Callable[[Trial], Sequence[str]],
    chosen: Callable[[Sequence[str]], Sequence[int]],
    once: Callable[[Trial, int, int], bool],
) -> None:
    """``once`` at each ``chosen`` moment of those that are ``named``: their numbers, from 1 on.

    It gets what ``opened`` gave, the number, and how many came before; False where the change
    ended before its moment came. What breaks is told at its end, and the next one has a new host.
    """
    trial = opened()
    names = named(trial)
    tried, broken = 0, []
    for turn, number in enumerate(chosen(names)):
        where = f"{what}: {number} of {len(names)}, {names[number - 1]}"
        try:
            tried += once(trial, number, turn)
            print(f"{where}: held", flush=True)
        except (AssertionError, LabError) as error:
            print(f"{where}: BROKEN: {error}"[:4000], flush=True)
            broken.append(f"{where}: {error}"[:300])
            trial.close()
            trial = opened()
    trial.close()
    print(f"{what}: {tried} of {len(names)} tried, {len(broken)} broken", flush=True)
    assert broken == []
