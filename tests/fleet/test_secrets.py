"""The password of a policy is told to Postfix or msmtp and to nobody else, however a run ends."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from onhost import differences, snapshot
from told import Watch, files_with, forms, journal, spaces_of

from lab import Controller, Host, Lab, Played
from lab.machine import wait_until
from lab.mailu import ACCOUNTS

pytestmark = pytest.mark.hosts

LOGIN = "no-reply@example.org"
PASSWORD = ACCOUNTS[LOGIN]
WRONG = "7e57-not-the-password-7e57"
PLANTED = "7e57-planted-7e57"
CA_FILE = "/etc/ssl/lab-ca.pem"
MODULE = "sysmail.host.sysmail"
TMP = ("root/.ansible/tmp", "home/alice/.ansible/tmp", "tmp", "var/tmp", "dev/shm")
USERS = ("root", "alice")
BY_ROLE: list[dict[str, Any]] = [
    {"hosts": "all", "gather_facts": False, "roles": ["sysmail.host.sys_svc_mail"]}
]
BY_MODULE: list[dict[str, Any]] = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [{MODULE: {"policy": "{{ sys_svc_mail_policy }}"}}],
    }
]
# What stands in the table `mailu` beside its other keys, and the key that is to be named.
MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "misspelt key": ({"hots": "mail.example.org"}, "hots"),
    "wrong type": ({"port": "many"}, "port"),
    "list as password": ({"password": [PASSWORD]}, "password"),
    "misspelt password": ({"passwort": PASSWORD}, "passwort"),
}


SECRETS = [form for secret in (PASSWORD, WRONG, PLANTED) for form in forms(LOGIN, secret)]


def has_secret(data: bytes) -> bool:
    return any(secret in data for secret in SECRETS)


@dataclass(frozen=True)
class Left:
    """A file with a secret: its path on the target, its mode, and that of its folder."""

    path: str
    mode: int
    folder_mode: int


class FleetWatch(Watch):
    """Looks at all processes of the target and of the controller, and at temporary files."""

    def __init__(self, host: Host, controller: Controller) -> None:
        spaces = {*spaces_of(host), ("net", controller.node.netns_path.stat().st_ino)}
        super().__init__(spaces, SECRETS, self._look_at_files)
        self.host = host
        self.files: set[Left] = set()

    def _look_at_files(self) -> None:
        top = Path(f"/proc/{self.host.leader}/root")
        for folder in TMP:
            for path in (top / folder).rglob("*"):
                with contextlib.suppress(OSError):  # it has gone
                    if path.is_file() and has_secret(path.read_bytes()):
                        modes = (each.stat().st_mode & 0o777 for each in (path, path.parent))
                        self.files.add(Left(f"/{path.relative_to(top)}", *modes))


@pytest.fixture(scope="module")
def host(lab: Lab, controller: Controller) -> Iterator[Host]:
    made = lab.host("secret")
    try:
        shutil.copy(lab.mailu.ca_file, made.root / CA_FILE.lstrip("/"))
        yield made
    finally:
        controller.hang_up()
        lab.remove(made)


@pytest.fixture(scope="module")
def ways(controller: Controller, host: Host) -> dict[str, dict[str, Any]]:
    """As root, and through sudo, which writes commands into the journal."""
    return {user: controller.admit(host, user) for user in USERS}


@pytest.fixture
def watch(host: Host, controller: Controller, ways: dict[str, dict[str, Any]]) -> FleetWatch:
    assert ways
    return FleetWatch(host, controller)


def policy(lab: Lab, mailu: dict[str, Any], **more: Any) -> dict[str, Any]:
    server = {"host": lab.mailu.host, "username": LOGIN, "password": PASSWORD, "ca_file": CA_FILE}
    return {"admin": "ops@example.org", **more, "mailu": {**server, **mailu}}


def inventory(way: dict[str, Any], policy: dict[str, Any]) -> dict[str, Any]:
    return {"all": {"hosts": {"secret": {**way, "sys_svc_mail_policy": policy}}}}


def require_silence(played: Played, page: Path | None = None) -> None:
    """No secret in what a run printed, in results as `register` gives them, and on the page."""
    said = played.out + played.err + repr([dict(r.result) for r in played.results])
    if page is not None:
        said += page.read_text()
    found = [line for line in said.splitlines() if has_secret(line.encode())]
    assert found == []


def loud(page: Path) -> dict[str, str]:
    return {"ANSIBLE_CALLBACKS_ENABLED": "results,sysmail.host.page", "SYSMAIL_PAGE": f"{page}"}


def kinds(watch: FleetWatch) -> set[str]:
    """Where processes with a secret had it."""
    return {seen.split(":")[0] for seen in watch.processes}


def test_watch_sees_secrets(host: Host, watch: FleetWatch) -> None:
    """An argument, an environment and a file with a secret are noticed while they are there."""
    with watch.looking():
        host.run(["install", "-D", "-m", "604", "/dev/stdin", "/tmp/x/y"], input=PLANTED)
        told = [
            host.start(["sh", "-c", "read x", PLANTED]),
            host.start(["sh", "-c", "read x"], env={"PLANTED": PLANTED}),
        ]
        try:
            everywhere = {"cmdline", "environ"}
            wait_until("noticed", lambda: kinds(watch) == everywhere and len(watch.files) > 0)
        finally:
            for process in told:
                process.communicate("\n")
    host.run(["rm", "-r", "/tmp/x"])
    assert {(left.path, left.mode) for left in watch.files} == {("/tmp/x/y", 0o604)}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_in_policy_touches_nothing(
    lab: Lab,
    controller: Controller,
    host: Host,
    ways: dict[str, dict[str, Any]],
    watch: FleetWatch,
    mistake: str,
) -> None:
    """The key is named and the password is not, exit code 64; no archive is left on the host."""
    mailu, key = MISTAKES[mistake]
    before = snapshot(host)
    codes: list[int] = []
    for book in (BY_ROLE, BY_MODULE):
        for check in (True, False):
            wrong = inventory(ways["root"], policy(lab, mailu))
            with watch.looking():
                played = controller.play(book, wrong, "-vvvv", pipelining=True, check=check)
            assert played.status == 2, played.out
            assert key in played.failed()["secret"]
            assert played.changed() == []
            require_silence(played)
            codes += [r.result["exit_code"] for r in played.of("secret") if r.action == MODULE]
    # The specification of the role finds some before the module is asked.
    assert len(codes) >= 2
    assert set(codes) == {64}
    assert (watch.processes, watch.files) == (set(), set())
    assert differences(before, snapshot(host)) == []
    assert not (host.root / "usr/local/lib/sysmail").exists()
    assert not (host.root / "var/lib/sysmail").exists()


@pytest.mark.parametrize("pipelining", [False, True])
@pytest.mark.parametrize("user", USERS)
def test_password_of_a_run(  # noqa: PLR0913 - fixtures
    lab: Lab,
    controller: Controller,
    host: Host,
    ways: dict[str, dict[str, Any]],
    watch: FleetWatch,
    tmp_path: Path,
    user: str,
    pipelining: bool,
) -> None:
    """A run in force tells it to no output, process or page, and to at most one private file."""
    hours = f"{1 + USERS.index(user) * 2 + pipelining}h"  # so that each run has something to do
    page = tmp_path / "page.html"
    with watch.looking():
        played = controller.play(
            BY_ROLE,
            inventory(ways[user], policy(lab, {}, route="relay", queue={"warn_after": hours})),
            "-vvvv",
            "--diff",
            pipelining=pipelining,
            env=loud(page),
        )
    assert (played.status, played.changed()) == (0, ["secret"]), played.out + played.err
    assert "secret" in page.read_text()
    require_silence(played, page)
    assert watch.programs >= {"ansible-playbook", "master"}  # what lives long enough to be seen
    assert watch.processes == set()
    require_private(watch, "/root" if user == "root" else f"/home/{user}", pipelining=pipelining)
    require_kept(controller, host)


def require_private(watch: FleetWatch, home: str, *, pipelining: bool) -> None:
    """Without pipelining Ansible's own file, with it none; after the run neither."""
    assert (watch.files == set()) is pipelining
    for left in watch.files:
        assert left.path.startswith(f"{home}/.ansible/tmp/ansible-tmp-")
        assert (left.mode & 0o077, left.folder_mode) == (0, 0o700)
        assert not (watch.host.root / left.path.lstrip("/")).exists()


