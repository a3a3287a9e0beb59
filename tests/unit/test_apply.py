"""Apply as one transaction: failures and deaths at every change, secrets, no-change runs."""

from __future__ import annotations

import base64
import contextlib
import json
from functools import cache
from typing import Any, Callable, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysmail.apply.checkpoint import Store
from sysmail.apply.recovery import recover
from sysmail.cli.main import main
from sysmail.cli.render import as_json, as_text
from sysmail.commands import apply, plan, prove, rollback, status
from sysmail.commands.try_ import run as try_run
from sysmail.errors import HostError, RefusedError, StepError, SysmailError
from sysmail.host.port import FileState
from sysmail.report import Report
from unit.fake_debian import FakeDebian
from unit.fake_host import Call, Died, ScriptedSession

PASSWORD = "correct horse battery"
ADMIN = {"admin": "ops@example.com"}
LOGIN_POLICY = {
    "admin": "ops@example.com",
    "sender": "u@example.org",
    "smarthost": {
        "host": "mail.example.org",
        "username": "u@example.org",
        "password_file": "/etc/sysmail/password",
    },
}
OFFERS = {
    "EHLO": "250-mail.example.org\n250-SIZE 100000000\n250 AUTH PLAIN LOGIN",
    "AUTH": "235 ok",
}

Make = Callable[[], FakeDebian]


def silent(_text: str) -> None:
    """Tell nobody."""


def do_apply(host: FakeDebian, **flags: str) -> Report:
    return apply.run(host, "", {**ADMIN, **flags}, silent)


def with_login(host: FakeDebian, password: str = PASSWORD) -> FakeDebian:
    """The host with a policy for a smarthost, and that smarthost."""
    host.put("/etc/sysmail/policy.json", json.dumps(LOGIN_POLICY))
    host.put("/etc/sysmail/password", password + "\n", 0o600)
    host.servers["mail.example.org", 465] = lambda: ScriptedSession(OFFERS)
    return host


def bare() -> FakeDebian:
    return FakeDebian()


def untouched_postfix() -> FakeDebian:
    return FakeDebian(postfix=True)


def edited_postfix() -> FakeDebian:
    """A stopped and disabled Postfix with files of its owner's, modes and links among them."""
    host = FakeDebian(postfix=True)
    host.put(
        "/etc/postfix/main.cf",
        "inet_interfaces = 127.0.0.1\nrelayhost = [old.example]\n",
        0o640,
        0,
        7,
    )
    host.put("/etc/msmtp.real", "# mine\n", 0o600, 5, 6)
    host.put_link("/etc/msmtprc", "/etc/msmtp.real")
    host.enabled = False
    host._stop()
    return host


def in_force() -> FakeDebian:
    """A host on which an earlier policy is in force."""
    host = FakeDebian()
    apply.run(host, "", {"admin": "earlier@example.com"}, silent)
    return host


def login_in_force() -> FakeDebian:
    host = with_login(in_force())
    apply.run(host, "", {}, silent)
    host.take("/etc/sysmail/policy.json")
    host.put("/etc/sysmail/policy.json", json.dumps({"admin": "later@example.com"}))
    return host


def watched(host: FakeDebian) -> FakeDebian:
    """The host with a policy that wants somebody told, by a webhook and a command."""
    alert = {"webhook": "https://alerts.example.org/T0/s3cret", "command": ["/bin/page", "mail"]}
    policy = json.dumps({"admin": "ops@example.com", "alert": alert})
    host.put("/etc/sysmail/policy.json", policy, 0o600)
    return host


def watched_in_force() -> FakeDebian:
    """A host with the watch, whose policy no longer wants it."""
    host = watched(FakeDebian())
    apply.run(host, "", {}, silent)
    host.put("/var/lib/sysmail/watch.json", "{}\n", 0o600)
    host.put("/etc/sysmail/policy.json", json.dumps({"admin": "ops@example.com"}), 0o600)
    return host


