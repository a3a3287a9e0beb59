"""The door for programs: requests and answers, packages that somebody else installs, passwords."""

from __future__ import annotations

import json
from typing import Any, Optional

import pytest

from sysmail import door, signals
from sysmail.apply.checkpoint import Store
from sysmail.apply.recovery import recover
from sysmail.cli.main import main
from sysmail.cli.render import as_json
from sysmail.commands import apply, plan, prove, status
from sysmail.errors import SysmailError
from sysmail.host.port import Completed
from unit.fake_debian import FakeDebian
from unit.fake_host import ScriptedSession
from unit.test_apply import OFFERS, cut_off, differences, silent

PASSWORD = "correct horse battery"
ADMIN = {"admin": "ops@example.com"}
MAILU = {"host": "mail.example.org", "username": "u@example.org", "password": PASSWORD}


@pytest.fixture(autouse=True)
def _signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "catch", lambda: None)


def ask(host: FakeDebian, policy: Optional[dict[str, Any]] = None, **more: Any) -> dict[str, Any]:
    """Ask for a policy to be in force."""
    request = {"command": "apply", "policy": ADMIN if policy is None else policy, **more}
    return door.answer(request, host)


def install(host: FakeDebian, answer: dict[str, Any]) -> None:
    """What Ansible's module does."""
    assert answer["report"]["outcome"] == "packages-wanted"
    assert answer["report"]["packages"]["manager"] == "apt"
    names = answer["report"]["packages"]["names"]
    assert host.run(["apt-get", "install", "-y", *names]).status == 0


def bring_about(host: FakeDebian, **more: Any) -> dict[str, Any]:
    """The whole way that the action plugin goes."""
    answer = ask(host, **more)
    if answer["report"]["outcome"] == "packages-wanted":
        install(host, answer)
        answer = ask(host, **more, phase="go_on")
    return answer


def with_mailu(host: FakeDebian) -> FakeDebian:
    host.servers["mail.example.org", 465] = lambda: ScriptedSession(OFFERS)
    return host


def timeless(report: dict[str, Any]) -> str:
    queue = report.get("queue")
    return json.dumps({**report, "queue": queue and {**queue, "oldest": None}})


@pytest.mark.parametrize("postfix", [True, False])
def test_same_report_as_the_command_line(postfix: bool) -> None:
    """Where packages are present it is the command line's report; a bare host ends the same."""
    host, other = FakeDebian(postfix=postfix), FakeDebian(postfix=postfix)
    if postfix:
        for each in (host, other):
            each.run(["apt-get", "install", "-y", "msmtp"])
    answer = bring_about(host)
    asked = apply.run(other, "", ADMIN, silent)
    assert timeless(answer["report"]) == timeless(json.loads(as_json(asked)))
    assert differences(host.world(), other.world()) == {}
    again = ask(host)
    assert timeless(again["report"]) == timeless(
        json.loads(as_json(apply.run(other, "", ADMIN, silent)))
    )
    assert (again["exit_code"], again["report"]["changed"]) == (0, False)


def test_a_check_changes_nothing() -> None:
    """With check the answer is the plan, and the host stays as it is."""
    host = FakeDebian()
    before = host.world()
    answer = ask(host, check=True)
    assert (answer["report"]["command"], answer["exit_code"]) == ("plan", 2)
    assert [step["name"] for step in answer["report"]["steps"]][:2] == [
        "file /etc/postfix/main.cf",
        "packages",
    ]
    assert differences(before, host.world()) == {}
    assert Store(host).load() == []


def test_packages_that_do_not_come() -> None:
    """Given up, the host is as it was before, and the report says why."""
    host = FakeDebian()
    before = host.world()
    assert ask(host)["exit_code"] == 2
    answer = ask(host, phase="give_up", why="ansible.builtin.apt: no mirror")
    assert answer["placed"] is False
    assert answer["report"]["errors"][0] == {
        "code": "packages-not-installed",
        "message": "ansible.builtin.apt: no mirror; the host is as it was before",
        "remedy": "install them by hand to see all of it",
    }
    assert differences(before, host.world()) == {}
    assert Store(host).load() == []


