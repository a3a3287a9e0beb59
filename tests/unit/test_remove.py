"""Going back: the queue leaves first, packages of others stay, and what is in force is said."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from sysmail.commands import apply, rollback
from sysmail.errors import RefusedError
from sysmail.facts import collect
from unit.fake_debian import FakeDebian
from unit.fake_host import Call
from unit.test_apply import bare, differences, do_apply, silent, untouched_postfix, waiting
from unit.test_mailu import ask, go

BACK = [rollback.rollback, rollback.remove]
SMARTHOST = {"smarthost.host": "mx.example.net", "smarthost.tls": "none", "smarthost.port": "25"}


def _held() -> dict[str, Any]:
    return {**waiting(), "queue_name": "hold"}


def _in_queue(host: FakeDebian, *entries: dict[str, Any]) -> None:
    host.queue = [{**each, "arrival_time": host.clock + 1} for each in entries]


@pytest.mark.parametrize("back", BACK)
def test_queue_leaves_before_postfix_goes(back: Callable[..., Any]) -> None:
    """What can leave has left when Postfix is removed, and a person sees that it is waited for."""
    host = bare()
    before = host.world()
    do_apply(host)
    host.queue = [waiting(), {**waiting(), "queue_id": "4OTHER"}]
    said: list[str] = []
    report = back(host, said.append, force=False)
    assert report.exit_code == 0
    assert "2 messages wait in the queue: it leaves first" in said
    assert len(host.left) == 2
    assert differences(before, host.world()) == {}


def test_what_comes_at_the_last_moment_leaves_too() -> None:
    """A message that is accepted right before Postfix stops is sent before it goes."""
    host = bare()
    do_apply(host)

    def late(call: Call) -> None:
        if call.what[:2] == ("systemctl", "stop") and not host.left:
            host.queue = [waiting()]

    host.watch = late
    assert rollback.remove(host, silent, force=False).exit_code == 0
    assert [entry["queue_id"] for entry in host.left] == [waiting()["queue_id"]]
    assert "postfix" not in collect(host).packages


def test_what_comes_at_the_last_moment_and_cannot_leave_keeps_postfix() -> None:
    """Then nothing is removed: Postfix runs again, and sendmail takes mail."""
    host = bare()
    do_apply(host)
    before = host.world()

    def late(call: Call) -> None:
        if call.what[:2] == ("systemctl", "stop") and not host.queue:
            host.queue = [_held()]

    host.watch = late
    with pytest.raises(RefusedError, match="would lose it") as caught:
        rollback.remove(host, silent, force=False)
    assert caught.value.code == "queue-not-empty"
    host.watch = lambda _call: None
    now = host.world()
    assert len(now.pop("queue")) == 1
    before.pop("queue")
    assert differences(before, now) == {}


@pytest.mark.parametrize("force", [False, True])
def test_damaged_messages_keep_postfix(force: bool) -> None:
    """What Postfix put aside as damaged is listed nowhere, and would go with the queue."""
    host = bare()
    do_apply(host)
    host.put("/var/spool/postfix/corrupt/4DAMAGED", "?")
    before = host.world()
    with pytest.raises(RefusedError, match=r"1 message waits in /var/spool/postfix/corrupt"):
        rollback.remove(host, silent, force=force)
    assert differences(before, host.world()) == {}


def test_refusal_says_how_many_and_why() -> None:
    """Count and reasons are in the message, and what to do is in the remedy."""
    host = bare()
    do_apply(host)
    host.queue = [_held(), {**waiting(), "queue_id": "4OTHER"}]
    with pytest.raises(RefusedError) as caught:
        rollback.remove(host, silent, force=False)
    assert caught.value.message == "2 messages wait in the queue, 1 of them held; 1: it is down"
    assert "`sysmail queue release`" in caught.value.remedy


def test_an_owners_postfix_gets_no_mail_of_the_relays_unasked() -> None:
    """Its way may be none: the relay's mail leaves before it comes back, but with --force."""
    host = untouched_postfix()
    before = host.world()
    do_apply(host)
    _in_queue(host, _held())
    with pytest.raises(RefusedError, match="held") as caught:
        rollback.remove(host, silent, force=False)
    assert "--force" in caught.value.remedy
    report = rollback.remove(host, silent, force=True)
    assert report.exit_code == 0
    assert len(host.queue) == 1
    assert differences({**before, "queue": []}, {**host.world(), "queue": []}) == {}


