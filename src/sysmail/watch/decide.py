"""Who is told, and when: once, again when it got worse, and once when all is well. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Optional

from sysmail.watch.model import TROUBLE, WELL, WORSE, Alert, Finding, State

__all__ = ["decide", "delivered"]

FORGET_SECONDS = 86400.0
"""So long after it went, what comes back is new, though something else is still wrong."""

LATELY_SECONDS = 3 * 86400.0
CALM_SECONDS = (0.0, 0.0, 3600.0, 6 * 3600.0, 86400.0)
"""All has to be well for so long before that is told: by how many incidents began lately, the last
one for all after it. So in three days no trouble that comes and goes is told more than ten times,
whatever its rhythm."""


def decide(
    state: State, findings: Iterable[Finding], now: float, channels: tuple[str, ...]
) -> tuple[Optional[Alert], State]:
    """The alert to deliver now to the ``channels`` of the new state, if any, and that state.

    An alert that was not delivered comes again, to those that have not got it; a newer
    one takes its place, and goes to all.
    """
    found = tuple(sorted(findings, key=lambda finding: finding.key))
    alert, state = _trouble(state, found, now) if found else _well(state, now)
    if alert is not None:
        return alert, replace(state, undelivered=alert.as_data(), channels=channels)
    left = tuple(name for name in state.channels if name in channels)
    if not state.undelivered or not left:
        return None, replace(state, undelivered={}, channels=(), reasons=())
    try:
        return Alert.of_data(state.undelivered), replace(state, channels=left)
    except (KeyError, TypeError, ValueError):
        return None, replace(state, undelivered={}, channels=(), reasons=())


def delivered(state: State, failures: Mapping[str, str]) -> State:
    """The state after a delivery: ``failures`` say why, by channel, where it did not succeed."""
    if not failures:
        return replace(state, undelivered={}, channels=(), reasons=())
    return replace(state, channels=tuple(failures), reasons=tuple(failures.values()))


def _trouble(state: State, found: tuple[Finding, ...], now: float) -> tuple[Optional[Alert], State]:
    here = {finding.key: finding.level for finding in found}
    gone = {key: state.gone.get(key, now) for key in state.told if key not in here}
    told = {
        key: level
        for key, level in state.told.items()
        # A clock that went back says nothing about an age.
        if key not in gone or now - gone[key] < FORGET_SECONDS
    }
    gone = {key: since for key, since in gone.items() if key in told}
    worse = any(level > told.get(key, 0) for key, level in here.items())
    first = not state.since
    began = state.began
    if first:
        began = (*(t for t in began if 0 <= now - t < LATELY_SECONDS), now)
    since = now if first else state.since
    state = replace(
        state,
        told={key: max(level, told.get(key, 0)) for key, level in {**told, **here}.items()},
        gone=gone,
        since=since,
        began=began,
        well_since=0.0,
    )
    if not first and not worse:
        return None, state
    return Alert(TROUBLE if first else WORSE, now, found, since), state


def _well(state: State, now: float) -> tuple[Optional[Alert], State]:
    if not state.since:
        return None, state
    # What was told is kept: it is no worse when it comes back soon.
    gone = {key: state.gone.get(key, now) for key in state.told}
    # As many as had begun when this one did: a long one must not outlast its own damping.
    lately = sum(0 <= state.since - t < LATELY_SECONDS for t in state.began)
    calm = CALM_SECONDS[min(max(lately - 1, 0), len(CALM_SECONDS) - 1)]
    well_since = state.well_since or now
    if 0 <= now - well_since < calm:
        return None, replace(state, gone=gone, well_since=well_since)
    alert = Alert(WELL, now, (), state.since)
    return alert, replace(state, gone=gone, since=0.0, well_since=0.0)
