"""The decision: which way mail goes, and the reason that a person reads."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from sysmail.errors import RefusedError, SysmailError
from sysmail.facts.model import Facts
from sysmail.policy import Policy, parse
from sysmail.route import OUTAGE_SECONDS, OWN_PORT, Seen, decide, needs_mailu
from unit.make import ANY_FACTS, POLICIES, ROWS, SEEN, facts

HOP = {"host": "m.example"}
OTHER = {"host": "s.example"}
MAILU = {"mailu": HOP}
BOTH = {"mailu": HOP, "smarthost": OTHER}
DOWN = "no connection to m.example port 465"
ANSWERS = "msmtp hands mail to Mailu at m.example: it answers"

CASES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], tuple[str, str], str]] = [
    # what, policy, facts, seen, (route, next hop), a part of the reason
    ("nothing configured", {}, {}, {}, ("relay", "direct"), "no Mailu is configured"),
    (
        "a smarthost alone",
        {"smarthost": OTHER},
        {},
        {},
        ("relay", "smarthost"),
        "no Mailu is configured, and mail goes to the smarthost s.example",
    ),
    ("answers", MAILU, {}, {}, ("mailu", ""), f"{ANSWERS}, and takes this host's mail"),
    (
        "answers, and is in use",
        MAILU,
        {},
        {"in_force": "mailu"},
        ("mailu", ""),
        f"{ANSWERS}, and takes",
    ),
    ("answers, and a smarthost", BOTH, {}, {}, ("mailu", ""), ANSWERS),
    ("back", MAILU, {}, {"in_force": "relay"}, ("mailu", ""), f"{ANSWERS} again, and takes"),
    (
        "down at first",
        MAILU,
        {},
        {"trouble": DOWN},
        ("relay", "mailu"),
        f"Mailu at m.example cannot be used now: {DOWN}, and mail goes to Mailu at m.example",
    ),
    (
        "down, and the relay is in use",
        MAILU,
        {},
        {"trouble": DOWN, "in_force": "relay", "down_for": 1e6},
        ("relay", "mailu"),
        f"cannot be used now: {DOWN}",
    ),
    (
        "login refused at first",
        MAILU,
        {},
        {"trouble": "the login was refused"},
        ("relay", "mailu"),
        "cannot be used now: the login was refused",
    ),
    (
        "down, and a smarthost is the next hop",
        {**BOTH, "next_hop": "smarthost"},
        {},
        {"trouble": DOWN},
        ("relay", "smarthost"),
        "cannot be used now",
    ),
    (
        "down since just now",
        MAILU,
        {},
        {"trouble": DOWN, "in_force": "mailu"},
        ("mailu", ""),
        f"it is in use, and an outage of less than 60 minutes changes no route: {DOWN}",
    ),
    (
        "down since a moment",
        MAILU,
        {},
        {"trouble": DOWN, "in_force": "mailu", "down_for": 59.0},
        ("mailu", ""),
        f"less than 60 minutes changes no route: {DOWN}",
    ),
    (
        "down for a while",
        MAILU,
        {},
        {"trouble": DOWN, "in_force": "mailu", "down_for": OUTAGE_SECONDS - 1},
        ("mailu", ""),
        f"less than 60 minutes (for 59 minutes now) changes no route: {DOWN}",
    ),
    (
        "down for an hour",
        MAILU,
        {},
        {"trouble": DOWN, "in_force": "mailu", "down_for": OUTAGE_SECONDS},
        ("relay", "mailu"),
        f"Mailu at m.example has not answered for 60 minutes: {DOWN}, and mail goes to Mailu",
    ),
    (
        "hold",
        {**MAILU, "next_hop": "hold"},
        {},
        {},
        ("relay", "hold"),
        "only the relay can hold mail, and mail is held",
    ),
    (
        "no systemd",
        MAILU,
        {"systemd": False},
        {},
        ("relay", "mailu"),
        "needs systemd and a distribution that packages it",
    ),
    (
        "no msmtpd in the distribution",
        MAILU,
        {"distro": ROWS["dnf"]},
        {},
        ("relay", "mailu"),
        "needs systemd and a distribution that packages it",
    ),
    (
        "port 25 is Mailu's own",
        MAILU,
        {},
        {"owner": "docker-proxy (pid 9)"},
        ("mailu", ""),
        "docker-proxy (pid 9) owns port 25 of this host, where a relay would be",
    ),
    (
        "port 25 is Mailu's own, and it is down",
        MAILU,
        {},
        {"owner": "docker-proxy (pid 9)", "trouble": DOWN, "down_for": 1e6, "in_force": "mailu"},
        ("mailu", ""),
        "owns port 25",
    ),
    (
        "forced to mailu",
        {**MAILU, "route": "mailu"},
        {},
        {"trouble": DOWN, "in_force": "mailu", "down_for": 1e6},
        ("mailu", ""),
        "msmtp hands mail to Mailu at m.example: the policy asks for it",
    ),
    (
        "forced to the relay",
        {**MAILU, "route": "relay"},
        {},
        {"in_force": "mailu"},
        ("relay", "mailu"),
        "the policy asks for the relay, and mail goes to Mailu at m.example",
    ),
    (
        "forced to the relay beside a container",
        {**MAILU, "route": "relay"},
        {},
        {"owner": "docker-proxy (pid 9)"},
        ("relay", "mailu"),
        "the policy asks for the relay",
    ),
]


@pytest.mark.parametrize(
    ("policy", "about", "seen", "way", "reason"),
    [case[1:] for case in CASES],
    ids=[c[0] for c in CASES],
)
def test_decision(
    policy: dict[str, Any],
    about: dict[str, Any],
    seen: dict[str, Any],
    way: tuple[str, str],
    reason: str,
) -> None:
    """Policy, facts and what was seen of Mailu give this route, and say why in one line."""
    found = decide(parse(policy), facts(**about), Seen(**seen))
    assert (found.route, found.next_hop) == way
    assert reason in found.reason
    assert "\n" not in found.reason
    assert found.port == (OWN_PORT if way[0] == "mailu" and seen.get("owner") else 25)
    told = found.summary()
    assert (told.name, told.next_hop, told.reason) == (*way, found.reason)


TROUBLES = """name-not-resolved port-closed connection-lost next-hop-busy tls-not-trusted
    certificate-expired login-refused sender-not-owned no-relaying message-size-too-small""".split()


@pytest.mark.parametrize("trouble", TROUBLES)
def test_every_trouble_is_a_reason_to_fall_back(trouble: str) -> None:
    """Whatever kept Mailu from taking mail is named as the reason for the relay."""
    found = decide(parse(MAILU), facts(), Seen(trouble=f"said: {trouble}"))
    assert (found.route, found.next_hop, found.fallback) == ("relay", "mailu", True)
    assert f"said: {trouble}" in found.reason


@pytest.mark.parametrize("changes", [{"systemd": False}, {"distro": ROWS["zypper"]}])
def test_forced_route_that_cannot_be_had_is_refused(changes: dict[str, Any]) -> None:
    """route = "mailu" is refused where msmtpd cannot be had, and the remedy names the relay."""
    with pytest.raises(RefusedError) as caught:
        decide(parse({**MAILU, "route": "mailu"}), facts(**changes))
    assert caught.value.code == "route-not-available"
    assert 'route = "relay"' in caught.value.remedy


@pytest.mark.parametrize(
    ("policy", "needed"),
    [
        ({}, False),
        ({"smarthost": OTHER}, False),
        (MAILU, True),
        ({**MAILU, "route": "mailu"}, True),
        ({**MAILU, "route": "relay"}, False),
        ({**MAILU, "next_hop": "hold"}, False),
    ],
)
def test_mailu_is_asked_only_where_it_matters(policy: dict[str, Any], needed: bool) -> None:
    """Mailu is talked to before the decision only where the decision depends on it."""
    assert needs_mailu(parse(policy)) == needed


@given(policy=POLICIES, about=ANY_FACTS, seen=SEEN)
def test_any_decision_holds_together(policy: Policy, about: Facts, seen: Seen) -> None:
    """A decision is one line, is mailu only with a [mailu] table, and has the server it names."""
    found, code = None, ""
    try:
        found = decide(policy, about, seen)
    except SysmailError as error:
        code = error.code
    if found is None:
        assert code in ("route-not-available", "no-fqdn")
        return
    assert found.route in ("mailu", "relay")
    assert found.reason.strip() == found.reason != ""
    assert not set("\r\n") & set(found.reason)
    if found.route == "mailu":
        assert policy.mailu is not None
        assert (found.hop, found.next_hop, found.hop_key) == (policy.mailu, "", "mailu")
        assert about.systemd
        assert policy.route != "relay"
    else:
        assert (found.port, found.next_hop != "") == (25, True)
        assert found.hop == {
            "mailu": policy.mailu,
            "smarthost": policy.smarthost,
            "hold": policy.smarthost or policy.mailu,
        }.get(found.next_hop)
    if found.fallback:
        assert seen.trouble
        assert policy.route == "auto"


@given(policy=POLICIES, about=ANY_FACTS, seen=SEEN)
def test_short_outage_never_flips_a_decision(policy: Policy, about: Facts, seen: Seen) -> None:
    """Where Mailu is in use, trouble of less than an hour gives the route that no trouble gives."""
    try:
        calm = decide(policy, about, Seen("", "mailu", 0.0, seen.owner))
        troubled = decide(policy, about, Seen("trouble", "mailu", OUTAGE_SECONDS - 1, seen.owner))
    except SysmailError:
        return
    assert (calm.route, calm.next_hop, calm.port) == (
        troubled.route,
        troubled.next_hop,
        troubled.port,
    )


LOGIN = {**HOP, "username": "u@example.org", "password_file": "/etc/sysmail/password"}


@pytest.mark.parametrize(
    ("route", "seen"),
    [("relay", Seen()), ("auto", Seen(DOWN)), ("auto", Seen(DOWN, "mailu", OUTAGE_SECONDS))],
    ids=["forced", "down at first", "down for long"],
)
def test_relay_to_mailu_needs_no_name_where_the_login_is_the_sender(route: str, seen: Seen) -> None:
    """On a host without a qualified name the login is the sender, so the relay can be had."""
    about = facts(fqdn="", nodename="web1")
    found = decide(parse({"route": route, "mailu": LOGIN}), about, seen)
    assert (found.route, found.next_hop) == ("relay", "mailu")


@pytest.mark.parametrize("in_force", ["", "mailu"])
def test_trouble_of_many_lines_is_one_line(in_force: str) -> None:
    """What a server says may have many lines; the reason has one."""
    trouble = "m.example refused the sender: 554 5.7.1 not you\nsee https://m.example"
    found = decide(parse(MAILU), facts(), Seen(trouble, in_force))
    assert len(found.reason.splitlines()) == 1


def test_a_port_that_was_another_programs_is_not_taken() -> None:
    """Mailu's own front may only be down: its port stays free for it, whatever the outage."""
    policy = parse({"mailu": {"host": "m.example"}})
    for trouble, down_for in (("", 0.0), ("no answer", 10.0), ("no answer", 1e6)):
        decided = decide(policy, facts(), Seen(trouble, "mailu", down_for, owned=True))
        assert (decided.route, decided.port) == ("mailu", OWN_PORT)
        assert "at the last apply" in decided.reason
