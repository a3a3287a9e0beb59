"""The watch where something is wrong with what it looks at, with its own memory, or with itself."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from sysmail.cli.main import main
from sysmail.commands import apply, prove, situation, watch
from sysmail.errors import HostError, RefusedError
from sysmail.host.port import Completed
from sysmail.report import FAIL, PASS
from sysmail.watch.model import MAX_TEXT, Finding
from unit.fake_debian import PID, FakeDebian
from unit.fake_host import ScriptedSession
from unit.test_apply import LOGIN_POLICY, OFFERS, silent
from unit.test_mailu import MAILU, ask, go
from unit.test_prove import LOST
from unit.test_prove_mailu import REFUSED, TAKEN, entries
from unit.test_watch import (
    MEMORY,
    Pager,
    accounts,
    in_force,
    late,
    run,
    submitted,
)

IN_RUN = "/run/sysmail/watch.json"


def keys(pager: Pager, place: int = -1) -> list[str]:
    return [each["key"] for each in pager.got[place]["findings"]]


def holding(host: FakeDebian) -> list[str]:
    """Let postsuper hold; the ids that it is given are kept."""
    held: list[str] = []

    def postsuper(argv: Any, stdin: Any) -> Completed:
        names = (stdin or b"").decode().split()
        for message in host.queue:
            if message["queue_id"] in names:
                message["queue_name"] = "hold"
        held.extend(names)
        return Completed(tuple(argv), 0, "", "")

    host.programs["postsuper"] = postsuper
    accounts(host)
    return held


# What the log says.


def test_forged_lines_hold_nothing() -> None:
    """What a user's own program logs under Postfix's name is no submission."""
    host, pager = in_force()
    held = holding(host)
    submitted(host, 1300)
    host.forged = set(host.log)
    assert run(host).outcome == "well"
    assert (held, pager.got) == ([], [])


def test_in_a_log_file_the_queue_decides() -> None:
    """Anybody may write into syslog's file: what is not theirs by its queue file is not held."""
    host, pager = in_force()
    held = holding(host)
    submitted(host, 1300, uid=1000)
    submitted(host, 5, uid=7)
    stamp = time.strftime("%b %d %H:%M:%S", time.localtime(host.clock))
    mine = [m["queue_id"] for m in host.queue if "4X7A" in m["queue_id"]]
    forged = [f"{stamp} web1 postfix/pickup[7]: {name}: uid=1000 from=<x>" for name in mine]
    noise = [
        f"{stamp} web1 evil[7]: postfix/pickup[7]: 4XF{n:07d}: uid=7 from=<x>" for n in range(1500)
    ]
    host.put("/var/log/mail.log", "\n".join([*forged, *noise, *host.log]) + "\n")
    host.log.clear()
    host.take("/run/systemd/system")
    host.programs["postcat"] = lambda argv, _in: Completed(
        tuple(argv),
        0,
        "".join(
            f"*** ENVELOPE RECORDS active/{name} ***\nsender: x\n*** MESSAGE CONTENTS {name} ***\n"
            f"Received: by web1 (Postfix, from userid {7 if '4X7A' in name else 1000})\n"
            for name in argv[2:]
        ),
        "",
    )
    watch.run(host)
    assert len(held) == 300
    assert not set(held) & set(mine)
    assert [key for key in keys(pager) if key.startswith("runaway")] == ["runaway:uid 1000"]


def test_what_leaves_while_it_is_looked_at() -> None:
    """postcat(1) ends at the first message that is gone; the others are asked about again."""
    host, _ = in_force()
    held = holding(host)
    submitted(host, 1300)
    asked: list[int] = []

    def postcat(argv: Any, _stdin: Any) -> Completed:
        asked.append(len(argv) - 2)
        text = "postcat: fatal: open queue file {}: No such file or directory\n"
        return (
            Completed(tuple(argv), 1, "", text.format(argv[2])) if len(asked) < 3 else _none(argv)
        )

    host.programs["postcat"] = postcat
    run(host)
    assert asked == [300, 299, 298]
    assert len(held) == 300


def _none(argv: Any) -> Completed:
    return Completed(tuple(argv), 0, "", "")


