"""What the watch finds, tells and remembers, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["TROUBLE", "WELL", "WORSE", "Alert", "Finding", "State", "plain"]

TROUBLE = "trouble"
WORSE = "worse"
WELL = "well"
"""The events of an alert: something broke, it got worse, all is well again."""


MAX_TEXT = 600
"""Characters of one finding."""


def plain(text: str) -> str:
    """One line without control characters, which could forge lines or steer a terminal."""
    found = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return found if len(found) <= MAX_TEXT else found[: MAX_TEXT - 1] + "…"


@dataclass(frozen=True)
class Finding:
    """Something that is wrong now.

    ``key`` stays the same as long as it does, such as ``promise:loopback-only`` or
    ``oldest``; a higher ``level`` of the same key is worse, and 1 is the first.
    """

    key: str
    level: int
    text: str
    remedy: str

    def __post_init__(self) -> None:
        """What a log, a server or a file said may hold anything; an alert is text."""
        object.__setattr__(self, "text", plain(self.text))
        object.__setattr__(self, "remedy", plain(self.remedy))

    def as_data(self) -> dict[str, Any]:
        """Plain data, as in an alert."""
        return {"key": self.key, "level": self.level, "text": self.text, "remedy": self.remedy}


@dataclass(frozen=True)
class Alert:
    """What somebody is told: the event, when (seconds since the epoch), and all that is wrong."""

    event: str
    time: float
    findings: tuple[Finding, ...] = ()
    since: float = 0.0

    def as_data(self) -> dict[str, Any]:
        """Plain data, as it is remembered."""
        found = [finding.as_data() for finding in self.findings]
        return {"event": self.event, "time": self.time, "since": self.since, "findings": found}

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> Alert:
        """The alert again. KeyError or TypeError where that is not one."""
        found = tuple(Finding(**finding) for finding in data["findings"])
        return cls(str(data["event"]), float(data["time"]), found, float(data["since"]))


@dataclass(frozen=True)
class State:
    """What the watch remembers from run to run; written only when it changes.

    ``told``: what was told lately, with the worst level that was. ``gone``: when what was told
    was first not there any more. ``since``: when the trouble began, 0 while all is well.
    ``began``: when the last incidents did. ``well_since``: when all was well again, before that
    is told. ``queue``: how many waited at the last run, where that
    is too many. ``proved`` and ``tried``: the last good full proof, and the last try of one.
    ``proof``: what the last full proof found broken. ``watched``: the first run.
    ``undelivered``: an alert that somebody has yet to get, by ``channels``; ``reasons`` say why
    they have not. ``held``: the ids of what the watch put on hold lately: what is not on hold any
    more was let go by a person. ``lost``: the last line of the log about a notice that was
    lost, which the log itself does not keep for ever, and ``lost_at``, when that was seen.
    ``looked``: up to when the log was searched for such lines. ``busy``: since when
    somebody has been at work on the host. ``refused``: Mailu's last answer to a message, where
    that was a no and nothing says that it would be another one now; ``refused_at``: when it last
    was one. Times are in seconds since the epoch.
    """

    told: Mapping[str, int] = field(default_factory=dict)
    gone: Mapping[str, float] = field(default_factory=dict)
    since: float = 0.0
    began: tuple[float, ...] = ()
    well_since: float = 0.0
    queue: int = 0
    watched: float = 0.0
    proved: float = 0.0
    tried: float = 0.0
    proof: str = ""
    remedy: str = ""
    undelivered: Mapping[str, Any] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    lost: str = ""
    lost_at: float = 0.0
    looked: float = 0.0
    busy: float = 0.0
    refused: str = ""
    refused_at: float = 0.0

    def stands(self, key: str) -> bool:
        """Whether that was told, and was still wrong at the last run."""
        return key in self.told and key not in self.gone

    def as_data(self) -> dict[str, Any]:
        """Plain data, as it is written."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {"version": 1, **found}

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> State:
        """The state again; what a newer version added is left out.

        TypeError or ValueError for what was never one.
        """
        given: dict[str, Any] = {}
        for each in fields(cls):
            if each.name in data:
                given[each.name] = _AS[each.name](data[each.name])
        return cls(**given)


def _numbers(value: Any) -> dict[str, float]:
    return {str(key): float(number) for key, number in dict(value).items()}


def _levels(value: Any) -> dict[str, int]:
    return {str(key): int(number) for key, number in dict(value).items()}


def _words(value: Any) -> tuple[str, ...]:
    return tuple(str(word) for word in value)


_TIMES = (
    *("since", "well_since", "watched", "proved", "tried"),
    *("lost_at", "looked", "busy", "refused_at"),
)
_AS: dict[str, Any] = {
    **dict.fromkeys(_TIMES, float),
    **dict.fromkeys(("proof", "remedy", "lost", "refused"), str),
    **dict.fromkeys(("channels", "reasons", "held"), _words),
    "queue": int,
    "told": _levels,
    "gone": _numbers,
    "began": lambda value: tuple(float(number) for number in value),
    "undelivered": dict,
}