def test_packages_that_are_not_there_after_all() -> None:
    """A package module that says yes and installed nothing is found out; all is put back."""
    host = FakeDebian()
    before = host.world()
    ask(host)
    answer = ask(host, phase="go_on")
    assert answer["report"]["errors"][0]["code"] == "packages-not-installed"
    assert differences(before, host.world()) == {}


def test_next_hop_that_fails_in_between() -> None:
    """Good before the packages came and wrong after: all is put back, and it is said once."""
    host = with_mailu(FakeDebian())
    before, asked = host.world(), {**ADMIN, "route": "relay", "mailu": MAILU}
    install(host, ask(host, policy=asked))
    refuses = {**OFFERS, "AUTH": "535 no"}
    host.servers["mail.example.org", 465] = lambda: ScriptedSession(refuses)
    answer = ask(host, policy=asked, phase="go_on")
    (error,) = answer["report"]["errors"]
    assert error["code"] == "login-refused"
    assert error["message"].endswith("the host is as it was before")
    assert "nothing was changed" not in error["message"]
    assert differences(before, host.world()) == {}


def test_somebody_else_in_between(capsys: pytest.CaptureFixture[str]) -> None:
    """The main.cf that keeps port 25 closed stays while packages may still come, half an hour."""
    host = FakeDebian()
    before = host.world()
    answer = ask(host)
    prepared = host.world()
    for words in (["status"], ["queue"], ["rollback"], ["remove"], ["try"]):
        main(words, host)
        assert [c.state for c in Store(host).load()] == ["packages"]
        assert differences(prepared, host.world()) == {}
    assert "Ansible may still be installing" in capsys.readouterr().out
    install(host, answer)
    main(["rollback"], host)
    assert differences(before, host.world()) == {}
    late = ask(host, phase="go_on")
    assert late["report"]["errors"][0]["code"] == "preparation-gone"
    assert differences(before, host.world()) == {}
    ask(host)
    host.clock += 3600
    main(["status"], host)
    assert Store(host).load() == []
    assert "has been undone" in capsys.readouterr().out


@pytest.mark.parametrize("half", ["begin", "go_on"])
def test_death_at_every_change_is_undone(half: str) -> None:
    """Killed at any change of either half, the next command puts everything back."""
    host = FakeDebian()
    before = host.world()
    if half == "go_on":
        install(host, ask(host))

    def command(each: FakeDebian) -> None:
        ask(each, phase=half)

    for cut, at in cut_off(host, command):
        recover(cut, silent)
        if half == "go_on" and [c.state for c in Store(cut).load()] == ["packages"]:
            main(["rollback"], cut)
        assert differences(before, cut.world()) == {}, f"killed at {at.method} {at.what}"
        assert cut.exposed == []


@pytest.mark.parametrize("came", [False, True])
@pytest.mark.parametrize("way", ["command line", "another run"])
def test_controller_that_died(came: bool, way: str) -> None:
    """The next apply goes on under the same journal, for what is wanted then."""
    host = FakeDebian()
    before = host.world()
    answer = ask(host)
    if came:
        install(host, answer)
    if way == "command line":
        report = apply.run(host, "", {"admin": "other@example.com"}, silent).as_data()
    else:
        report = bring_about(host, policy={"admin": "other@example.com"})["report"]
    assert (report["outcome"], report["errors"]) == ("applied", [])
    assert [step["name"] for step in report["steps"]].count("packages") == (0 if came else 1)
    assert [(c.number, c.state) for c in Store(host).load()] == [(1, "done")]
    assert prove.run(host, "", {}).exit_code == 0
    assert plan.run(host, "", {"admin": "other@example.com"}).outcome == "nothing-to-do"
    door.answer({"command": "remove"}, host)
    assert differences(before, host.world()) == {}


