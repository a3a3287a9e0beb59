"""Who is told and when: the decision of the watch, on a clock that is simulated."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysmail.policy import Policy, parse
from sysmail.report import FAIL, PASS, UNKNOWN, Verdict
from sysmail.watch.decide import decide, delivered
from sysmail.watch.findings import Seen, findings, proof_is_due
from sysmail.watch.model import TROUBLE, WELL, WORSE, Alert, Finding, State
from sysmail.watch.runaway import Runaway

NOW = 1_763_800_000.0
EVERY = 300.0
CHANNELS = ("webhook", "command")
POLICY = parse({"alert": {"command": "/bin/page"}})
GOOD = (Verdict("loopback-only", PASS, "fine"), Verdict("verified-next-hop", PASS, "fine"))
BROKEN = Verdict("loopback-only", FAIL, "Postfix listens on 0.0.0.0", "run `sysmail apply`")
REFUSED = Verdict("verified-next-hop", FAIL, "cannot be used: 535 no", "see the password")
DOWN = Verdict("verified-next-hop", FAIL, "the next hop is down: no connection", "wait")


class Watched:
    """A host under the watch: every run as the command makes it, with a clock of its own."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.policy = policy
        self.now = NOW
        self.state = State()
        self.told: list[Alert] = []
        self.failing: tuple[str, ...] = ()
        self.writes = 0

    def run(self, seen: Seen, *, wait: float = EVERY) -> list[str]:
        """One run; the events that were delivered by it."""
        seen = replace(seen, full=proof_is_due(self.state, self.now))
        if not seen.full:
            seen = replace(seen, temporary="")
            asked = [v for v in seen.verdicts if v.check != "verified-next-hop"]
            seen = replace(seen, verdicts=(*asked, GOOD[1]))
        found, after = findings(seen, self.state, self.policy, self.now)
        alert, after = decide(after, found, self.now, CHANNELS)
        events: list[str] = []
        if alert is not None:
            reached = [name for name in after.channels if name not in self.failing]
            after = delivered(after, {n: "no" for n in after.channels if n in self.failing})
            if reached:
                self.told.append(alert)
                events.append(alert.event)
        self.writes += after != self.state
        # As it is kept between runs.
        self.state = State.of_data(json.loads(json.dumps(after.as_data())))
        assert self.state == after
        self.now += wait
        return events


def test_nothing_is_told_or_written_while_all_is_well() -> None:
    """In a day of 288 runs the state is written once, when the host was proven, and once again."""
    host = Watched()
    assert [event for _ in range(289) for event in host.run(Seen(GOOD))] == []
    assert host.writes == 2


def test_once_again_when_worse_and_once_when_well() -> None:
    """A broken promise is told once, another one again, and one time that all is well."""
    host = Watched()
    other = Verdict("no-takeover", FAIL, "exim4 is installed", "remove it")
    assert host.run(Seen((BROKEN,))) == [TROUBLE]
    assert [e for _ in range(20) for e in host.run(Seen((BROKEN,)))] == []
    assert host.run(Seen((BROKEN, other))) == [WORSE]
    assert [f.key for f in host.told[-1].findings] == [
        "promise:loopback-only",
        "promise:no-takeover",
    ]
    # The second one goes and comes back while the first is still there: told already.
    assert host.run(Seen((BROKEN,))) == []
    assert host.run(Seen((BROKEN, other))) == []
    assert host.run(Seen(GOOD)) == [WELL]
    assert [e for _ in range(20) for e in host.run(Seen(GOOD))] == []
    assert host.run(Seen((BROKEN,))) == [TROUBLE]


def test_unknown_is_told() -> None:
    """What cannot be determined is not well."""
    unknown = Verdict("nothing-lost", UNKNOWN, "the queue cannot be listed", "run `postqueue -j`")
    assert Watched().run(Seen((unknown,))) == [TROUBLE]


