"""A bare host gets a relay for good: plan, apply, the second apply, prove, status."""

from __future__ import annotations

import pytest
from onhost import SYSMAIL, apply, packages, sendmail, sysmail

from lab import FreshHost, Lab

BASES = ["debian", "arch"]


@pytest.mark.parametrize("base", BASES)
def test_bare_host_to_proven_mail(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """A bare host is planned, applied and proven, and real mail for root reaches admin."""
    lab.mx.clear()
    host = fresh_host(base)
    planned = sysmail(host, "plan", "--admin", "ops@example.org")
    assert planned.status == 2
    assert any("install postfix" in step["summary"] for step in planned.report["steps"])
    assert not any("postfix" in name for name in packages(host)), "plan changed the host"

    applied = apply(host, "--admin", "ops@example.org")
    assert applied.report["changed"] is True
    assert applied.report["route"]["next_hop"] == "direct"
    assert len(applied.report["verdicts"]) == 10

    again = apply(host)
    assert (again.outcome, again.report["changed"], again.report["steps"]) == (
        "unchanged",
        False,
        [],
    )
    assert sysmail(host, "plan").status == 0
    assert sysmail(host, "prove").status == 0

    sendmail(host, "Subject: from cron\n\nhello\n", "root")
    message = lab.mx.wait_for(lambda m: m.message["Subject"] == "from cron")[0]
    assert message.recipients == ["ops@example.org"]
    assert message.sender == f"root@{host.fqdn}"
    status = sysmail(host, "status")
    assert (status.status, status.report["deliveries"]["sent"]) == (0, 1)


def test_text_for_people(fresh_host: FreshHost) -> None:
    """Without --json the same is said in short lines, and nothing to do is said so."""
    host = fresh_host(packages=["postfix", "msmtp"])
    first = host.run([SYSMAIL, "apply", "--admin", "ops@example.org"], timeout=200).stdout
    assert "10 of 10 promises proven" in first
    second = host.run([SYSMAIL, "apply"]).stdout
    assert "nothing to change" in second
    assert "\033" not in second, "colour is for terminals"


def test_not_root(fresh_host: FreshHost) -> None:
    """Somebody who is not root is told so with exit code 77."""
    host = fresh_host()
    for command in ("plan", "apply", "prove", "status", "queue", "rollback", "try"):
        ran = sysmail(host, command, user="alice")
        assert (ran.status, ran.codes) == (77, ["not-root"]), command


def test_rollback_goes_back_one_apply(lab: Lab, fresh_host: FreshHost) -> None:
    """rollback restores the configuration before the last apply, which works."""
    lab.mx.clear()
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    apply(host, "--admin", "other@example.org")
    assert sysmail(host, "rollback").status == 0
    assert sysmail(host, "prove").status == 0
    sendmail(host, "Subject: after rollback\n\n", "root")
    found = lab.mx.wait_for(lambda m: m.message["Subject"] == "after rollback")
    assert found[0].recipients == ["ops@example.org"]


def test_edit_is_shown_kept_and_not_overwritten_by_rollback(fresh_host: FreshHost) -> None:
    """A person's edit appears in the plan; rollback refuses to overwrite it; apply keeps a copy."""
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    main_cf = host.root / "etc/postfix/main.cf"
    main_cf.write_text(main_cf.read_text() + "# a note of mine\n")
    planned = sysmail(host, "plan")
    assert "-# a note of mine" in "".join(step["diff"] for step in planned.report["steps"])
    refused = sysmail(host, "rollback")
    assert (refused.status, refused.codes) == (1, ["edited-since"])
    assert "a note of mine" in main_cf.read_text()
    apply(host)
    kept = [
        p
        for p in (host.root / "var/lib/sysmail").rglob("*")
        if p.is_file() and b"# a note of mine\n" in p.read_bytes() and p.name != "journal.json"
    ]
    assert kept, "the edited file is in no checkpoint"


def test_two_applies_at_once(fresh_host: FreshHost) -> None:
    """Of two applies at once both end well, one after the other."""
    host = fresh_host(packages=["postfix", "msmtp"])
    first = host.start([SYSMAIL, "--json", "apply", "--admin", "ops@example.org"])
    second = sysmail(host, "apply", "--admin", "ops@example.org")
    assert first.wait(120) == 0
    assert second.status == 0, second.report
    assert sysmail(host, "plan").status == 0
