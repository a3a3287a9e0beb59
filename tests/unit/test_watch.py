"""One run of the watch on a host: what it looks at, whom it tells, and what it leaves alone."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from typing import Any

import pytest

from sysmail.apply.checkpoint import Store
from sysmail.cli.main import main
from sysmail.cli.render import as_json, as_text
from sysmail.commands import apply, plan, prove, rollback, status, watch
from sysmail.commands.submitted import WINDOW_SECONDS
from sysmail.errors import RefusedError, UsageError
from sysmail.facts.tool import COPY, copy_command, find_tool
from sysmail.host.port import Completed
from sysmail.report import Report
from sysmail.watch.units import PATHS, unit_files
from unit.fake_debian import FakeDebian
from unit.test_apply import fresh, silent, waiting, watched

MEMORY = "/var/lib/sysmail/watch.json"
SECRET = "s3cret"
PICKUP = "postfix/pickup"
THE_COPY = f"/usr/bin/python3 -I {COPY}"


class Pager:
    """The command of [alert]: keeps what it is given, and ends with ``status``."""

    def __init__(self, host: FakeDebian) -> None:
        self.got: list[dict[str, Any]] = []
        self.status = 0
        host.programs["/bin/page"] = self._run

    def _run(self, argv: Any, stdin: Any) -> Completed:
        assert list(argv) == ["/bin/page", "mail"]
        if self.status == 0:
            self.got.append(json.loads(stdin))
        return Completed(tuple(argv), self.status, "", f"{SECRET} on standard error")


def in_force() -> tuple[FakeDebian, Pager]:
    """A host with the watch on which all is well, proven by a first run."""
    host = fresh(_applied)
    pager = Pager(host)
    assert run(host).outcome == "well"
    host.changes.clear()
    return host, pager


def _applied() -> FakeDebian:
    host = watched(FakeDebian())
    assert apply.run(host, "", {}, silent).exit_code == 0
    return host


def run(host: FakeDebian, seconds: float = 300.0) -> Report:
    """One run, five minutes after the last one; no secret is in its report."""
    host.clock += seconds
    report = watch.run(host)
    assert SECRET not in as_json(report) + as_text(report, colour=False)
    return report


def late(host: FakeDebian, age: float) -> None:
    """A message that has waited for so long."""
    host.queue = [{**waiting(), "arrival_time": int(host.clock - age)}]


def test_all_is_well() -> None:
    """Nothing is changed, not even what the watch remembers, and nobody is told."""
    host, pager = in_force()
    tree = host.tree()
    for _ in range(3):
        report = run(host)
        assert (report.outcome, report.exit_code, report.changed) == ("well", 0, False)
    assert (host.changes, host.tree()) == ([], tree)
    assert (host.posted, pager.got) == ([], [])


def test_told_once_by_both_ways() -> None:
    """A message that is too old is told once by both ways, and then that all is well."""
    host, pager = in_force()
    late(host, 4000)
    report = run(host)
    assert (report.outcome, report.exit_code) == ("trouble", 1)
    run(host, 60)
    (posted,) = host.posted
    assert posted[0] == f"https://alerts.example.org/T0/{SECRET}"
    assert json.loads(posted[1]) == pager.got[0]
    assert pager.got[0]["event"] == "trouble"
    assert pager.got[0]["host"] == "web1.example.org"
    assert [each["key"] for each in pager.got[0]["findings"]] == ["oldest"]
    host.queue = []
    assert run(host).outcome == "well"
    run(host)
    assert [each["event"] for each in pager.got] == ["trouble", "well"]
    assert len(host.posted) == 2


def test_held_mail_is_not_late() -> None:
    """What somebody put on hold waits because it shall."""
    host, _ = in_force()
    late(host, 40_000)
    host.queue[0]["queue_name"] = "hold"
    assert run(host).outcome == "well"


def test_a_broken_promise() -> None:
    """What prove would say is told, with its remedy; looked at twice, some seconds apart."""
    host, pager = in_force()
    host._stop()
    before = host.clock
    report = run(host)
    assert host.clock - before > 300, "looked at again later"
    assert report.exit_code == 1
    keys = [each["key"] for each in pager.got[0]["findings"]]
    assert "promise:loopback-only" in keys
    broken = {v.check for v in prove.run(host, "", {}).verdicts if v.status == "fail"}
    assert {key.partition(":")[2] for key in keys} == broken


def test_a_short_restart_is_no_trouble() -> None:
    """What is wrong for a moment only is not told."""
    host, pager = in_force()
    host._stop()
    sleep = host.sleep

    def started(seconds: float) -> None:
        host._start()
        sleep(seconds)

    host.sleep = started  # type: ignore[method-assign]
    assert run(host).outcome == "well"
    assert pager.got == []


def test_somebody_is_at_work() -> None:
    """While another sysmail changes the host the watch says nothing about it."""
    host, pager = in_force()
    host._stop()
    lock = host.lock("/run/sysmail/lock", "sysmail apply (pid 7)", 0.0)
    assert run(host).outcome == "busy"
    lock.release()
    assert pager.got == []


def test_not_delivered() -> None:
    """Who was not reached is tried again alone; status, prove and the exit code tell meanwhile."""
    host, pager = in_force()
    host.post_trouble, pager.status = "the alert did not reach https://x/…: it says 500", 3
    late(host, 4000)
    report = run(host)
    assert report.exit_code == 3
    for told in (report, status.run(host), prove.run(host, "", {})):
        messages = [e.message for e in told.errors if e.code == "alert-not-delivered"]
        assert len(messages) == 2, told
        assert "500" in messages[0]
        assert messages[1].endswith("alert.command ended with status 3")
        assert SECRET not in as_text(told, colour=False)
    pager.status = 0
    assert run(host, 60).exit_code == 3
    assert run(host, 60).exit_code == 3
    assert (len(host.posted), len(pager.got)) == (0, 1)
    host.post_trouble = ""
    assert run(host, 60).exit_code == 1
    assert (len(host.posted), len(pager.got)) == (1, 1)
    assert not [e for e in status.run(host).errors if e.code == "alert-not-delivered"]


@pytest.mark.parametrize(("ended", "words"), [(124, "did not end"), (127, "could not be run")])
def test_commands_that_fail(ended: int, words: str) -> None:
    """A command that hangs or is not there is told without a word of it."""
    host, pager = in_force()
    pager.status = ended
    late(host, 4000)
    told = [e.message for e in run(host).errors if e.code == "alert-not-delivered"]
    assert [words in message and "/bin/page" not in message for message in told] == [True]


def submitted(host: FakeDebian, count: int, uid: int = 1000, ago: float = 10) -> None:
    """So many messages of a user in the log and in the queue."""
    stamp = time.strftime("%b %d %H:%M:%S", time.localtime(host.clock - ago))
    for number in range(count):
        name = f"4X{uid}A{number:06d}"
        host.log.append(f"{stamp} web1 postfix/pickup[7]: {name}: uid={uid} from=<u{uid}>")
        host.queue.append(
            {
                **waiting(),
                "queue_id": name,
                "queue_name": "active",
                "arrival_time": int(host.clock - ago),
            }
        )


def accounts(host: FakeDebian) -> None:
    """Every number is the user app; Postfix has its own."""
    own = host.programs["getent"]
    app = "app:x:{}:1000::/home/app:/bin/sh\n"
    host.programs["getent"] = lambda argv, given: (
        own(argv, given)
        if argv[2] == "postfix"
        else Completed(tuple(argv), 0, app.format(argv[2]), "")
    )


def test_a_runaway_is_held() -> None:
    """Beyond the limit it is put on hold in one call, once; another user's mail is left alone."""
    host, pager = in_force()
    held: list[str] = []

    def postsuper(argv: Any, stdin: Any) -> Completed:
        assert list(argv) == ["postsuper", "-h", "-"]
        names = stdin.decode().split()
        for message in host.queue:
            if message["queue_id"] in names:
                message["queue_name"] = "hold"
        held.append(stdin.decode())
        return Completed(tuple(argv), 0, "", "")

    host.programs["postsuper"] = postsuper
    accounts(host)
    submitted(host, 1300)
    submitted(host, 5, uid=0)
    report = run(host)
    assert (report.exit_code, report.changed) == (1, True)
    assert len(held) == 1
    assert len(held[0].split()) == 300
    assert all(name.startswith("4X1000A") for name in held[0].split())
    text = pager.got[0]["findings"][0]["text"]
    assert text.startswith("user 1000 (app) submitted 1300 messages in ten minutes")
    assert "300 of them are on hold" in text
    run(host, 60)
    assert len(held) == 1
    assert len(pager.got) == 1
    reasons = {row["reason"]: row["count"] for row in status.run(host).details["queue"]["reasons"]}
    assert reasons["held"] == 300
    host.log.clear()
    host.queue = [message for message in host.queue if message["queue_name"] == "hold"]
    run(host)
    assert [each["event"] for each in pager.got] == ["trouble", "well"]


