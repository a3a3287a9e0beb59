"""What is said of a service manager that did not do what it was asked."""

from __future__ import annotations

from typing import Any

import pytest

from sysmail.apply import service
from sysmail.errors import StepError
from sysmail.facts.collect import collect
from sysmail.host.port import Completed
from unit.fake_debian import FakeDebian

CHATTER = (
    "Synchronizing state of postfix.service with SysV service script with "
    "/lib/systemd/systemd-sysv-install.\n"
    "Executing: /lib/systemd/systemd-sysv-install enable postfix\n"
)
WHY = "update-rc.d: error: cannot find a LSB script for postfix"


def test_the_reason_is_told_without_what_systemctl_says_first() -> None:
    """It is the line after what was run for the former init system's script."""
    host = FakeDebian(postfix=True)
    systemctl = host.programs["systemctl"]

    def program(argv: Any, stdin: Any) -> Completed:
        if argv[1] == "enable":
            return Completed(tuple(argv), 1, "", CHATTER + WHY + "\n")
        return systemctl(argv, stdin)

    host.programs["systemctl"] = program
    with pytest.raises(StepError) as caught:
        service.act(host, collect(host), "enable")
    assert caught.value.code == "service-not-started"
    assert caught.value.message == f"Postfix did not enable: {WHY}"


def test_masked_meanwhile() -> None:
    """What systemctl says of a unit that was masked on the way, with what lets it start."""
    host = FakeDebian(postfix=True)
    host.masked = True
    with pytest.raises(StepError, match=r"postfix\.service is masked") as caught:
        service.act(host, collect(host), "start")
    assert "`systemctl unmask postfix`" in caught.value.remedy