def test_controller_that_died_and_a_password() -> None:
    """What the later run brings along is kept, and nothing of the former one."""
    host = with_mailu(FakeDebian())
    asked = {**ADMIN, "route": "relay", "mailu": MAILU}
    ask(host, policy={**asked, "mailu": {**MAILU, "password": "the former one"}})
    assert bring_about(host, policy=asked)["exit_code"] == 0
    assert prove.run(host, "", {}).exit_code == 0
    assert plan.run(host, "", {}).outcome == "nothing-to-do"
    ask(host, policy=ADMIN)
    kept = [path for path in host.tree() if path.endswith("/passwords.json")]
    assert kept == ["/var/lib/sysmail/secrets/0001/passwords.json"]


LOCK = "/var/lib/dpkg/lock-frontend"


@pytest.mark.parametrize("way", ["gives up", "another apply", "long after", "clock went back"])
def test_package_manager_that_lives_on(way: str, capsys: pytest.CaptureFixture[str]) -> None:
    """While it is at work the main.cf stays that keeps the Postfix closed that it may install."""
    host = FakeDebian()
    before = host.world()
    answer = ask(host)
    host.held.add(LOCK)
    if way == "gives up":
        told = ask(host, phase="give_up", why="apt: locked")["report"]["errors"][0]["message"]
        assert "stays prepared" in told
    elif way == "another apply":
        refuses = lambda argv, _stdin: Completed(tuple(argv), 100, "E: locked", "")  # noqa: E731
        works, host.programs["apt-get"] = host.programs["apt-get"], refuses
        with pytest.raises(SysmailError) as caught:
            apply.run(host, "", ADMIN, silent)
        assert "stays prepared" in caught.value.message
        host.programs["apt-get"] = works
    else:
        host.clock += {"long after": 86400, "clock went back": -86400}[way]
    main(["status"], host)
    assert [c.state for c in Store(host).load()] == ["packages"]
    install(host, answer)
    assert host.exposed == []
    host.held.clear()
    assert apply.run(host, "", ADMIN, silent).exit_code == 0
    door.answer({"command": "remove"}, host)
    assert differences(before, host.world()) == {}
    assert capsys.readouterr().out


@pytest.mark.parametrize("way", ["gives up", "expires", "goes on", "another apply"])
def test_packages_of_others(way: str) -> None:
    """What somebody installs meanwhile stays, whatever becomes of ours."""
    host = FakeDebian()
    answer = ask(host)
    assert host.run(["apt-get", "install", "-y", "postgresql"]).status == 0
    if way == "gives up":
        ask(host, phase="give_up", why="no mirror")
    elif way == "expires":
        host.clock += 86400
        main(["status"], host)
    else:
        install(host, answer)
        if way == "goes on":
            ask(host, phase="go_on")
        else:
            apply.run(host, "", ADMIN, silent)
        door.answer({"command": "remove"}, host)
    assert Store(host).load() == []
    assert set(host.packages) == {*FakeDebian().packages, "postgresql"}


def test_two_policies_in_one_preparation() -> None:
    """What is put in force is what is recorded, whoever prepared the host."""
    host = FakeDebian()
    ask(host)
    install(host, ask(host, policy={"admin": "b@example.com"}))
    assert ask(host, phase="go_on")["exit_code"] == 0
    assert plan.run(host, "", ADMIN).outcome == "nothing-to-do"
    assert Store(host).load()[0].policy == ADMIN