def test_the_window_covers_two_runs() -> None:
    """Whatever comes in between two runs is seen by the second of them as a whole."""
    host, _ = in_force()
    asked = len(host.asked)
    run(host)
    since = [c.what[c.what.index("--since") + 1] for c in host.asked[asked:] if PICKUP in c.what]
    assert since == [f"@{int(host.clock - WINDOW_SECONDS)}"]
    assert WINDOW_SECONDS >= 2 * 300


def test_the_next_hop_is_not_asked_every_time() -> None:
    """The next hop is asked once a day; in between no connection leaves the host."""
    host = fresh(_applied)
    host.put("/etc/sysmail/password", "correct horse battery\n", 0o600)
    policy = json.loads(host.text("/etc/sysmail/policy.json"))
    host.put("/etc/sysmail/policy.json", json.dumps({**policy, **_smarthost(host)}), 0o600)
    assert apply.run(host, "", {}, silent).exit_code == 0
    pager = Pager(host)
    asked: list[int] = []
    for seconds in (300, 300, 300, 86_400, 300):
        host.smtp_asked.clear()
        assert run(host, seconds).outcome == "well"
        asked.append(sum(port == 465 for _, port, _ in host.smtp_asked))
    assert asked == [1, 0, 0, 1, 0]
    assert pager.got == []