@pytest.mark.parametrize("per_hour", [1, 12, 600])
def test_next_hop_down_for_three_days(per_hour: int) -> None:
    """The next hop is down for three days: a few alerts, then one that all is well again."""
    host = Watched()
    host.run(Seen(GOOD))
    start = host.now
    while host.now < start + 3 * 86400:
        age = host.now - start
        count = int(age / 3600 * per_hour) + 1
        host.run(Seen((GOOD[0], DOWN), waiting=count, oldest=age, temporary="no connection"))
    assert 1 <= len(host.told) <= 7
    assert [alert.event for alert in host.told] == [TROUBLE, *[WORSE] * (len(host.told) - 1)]
    assert host.told[0].time - start <= 3600 + EVERY
    assert host.run(Seen(GOOD)) == [WELL]
    assert [e for _ in range(300) for e in host.run(Seen(GOOD))] == []


OTHER = Verdict("no-takeover", FAIL, "exim4 is installed", "remove it")
MANY = (Runaway("uid 1000", 1500, (), 500),)
KINDS: dict[str, Callable[[float], Seen]] = {
    "promise": lambda _: Seen((BROKEN,)),
    "oldest": lambda age: Seen(GOOD, waiting=3, oldest=age),
    "next hop": lambda age: Seen((GOOD[0], DOWN), waiting=3, oldest=age, temporary="no connection"),
    "queue": lambda age: Seen(GOOD, waiting=1000 + int(age)),
    "runaway": lambda _: Seen(GOOD, runaways=MANY),
    "refused": lambda age: Seen(
        (GOOD[0], DOWN), refused="no connection", refused_at=age, temporary="no connection"
    ),
    "login": lambda _: Seen((GOOD[0], REFUSED)),
}
DAY = 86400.0


def _comes_and_goes(host: Watched, kind: str, period: float, duty: float, days: float) -> None:
    start = host.now
    while host.now < start + days * DAY:
        age = (host.now - start) % period
        host.run(KINDS[kind](age) if age < period * duty else Seen(GOOD))


def _at_most_in_three_days(told: list[Alert]) -> int:
    return max(sum(0 <= b.time - a.time < 3 * DAY for b in told) for a in told) if told else 0


SHOWN = [
    ("promise", 1.5, 0.11),
    ("promise", 1, 0.5),
    ("runaway", 2, 0.08),
    ("oldest", 2, 0.6),
    ("next hop", 2, 0.6),
    ("oldest", 25, 0.7),
    ("promise", 7.5, 0.1),
    ("promise", 16.5, 0.02),
    ("promise", 25, 0.02),
]


@pytest.mark.parametrize(("kind", "hours", "duty"), SHOWN)
def test_trouble_that_comes_and_goes(kind: str, hours: float, duty: float) -> None:
    """Whatever the period: a few alerts in any three days, then one that all is well."""
    host = Watched()
    host.run(Seen(GOOD))
    _comes_and_goes(host, kind, hours * 3600, duty, 6)
    assert 1 <= _at_most_in_three_days(host.told) <= 10
    told = len(host.told)
    assert host.run(Seen((BROKEN, OTHER))) in ([WORSE], [TROUBLE]), "what is new is told at once"
    while host.told[-1].event != WELL:
        host.run(Seen(GOOD))
        assert host.now - host.told[told].time <= DAY + 2 * EVERY
    told = len(host.told)
    for _ in range(600):
        host.run(Seen(GOOD))
    assert len(host.told) == told


@settings(max_examples=20)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    period=st.floats(600, 3 * DAY),
    duty=st.floats(0.01, 0.99),
)
def test_any_trouble_that_comes_and_goes(kind: str, period: float, duty: float) -> None:
    """No period, and no part of it that is bad, gets around it."""
    host = Watched()
    host.run(Seen(GOOD))
    _comes_and_goes(host, kind, period, duty, 4)
    assert _at_most_in_three_days(host.told) <= 10
    assert host.run(Seen((BROKEN, OTHER))) in ([WORSE], [TROUBLE])
    for _ in range(int(DAY / EVERY) + 2):
        host.run(Seen(GOOD))
    assert host.told[-1].event == WELL