def require_kept(controller: Controller, host: Host) -> None:
    """Only root finds it on the host, and nothing has it of what the controller left behind."""
    assert with_secret(host, "root") != []
    assert with_secret(host, "alice") == []
    said = journal(host)
    assert b"sshd" in said
    assert not has_secret(said)
    for folder in ("tmp", "ansible"):
        files = (path for path in (controller._home / folder).rglob("*") if path.is_file())
        assert [path for path in files if has_secret(path.read_bytes())] == []


def with_secret(host: Host, user: str) -> list[str]:
    """The files with a secret that a user of the host can read."""
    return files_with(host, SECRETS, user)


def test_file_for_everybody_is_found(host: Host, ways: dict[str, dict[str, Any]]) -> None:
    """A file with a secret that anybody can read is found as an ordinary user."""
    assert ways
    planted = host.root / "etc/planted"
    planted.write_text(f"password={PLANTED}\n")
    planted.chmod(0o644)
    try:
        assert "/etc/planted" in with_secret(host, "alice")
        planted.chmod(0o600)
        assert "/etc/planted" not in with_secret(host, "alice")
    finally:
        planted.unlink()


@pytest.mark.parametrize("pipelining", [False, True])
def test_wrong_password(
    lab: Lab,
    controller: Controller,
    host: Host,
    ways: dict[str, dict[str, Any]],
    watch: FleetWatch,
    tmp_path: Path,
    pipelining: bool,
) -> None:
    """A password that Mailu refuses fails the run, and is not told either."""
    page = tmp_path / "page.html"
    with watch.looking():
        played = controller.play(
            BY_ROLE,
            inventory(ways["alice"], policy(lab, {"password": WRONG}, route="relay")),
            "-vvvv",
            "--diff",
            pipelining=pipelining,
            env=loud(page),
        )
    assert played.status == 2, played.out
    (asked,) = [r for r in played.of("secret") if r.action == MODULE]
    errors = [error["code"] for error in asked.result["report"]["errors"]]
    assert errors == ["login-refused"], json.dumps(dict(asked.result))
    require_silence(played, page)
    assert watch.processes == set()
    require_private(watch, "/home/alice", pipelining=pipelining)
    require_kept(controller, host)


def test_password_in_a_vault(
    lab: Lab, controller: Controller, host: Host, ways: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """A value that is encrypted in the inventory reaches the host as the password that it is."""
    key = tmp_path / "key"
    key.write_text("the vault's own")
    programs = controller.environment()
    done = subprocess.run(
        ["ansible-vault", "encrypt_string", "--vault-password-file", f"{key}"],
        input=PASSWORD,
        env=programs,
        executable=shutil.which("ansible-vault", path=programs["PATH"]),
        text=True,
        capture_output=True,
        check=True,
    )
    encrypted = done.stdout.replace("!vault |", "").strip()
    secret = {"__ansible_vault": "\n".join(line.strip() for line in encrypted.splitlines()) + "\n"}
    asked = policy(lab, {"password": secret}, route="relay", queue={"warn_after": "9h"})
    played = controller.play(
        BY_ROLE, inventory(ways["root"], asked), "-vvvv", f"--vault-password-file={key}"
    )
    assert (played.status, played.changed()) == (0, ["secret"]), played.out + played.err
    require_silence(played)
    assert host.run(["/opt/sysmail/sysmail", "prove"]).returncode == 0