def test_what_a_person_released_stays_released() -> None:
    """A message that was let go is not held again by the next run; new ones are."""
    host, _ = in_force()
    held = holding(host)
    submitted(host, 1300)
    run(host)
    assert len(held) == 300
    for message in host.queue:
        message["queue_name"] = "deferred"
    run(host, 60)
    assert len(held) == 300
    submitted(host, 1320, ago=0)
    run(host, 60)
    assert len(set(held)) == len(held) == 300 + 20


def test_a_journal_that_cannot_be_read() -> None:
    """That nobody can look is told, and is not taken for quiet."""
    host, pager = in_force()
    usual = host.programs["journalctl"]

    def journalctl(argv: Any, stdin: Any) -> Completed:
        if "postfix/pickup" not in argv:
            return usual(argv, stdin)
        return Completed(tuple(argv), 124, "", "journalctl: no answer in 30 s")

    host.programs["journalctl"] = journalctl
    assert run(host).exit_code == 1
    assert keys(pager) == ["unseen:log"]
    assert "no answer in 30 s" in pager.got[0]["findings"][0]["text"]
    host.programs["journalctl"] = usual
    run(host)
    assert [each["event"] for each in pager.got] == ["trouble", "well"]


def test_a_queue_that_cannot_be_listed() -> None:
    """A queue that does not answer is not an empty one."""
    host, pager = in_force()
    host.programs["postqueue"] = lambda argv, _in: Completed(tuple(argv), 124, "", "no answer")
    run(host)
    assert "unseen:queue" in keys(pager)


def test_a_moment_without_a_look() -> None:
    """Postfix that is replaced at this moment has no queue to list: looked at again."""
    host, pager = in_force()
    usual = host.programs["postqueue"]
    host.programs["postqueue"] = lambda argv, _in: Completed(tuple(argv), 69, "", "mail is down")
    sleep = host.sleep

    def back(seconds: float) -> None:
        host.programs["postqueue"] = usual
        sleep(seconds)

    host.sleep = back  # type: ignore[method-assign]
    assert run(host).outcome == "well"
    assert pager.got == []


# What it remembers.


def _refuse(host: FakeDebian, *beginnings: str) -> None:
    """Let every write below these fail."""
    write = type(host).write

    def full(path: str, data: bytes, mode: int, uid: int = 0, gid: int = 0) -> None:
        if path.startswith(beginnings):
            raise HostError("file-not-written", f"{path}: No space left on device", "df -h")
        write(host, path, data, mode, uid, gid)

    host.write = full  # type: ignore[method-assign]


def test_a_full_disk_is_told_once() -> None:
    """Where its memory cannot be written the watch goes on from /run, and says so once."""
    host, pager = in_force()
    _refuse(host, "/var/lib/")
    late(host, 4000)
    for _ in range(5):
        assert run(host, 60).exit_code == 1
    assert [each["event"] for each in pager.got] == ["trouble"]
    assert keys(pager) == ["memory", "oldest"]
    assert host.entries[IN_RUN].mode == 0o600
    del host.write
    host.queue = []
    assert run(host, 60).outcome == "well"
    assert [each["event"] for each in pager.got] == ["trouble", "well"]
    assert IN_RUN not in host.entries
    run(host)
    assert len(pager.got) == 2


def test_a_full_disk_is_found_while_nothing_else_is_wrong() -> None:
    """A daily proof that cannot be remembered is a finding, and goes when it can be."""
    host, pager = in_force()
    _refuse(host, "/var/lib/")
    assert run(host, 86_400).exit_code == 1
    assert keys(pager) == ["memory"]
    run(host)
    run(host)
    assert len(pager.got) == 1
    del host.write
    run(host)
    run(host)
    assert [each["event"] for each in pager.got] == ["trouble", "well"]


def test_nothing_is_left_in_run() -> None:
    """With sysmail goes what was remembered in /run."""
    from sysmail.commands import rollback

    host, _ = in_force()
    host.put(IN_RUN, "{}", 0o600)
    rollback.remove(host, silent, force=False)
    assert IN_RUN not in host.entries