@settings(max_examples=20)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(KINDS)), st.floats(0, DAY), st.floats(0, DAY)),
        max_size=8,
    )
)
def test_trouble_of_all_kinds_that_comes_and_goes(
    turns: list[tuple[str, float, float]],
) -> None:
    """Nor do many kinds in any order, and with any pauses, which an adversary would choose."""
    host = Watched()
    host.run(Seen(GOOD))
    for kind, bad, good in turns:
        start = host.now
        while host.now < start + bad + good:
            age = host.now - start
            host.run(KINDS[kind](age) if age < bad else Seen(GOOD))
    turns_told = [alert for alert in host.told if alert.event != WORSE]
    assert _at_most_in_three_days(turns_told) <= 13


def test_what_was_told_before_is_no_worse() -> None:
    """A level that was told of lately is not told again when the same trouble comes back."""
    host = Watched()
    ages = [3600, 4 * 3600, 0, 3600, 4 * 3600, 16 * 3600, 0]
    told = [host.run(Seen(GOOD, waiting=1, oldest=age)) for age in ages]
    assert told == [[TROUBLE], [WORSE], [WELL], [TROUBLE], [], [WORSE], [WELL]]


def test_a_few_incidents_are_told_as_they_are() -> None:
    """The first two of three days are told well at once; the next ones after more and more."""
    host = Watched()
    waited: list[float] = []
    for _ in range(6):
        assert host.run(Seen((BROKEN,))) == [TROUBLE]
        start = host.now
        while host.run(Seen(GOOD)) != [WELL]:
            pass
        waited.append(host.now - EVERY - start)
    assert waited == [0, 0, 3600, 6 * 3600, DAY, DAY]
    host.now += 3 * DAY
    assert host.run(Seen((BROKEN,))) == [TROUBLE]
    assert host.run(Seen(GOOD)) == [WELL]


@pytest.mark.parametrize("down", CHANNELS)
def test_an_alert_that_was_not_delivered_comes_again(down: str) -> None:
    """It goes to those alone who have not got it, until they have; a newer one takes its place."""
    host = Watched()
    host.failing = CHANNELS
    assert host.run(Seen((BROKEN,))) == []
    assert host.state.channels == CHANNELS
    assert host.state.reasons == ("no", "no")
    host.failing = (down,)
    assert host.run(Seen((BROKEN,))) == [TROUBLE]
    assert host.state.channels == (down,)
    assert host.told[-1].findings[0].key == "promise:loopback-only"
    assert host.run(Seen(GOOD)) == [WELL], "to the one that works"
    assert host.state.channels == (down,)
    host.failing = ()
    assert host.run(Seen(GOOD)) == [WELL]
    assert host.state.undelivered == {}
    assert host.run(Seen(GOOD)) == []


def test_oldest_is_told_at_four_times_the_age() -> None:
    """The oldest message is told of at the policy's age, and at 4 and 16 times that."""
    host = Watched(parse({"alert": {"command": "/bin/page", "oldest": "10m"}}))
    ages = [599, 600, 2399, 2400, 9599, 9600]
    told = [host.run(Seen(GOOD, waiting=1, oldest=age)) for age in ages]
    assert told == [[], [TROUBLE], [], [WORSE], [], [WORSE]]


def test_a_queue_that_grows() -> None:
    """Many that get fewer are no trouble; many that do not are, and ten times as many are worse."""
    host = Watched(parse({"alert": {"command": "/bin/page", "queue": 100}}))
    counts = [99, 150, 140, 90, 150, 150, 160, 80, 1600, 49, 49]
    told = [host.run(Seen(GOOD, waiting=count)) for count in counts]
    assert told == [[], [], [], [], [], [TROUBLE], [], [], [WORSE], [WELL], []]


