"""The queue of a Postfix that makes room for msmtp: it leaves first, or Postfix stays."""

from __future__ import annotations

from typing import Any, Callable

import pytest

from sysmail.commands import apply, plan, rollback
from sysmail.errors import HostError, RefusedError, StepError
from unit import fake_debian
from unit.fake_debian import FakeDebian
from unit.fake_host import Call
from unit.test_apply import differences, fresh, put_back, silent, waiting
from unit.test_mailu import (
    WAYS,
    ask,
    direct_with_queue,
    go,
    in_force,
    mail,
    relay,
    relay_with_queue,
)


@pytest.mark.parametrize("way", ["relay with mail to mailu", "direct relay with mail to mailu"])
def test_queue_leaves_before_postfix_goes(way: str) -> None:
    """The queue of a relay leaves through Mailu, and only then is Postfix replaced."""
    host = fresh(WAYS[way])
    there = mail(host)
    seen: list[tuple[str, int]] = []
    host.watch = lambda call: (
        seen.append((call.what[0], len(host.queue))) if call.method == "dpkg" else None
    )
    report = go(host)
    assert (report.outcome, report.exit_code, host.queue) == ("applied", 0, [])
    assert {count for _, count in seen} == {0}
    assert (mail(host), in_force(host)) == (there, "mailu")
    assert host.packages["postfix"] == "rc "
    names = [step.name for step in report.steps]
    order = [names.index(n) for n in ("packages download", "queue retire", "packages")]
    assert order[0] == 0
    assert order == sorted(order)
    assert report.steps[names.index("packages")].summary.endswith(
        "(the distribution does not let both live: the way back installs it again)"
    )
    assert "inet_interfaces = loopback-only" in host.text("/etc/postfix/main.cf")
    host.changes.clear()
    assert (go(host).outcome, host.changes) == ("unchanged", [])


def test_entrances_are_closed_before_postfix_stops() -> None:
    """The backlog drains with open doors; then neither sendmail(1) nor a port takes more."""
    host = fresh(relay_with_queue)
    texts: list[str] = []
    host.watch = lambda call: (
        texts.append(host.text("/etc/postfix/main.cf"))
        if call.what[:2] == ("systemctl", "stop")
        else None
    )
    go(host)
    assert texts
    for line in ("authorized_submit_users = !static:all", "master_service_disable = inet"):
        assert all(line in text for text in texts)


def test_mail_that_comes_while_postfix_stops_leaves_too() -> None:
    """A message that is accepted between the last look and the stop is not left behind."""
    host = fresh(relay)
    late = {**waiting(), "queue_id": "4XwYh2bQzLLL"}

    def arrive(call: Call) -> None:
        if call.what[:2] == ("systemctl", "stop") and late not in [*host.left, *host.queue]:
            host.queue.append(late)

    host.watch = arrive
    assert go(host).exit_code == 0
    assert (host.queue, host.left) == ([], [late])


def cannot_leave(host: FakeDebian) -> None:
    host.programs["postqueue"] = _list_only(host)


def _list_only(host: FakeDebian) -> Any:
    real = host.programs["postqueue"]
    return lambda argv, stdin: real(["postqueue", "-j"] if "-f" in argv else argv, stdin)


def held(host: FakeDebian) -> None:
    host.queue[0] = {**host.queue[0], "queue_name": "hold"}


@pytest.mark.parametrize(
    ("stay", "count", "said"),
    [(cannot_leave, 2, "it is down"), (held, 1, "sysmail queue release")],
)
def test_queue_that_cannot_leave_keeps_the_relay(
    stay: Callable[[FakeDebian], None], count: int, said: str
) -> None:
    """Mail that cannot leave: told with how much and why, and the relay runs as before."""
    host = fresh(relay_with_queue)
    stay(host)
    before = host.world()
    with pytest.raises(StepError) as caught:
        go(host)
    assert caught.value.code == "queue-not-drained"
    assert caught.value.message.startswith(f"{count} message")
    assert said in caught.value.message + caught.value.remedy
    assert "the host is as it was before" in caught.value.message
    after = host.world()
    assert len(after["queue"]) == count
    assert differences({**before, "queue": []}, {**after, "queue": []}) == {}
    assert (in_force(host), host.running is not None) == ("relay", True)


def test_queue_that_cannot_be_listed_is_not_empty() -> None:
    """Where the queue cannot be listed, Postfix is not taken away from under it."""
    host = fresh(relay_with_queue)
    before = host.world()
    host.answer("postqueue", "", 69, "postqueue: fatal: Queue report unavailable")
    runs: list[Callable[[], object]] = [lambda: plan.run(host, "", {}), lambda: go(host)]
    for run in runs:
        with pytest.raises(HostError) as caught:
            run()
        assert caught.value.code == "queue-not-listed"
        assert "Queue report unavailable" in caught.value.message
    assert (host.changes, differences(before, host.world())) == ([], {})


def test_queue_leaves_where_the_relay_needed_no_login() -> None:
    """A direct relay has no use for SASL's modules; its queue leaves through Mailu all the same."""
    host = fresh(direct_with_queue)
    del host.packages["libsasl2-modules"]
    host.take("/usr/lib/x86_64-linux-gnu/sasl2")
    assert go(host).exit_code == 0
    assert (host.queue, len(host.left)) == ([], 1)


def test_postfix_that_is_too_old_for_a_relay_can_be_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Postfix that goes, with nothing in its queue, need not be one that sysmail could set up."""
    monkeypatch.setitem(fake_debian.DEFAULTS, "mail_version", "3.3.22")
    assert go(ask(FakeDebian(postfix=True))).exit_code == 0


def test_mail_that_keeps_postfix_keeps_it_running() -> None:
    """Mail that comes as rollback stops Postfix: the relay stays and runs, also after a death."""
    host = ask(FakeDebian(), route="relay")
    assert go(host).exit_code == 0
    cuts: list[FakeDebian] = []

    def arrive(call: Call) -> None:
        if cuts or call.what[:2] == ("systemctl", "stop"):
            host.queue = [waiting()]
            cuts.append(host.clone())

    host.watch = arrive
    with pytest.raises(RefusedError) as caught:
        rollback.rollback(host, silent, force=False)
    assert caught.value.code == "queue-not-empty"
    for found in (host, *cuts):
        put_back(found)
        assert found.queue == [waiting()]
        assert found.running is not None
        assert "authorized_submit_users" not in found.text("/etc/postfix/main.cf")


def test_postfix_of_somebody_with_mail_is_refused() -> None:
    """Mail that waits in a Postfix that sysmail did not set up has to leave first."""
    host = ask(FakeDebian(postfix=True))
    host.queue = [waiting()]
    host.changes.clear()
    for run in (plan.run, lambda h, p, f: apply.run(h, p, f, silent)):
        with pytest.raises(RefusedError) as caught:
            run(host, "", {})
        assert caught.value.code == "neighbour-mail-waits"
        assert "postqueue -f" in caught.value.remedy
    assert host.changes == []