def _smarthost(host: FakeDebian) -> dict[str, Any]:
    from unit.fake_host import ScriptedSession
    from unit.test_apply import LOGIN_POLICY, OFFERS

    host.servers["mail.example.org", 465] = lambda: ScriptedSession(OFFERS)
    return {name: LOGIN_POLICY[name] for name in ("smarthost", "sender")}


def test_never_applied() -> None:
    """Where sysmail is not in force there is nothing to watch."""
    with pytest.raises(RefusedError) as caught:
        watch.run(FakeDebian())
    assert caught.value.code == "not-applied"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"told": 7}', '{"told": {}, "began": "x"}', "7"])
def test_damaged_memory(text: str) -> None:
    """What it remembers may be damaged: then it begins anew."""
    host, pager = in_force()
    host.put(MEMORY, text, 0o600)
    late(host, 4000)
    run(host)
    assert [each["event"] for each in pager.got] == ["trouble"]


def test_a_damaged_policy_is_told() -> None:
    """A policy that cannot be used is told by the ways of the one that is in force."""
    host, pager = in_force()
    host.put("/etc/sysmail/policy.json", '{"admn": 1}', 0o600)
    run(host)
    assert "admn" in pager.got[0]["findings"][0]["text"]


def test_removal_leaves_nothing() -> None:
    """With sysmail go the timer, its units and what the watch remembers."""
    host, _ = in_force()
    assert host.timer == {"enabled", "active"}
    late(host, 4000)
    run(host)
    host.queue = []
    rollback.remove(host, silent, force=False)
    assert host.timer == set()
    assert not [path for path in host.entries if "watch" in path or "lib/sysmail" in path]
    assert Store(host).load() == []


def test_a_policy_that_others_can_read() -> None:
    """The address of a webhook is a secret: a policy file that has one is closed, or refused."""
    host = watched(FakeDebian())
    host.put("/etc/sysmail/policy.json", host.text("/etc/sysmail/policy.json"), 0o644)
    with pytest.raises(UsageError) as caught:
        apply.run(host, "", {}, silent)
    assert caught.value.code == "policy-file-readable"
    assert SECRET not in caught.value.message


def test_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """--quiet prints nothing while all is well, and what is wrong otherwise."""
    host, _ = in_force()
    assert main(["watch", "--quiet"], host) == 0
    assert capsys.readouterr().out == ""
    assert main(["watch"], host) == 0
    assert "all is well" in capsys.readouterr().out
    late(host, 4000)
    assert main(["watch", "--quiet"], host) == 1
    assert "has waited for" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "mode", "uid"),
    [
        ("/opt/sysmail/sysmail", 0o777, 0),
        ("/opt/sysmail/sysmail", 0o755, 1000),
        ("/opt/sysmail/sysmail", 0o644, 0),
        ("/opt/sysmail/src/sysmail", 0o775, 0),
        ("/opt/sysmail", 0o777, 0),
        ("/opt", 0o755, 1000),
    ],
)
def test_a_tool_that_others_can_write(path: str, mode: int, uid: int) -> None:
    """A timer of root runs nothing that somebody else could have changed."""
    host = FakeDebian()
    assert find_tool(host) == "/opt/sysmail/sysmail"
    host.put_directory(path)
    host.set_access(path, mode, uid, 0)
    assert find_tool(host) == THE_COPY
    assert apply.run(watched(host), "", {}, silent).exit_code == 0
    assert f"ExecStart={THE_COPY} watch --quiet\n" in host.text(PATHS[0])
    assert host.entries[COPY].mode == 0o600
    assert plan.run(host, "", {}, adopt=False).exit_code == 0
    host.put("/usr/local/bin/sysmail", "#!", 0o755)
    assert find_tool(host) == "/usr/local/bin/sysmail"