def test_the_last_good_proof_is_too_old() -> None:
    """A next hop that was not proven for too long is told, though nothing else is wrong."""
    host = Watched(parse({"alert": {"command": "/bin/page", "proof_age": "2d"}}))
    assert host.run(Seen(GOOD)) == []
    start = host.now - EVERY
    while not host.told:
        host.run(Seen((GOOD[0], DOWN), temporary="no connection"))
    assert 0 <= host.told[0].time - start - 2 * 86400 <= EVERY
    assert [f.key for f in host.told[0].findings] == ["proof"]
    while len(host.told) < 2:
        host.run(Seen(GOOD))
    assert host.told[1].event == WELL
    assert host.told[1].time - host.told[0].time <= 3600


def test_a_login_that_is_refused_is_told_the_same_day() -> None:
    """A full proof is tried once a day; what is refused there stays told until it works."""
    host = Watched()
    host.run(Seen(GOOD))
    tries: list[float] = []
    start = host.now
    while host.now < start + 2 * 86400:
        tries += [host.now] if proof_is_due(host.state, host.now) else []
        host.run(Seen((GOOD[0], REFUSED)))
    assert [alert.event for alert in host.told] == [TROUBLE]
    assert host.told[0].time - start <= 86400 + EVERY
    assert len(tries) <= 26, "at most one login an hour"
    while host.told[-1].event != WELL:
        host.run(Seen(GOOD))
    assert len(host.told) == 2


def test_a_runaway_is_told_with_who_it_was() -> None:
    """The alert names the user; a second one is told again."""
    host = Watched()
    one = Runaway("uid 1000", 3000, (), 2000, "user 1000 (app)")
    assert host.run(Seen(GOOD, runaways=(one,))) == [TROUBLE]
    assert "user 1000 (app) submitted 3000 messages" in host.told[-1].findings[0].text
    assert "2000 of them are on hold" in host.told[-1].findings[0].text
    assert host.run(Seen(GOOD, runaways=(one, Runaway("client ::1", 1001)))) == [WORSE]
    assert host.run(Seen(GOOD)) == [WELL]


FINDINGS = st.lists(
    st.builds(
        Finding,
        st.sampled_from("abc"),
        st.integers(1, 4),
        st.just("text"),
        st.just("remedy"),
    ),
    max_size=3,
    unique_by=lambda finding: finding.key,
)


@given(st.lists(st.tuples(FINDINGS, st.floats(-5000, 100_000), st.booleans())))
def test_whatever_happens(runs: list[tuple[list[Finding], float, bool]]) -> None:
    """Any runs, also with a clock that jumps: new trouble is told, a well again comes once."""
    state, now, open_trouble = State(), NOW, False
    for found, later, fails in runs:
        now += later
        before = state
        alert, state = decide(state, found, now, ("command",))
        fresh = alert is not None and alert.time == now and alert.as_data() != before.undelivered
        worse = any(f.level > before.told.get(f.key, 0) for f in found)
        if worse:
            assert alert is not None
            assert set(alert.findings) == set(found)
        if fresh and alert is not None:
            assert alert.event == (WELL if not found else WORSE if open_trouble else TROUBLE)
            open_trouble = alert.event != WELL
        assert bool(state.since) == open_trouble
        state = delivered(state, {"command": "no"} if fails and alert is not None else {})
        assert State.of_data(json.loads(json.dumps(state.as_data()))) == state
        again = decide(state, found, now, ("command",))[1]
        assert again.told == state.told


@pytest.mark.parametrize(
    "data", [{}, {"told": {"a": 1}, "later": 7}, {"undelivered": {"event": "x"}, "channels": ["a"]}]
)
def test_a_state_of_another_version(data: dict[str, Any]) -> None:
    """What another version wrote is read as far as it is known, and never stops the watch."""
    state = State.of_data(data)
    decide(state, [], NOW, ("a",))
