"""Who submits too much, and what of it is held."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sysmail.watch.runaway import Submission, named, origins, parse, runaways, with_senders

LINES = """\
4XwYh2bQz3mA: uid=1000 from=<app>
4XwYh2bQz3mA: uid=0 from=<root>
4XwYh2bQz3mB: client=localhost[127.0.0.1]
connect from localhost[127.0.0.1]
NOQUEUE: reject: RCPT from x[192.0.2.1]: 554 client=x[::1]
4XwYh2bQz3mC: client=unknown[::1], sasl_method=PLAIN
4XwYh2bQz3mH: client=localhost[127.0.0.1]:54321
4XwYh2bQz3mJ: client=unknown[::1]:54321, sasl_method=PLAIN
4XwYh2bQz3mD: uid=0 from=<root>
4XwYh2bQz3mF: uid=1000 from=<app> orig_id=4XwYh2bQz3mA
warning: 4XwYh2bQz3mE: uid=7 from=<x>
Nov 22 10:41:00 web1 postfix/pickup[9]: 4XwYh2bQz3mE: uid=7 from=<x>
4XwYh2bQz3mG: uid=7 from=<> orig_id=4X>
""".splitlines()


def test_lines_of_the_log() -> None:
    """Users by pickup's lines, clients by smtpd's; the first about an id, and no requeued one."""
    assert parse(LINES) == [
        Submission("4XwYh2bQz3mA", "uid 1000", "app"),
        Submission("4XwYh2bQz3mB", "client 127.0.0.1"),
        Submission("4XwYh2bQz3mC", "client ::1"),
        Submission("4XwYh2bQz3mH", "client 127.0.0.1"),
        Submission("4XwYh2bQz3mJ", "client ::1"),
        Submission("4XwYh2bQz3mD", "uid 0", "root"),
        Submission("4XwYh2bQz3mG", "uid 7", "> orig_id=4X"),
    ]


def test_senders_of_clients() -> None:
    """What smtpd does not say qmgr does; a user's own sender stays."""
    came = with_senders(
        parse(LINES),
        [
            "4XwYh2bQz3mB: from=<a@example.org>, size=9, nrcpt=1 (queue active)",
            "4XwYh2bQz3mA: from=<other@example.org>, size=9, nrcpt=1 (queue active)",
        ],
        {"4XwYh2bQz3mC"},
    )
    assert {each.queue_id: each.sender for each in came} == {
        "4XwYh2bQz3mA": "app",
        "4XwYh2bQz3mB": "a@example.org",
        "4XwYh2bQz3mC": "",
        "4XwYh2bQz3mD": "root",
        "4XwYh2bQz3mG": "> orig_id=4X",
    }


def test_a_client_that_only_asked() -> None:
    """What ended before its message, as a proof does, has an id and is no submission."""
    came = with_senders(parse(["4XwYh2bQz3mB: client=localhost[127.0.0.1]"]), [])
    assert came == []


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
    """Exactly the surplus is held, and a sender's first only where there are more senders."""
    came = [each for sender, count in counts.items() for each in _from("uid 1", sender, count)]
    found = runaways(came, limit, {each.queue_id for each in came}, set())
    if sum(counts.values()) <= limit:
        assert found == []
        return
    held = len(found[0].surplus)
    left = len(came) - held
    assert left == limit
    for sender in counts if len(counts) <= limit else ():
        assert f"uid 1-{sender}-0" not in found[0].surplus


def test_a_sender_for_every_message() -> None:
    """Other senders are no way around the limit: what came first goes out, the rest is held."""
    came = [Submission(f"n{n}", "client 127.0.0.1", f"s{n}@x") for n in range(3000)]
    (found,) = runaways(came, 1000, {each.queue_id for each in came}, set())
    assert found.surplus == tuple(f"n{n}" for n in range(1000, 3000))


def test_what_a_person_let_go() -> None:
    """What was released is not held again; what comes after it is."""
    came = _from("uid 7", "a", 50)
    here = {each.queue_id for each in came}
    (found,) = runaways(came, 10, here, set(), released=here - {"uid 7-a-49"})
    assert found.surplus == ("uid 7-a-49",)


ENVELOPES = """\
*** ENVELOPE RECORDS hold/4jXn8663CtzRZmG ***
message_size:             237             265               1               0             237
named_attribute: rewrite_context=local
sender: app@localhost
*** MESSAGE CONTENTS hold/4jXn8663CtzRZmG ***
Received: by web1.example.org (Postfix, from userid 1001)
\tid 4jXn8663CtzRZmG; Mon, 23 Nov 2026 00:37:10 +0000 (UTC)
Received: by web1.example.org (Postfix, from userid 0)
Subject: x
*** HEADER EXTRACTED hold/4jXn8663CtzRZmG ***
*** MESSAGE FILE END hold/4jXn8663CtzRZmG ***
*** ENVELOPE RECORDS 4jXn871PFKzRb1V ***
named_attribute: log_client_address=IPv6:::1
named_attribute: client_address=::1
sender: a@b.example
*** MESSAGE CONTENTS 4jXn871PFKzRb1V ***
Received: from zz (localhost [IPv6:::1])
\tby web1.example.org (Postfix) with ESMTP id 4jXn871PFKzRb1V
Received: by web1.example.org (Postfix, from userid 0)
*** MESSAGE FILE END 4jXn871PFKzRb1V ***
*** ENVELOPE RECORDS 4jXn871PFKzRb1W ***
sender: a
named_attribute: client_address=192.0.2.1
*** MESSAGE CONTENTS 4jXn871PFKzRb1W ***
Received: by web1.example.org (Postfix, from userid 7)
*** MESSAGE FILE END 4jXn871PFKzRb1W ***
*** ENVELOPE RECORDS 4jXn871PFKzRb1X ***
sender:
*** MESSAGE CONTENTS 4jXn871PFKzRb1X ***
Received: by web1.example.org (Postfix)
\tid 4jXn871PFKzRb1X; (Postfix, from userid 0)
"""


def test_who_a_queue_file_names() -> None:
    """Postfix's own first Received, and the client of the envelope; a bounce has nobody."""
    assert origins(ENVELOPES) == {
        "4jXn8663CtzRZmG": "uid 1001",
        "4jXn871PFKzRb1V": "client ::1",
        "4jXn871PFKzRb1W": "uid 7",
    }
