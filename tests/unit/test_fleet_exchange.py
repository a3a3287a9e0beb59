"""What goes between Ansible and a host: arguments, Mailu from the inventory, results."""

from __future__ import annotations

from typing import Any, Optional

import pytest

from sysmail.errors import UsageError
from sysmail.fleet import exchange
from sysmail.report import Problem, Report, StepResult, Verdict

GROUPS = {"web-app-mailu": ["mail1", "mail2"], "empty": []}
LOGIN = {"username": "no-reply@example.org", "password": "s"}


def answer(code: int = 0, **report: Any) -> dict[str, Any]:
    made = Report(**{"command": "apply", "outcome": "applied", "exit_code": code, **report})
    return {"report": made.as_data(), "exit_code": code}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"polcy": {}}, "unknown option polcy"),
        ({"policy": "admin"}, "policy is not a dictionary"),
        ({"state": "gone"}, "state is neither"),
        ({"adopt": "perhaps"}, "adopt is neither true nor false"),
        ({"relay": [True]}, "relay is neither true nor false"),
    ],
)
def test_arguments_that_cannot_be_used(given: dict[str, Any], words: str) -> None:
    """Each is told by its name, with what to do."""
    with pytest.raises(UsageError, match=words) as caught:
        exchange.read_options(given)
    found = exchange.unusable(caught.value)
    assert (found["failed"], found["exit_code"]) == (True, 64)
    assert found["msg"].endswith(".")


@pytest.mark.parametrize(
    ("given", "meant"), [("yes", True), ("False", False), (1, True), ("", False)]
)
def test_booleans_as_ansible_writes_them(given: object, meant: bool) -> None:
    """What a template makes of a boolean is one."""
    assert exchange.read_options({"adopt": given})["adopt"] is meant
    assert exchange.read_options({"adopt": None})["adopt"] is False


@pytest.mark.parametrize(
    ("policy", "hostvars", "expected"),
    [
        ({}, {}, {"host": "mail1"}),
        ({"mailu": None}, {}, {"host": "mail1"}),
        ({}, {"mail1": {"sys_svc_mail_mailu": LOGIN}}, {"host": "mail1", **LOGIN}),
        (
            {"mailu": {"username": "x@example.org", "port": None}},
            {"mail1": {"sys_svc_mail_mailu": {**LOGIN, "host": "mail.example.org", "port": 587}}},
            {
                "host": "mail.example.org",
                "username": "x@example.org",
                "password": "s",
                "port": 587,
            },
        ),
        (
            {"mailu": {"password_file": "/p"}},
            {"mail1": {"sys_svc_mail_mailu": LOGIN}},
            {"host": "mail1", "username": "no-reply@example.org", "password_file": "/p"},
        ),
        ({"mailu": {"host": "own.example.org"}}, {}, {"host": "own.example.org"}),
        (  # a login is for its own server alone
            {"mailu": {"host": "own.example.org"}},
            {"mail1": {"sys_svc_mail_mailu": LOGIN}},
            {"host": "own.example.org"},
        ),
    ],
)
def test_mailu_from_the_inventory(
    policy: dict[str, Any], hostvars: dict[str, Any], expected: dict[str, Any]
) -> None:
    """The policy comes first, then the member's variable, then its name."""
    found = exchange.mailu_from_inventory(policy, "web-app-mailu", GROUPS, hostvars)
    assert found["mailu"] == expected


@pytest.mark.parametrize("group", ["empty", "unknown"])
def test_no_mailu_in_the_inventory(group: str) -> None:
    """Without a member the policy stays as it is."""
    policy = {"admin": "ops@example.org"}
    assert exchange.mailu_from_inventory(policy, group, GROUPS, {}) == policy


def test_wrong_mailu_of_a_member() -> None:
    """A variable of the wrong type is told with its name and host."""
    with pytest.raises(UsageError, match="sys_svc_mail_mailu of mail1"):
        exchange.mailu_from_inventory(
            {}, "web-app-mailu", GROUPS, {"mail1": {"sys_svc_mail_mailu": "mail.example.org"}}
        )


@pytest.mark.parametrize(
    ("made", "changed", "failed"),
    [
        (answer(outcome="unchanged"), False, False),
        (answer(changed=True), True, False),
        ({**answer(outcome="unchanged"), "placed": True}, True, False),
        (answer(2, command="plan", outcome="changes"), True, False),
        (answer(2, command="remove", outcome="changes"), True, False),
        (answer(3, outcome="next-hop-down", errors=(Problem("c", "down", "wait"),)), False, False),
        (answer(1, outcome="failed", errors=(Problem("c", "m", "r"),)), False, True),
        (answer(64, outcome="refused", errors=(Problem("c", "m", "r"),)), False, True),
        (answer(1, outcome="not-proven", changed=True), True, True),
        ({"failed": True, "msg": "MODULE FAILURE"}, None, True),
        ({}, None, True),
    ],
)
def test_results(made: dict[str, Any], changed: Optional[bool], failed: bool) -> None:
    """Changed means changed, a plan's changes too; what is not in force and proven has failed."""
    found = exchange.result(made, packages=["postfix"])
    assert found.get("changed") is changed
    assert found.get("failed", False) is failed
    assert not failed or found["msg"]


def test_what_failed_is_said_with_its_remedy() -> None:
    """The message has the first error, else the first broken promise; a warning is no failure."""
    broken = Verdict("nothing-lost", "fail", "3 are lost", "see the queue")
    found = exchange.result(answer(1, outcome="not-proven", verdicts=(broken,)), packages=[])
    assert found["msg"] == "nothing-lost: 3 are lost. See the queue."
    down = answer(3, outcome="next-hop-down", errors=(Problem("c", "it is down", "wait"),))
    assert exchange.result(down, packages=[])["warnings"] == ["it is down. Wait."]


def test_diffs() -> None:
    """Each step is a diff that Ansible prints as it is."""
    step = StepResult("file /x", "write /x", diff="--- /x\n+++ /x\n+a")
    found = exchange.result(answer(changed=True, steps=(step,)), packages=[])
    assert found["diff"] == [{"prepared": "write /x\n--- /x\n+++ /x\n+a\n"}]


def test_package_modules() -> None:
    """Every family of distributions has one, and apt is told to bring nothing more."""
    from sysmail.distro import DISTROS

    assert set(exchange.PACKAGE_MODULES) == {distro.name for distro in DISTROS}
    asked = exchange.package_arguments("apt", ["postfix"], refresh=True)
    assert (asked["install_recommends"], asked["update_cache"]) == (False, True)


class _Died:
    """A module that died, as ansible-core 2.21 tells it."""

    class event:  # noqa: N801 - the name that Ansible gives it
        msg = "Segmentation\nfault"


@pytest.mark.parametrize(
    ("done", "words"),
    [
        ({"msg": "", "stderr": "a\n b"}, "failed: a b"),
        ({"msg": "no\nlock: held", "stderr": "held"}, "no lock: held"),
        ({"exception": _Died()}, "Segmentation fault"),
        (
            {"msg": "exit 2", "stdout": "Get:1\ndpkg: error: parsing file 'x'\n near line 3\nE: y"},
            "dpkg: error: parsing file 'x' near line 3",
        ),
        ({}, "failed"),
    ],
)
def test_why_a_package_module_failed(done: dict[str, Any], words: str) -> None:
    """The cause is found wherever it is said, on one line and once."""
    assert exchange.why_failed(done) == words