def test_mail_that_the_owner_left_waiting_is_the_owners() -> None:
    """What waited before sysmail came is not waited for when an owner's Postfix comes back."""
    host = untouched_postfix()
    host.queue = [{**_held(), "arrival_time": 1_000_000_000}]
    do_apply(host)
    assert rollback.remove(host, silent, force=False).exit_code == 0
    assert len(host.queue) == 1


def test_each_rollback_says_what_is_in_force_now() -> None:
    """One apply after the other is undone, and after the first one nothing is left to undo."""
    host = bare()
    before = host.world()
    for admin in ("one@example.com", "two@example.com", "three@example.com"):
        apply.run(host, "", {"admin": admin}, silent)
    for number, admin in ((2, "two@example.com"), (1, "one@example.com")):
        report = rollback.rollback(host, silent, force=False)
        assert report.route is not None
        assert (report.route.name, report.route.next_hop) == ("relay", "direct")
        assert f"in force now: the policy of apply {number}" in report.notes[-1]
        assert admin in "".join(host.text(p) for p in host.entries if p.startswith("/etc/postfix"))
    report = rollback.rollback(host, silent, force=False)
    assert report.route is None
    assert report.notes == ("nothing of sysmail is in force: the host is as it was found",)
    assert differences(before, host.world()) == {}
    with pytest.raises(RefusedError) as caught:
        rollback.rollback(host, silent, force=False)
    assert caught.value.code == "nothing-to-undo"


def test_rollback_from_mailu_to_relay_leaves_what_a_removal_left() -> None:
    """Postfix's configuration that only waited for its purge is still there after a rollback."""
    host = ask(FakeDebian(), route="relay")
    go(host)
    ask(host, route="mailu")
    go(host)
    assert host.packages["postfix"] == "rc "
    before = host.world()
    ask(host, route="relay")
    before["files"]["/etc/sysmail/policy.json"] = host.world()["files"]["/etc/sysmail/policy.json"]
    go(host)
    rollback.rollback(host, silent, force=False)
    assert host.packages["postfix"] == "rc "
    assert differences(before, host.world()) == {}


def test_packages_that_somebody_needs_stay() -> None:
    """What a person's package depends on stays, closed and quiet, and that is said."""
    host = bare()
    do_apply(host)
    host.packages["mailutils"] = "ii "
    host.needs["mailutils"] = "postfix"
    report = rollback.remove(host, silent, force=False)
    assert report.notes[0] == "postfix stays installed: mailutils needs it"
    assert host.packages["mailutils"] == host.packages["postfix"] == "ii "
    assert "msmtp" not in host.packages
    assert (host.running, host.enabled) == (None, False)
    assert "inet_interfaces = loopback-only" in host.text("/etc/postfix/main.cf")
    assert "authorized_submit_users = !static:all" in host.text("/etc/postfix/main.cf")


def test_packages_that_somebody_installed_by_hand_stay() -> None:
    """A package that came along, and that a person has asked for since, is theirs."""
    host = bare()
    host.automatic |= {"libgsasl18", "ssl-cert"}
    do_apply(host)
    host.automatic.discard("libgsasl18")
    report = rollback.remove(host, silent, force=False)
    assert report.notes[0] == "libgsasl18 stays installed: somebody installed it by hand meanwhile"
    assert "libgsasl18" in host.packages
    assert "ssl-cert" not in host.packages


def test_a_check_says_that_mail_would_leave_first() -> None:
    """What would be removed is told with the mail that leaves first; what cannot leave refuses."""
    host = bare()
    do_apply(host)
    host.queue = [waiting()]
    report = rollback.foresee(host)
    assert (report.exit_code, report.notes[0]) == (2, "1 messages in the queue would leave first")
    host.queue = [_held()]
    with pytest.raises(RefusedError):
        rollback.foresee(host)