def test_a_loss_outlives_the_log() -> None:
    """A notice that was lost stays told when its line is rotated away, until acknowledged."""
    host, pager = in_force()
    host.log.append(LOST)
    run(host)
    assert keys(pager) == ["promise:nothing-lost"]
    host.log.clear()
    for seconds in (300, 90_000, 300):
        assert run(host, seconds).exit_code == 1
    verdicts = {v.check: v for v in prove.run(host, "", {}).verdicts}
    assert verdicts["nothing-lost"].status == FAIL
    assert "discarded: 1, the last: " in verdicts["nothing-lost"].evidence
    host.clock += 10
    assert apply.run(host, "", {}, silent, acknowledge=True).exit_code == 0
    assert run(host).outcome == "well"
    assert [each["event"] for each in pager.got] == ["trouble", "well"]


def test_a_forged_loss() -> None:
    """What another program logs as bounce is no loss."""
    host, pager = in_force()
    host.log.append(LOST)
    host.forged.add(LOST)
    assert run(host).outcome == "well"
    assert pager.got == []


def test_the_log_is_not_read_from_the_last_apply_on() -> None:
    """What a run reads of the log does not grow with the age of the last apply."""
    host, _ = in_force()
    for _ in range(40):
        run(host, 86_400)
    asked = len(host.asked)
    run(host)
    bounce = [c.what for c in host.asked[asked:] if "postfix/bounce" in c.what]
    since = [float(what[what.index("--since") + 1][1:]) for what in bounce]
    assert since
    assert min(since) > host.clock - 2 * 86_400


# Whom it asks, and who is at work.


def _with_hop(host: FakeDebian) -> None:
    host.put("/etc/sysmail/password", "correct horse battery\n", 0o600)
    host.servers["mail.example.org", 465] = lambda: ScriptedSession(OFFERS)
    policy = json.loads(host.text("/etc/sysmail/policy.json"))
    more = {name: LOGIN_POLICY[name] for name in ("smarthost", "sender")}
    host.put("/etc/sysmail/policy.json", json.dumps({**policy, **more}), 0o600)
    assert apply.run(host, "", {}, silent).exit_code == 0


def test_local_trouble_is_told_before_the_next_hop_is_asked() -> None:
    """A next hop that never answers keeps nobody from being told; that it was tried is known."""
    host, pager = in_force()
    _with_hop(host)
    seen: list[tuple[int, float]] = []

    def hang() -> ScriptedSession:
        seen.append((len(pager.got), json.loads(host.text(MEMORY))["tried"]))
        raise KeyboardInterrupt  # as systemd ends a run that takes too long

    host.servers["mail.example.org", 465] = hang
    late(host, 4000)
    with pytest.raises(KeyboardInterrupt):
        run(host, 90_000)
    assert seen == [(1, host.clock)]
    host.queue = []
    assert run(host, 300).outcome == "well"


def test_a_proof_that_nobody_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that fails at first asks no next hop, and is no good proof."""
    host, _ = in_force()
    proved = json.loads(host.text(MEMORY))["proved"]
    look = situation.look
    failed: list[int] = []

    def once(*words: Any, **more: Any) -> Any:
        if not failed:
            failed.append(1)
            raise HostError("file-not-read", "for a moment", "wait")
        return look(*words, **more)

    monkeypatch.setattr("sysmail.commands.watched.look", once)
    monkeypatch.setattr("sysmail.commands.watched.probe_way_out", lambda *_: failed.append(2))
    run(host, 90_000)
    state = json.loads(host.text(MEMORY))
    assert failed == [1, 2]
    assert state["proved"] > proved
    failed.clear()
    monkeypatch.setattr(
        "sysmail.commands.watched.look", lambda *_w, **_m: once() if not failed else _fail()
    )
    run(host, 90_000)
    assert json.loads(host.text(MEMORY))["proved"] == state["proved"]


def _fail() -> None:
    raise HostError("file-not-read", "for ever", "wait")


def test_somebody_is_at_work_for_long() -> None:
    """A command that hangs with the lock is told after half an hour, once; and its end."""
    host, pager = in_force()
    lock = host.lock("/run/sysmail/lock", "sysmail apply (pid 7)", 0.0)
    outcomes = [run(host).outcome for _ in range(9)]
    assert outcomes == ["busy"] * 6 + ["trouble"] * 3
    assert keys(pager) == ["busy"]
    assert "sysmail apply (pid 7)" in pager.got[0]["findings"][0]["text"]
    lock.release()
    assert run(host).outcome == "well"
    assert [each["event"] for each in pager.got] == ["trouble", "well"]
    assert IN_RUN not in host.entries


def test_a_package_manager_is_at_work() -> None:
    """While packages are replaced, a Postfix that is down is no news; nor for ever."""
    host, pager = in_force()
    host._stop()
    host.held.add("/var/lib/dpkg/lock-frontend")
    assert run(host).outcome == "busy"
    host._start()
    host.held.clear()
    assert run(host).outcome == "well"
    assert pager.got == []
    host._stop()
    host.held.add("/var/lib/dpkg/lock-frontend")
    outcomes = [run(host).outcome for _ in range(7)]
    assert outcomes[-1] == "trouble"
    assert "apt is at work" in pager.got[0]["findings"][0]["text"]


def test_the_lock_is_held_while_messages_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is put on hold while another sysmail acts on the queue; that is said."""
    host, pager = in_force()
    held = holding(host)
    submitted(host, 1300)
    monkeypatch.setattr(watch, "_at_work", lambda _writer: "")
    lock = host.lock("/run/sysmail/lock", "sysmail queue (pid 7)", 0.0)
    run(host)
    assert held == []
    assert "sysmail queue (pid 7)" in pager.got[0]["findings"][0]["text"]
    lock.release()
    run(host, 60)
    assert len(held) == 300