def test_a_check_undoes_nothing() -> None:
    """What was cut off stays cut off, and the check says that a run would undo it."""
    host = FakeDebian(postfix=True)
    cuts = cut_off(host, lambda each: apply.run(each, "", ADMIN, silent))
    cut = cuts[len(cuts) // 2][0]
    before = cut.world()
    answer = ask(cut, check=True)
    assert differences(before, cut.world()) == {}
    assert (answer["exit_code"], answer["report"]["steps"][0]["name"]) == (2, "recovery")


def test_password_that_ansible_brought() -> None:
    """Later commands know it without being told, and no report does."""
    host = with_mailu(FakeDebian())
    asked = {**ADMIN, "route": "relay", "mailu": MAILU}
    answer = bring_about(host, policy=asked)
    assert answer["exit_code"] == 0, answer["report"]["errors"]
    assert prove.run(host, "", {}).exit_code == 0
    assert plan.run(host, "", {}).outcome == "nothing-to-do"
    told = [answer, status.run(host).as_data(), ask(host, policy=asked)]
    assert PASSWORD not in json.dumps(told)
    for path, state in host.tree().items():
        if PASSWORD.encode() in getattr(state, "data", b""):
            assert state.mode & 0o077 == 0, path
    changed = {**asked, "mailu": {**MAILU, "password": "another one"}}
    assert ask(host, policy=changed)["report"]["changed"]
    assert ask(host, policy=changed)["report"]["changed"] is False
    assert prove.run(host, "", {}).exit_code == 0


def test_relay_that_was_asked_for() -> None:
    """It stays the relay for who names no route, until a policy names one."""
    host = with_mailu(FakeDebian(postfix=True))
    host.run(["apt-get", "install", "-y", "msmtp"])
    asked = {**ADMIN, "mailu": MAILU}
    assert bring_about(host, policy=asked, relay=True)["report"]["route"]["name"] == "relay"
    for relay in (False, True, False):
        answer = ask(host, policy=asked, relay=relay)
        assert (answer["exit_code"], answer["report"]["changed"]) == (0, False)
        assert answer["report"]["route"]["name"] == "relay"
    named = ask(host, policy={**asked, "route": "auto"}, check=True)
    assert named["report"]["route"]["name"] == "mailu"


def test_bad_policy_touches_nothing() -> None:
    """A policy that cannot be used is 64, with the key's name, and nothing is written."""
    host = FakeDebian()
    before = host.world()
    for policy in ({"admn": "x"}, {"admin": 3}, {"mailu": "mail.example.org"}):
        answer = ask(host, policy=policy)
        assert answer["exit_code"] == 64
        assert answer["report"]["errors"][0]["remedy"]
    assert differences(before, host.world()) == {}
    assert Store(host).load() == []


def test_absent() -> None:
    """Remove puts the host back, and is content where there is nothing to remove."""
    host = FakeDebian()
    before = host.world()
    bring_about(host)
    looked = door.answer({"command": "remove", "check": True}, host)
    assert (looked["exit_code"], looked["report"]["outcome"]) == (2, "changes")
    removed = door.answer({"command": "remove"}, host)
    assert (removed["exit_code"], removed["report"]["changed"]) == (0, True)
    assert differences(before, host.world()) == {}
    again = door.answer({"command": "remove"}, host)
    assert (again["exit_code"], again["report"]["changed"]) == (0, False)


def test_a_host_without_the_tool_gets_it() -> None:
    """The archive is placed with the command, but not by a check, and goes with `remove`."""
    from sysmail.fleet import archive, place

    host, new = FakeDebian(), door.Archive(archive.build(), "0123456789abcdef")
    request = {"command": "apply", "policy": ADMIN}
    door.answer({**request, "check": True}, host, new=new)
    assert host.state(place.FOLDER) is None
    install(host, door.answer(request, host, new=new))
    assert ask(host, phase="go_on")["exit_code"] == 0
    path = place.archive_path("0123456789abcdef")
    command = host.state(place.COMMAND)
    assert command is not None
    assert command.target == path
    door.answer({"command": "remove"}, host)
    assert host.state(path) is None
    assert host.state(place.COMMAND) is None


@pytest.mark.parametrize("check", [False, True])
def test_a_host_that_is_not_changed_does_not_keep_the_tool(check: bool) -> None:
    """A policy that cannot be used, a refusal, or a removal leaves nothing, and says so."""
    from sysmail.fleet import archive, place

    new = door.Archive(archive.build(), "0" * 16)
    for request in (
        {"command": "apply", "policy": {"admn": "x"}},
        {"command": "remove"},
        {"command": "apply", "policy": {**ADMIN, "smarthost": {"host": "mail.example.org"}}},
    ):
        host = FakeDebian(postfix=True)  # and no server answers at that name
        made = door.answer({**request, "check": check}, host, new=new)
        assert host.state(place.FOLDER) is None
        # A check does not talk to a next hop that the policy names.
        assert made["placed"] is (check and "smarthost" in request.get("policy", {}))
        assert host.state(place.COMMAND) is None