def private() -> FakeDebian:
    """A host with folders of its owner's where a package is yet to come."""
    host = FakeDebian()
    host.put("/etc/postfix/ssl/key.pem", "KEY\n", 0o644)
    host.put_directory("/etc/postfix/empty")
    for path, mode, uid in (("", 0o2755, 33), ("/ssl", 0o700, 0), ("/empty", 0o711, 5)):
        host.entries["/etc/postfix" + path] = FileState("directory", mode, uid, uid)
    return host


def linked() -> FakeDebian:
    """A host whose owner has the folder elsewhere."""
    host = FakeDebian()
    host.put("/srv/pf/header_checks", "/^Old:/ REJECT\n")
    host.put_link("/etc/postfix", "/srv/pf")
    return host


HOSTS: dict[str, Make] = {
    "bare": bare,
    "untouched Postfix": untouched_postfix,
    "edited Postfix": edited_postfix,
    "in force": in_force,
    "bare, with a login": lambda: with_login(bare()),
    "login that is taken away": login_in_force,
    "watched": lambda: watched(bare()),
    "no longer watched": watched_in_force,
    "folders of its owner's": private,
    "folder that is a link": linked,
}
COMMANDS: dict[str, Callable[[FakeDebian], object]] = {
    "apply": lambda host: apply.run(
        host, "", {} if host.text("/etc/sysmail/policy.json") else ADMIN, silent
    ),
    "try": lambda host: try_run(host, silent),
}


def fresh(make: Make) -> FakeDebian:
    """A host whose changes are counted from now on."""
    host = _made(make).clone()
    host.exposed.clear()
    return host