def test_a_tool_that_comes_along() -> None:
    """Ansible's check on a bare host plans the timer with the command that its run will bring."""
    host = watched(FakeDebian())
    host.command = "/usr/local/bin/sysmail"
    assert find_tool(host) == host.command
    host.put(host.command, "#!", 0o777)
    assert find_tool(host) == THE_COPY


def test_the_copys_interpreter() -> None:
    """Without one of the host's own, this very one where root alone may write it, also later on."""
    host = FakeDebian()
    python = os.path.realpath(sys.executable)
    host.put(python, "ELF", 0o755, uid=1000)
    assert copy_command(host) == THE_COPY
    host.put(python, "ELF", 0o755)
    assert copy_command(host) == f"{python} -I {COPY}"
    host.put("/usr/bin/python3.9", "ELF", 0o755)
    former = f"/usr/bin/python3.9 -I {COPY}"
    host.put(PATHS[0], unit_files(former)[0].data)
    assert find_tool(host) == former
    host.take("/usr/bin/python3.9")
    assert find_tool(host) == "/opt/sysmail/sysmail"


@pytest.mark.parametrize("own", [True, False], ids=["ours", "another"])
def test_the_copys_interpreter_outlives_an_upgrade(*, own: bool) -> None:
    """python3.11 goes with the next release of the distribution; /usr/bin/python3 does not."""
    host = FakeDebian()
    python = os.path.realpath(sys.executable)
    host.put(python, "ELF", 0o755)
    host.put("/usr/bin/python3.11", "ELF", 0o755)
    host.put_link("/usr/bin/python3", python if own else "/usr/bin/python3.11")
    if not own:
        assert copy_command(host) == f"{python} -I {COPY}", "one that does not run is none"
        host.answer("/usr/bin/python3", status=1)
        assert copy_command(host) == f"{python} -I {COPY}", "one that is too old is none"
        host.answer("/usr/bin/python3")
    assert copy_command(host) == THE_COPY
    former = f"/usr/bin/python3.11 -I {COPY}"
    host.put(PATHS[0], unit_files(former)[0].data)
    assert find_tool(host) == THE_COPY
    host.entries[python] = replace(host.entries[python], uid=1000)
    host.entries["/usr/bin/python3.11"] = replace(host.entries["/usr/bin/python3.11"], uid=1000)
    assert find_tool(host) == "/opt/sysmail/sysmail", "one that others may write is none"


@pytest.mark.parametrize("alert", [{}, {"command": ["/bin/page", "mail"]}])
def test_the_webhook_is_kept_apart(alert: dict[str, Any]) -> None:
    """The address of a webhook lies where secrets do, and is found there when it is needed."""
    host = FakeDebian()
    Pager(host)
    hook = {"webhook": f"https://a.example/{SECRET}", **alert}
    policy: dict[str, Any] = {"admin": "ops@example.com", "alert": hook}
    assert apply.run(host, policy, {}, silent).exit_code == 0
    holds = [path for path, state in host.tree().items() if SECRET.encode() in state.data]
    assert holds == ["/var/lib/sysmail/secrets/0001/passwords.json"]
    assert host.entries[holds[0]].mode == 0o600
    assert plan.run(host, policy, {}, adopt=False).exit_code == 0
    assert plan.run(host, "", {}, adopt=False).exit_code == 0
    late(host, 4000)
    run(host)
    assert [url for url, _, _ in host.posted] == [f"https://a.example/{SECRET}"]
    hook["webhook"] = f"https://b.example/{SECRET}"
    assert plan.run(host, policy, {}, adopt=False).exit_code == 2


@pytest.mark.parametrize("name", ["checkpoints/0001/journal.json", "secrets/0001/passwords.json"])
def test_nobody_can_be_told(name: str) -> None:
    """What says whom to tell is damaged: that is no trouble of the mail's, and the unit fails."""
    host, pager = in_force()
    host.put(f"/var/lib/sysmail/{name}", "{", 0o600)
    report = run(host)
    assert (report.exit_code, [each.code for each in report.errors]) == (3, ["journal-damaged"])
    assert (host.posted, pager.got) == ([], [])


@pytest.mark.parametrize("name", [MEMORY, f"{MEMORY}.sysmail-new"])
@pytest.mark.parametrize("removed", [True, False])
def test_what_a_cut_leaves_of_the_memory(name: str, removed: bool) -> None:
    """What a power cut leaves of the watch goes with the next command of a person."""
    host, _ = in_force()
    if removed:
        rollback.remove(host, silent, force=False)
        host.put_directory("/var/lib/sysmail", 0o700)
    host.put(name, "{", 0o600)
    main(["status"], host)
    there = {path for path in host.entries if path.startswith(MEMORY)}
    assert there == (set() if removed else {MEMORY})
    assert Store(host).is_clean()
