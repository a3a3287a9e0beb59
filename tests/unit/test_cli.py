"""The command line: exit codes, JSON, text for a person, and never a traceback."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmail import __version__
from sysmail.cli.main import main
from sysmail.cli.render import as_json, as_text
from sysmail.errors import EXIT_NOPERM, EXIT_USAGE
from sysmail.policy import KEYS
from sysmail.report import FAIL, PASS, UNKNOWN, Problem, Report, RouteSummary, StepResult, Verdict
from unit.fake_debian import FakeDebian
from unit.fake_host import Died, FakeHost
from unit.test_apply import waiting

KEYS_OF_JSON = {"version", "command", "outcome", "changed", "route", "steps", "verdicts", "errors"}
COMMANDS = ("plan", "apply", "prove", "status", "queue", "rollback", "remove", "recover", "try")


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The command line takes signals over; give them back."""
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    kept = {name: signal.getsignal(name) for name in names}
    yield
    for name, handler in kept.items():
        signal.signal(name, handler)


def run(capsys: pytest.CaptureFixture[str], host: Optional[Any], *argv: str) -> tuple[int, str]:
    """The exit code and what was printed on standard output."""
    capsys.readouterr()
    code = main(argv, host)
    return code, capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], host: Optional[Any], *argv: str) -> dict[str, Any]:
    """The one JSON document of a command, checked against the contract; ``exit`` is added."""
    code, out = run(capsys, host, "--json", *argv)
    assert out.endswith("\n")
    data: dict[str, Any] = json.loads(out)
    assert set(data) >= KEYS_OF_JSON
    assert data["version"] == 1
    assert all(set(entry) == {"code", "message", "remedy"} for entry in data["errors"])
    assert all(all(entry.values()) for entry in data["errors"])
    assert all(set(x) == {"check", "status", "evidence", "remedy"} for x in data["verdicts"])
    assert all(set(x) == {"name", "summary", "changed", "diff"} for x in data["steps"])
    assert data["route"] is None or set(data["route"]) == {"name", "next_hop", "reason"}
    return {**data, "exit": code}


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["frobnicate"],
        ["plan", "extra"],
        ["--frob", "plan"],
        ["plan", "--frob"],
        ["plan", "--admin"],
        ["--policy"],
        ["queue", "explode"],
        ["plan", "--adm", "ops@example.com"],
        ["apply", "--force"],
        ["plan", "--next-hop", "nowhere"],
        ["plan", "--admin", "not an address"],
        ["--admin", "ops@example.com\n", "plan"],
        ["plan", "--policy", "/no/such/file"],
        ["queue", "show"],
        ["queue", "delete"],
        ["queue", "show", "../../etc/passwd"],
        ["queue", "delete", "-x"],
    ],
)
def test_bad_usage_ends_with_64(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    """Bad usage ends with 64 and one error, as text and as JSON, and changes nothing."""
    host = FakeDebian(postfix=True)
    host.changes.clear()
    data = document(capsys, host, *argv)
    assert (data["exit"], data["outcome"], len(data["errors"])) == (EXIT_USAGE, "refused", 1)
    assert data["changed"] is False
    code, out = run(capsys, host, *argv)
    assert code == EXIT_USAGE
    assert "error" in out
    assert host.changes == []


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["--policy", "/no/such/file", "plan"], "plan"),
        (["--admin", "x", "plan"], "plan"),
        (["frobnicate"], ""),
        ([], ""),
    ],
)
def test_error_names_its_command(
    capsys: pytest.CaptureFixture[str], argv: list[str], command: str
) -> None:
    """The JSON of an error says which command it is of, also after options with values."""
    assert document(capsys, FakeDebian(), *argv)["command"] == command


