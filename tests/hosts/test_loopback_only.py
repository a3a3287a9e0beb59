"""Promise 1 on booted hosts: nobody outside ever gets a connection to port 25."""

from __future__ import annotations

import pytest
from onhost import SYSMAIL, apply, sysmail

from lab import FreshHost, Host, Knocks, Lab


@pytest.mark.parametrize("base", ["debian", "arch"])
def test_never_open_while_installing_applying_and_removing(
    lab: Lab, fresh_host: FreshHost, base: str
) -> None:
    """A second host that knocks all the time never gets in, from before apply to after remove."""
    host = fresh_host(base)
    knocker = lab.knock(host)
    knocker.start()
    apply(host, "--admin", "ops@example.org")
    apply(host, "--admin", "other@example.org")
    assert sysmail(host, "rollback").status == 0
    assert sysmail(host, "remove").status == 0
    knocks = knocker.stop()
    assert knocks.attempts > 1000, knocks
    assert len(knocks.tallies) == 3, "IPv4, IPv6 and link-local"
    assert all(tally.attempts > 100 for tally in knocks.tallies), knocks
    assert knocks.successes == 0, knocks


def _knocked(lab: Lab, host: Host, command: str) -> Knocks:
    """What a second host's knocking gave while a command ran."""
    knocker = lab.knock(host)
    knocker.start()
    try:
        host.run(command, timeout=300)
    finally:
        knocks = knocker.stop()
    return knocks


def test_try_is_never_open(lab: Lab, fresh_host: FreshHost) -> None:
    """Nor during a try on a bare Debian host."""
    host = fresh_host()
    knocks = _knocked(lab, host, f"{SYSMAIL} try")
    assert knocks.attempts > 1000
    assert knocks.successes == 0, knocks


def test_a_host_that_listens_outside_is_closed(lab: Lab, fresh_host: FreshHost) -> None:
    """A stock Postfix that listens on every interface is told, and closed by apply."""
    host = fresh_host(packages=["postfix", "msmtp"])
    host.run("postconf -e inet_interfaces=all mydestination= && systemctl restart postfix")
    assert _knocked(lab, host, "sleep 0.5").successes > 0, "the knocker cannot see an open port"
    apply(host, "--admin", "ops@example.org")
    assert _knocked(lab, host, "sleep 1").successes == 0


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        ("postconf -e inet_interfaces=all && systemctl restart postfix", "which others can reach"),
        ("postconf -M 'submission/inet=submission inet n - n - - smtpd' && "
         "postconf -e inet_interfaces=all && systemctl restart postfix", "port 587"),
        ("systemctl stop postfix", "does not run"),
        ("postconf -e inet_protocols=ipv4 && systemctl restart postfix", "::1"),
    ],
)  # fmt: skip
def test_broken_on_purpose(fresh_host: FreshHost, break_it: str, says: str) -> None:
    """prove finds each way to break the promise, and its remedy heals it."""
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    host.run(break_it)
    ran = sysmail(host, "prove")
    verdict = ran.verdict("loopback-only")
    assert (ran.status, verdict["status"]) == (1, "fail")
    assert says in verdict["evidence"]
    assert "sysmail apply" in verdict["remedy"]
    apply(host)
    assert sysmail(host, "prove").status == 0