# What is wrong with the watch itself.


def test_a_mistake_of_the_watch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An exception that nobody expected is told, and the unit fails; once."""
    host, pager = in_force()
    monkeypatch.setattr(watch, "look_at", lambda *_: json.loads("{}")["no such key"])
    for _ in range(3):
        host.clock += 300
        assert main(["watch", "--quiet"], host) == 3
    assert keys(pager) == ["watch-broken"]
    assert len(pager.got) == 1
    assert "KeyError" in capsys.readouterr().out


def test_exit_code_of_a_watch_that_did_not_watch(capsys: pytest.CaptureFixture[str]) -> None:
    """1 is that something is wrong with the mail; what never looked is 3."""
    assert main(["watch"], FakeDebian()) == 3
    assert "never applied" in capsys.readouterr().out
    host, _ = in_force()
    host.user = 1000
    assert main(["watch"], host) == 77


# What is told, and by what.


def test_text_from_outside() -> None:
    """No control character, C1, line break or direction mark of others is in an alert."""
    finding = Finding("k", 1, "a\n- all is well\x1b[2J\x9b2J\u202egnp\x00", "x" * 5000)
    assert finding.text == "a - all is well?[2J?2J?gnp?"
    assert len(finding.remedy) == MAX_TEXT
    assert Finding("k", 1, "grüße@exämple.org", "").text == "grüße@exämple.org"


@pytest.mark.parametrize(("path", "mode", "uid"), [("/bin/page", 0o777, 0), ("/bin", 0o755, 7)])
def test_a_command_that_others_can_write(path: str, mode: int, uid: int) -> None:
    """It would run as root: apply refuses it, and the watch does not run it."""
    host, pager = in_force()
    host.put("/bin/page", "#!/bin/sh\n", 0o755)
    if path == "/bin":
        host.put_directory(path)
    host.set_access(path, mode, uid, 0)
    late(host, 4000)
    report = run(host)
    assert pager.got == []
    told = [each.message for each in report.errors if each.code == "alert-not-delivered"]
    assert told == [
        "an alert of the watch was not delivered: alert.command was not run: others can write "
        + path
    ]
    with pytest.raises(RefusedError) as caught:
        apply.run(host, "", {}, silent)
    assert caught.value.code == "alert-command-writable"


# Promises that were believed too easily.


def test_a_master_that_is_another_process() -> None:
    """A stale pid file whose number is a process of somebody's that is called master."""
    host, _ = in_force()
    verdicts = {v.check: v.status for v in prove.run(host, "", {}).verdicts}
    assert verdicts["local-clients"] == PASS
    host.put_directory(f"/proc/{PID}")
    host.set_access(f"/proc/{PID}", 0o555, 1000, 1000)
    verdicts = {v.check: v.status for v in prove.run(host, "", {}).verdicts}
    assert verdicts["local-clients"] == FAIL
    host.set_access(f"/proc/{PID}", 0o555, 0, 0)
    host.put_directory("/srv/other/spool")
    host.put_link(f"/proc/{PID}/cwd", "/srv/other/spool")
    verdicts = {v.check: v.status for v in prove.run(host, "", {}).verdicts}
    assert verdicts["local-clients"] == FAIL