def test_error_of_usage_does_not_take_a_value_for_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where the arguments cannot be read, the value of an option is not called a command."""
    data = document(capsys, FakeDebian(), "--admin", "ops@example.com", "--frob", "plan")
    assert data["command"] in ("plan", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_not_root_ends_with_77(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Without root every command ends with 77, and nothing was changed or looked at."""
    host = FakeDebian()
    host.user = 1000
    data = document(capsys, host, command)
    assert (data["exit"], data["errors"][0]["code"]) == (EXIT_NOPERM, "not-root")
    assert data["command"] == command
    assert host.changes == []
    assert host.asked == []


def test_usage_is_told_before_permission(capsys: pytest.CaptureFixture[str]) -> None:
    """Bad usage is told to anybody, root or not."""
    host = FakeDebian()
    host.user = 1000
    assert document(capsys, host, "frobnicate")["exit"] == EXIT_USAGE


@pytest.mark.parametrize(
    "argv",
    [
        ["--admin", "ops@example.com", "plan"],
        ["plan", "--admin", "ops@example.com"],
        ["plan", "--admin=ops@example.com"],
        ["--admin", "other@example.com", "plan", "--admin", "ops@example.com"],
    ],
)
def test_flags_before_and_after_the_command(
    capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    """A flag may stand before or after the command; the last one counts."""
    data = document(capsys, FakeDebian(), *argv)
    assert data["exit"] == 2
    recipient = next(x for x in data["steps"] if x["name"].endswith("sysmail/recipient"))
    assert "ops@example.com" in recipient["diff"]
    assert "other@example.com" not in recipient["diff"]


@pytest.mark.parametrize("argv", [["--json", "status"], ["status", "--json"]])
def test_json_before_and_after_the_command(
    capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    """--json may stand before or after the command."""
    code, out = run(capsys, FakeDebian(), *argv)
    assert (code, json.loads(out)["command"]) == (1, "status")


def test_every_flag_of_the_schema_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """Each key of the policy that has a flag is taken from it."""
    flags = {key.flag: key.example.strip('"') for key in KEYS if key.flag}
    assert {"--admin", "--route", "--next-hop"} <= set(flags)
    argv = [word for flag, value in flags.items() for word in (flag, value)]
    assert document(capsys, FakeDebian(), "plan", *argv)["exit"] == 2


@pytest.mark.parametrize(("argv", "said"), [(["--version"], __version__), (["--help"], "COMMAND")])
def test_help_and_version(capsys: pytest.CaptureFixture[str], argv: list[str], said: str) -> None:
    """--help and --version need no root and no host, and end with 0."""
    with pytest.raises(SystemExit) as caught:
        main(argv, None)
    assert caught.value.code == 0
    assert said in capsys.readouterr().out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The list of commands in --help is all of them."""
    with pytest.raises(SystemExit):
        main(["--help"], None)
    out = capsys.readouterr().out
    assert [command for command in COMMANDS if f"    {command} " not in out] == []


def test_commands_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Over the life of a host every command gives one JSON document, and its exit code."""
    host = FakeDebian()
    life: list[tuple[list[str], str, int]] = [
        (["plan"], "changes", 2),
        (["prove"], "broken", 1),
        (["status"], "unhealthy", 1),
        (["try"], "arrived", 0),
        (["apply", "--admin", "ops@example.com"], "applied", 0),
        (["apply"], "unchanged", 0),
        (["plan"], "nothing-to-do", 0),
        (["prove"], "proven", 0),
        (["status"], "healthy", 0),
        (["queue"], "listed", 0),
        (["queue", "flush"], "flushed", 0),
        (["try"], "failed", 1),
        (["apply", "--sender", "no-reply@example.org"], "applied", 0),
        (["rollback"], "rolled-back", 0),
        (["remove"], "removed", 0),
        (["remove"], "failed", 1),
        (["queue"], "failed", 1),
    ]
    for argv, outcome, code in life:
        data = document(capsys, host, *argv)
        assert (data["outcome"], data["exit"]) == (outcome, code), (argv, data["errors"])
        assert data["command"] == argv[0]
        assert host.locks == {}


def test_life_of_a_host_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    """The same as text: short, with a closing line that says how it ended."""
    host = FakeDebian()
    code, out = run(capsys, host, "plan", "--admin", "ops@example.com")
    assert code == 2
    assert out.splitlines()[-1].endswith("`sysmail apply` does them")
    assert "+inet_interfaces = loopback-only" in out
    code, out = run(capsys, host, "apply", "--admin", "ops@example.com")
    assert code == 0
    assert out.splitlines()[-1].startswith("applied: ")
    assert "10 of 10 promises proven" in out
    host.queue = [waiting("")]
    code, out = run(capsys, host, "status")
    assert code == 1
    assert "it is down" in out
    code, out = run(capsys, host, "queue", "list")
    assert code == 0
    assert "from <>" in out
    assert "to a@example.com" in out
    host.queue = [{**waiting(""), "queue_name": "hold"}]
    code, out = run(capsys, host, "rollback")
    assert code == 1
    assert "`sysmail queue list`" in out


def test_cut_off_apply_is_undone_by_any_command(capsys: pytest.CaptureFixture[str]) -> None:
    """The next command of any kind undoes what was cut off, and says so; once."""
    for command in COMMANDS:
        host = FakeDebian(postfix=True)
        before = host.world()
        host.changes.clear()
        host.die_at = 60
        with pytest.raises(Died):
            main(["apply", "--admin", "ops@example.com"], host)
        host.revive()
        assert host.world() != before
        data = document(capsys, host, command)
        if command not in ("apply", "try"):
            assert host.world() == before, command
        told = data.get("notes", []) + [entry["message"] for entry in data["errors"]]
        assert data["errors"] or any("cut off" in note for note in told), (command, data)
        assert not any(
            "cut off" in note for note in document(capsys, host, "plan").get("notes", [])
        )


def test_reading_while_somebody_changes_does_not_undo(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that only reads leaves an apply that is under way alone."""
    host = FakeDebian(postfix=True)
    host.changes.clear()
    host.die_at = 60
    with pytest.raises(Died):
        main(["apply", "--admin", "ops@example.com"], host)
    host.revive()
    lock = host.lock("/run/sysmail/lock", "sysmail apply (pid 1)", 0)
    host.changes.clear()
    document(capsys, host, "status")
    assert host.changes == []
    data = document(capsys, host, "apply", "--admin", "ops@example.com")
    assert data["errors"][0]["code"] == "locked"
    assert "pid 1" in data["errors"][0]["message"]
    lock.release()


class Broken:
    """A host whose every method fails in a way that nobody foresaw."""

    def __getattr__(self, name: str) -> Any:
        def fail(*_args: object, **_kwargs: object) -> Any:
            raise RuntimeError(f"unforeseen in {name}")

        return fail


class BrokenAfterAWhile(FakeDebian):
    """A host that works, until the n-th question fails in a way that nobody foresaw."""

    def __init__(self, good: int) -> None:
        super().__init__(postfix=True)
        self.good = good

    def _alive(self) -> None:
        super()._alive()
        self.good -= 1
        if self.good < 0:
            raise RuntimeError("unforeseen")


@pytest.mark.parametrize("command", COMMANDS)
def test_never_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """What nobody foresaw is told as a bug of ours, with exit 1, and never as a traceback."""
    monkeypatch.delenv("SYSMAIL_TRACEBACK", raising=False)
    data = document(capsys, Broken(), command)
    assert (data["exit"], [entry["code"] for entry in data["errors"]]) == (1, ["bug"])
    assert "RuntimeError" in data["errors"][0]["message"]
    for good in range(0, 60, 7):
        host = BrokenAfterAWhile(10_000)
        host.good = good
        data = document(capsys, host, command)
        if host.good < 0:
            assert (data["exit"], [entry["code"] for entry in data["errors"]]) == (1, ["bug"])


def test_traceback_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """With SYSMAIL_TRACEBACK=1 what nobody foresaw is passed on, to be reported."""
    monkeypatch.setenv("SYSMAIL_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="unforeseen"):
        main(["plan"], Broken())


def test_signal_puts_the_host_back(capsys: pytest.CaptureFixture[str]) -> None:
    """SIGTERM in the middle of an apply puts everything back, and a second one does not stop it."""
    host = FakeDebian(postfix=True)
    before = host.world()
    original = host.programs["systemctl"]

    def terminated(argv: Any, stdin: Any) -> Any:
        if argv[1] == "start":
            os.kill(os.getpid(), signal.SIGTERM)
        return original(argv, stdin)

    host.programs["systemctl"] = terminated
    data = document(capsys, host, "apply", "--admin", "ops@example.com")
    assert (data["outcome"], data["exit"]) == ("interrupted", 1)
    assert host.world() == before
    assert host.locks == {}


EVIL = "a\x1b[2J\x1b]0;x\x07\r\x00\u202e\x9b\u2028z"
TOLD = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12)


def reports(text: str, other: str) -> list[Report]:
    """Reports of every command with texts from outside wherever there can be one."""
    message = {
        "queue_id": text,
        "queue": other,
        "arrived": 1.0,
        "size": 1,
        "sender": text,
        "recipients": [{"address": text, "reason": other}],
    }
    caught = {"summary": text, "queue_id": other, "delay": 0.1, "recipient": text, "arrived": True}
    queue = {"count": 1, "oldest": 1.0, "reasons": [{"reason": text, "count": 1, "oldest": 1.0}]}
    last = [{"queue_id": text, "recipient": other, "answer": text}]
    details: dict[str, dict[str, Any]] = {
        "plan": {},
        "queue": {"messages": [message], "now": 2.0},
        "try": {"messages": [caught, {**caught, "arrived": False}]},
        "status": {"queue": queue, "deliveries": {"sent": 1, "last": last}, "now": 2.0},
    }
    return [
        Report(
            command,
            text,
            1,
            route=RouteSummary("relay", "direct", text),
            steps=(StepResult(text, other, diff=f"--- a\n+++ b\n@@ x\n+{text}\n"),),
            verdicts=(Verdict("a-check", PASS, text), Verdict("b", FAIL, other, f"r{text}")),
            errors=(Problem("code", text, other),),
            notes=(text,),
            details=found,
        )
        for command, found in details.items()
    ] + [Report("queue", "shown", 0, details={"content": text, "messages": [], "now": 1.0})]


@given(text=TOLD, other=st.one_of(TOLD, st.just(EVIL)))
def test_text_has_no_control_characters_from_outside(text: str, other: str) -> None:
    """Whatever a server or a file says, a terminal gets only what it can print."""
    for report in reports(text, other):
        plain = as_text(report, colour=False)
        assert [c for c in plain if not c.isprintable() and c != "\n"] == []
        painted = as_text(report, colour=True)
        for code in ("0", "1", "2", "31", "32", "33"):
            painted = painted.replace(f"\033[{code}m", "")
        assert [c for c in painted if not c.isprintable() and c != "\n"] == []


@given(text=TOLD)
def test_json_is_one_line_that_says_the_same(text: str) -> None:
    """The JSON form is one line, and gives every text back as it was."""
    for report in reports(text, EVIL):
        line = as_json(report)
        assert "\n" not in line
        data = json.loads(line)
        assert data["command"] == report.command
        assert [entry["message"] for entry in data["errors"]] == [e.message for e in report.errors]


def test_answer_of_a_server_cannot_forge_a_line() -> None:
    """A reply of several lines does not begin a line of the report by itself."""
    evil = Report("prove", "broken", 1, verdicts=(Verdict("a", FAIL, "250 x\npass    b  ok", "r"),))
    lines = as_text(evil, colour=False).splitlines()
    assert not [line for line in lines if line.startswith("pass")]


def test_progress_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    """What the package manager prints reaches a terminal without control characters."""
    host = FakeDebian()
    apt = host.programs["apt-get"]

    def evil(argv: Any, stdin: Any) -> Any:
        done = apt(argv, stdin)
        return type(done)(done.argv, done.status, f"Setting up x{EVIL}\n", done.err)

    host.programs["apt-get"] = evil
    capsys.readouterr()
    assert main(["apply", "--admin", "ops@example.com"], host) == 0
    err = capsys.readouterr().err
    assert "Setting up" in err
    assert [c for c in err if not c.isprintable() and c != "\n"] == []


def test_json_is_quiet_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json nothing but the document is printed."""
    capsys.readouterr()
    main(["--json", "apply", "--admin", "ops@example.com"], FakeDebian())
    assert capsys.readouterr().err == ""


class Output(io.StringIO):
    """A standard output with another encoding, or one that nobody reads."""

    def __init__(self, encoding: str = "ascii") -> None:
        super().__init__()
        self._encoding = encoding

    def write(self, text: str) -> int:
        text.encode(self._encoding)
        return super().write(text)


@pytest.mark.parametrize("argv", [["--json", "plan"], ["plan"]])
def test_terminal_without_unicode(monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    """Where the terminal has no Unicode, the report is printed all the same."""
    host = FakeDebian()
    host.put("/etc/sysmail/policy.json", '{"admin": "prüfung@example.com"}')
    output = Output()
    monkeypatch.setattr(sys, "stdout", output)
    assert main(argv, host) in (2, EXIT_USAGE)
    assert output.getvalue().endswith("\n")
    if "--json" in argv:
        assert json.loads(output.getvalue())["version"] == 1


def test_colour_only_where_it_is_asked_for() -> None:
    """Colour is on a terminal, and nowhere else."""
    report = Report("prove", "unknown", 3, verdicts=(Verdict("a", UNKNOWN, "x", "y"),))
    assert "\033[33m" in as_text(report, colour=True)
    assert "\033" not in as_text(report, colour=False)


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        ("applied", 0, "applied: 1 step"),
        ("unchanged", 0, "nothing to change"),
        ("not-proven", 1, "in force, but not proven"),
        ("next-hop-down", 3, "in force, but the next hop is down"),
        ("nothing-to-do", 0, "nothing to do"),
        ("some-new-outcome", 1, "some new outcome"),
    ],
)
def test_closing_line(outcome: str, code: int, said: str) -> None:
    """The last line says in words how it ended."""
    report = Report("apply", outcome, code, steps=(StepResult("x", "y"),))
    assert as_text(report, colour=False).splitlines()[-1].startswith(said)


def test_verdict_needs_a_remedy() -> None:
    """A verdict that is no pass cannot be made without saying what to do next."""
    with pytest.raises(ValueError, match="no remedy"):
        Verdict("a", FAIL, "x")
    with pytest.raises(ValueError, match="not a status"):
        Verdict("a", "maybe", "x", "y")


def test_fake_host_refuses_two_locks() -> None:
    """The fake's own lock is held by one at a time, or the tests above would mean nothing."""
    host = FakeHost()
    held = host.lock("/run/x", "first", 0)
    failing: Callable[[], object] = lambda: host.lock("/run/x", "second", 0)  # noqa: E731
    with pytest.raises(Exception, match="first"):
        failing()
    held.release()
    failing()


def test_a_damaged_launcher(tmp_path: Path) -> None:
    """A sysmail whose source is not whole says so, with a status that is no command's answer."""
    (tmp_path / "src/sysmail/cli").mkdir(parents=True)
    for name in ("__init__.py", "cli/__init__.py"):
        (tmp_path / "src/sysmail" / name).write_text("")
    (tmp_path / "src/sysmail/cli/main.py").write_text("def entry(")
    shutil.copy(Path(__file__).parents[2] / "sysmail", tmp_path / "sysmail")
    argv = [sys.executable, "-E", str(tmp_path / "sysmail"), "watch"]
    said = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert said.returncode == 70
    assert said.stderr.startswith("sysmail is damaged: ")
    assert "Traceback" not in said.stderr
