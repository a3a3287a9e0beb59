"""Who submits too much, and what of it is held."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sysmail.watch.runaway import Submission, named, parse, runaways, with_senders

LINES = """\
Nov 22 10:41:00 web1 postfix/pickup[93]: 4XwYh2bQz3mA: uid=1000 from=<app>
Nov 22 10:41:00 web1 postfix/cleanup[94]: 4XwYh2bQz3mA: message-id=<a@b> uid=0 from=<root>
Nov 22 10:41:00 web1 postfix/smtpd[95]: 4XwYh2bQz3mB: client=localhost[127.0.0.1]
Nov 22 10:41:00 web1 postfix/smtpd[95]: connect from localhost[127.0.0.1]
Nov 22 10:41:00 web1 postfix/smtpd[95]: NOQUEUE: reject: RCPT from x[192.0.2.1]: 554 client=x[::1]
4XwYh2bQz3mC: client=unknown[::1], sasl_method=PLAIN
4XwYh2bQz3mD: uid=0 from=<root>
Nov 22 10:41:00 web1 evil[1]: 4XwYh2bQz3mE: uid=7 from=<x>
""".splitlines()


def test_lines_of_the_log() -> None:
    """Users by pickup's lines, clients by smtpd's, from a file and from the journal."""
    assert parse(LINES) == [
        Submission("4XwYh2bQz3mA", "uid 1000", "app"),
        Submission("4XwYh2bQz3mB", "client 127.0.0.1"),
        Submission("4XwYh2bQz3mC", "client ::1"),
        Submission("4XwYh2bQz3mD", "uid 0", "root"),
    ]


def test_senders_of_clients() -> None:
    """What smtpd does not say qmgr does; a user's own sender stays."""
    came = with_senders(
        parse(LINES),
        [
            "x postfix/qmgr[9]: 4XwYh2bQz3mB: from=<a@example.org>, size=9, nrcpt=1 (queue active)",
            "4XwYh2bQz3mA: from=<other@example.org>, size=9, nrcpt=1 (queue active)",
        ],
    )
    assert {each.queue_id: each.sender for each in came} == {
        "4XwYh2bQz3mA": "app",
        "4XwYh2bQz3mB": "a@example.org",
        "4XwYh2bQz3mC": "",
        "4XwYh2bQz3mD": "root",
    }


def _from(who: str, sender: str, count: int) -> list[Submission]:
    return [Submission(f"{who}-{sender}-{n}", who, sender) for n in range(count)]


def test_the_surplus_of_one_user() -> None:
    """What came first goes out, the rest is held; another user, and root, are left alone."""
    came = [*_from("uid 1000", "app", 3000), *_from("uid 0", "root", 1000)]
    here = {each.queue_id for each in came}
    (found,) = runaways(came, 1000, here, set())
    assert (found.who, found.count, found.held) == ("uid 1000", 3000, 2000)
    assert found.surplus == tuple(f"uid 1000-app-{n}" for n in range(1000, 3000))
    # In the next run they are on hold, and more has come.
    more = [*came, *(Submission(f"new{n}", "uid 1000", "app") for n in range(50))]
    (again,) = runaways(more, 1000, here | {f"new{n}" for n in range(50)}, set(found.surplus))
    assert again.surplus == tuple(f"new{n}" for n in range(50))
    assert again.held == 2050


def test_other_senders_of_the_same_client_go_on() -> None:
    """All programs that speak SMTP share an address; who sent little is not held."""
    came = [*_from("client 127.0.0.1", "bulk@x", 3000), *_from("client 127.0.0.1", "one@x", 5)]
    (found,) = runaways(came, 1000, {each.queue_id for each in came}, set())
    assert len(found.surplus) == 2005
    assert not [name for name in found.surplus if "one@x" in name]


def test_what_has_left_is_not_held() -> None:
    """Only what still waits can be held; who it was is told all the same."""
    came = _from("uid 7", "a", 50)
    (found,) = runaways(came, 10, {"uid 7-a-49", "uid 7-a-3"}, set())
    assert found.surplus == ("uid 7-a-49",)


def test_no_limit() -> None:
    """With 0, nobody is a runaway."""
    assert runaways(_from("uid 7", "a", 50_000), 0, set(), set()) == []


def test_a_user_has_a_name() -> None:
    """A person knows users by name; one that is gone stays a number."""
    (found,) = runaways(_from("uid 7", "a", 50), 10, set(), set())
    assert named(found, {"uid 7": "lp"}).name == "user 7 (lp)"
    assert named(found, {}).name == ""


@given(
    st.dictionaries(st.text("abc", max_size=2), st.integers(1, 60), min_size=1),
    st.integers(1, 100),
)
def test_shares(counts: dict[str, int], limit: int) -> None:
    """Never more than the surplus is held, never a sender's first, and the limit is used."""
    came = [each for sender, count in counts.items() for each in _from("uid 1", sender, count)]
    found = runaways(came, limit, {each.queue_id for each in came}, set())
    if sum(counts.values()) <= limit:
        assert found == []
        return
    held = len(found[0].surplus)
    left = len(came) - held
    assert left <= max(limit, len(counts))
    assert left > limit - len(counts)
    for sender in counts:
        assert f"uid 1-{sender}-0" not in found[0].surplus