@pytest.mark.parametrize(("name", "status"), [("cmdline", FAIL), ("environ", PASS)])
def test_the_webhook_in_a_process(name: str, status: str) -> None:
    """The address of the webhook is a secret as a password is."""
    host, _ = in_force()
    host.put("/proc/4242/cmdline", "/usr/bin/curl\0-v\0", 0o444)
    host.put(f"/proc/4242/{name}", "curl\0https://alerts.example.org/T0/s3cret\0", 0o444)
    verdicts = {v.check: v for v in prove.run(host, "", {}).verdicts}
    assert verdicts["no-secrets-told"].status == status
    if name == "environ":
        host.put("/proc/4242/cmdline", "/usr/lib/postfix/sbin/master\0-w\0", 0o444)
    verdicts = {v.check: v for v in prove.run(host, "", {}).verdicts}
    assert verdicts["no-secrets-told"].status == FAIL
    assert "s3cret" not in verdicts["no-secrets-told"].evidence


def test_a_short_password() -> None:
    """What is part of other words by chance is not the password; a word of its own is."""
    host, _ = in_force()
    _with_hop(host)
    host.put("/etc/sysmail/password", "post\n", 0o600)
    assert apply.run(host, "", {}, silent).exit_code == 0
    host.put("/proc/4242/cmdline", "/usr/lib/postfix/sbin/master\0-w\0", 0o444)
    found = {v.check: v for v in prove.run(host, "", {}).verdicts}["no-secrets-told"]
    assert found.status == PASS, found
    host.put("/proc/4242/cmdline", "curl\0--password=post\0", 0o444)
    found = {v.check: v for v in prove.run(host, "", {}).verdicts}["no-secrets-told"]
    assert (found.status, "process 4242" in found.evidence) == (FAIL, True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("452 4.3.1 Insufficient system storage", "log of Postfix"),
        ("451 4.3.0 Temporary lookup failure", "log of Postfix"),
        ("554 5.7.1 Relay access denied", "sysmail apply"),
        (HostError("connection-lost", "the SMTP dialogue ended: timed out", ""), "packet filter"),
    ],
)
def test_remedies_of_what_apply_cannot_mend(
    monkeypatch: pytest.MonkeyPatch, answer: object, words: str
) -> None:
    """A full disk or a packet filter on lo is not mended by an apply."""

    def asked(*_: object) -> object:
        if isinstance(answer, HostError):
            raise answer
        return answer

    host, _ = in_force()
    monkeypatch.setattr("sysmail.prove.local_clients._may_relay", asked)
    found = {v.check: v for v in prove.run(host, "", {}).verdicts}["local-clients"]
    assert found.status == FAIL
    assert words in found.remedy


def test_what_mailu_answered_last() -> None:
    """On the route mailu a last message that was refused is told, and so is a log that is shut."""
    host = ask(FakeDebian(postfix=True), alert={"command": ["/bin/page", "mail"]})
    pager = Pager(host)
    assert go(host).exit_code == 0
    assert run(host, 60).outcome == "well"
    host.answer("journalctl", entries(TAKEN, REFUSED))
    run(host)
    assert keys(pager) == ["refused"]
    host.answer("journalctl", entries(REFUSED, TAKEN))
    run(host)
    # Not the last word on it: nobody knows what came after.
    host.answer("journalctl", "", 1, "No journal files were opened due to insufficient permissions")
    assert run(host).exit_code == 1
    assert [each["event"] for each in pager.got] == ["trouble", "well", "trouble"]
    (finding,) = pager.got[-1]["findings"]
    assert finding["key"] == "unseen:log"
    assert "journalctl -t msmtp" in finding["remedy"]


def _on_mailu() -> tuple[FakeDebian, Pager]:
    host = ask(FakeDebian(postfix=True), alert={"command": ["/bin/page", "mail"]})
    pager = Pager(host)
    assert go(host).exit_code == 0
    assert run(host, 60).outcome == "well"
    return host, pager


NOT_REACHED = TAKEN.replace(
    "smtpstatus=250 smtpmsg='250 2.0.0 Ok: queued as 4X' exitcode=EX_OK",
    "errormsg='cannot connect to mail.example.org: Connection refused' exitcode=EX_TEMPFAIL",
)