@cache
def _made(make: Make) -> FakeDebian:
    return make()


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What is not as it was, small enough to read."""
    found: dict[str, Any] = {}
    for part, old in before.items():
        new = after[part]
        if isinstance(old, dict) and isinstance(new, dict):
            for key in sorted(set(old) | set(new)):
                if old.get(key) != new.get(key):
                    found[f"{part} {key}"] = (old.get(key), new.get(key))
        elif old != new:
            found[part] = (old, new)
    return found


Cut = tuple[FakeDebian, Call]


def cut_off(host: FakeDebian, command: Callable[[FakeDebian], object]) -> list[Cut]:
    """The host as it is when the power goes just before each change of a command."""
    cuts: list[Cut] = []
    host.watch = lambda call: cuts.append((host.clone(), call))
    command(host)
    assert len(cuts) > 3, "a command that changes little tests little"
    return cuts


def test_checkpoints_are_read_once() -> None:
    """A run without changes reads each journal before it begins, for recovery, and then once."""
    host = FakeDebian()
    for name in ("a", "b", "c"):
        do_apply(host, admin=f"{name}@example.com")
    found: list[str] = []
    read = host.read

    def counted(path: str, limit: int = 16_000_000) -> Optional[bytes]:
        found.append(path)
        return read(path, limit)

    host.read = counted  # type: ignore[method-assign]
    assert main(["--json", "apply", "--admin", "c@example.com"], host) == 0
    journals = [path for path in found if path.endswith("journal.json")]
    assert {path: journals.count(path) for path in journals} == {
        f"/var/lib/sysmail/checkpoints/000{number}/journal.json": 2 for number in (1, 2, 3)
    }


def put_back(host: FakeDebian) -> None:
    """What the next command does first."""
    recover(host, silent)
    assert all(checkpoint.state == "done" for checkpoint in Store(host).load())


DEATHS = [(name, "apply") for name in HOSTS] + [("bare", "try"), ("untouched Postfix", "try")]


@pytest.mark.parametrize(("name", "command"), DEATHS)
def test_death_at_every_change_is_undone(name: str, command: str) -> None:
    """Killed at any change, the next process puts everything back, never open to the network."""
    host = fresh(HOSTS[name])
    before, was_open = host.world(), {"0.0.0.0", "::"} & set(host._listening())
    for cut, at in cut_off(host, COMMANDS[command]):
        put_back(cut)
        assert differences(before, cut.world()) == {}, f"killed at {at.method} {at.what}"
        assert was_open or cut.exposed == [], f"killed at {at.method} {at.what}"


@pytest.mark.parametrize("name", HOSTS)
def test_death_in_recovery_is_undone(name: str) -> None:
    """Killed also in the middle of the recovery, the process after that puts everything back."""
    host = fresh(HOSTS[name])
    before = host.world()
    cuts = cut_off(host, COMMANDS["apply"])
    for first, at in cuts[10 :: len(cuts) // 6]:
        for second, then in cut_off(first, lambda found: recover(found, silent)):
            put_back(second)
            moments = f"killed at {at.method} {at.what} and {then.method} {then.what}"
            assert differences(before, second.world()) == {}, moments


def test_a_process_that_died_does_nothing_more() -> None:
    """Killed for real in the middle of an apply, nothing of its way back happens."""
    host = fresh(HOSTS["bare"])
    before = host.world()
    host.die_at = 40
    with pytest.raises(Died):
        do_apply(host)
    assert len(host.changes) == 40
    host.revive()
    assert differences(before, host.world()) != {}
    put_back(host)
    assert differences(before, host.world()) == {}


@pytest.mark.parametrize("name", HOSTS)
def test_failure_at_every_change_is_undone(name: str) -> None:
    """Whichever change fails, apply either goes on to the end, or puts everything back."""
    applied = failed = 0
    for moment in range(1, 500):
        host = fresh(HOSTS[name])
        before = host.world()
        host.fail_at = moment
        report: object = None
        with contextlib.suppress(SysmailError):
            report = COMMANDS["apply"](host)
        if report is None:
            at = host.changes[moment - 1]
            if at.method in ("unlink", "rmdir"):
                # What cannot be removed now is removed by the next trial.
                host.take("/run/sysmail/scratch")
            assert differences(before, host.world()) == {}, f"{at.method} {at.what}"
            failed += 1
        else:
            assert isinstance(report, Report)
            assert report.exit_code == 0
            applied += 1
        if len(host.changes) < moment:
            break
    assert failed > 10
    assert applied


@pytest.mark.parametrize("name", HOSTS)
def test_never_open_to_the_network(name: str) -> None:
    """From the first change of an apply on, Postfix never listens on an outside address."""
    host = fresh(HOSTS[name])
    COMMANDS["apply"](host)
    assert host.exposed == []


@pytest.mark.parametrize("name", HOSTS)
def test_second_apply_changes_nothing(name: str) -> None:
    """Where all is as asked, apply makes no change at all, and says so."""
    host = fresh(HOSTS[name])
    COMMANDS["apply"](host)
    host.changes.clear()
    tree = host.tree()
    report = COMMANDS["apply"](host)
    assert isinstance(report, Report)
    assert (report.outcome, report.changed, report.exit_code) == ("unchanged", False, 0)
    assert report.steps == ()
    assert host.changes == []
    assert host.tree() == tree


@pytest.mark.parametrize("name", HOSTS)
def test_plan_and_prove_change_nothing(name: str) -> None:
    """plan and prove make no change, before an apply and after it."""
    host = fresh(HOSTS[name])
    flags = {} if host.text("/etc/sysmail/policy.json") else ADMIN
    for _ in range(2):
        host.changes.clear()
        tree = host.tree()
        plan.run(host, "", flags)
        prove.run(host, "", flags)
        assert host.changes == []
        assert host.tree() == tree
        COMMANDS["apply"](host)


def test_plan_tells_what_apply_does() -> None:
    """On a host with Postfix, the steps that plan tells are those that apply does."""
    host = edited_postfix()
    planned = plan.run(host, "", ADMIN)
    done = do_apply(host)
    assert [s.name for s in planned.steps] == [s.name for s in done.steps]
    assert (planned.exit_code, done.exit_code) == (2, 0)


@pytest.mark.parametrize("name", ["bare", "untouched Postfix", "edited Postfix"])
def test_remove_puts_back_what_was_there(name: str) -> None:
    """After two applies, remove leaves the host as it was before the first."""
    host = fresh(HOSTS[name])
    before = host.world()
    do_apply(host)
    do_apply(host, sender="no-reply@example.org")
    report = rollback.remove(host, silent, force=False)
    assert (report.outcome, report.exit_code, len(report.steps)) == ("removed", 0, 2)
    assert differences(before, host.world()) == {}
    assert not [path for path in host.entries if path.startswith("/var/lib/sysmail")]


def test_rollback_goes_one_apply_back() -> None:
    """rollback puts back what was in force before the last apply."""
    host = in_force()
    before = host.world()
    do_apply(host, sender="no-reply@example.org")
    assert rollback.rollback(host, silent, force=False).outcome == "rolled-back"
    assert differences(before, host.world()) == {}
    assert plan.run(host, "", {}).outcome == "nothing-to-do"


@pytest.mark.parametrize("back", [rollback.rollback, rollback.remove])
def test_edit_of_a_person_is_not_overwritten(back: Callable[..., Report]) -> None:
    """A file that somebody edited since is named, and nothing is undone unless forced."""
    host = untouched_postfix()
    before = host.world()
    do_apply(host)
    do_apply(host, sender="no-reply@example.org")
    host.put("/etc/postfix/sysmail/generic", "/x/ mine@example.org\n")
    edited = host.world()
    with pytest.raises(RefusedError, match="sysmail/generic") as caught:
        back(host, silent, force=False)
    assert caught.value.code == "edited-since"
    assert differences(edited, host.world()) == {}
    back(host, silent, force=True)
    if back is rollback.remove:
        assert differences(before, host.world()) == {}


@pytest.mark.parametrize("back", [rollback.rollback, rollback.remove])
def test_nothing_to_undo_is_said(back: Callable[..., Report]) -> None:
    """On a host that sysmail did not change, going back is refused."""
    with pytest.raises(RefusedError) as caught:
        back(bare(), silent, force=False)
    assert caught.value.code == "nothing-to-undo"


def waiting(sender: str = "root@localhost") -> dict[str, Any]:
    recipients = [{"address": "a@example.com", "delay_reason": "it is down"}]
    return {
        "queue_id": "4XwYh2bQz3mK",
        "queue_name": "deferred",
        "arrival_time": 1_763_799_000,
        "message_size": 10,
        "sender": sender,
        "recipients": recipients,
    }


@pytest.mark.parametrize("force", [False, True])
def test_remove_never_throws_mail_away(force: bool) -> None:
    """While mail waits that cannot leave, a Postfix that sysmail brought stays, forced or not."""
    host = bare()
    do_apply(host)
    host.queue = [{**waiting(), "queue_name": "hold"}]
    before = host.world()
    with pytest.raises(RefusedError) as caught:
        rollback.remove(host, silent, force=force)
    assert caught.value.code == "queue-not-empty"
    assert differences(before, host.world()) == {}


def test_mail_that_came_meanwhile_survives_a_cut_off_apply() -> None:
    """Mail that was accepted while an apply ran is there after the recovery, and told."""
    for host, _ in cut_off(bare(), COMMANDS["apply"]):
        if "postqueue" not in host.programs:
            continue
        host.queue = [waiting()]
        told = recover(host, silent)
        assert host.queue == [waiting()]
        assert "mail waits in the queue (1)" in told[0]
        assert recover(host, silent) == []
        host.queue = []
        assert do_apply(host).exit_code == 0
        return
    raise AssertionError("Postfix was never installed")


def test_journal_of_a_newer_sysmail_is_left_alone() -> None:
    """A key that is not known means another version, and the advice destroys nothing."""
    host = in_force()
    path = "/var/lib/sysmail/checkpoints/0001/journal.json"
    journal = {**json.loads(host.text(path)), "of_later": 1}
    host.take(path)
    host.put(path, json.dumps(journal), 0o600)
    with pytest.raises(HostError) as caught:
        plan.run(host, "", ADMIN)
    assert caught.value.code == "journal-newer"
    assert "use that version" in caught.value.remedy


@pytest.mark.parametrize("damage", ["{", "[]", '{"number": 1}', "\ufffe", "1"])
def test_damaged_journal_is_told(damage: str) -> None:
    """A journal that cannot be read is an error with a remedy for every command."""
    host = in_force()
    host.put("/var/lib/sysmail/checkpoints/0001/journal.json", damage, 0o600)
    host.changes.clear()
    runs: list[Callable[[], object]] = [
        lambda: plan.run(host, "", ADMIN),
        lambda: apply.run(host, "", ADMIN, silent),
        lambda: prove.run(host, "", ADMIN),
        lambda: status.run(host),
        lambda: rollback.rollback(host, silent, force=True),
        lambda: rollback.remove(host, silent, force=True),
        lambda: recover(host, silent),
    ]
    for run in runs:
        with pytest.raises(HostError) as caught:
            run()
        assert caught.value.code == "journal-damaged"
        assert "checkpoints/0001" in caught.value.remedy
        assert "secrets/0001" in caught.value.remedy
    assert [call for call in host.changes if call.method != "rmtree"] == []


@pytest.mark.parametrize("back", [rollback.rollback, rollback.remove])
def test_damaged_backup_is_told_before_anything_changes(back: Callable[..., Report]) -> None:
    """A former content that was damaged is never written back, and nothing else is, either."""
    host = edited_postfix()
    do_apply(host)
    journal = Store(host).load()[0]
    entry = next(e for e in journal.files if e["path"] == "/etc/postfix/main.cf")
    host.put(journal.kept(entry["before"]), "other", 0o600)
    before = host.world()
    with pytest.raises(HostError, match=r"/etc/postfix/main\.cf") as caught:
        back(host, silent, force=True)
    assert caught.value.code == "journal-damaged"
    assert differences(before, host.world()) == {}


def test_directory_at_a_managed_path_is_refused_whole() -> None:
    """A directory where a file has to be written is told, and the host is as before."""
    host = untouched_postfix()
    host.put_directory("/etc/msmtprc")
    before = host.world()
    with pytest.raises(SysmailError, match="/etc/msmtprc"):
        do_apply(host)
    assert differences(before, host.world()) == {}
    assert recover(host, silent) == []


@pytest.mark.parametrize("broken", ["starts", "scratch_starts"])
def test_postfix_that_does_not_start_is_rolled_back(broken: str) -> None:
    """A Postfix that does not start with the new files is told in its words, and undone."""
    host = untouched_postfix()
    before = host.world()
    if broken == "scratch_starts":
        host.scratch_starts = False
    else:
        start = host._start

        def only_the_old() -> bool:
            host.starts = "sysmail" not in host.text("/etc/postfix/main.cf")
            return start()

        host._start = only_the_old  # type: ignore[method-assign]
    with pytest.raises(StepError, match=r"fatal|bad configuration") as caught:
        do_apply(host)
    assert "the host is as it was before" in caught.value.message
    assert differences(before, host.world()) == {}


def test_interrupt_puts_everything_back() -> None:
    """An interrupt in the middle of an apply is passed on after the host was put back."""
    host = untouched_postfix()
    before = host.world()

    def interrupt(text: str) -> None:
        if text == "start Postfix with this configuration":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply.run(host, "", ADMIN, interrupt)
    assert differences(before, host.world()) == {}


def test_changed_policy_that_shows_in_no_file_is_recorded() -> None:
    """A policy that differs only in what no file shows is remembered all the same."""
    host = in_force()
    report = apply.run(host, "", {"admin": "earlier@example.com", "route": "relay"}, silent)
    assert [step.name for step in report.steps] == ["policy"]
    assert plan.run(host, "", {}).outcome == "nothing-to-do"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda host: host.packages.update(opensmtpd="ii "), "other-mta"),
        (lambda host: host.put("/var/mail/carol", "From x\n"), "mail-server"),
        (
            lambda host: host.put("/etc/postfix/main.cf", "mydestination = example.com\n"),
            "mail-server",
        ),
        (
            lambda host: host.put("/etc/postfix/main.cf", "smtpd_sasl_auth_enable = yes\n"),
            "mail-server",
        ),
    ],
)
def test_mail_server_of_somebody_is_refused(
    change: Callable[[FakeDebian], None], code: str
) -> None:
    """A host that is a mail server already is refused by plan, apply and try, untouched."""
    host = untouched_postfix()
    change(host)
    host.changes.clear()
    runs: list[Callable[[], object]] = [
        lambda: plan.run(host, "", ADMIN),
        lambda: do_apply(host),
        lambda: try_run(host, silent),
    ]
    for run in runs:
        with pytest.raises(RefusedError) as caught:
            run()
        assert caught.value.code == code
    assert host.changes == []


def test_adopt_replaces_a_mail_server_and_keeps_it() -> None:
    """With --adopt a mail server is replaced, and remove puts it back."""
    host = untouched_postfix()
    host.put("/etc/postfix/main.cf", "mydestination = example.com\n")
    host._start()
    before = host.world()
    assert apply.run(host, "", ADMIN, silent, adopt=True).outcome == "applied"
    rollback.remove(host, silent, force=False)
    assert differences(before, host.world()) == {}


def test_adopt_does_not_replace_another_mail_program() -> None:
    """Of a program whose queue nobody looks into, --adopt throws nothing away."""
    host = bare()
    host.packages["opensmtpd"] = "ii "
    with pytest.raises(RefusedError, match="opensmtpd"):
        apply.run(host, "", ADMIN, silent, adopt=True)
    assert host.changes == []


def test_port_of_another_program_is_refused() -> None:
    """Another program on port 25 is named, and nothing is changed."""
    host = bare()
    host.dynamic["/proc/net/tcp"] = lambda: (
        b"x\n 0: 0100007F:0019 00000000:0000 0A 0:0 0:0 0 0 0 4711 1 0\n"
    )
    host.owners[4711] = "exim4 (pid 812)"
    with pytest.raises(RefusedError, match=r"exim4|another program|127\.0\.0\.1") as caught:
        apply.run(host, "", ADMIN, silent, adopt=True)
    assert caught.value.code == "port-25-taken"
    assert "exim4 (pid 812)" in caught.value.message
    assert host.changes == []


def test_next_hop_that_is_down_does_not_undo_what_is_in_force() -> None:
    """Exit 3 where the same next hop was good before and is down now; mail waits."""
    host = with_login(bare())
    assert apply.run(host, "", {}, silent).exit_code == 0
    del host.servers["mail.example.org", 465]
    report = apply.run(host, "", {}, silent)
    assert (report.outcome, report.exit_code) == ("next-hop-down", 3)
    assert report.errors[0].code == "port-closed"
    report = apply.run(host, "", {"admin": "other@example.com"}, silent)
    assert (report.outcome, report.exit_code, report.changed) == ("next-hop-down", 3, True)


@pytest.mark.parametrize("answer", ["", "535 5.7.8 no"])
def test_next_hop_that_never_was_good_is_refused(answer: str) -> None:
    """A next hop that is down or refuses the login at the first apply changes nothing."""
    host = with_login(bare())
    del host.servers["mail.example.org", 465]
    if answer:
        host.servers["mail.example.org", 465] = lambda: ScriptedSession({**OFFERS, "AUTH": answer})
    with pytest.raises(HostError) as caught:
        apply.run(host, "", {}, silent)
    assert caught.value.code == ("login-refused" if answer else "port-closed")
    assert host.changes == []


def test_login_that_is_refused_later_is_an_error() -> None:
    """A password that became wrong is an error also where it is in force, and stays as it was."""
    host = with_login(bare())
    apply.run(host, "", {}, silent)
    host.servers["mail.example.org", 465] = lambda: ScriptedSession({**OFFERS, "AUTH": "535 no"})
    before = host.world()
    with pytest.raises(HostError) as caught:
        apply.run(host, "", {}, silent)
    assert caught.value.code == "login-refused"
    assert differences(before, host.world()) == {}


# It begins as no word of ours does, so that what is found of it can only have been told.
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=20).map(
    "zQ7%{}".format
)


def spellings(password: str) -> list[str]:
    """The ways in which a password may be told: itself, in JSON, and as a login sends it."""
    login = b"\0u@example.org\0" + password.encode()
    return [
        password,
        json.dumps(password)[1:-1],
        base64.b64encode(password.encode()).decode().rstrip("="),
        base64.b64encode(login).decode().rstrip("="),
    ]


def is_told(password: str, texts: list[str]) -> Optional[str]:
    """The text that tells the password, None where none does."""
    for told in texts:
        if any(spelling in told for spelling in spellings(password)):
            return told
    return None


def everything_told(host: FakeDebian, reports: list[Report], said: list[str]) -> list[str]:
    """What reports, progress, arguments and environments of a run say."""
    texts = list(said)
    for report in reports:
        texts += [as_json(report), as_text(report, colour=False), as_text(report, colour=True)]
    for call in (*host.changes, *host.asked):
        texts += [*call.what, *call.env, *call.env.values()]
    return texts


@settings(max_examples=15)
@given(password=SECRETS)
def test_password_is_never_told(password: str) -> None:
    """A password is in no report, no argument, no environment, and no file that others read."""
    host = with_login(FakeDebian(postfix=True), password)
    said: list[str] = []
    reports = [plan.run(host, "", {}), apply.run(host, "", {}, said.append)]
    reports += [
        prove.run(host, "", {}),
        status.run(host),
        plan.run(host, "", {"sender": "v@w.example"}),
    ]
    reports.append(apply.run(host, "", {"admin": "other@example.com"}, said.append))
    # The former password is kept for the way back, and not where a checkpoint is.
    with_login(host, "another" + PASSWORD)
    reports.append(apply.run(host, "", {}, said.append))
    kept = [path for path, state in host.entries.items() if password.encode() in state.data]
    assert [path for path in kept if path.startswith("/var/lib/sysmail/secrets/0003/")] == kept
    reports.append(rollback.rollback(host, said.append, force=False))
    assert is_told(password, everything_told(host, reports, said)) is None
    for path, state in host.entries.items():
        if password.encode() in state.data:
            assert state.mode & 0o077 == 0, path
            assert "/checkpoints/" not in path
    assert password in host.text("/etc/postfix/sysmail/sasl_password")


@pytest.mark.parametrize(
    "replies",
    [
        {"AUTH": "535 5.7.8 no such login"},
        {"AUTH": "454 4.7.0 try again"},
        {"EHLO": "250 AUTH LOGIN", "AUTH LOGIN": "503 not now"},
        {"EHLO": "250 AUTH LOGIN", "AUTH LOGIN": "334 VXNlcm5hbWU6", "dQ": "535 no"},
        {"EHLO": "250 AUTH CRAM-MD5"},
    ],
)
def test_password_is_sent_only_where_it_is_asked_for(replies: dict[str, str]) -> None:
    """A refused login tells no password, and after a refusal the server is not told it either."""
    password = "correct horse battery"
    host = with_login(bare(), password)
    sessions: list[ScriptedSession] = []

    def server() -> ScriptedSession:
        sessions.append(ScriptedSession({**OFFERS, **replies}))
        return sessions[-1]

    host.servers["mail.example.org", 465] = server
    with pytest.raises(HostError) as caught:
        apply.run(host, "", {}, silent)
    assert is_told(password, [caught.value.message, caught.value.remedy]) is None
    if "PLAIN" not in {**OFFERS, **replies}["EHLO"]:
        assert is_told(password, sessions[0].said) is None


def test_login_goes_only_over_tls() -> None:
    """With a login the dialogue is opened with TLS, verified for the name in the policy."""
    host = with_login(bare())
    apply.run(host, "", {}, silent)
    assert {tls for name, _, tls in host.smtp_asked if name == "mail.example.org"} == {"implicit"}