def test_mailu_down_for_three_days() -> None:
    """No message lately is not well again; what is taken, or Mailu's own answer, is."""
    host, pager = _on_mailu()
    del host.servers[MAILU]
    start = host.clock
    while host.clock < start + 3 * 86_400:
        sent = host.clock - (host.clock - start) % 7200
        host.answer(
            "journalctl",
            entries(NOT_REACHED, start=sent) if host.clock - sent < 600 else "",
        )
        assert run(host, 600).outcome == "trouble"
    assert [each["event"] for each in pager.got] == ["trouble"]
    assert keys(pager) == ["refused"]
    assert "Connection refused" in pager.got[0]["text"]
    host.answer("journalctl", entries(TAKEN, start=host.clock))
    assert run(host).outcome == "well"
    assert [each["event"] for each in pager.got] == ["trouble", "well"]


def test_mailu_is_asked_after_a_refusal() -> None:
    """Where no message comes, Mailu is asked once an hour, until it answers."""
    host, pager = _on_mailu()
    for _ in range(20):
        assert run(host).outcome == "well"
    server = host.servers.pop(MAILU)
    down = entries(NOT_REACHED, start=host.clock)
    host.answer("journalctl", down)
    for _ in range(30):
        assert run(host).outcome == "trouble"
        host.answer("journalctl", "")
    host.servers[MAILU] = server
    host.answer("journalctl", down)  # still in the window, and older than Mailu's answer
    for _ in range(12):
        run(host)
    assert run(host).outcome == "well"
    assert [each["event"] for each in pager.got] == ["trouble", "well"]
    host.answer("journalctl", entries(REFUSED, start=host.clock))
    assert run(host).outcome == "trouble", "a new one is new"


GIVEN = (
    "host=localhost tls=off auth=off from=app@localhost recipients=root mailsize=10 "
    "smtpstatus=250 smtpmsg='250 Ok, mail was piped' exitcode=EX_OK"
)


def test_runaways_on_the_route_mailu() -> None:
    """Who submits too much is told there too, though nothing can be held: a user, or SMTP."""
    host, pager = _on_mailu()
    accounts(host)
    by_user, by_smtp = 1300, 1200
    host.answer(
        "journalctl",
        entries(*[GIVEN] * by_user, uid=1000)
        + entries(*[GIVEN] * 1000, uid=7)
        + entries(*[TAKEN] * (by_user + 1000 + by_smtp)),
    )
    run(host)
    assert keys(pager) == ["runaway:client localhost", "runaway:uid 1000"]
    smtp, user = pager.got[0]["findings"]
    assert user["text"].startswith("user 1000 (app) submitted 1300 messages in ten minutes")
    assert smtp["text"].startswith("client localhost submitted 1200 messages in ten minutes")
    assert "hold" not in user["text"] + user["remedy"]
    host.answer("journalctl", entries(*[GIVEN] * 1000, uid=7) + entries(*[TAKEN] * 2000))
    run(host)
    assert [each["event"] for each in pager.got] == ["trouble", "well"]


def _proved_last(host: FakeDebian, ago: float) -> None:
    """The watch remembers a good proof, and a try, of so long ago."""
    memory = json.loads(host.text(MEMORY))
    memory.update(proved=host.clock - ago, tried=host.clock - ago)
    host.put(MEMORY, json.dumps(memory), 0o600)


def test_a_host_that_was_off_for_a_week() -> None:
    """Its last proof is old, and it makes a new one: nobody is told of either."""
    host, pager = in_force()
    _proved_last(host, 9 * 86400)
    report = run(host)
    assert (report.exit_code, report.outcome) == (0, "well")
    assert pager.got == []


def test_an_old_proof_is_told_after_a_new_one_failed() -> None:
    """Once; and the run in which a proof is good again is one in which all is well."""
    host, pager = in_force()
    _proved_last(host, 9 * 86400)
    reached, host.reached = host.reached, set()
    assert run(host).exit_code == 1
    assert keys(pager) == ["proof"]
    assert run(host).exit_code == 1
    host.reached = reached
    assert (run(host, 3600).exit_code, len(pager.got)) == (0, 2)
    assert pager.got[-1]["event"] == "well"
