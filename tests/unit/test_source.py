"""Where a policy and its password come from, and which files are not believed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Callable, Optional

import pytest

from sysmail.commands import apply, plan, prove
from sysmail.commands.policy_source import load_password, load_policy
from sysmail.errors import EXIT_USAGE, PolicyError, SysmailError, UsageError
from sysmail.policy import Hop, Policy, Secret, parse
from unit.fake_debian import FakeDebian
from unit.fake_host import FakeHost

PATH = "/root/policy.json"
TEXT = '{"admin": "ops@example.com"}'
PASSWORD_FILE = "/etc/sysmail/password"
LOGIN = Hop("mail.example.org", username="u@example.org", password_file=PASSWORD_FILE)


def _directory(host: FakeHost) -> None:
    host.take(PATH)
    host.put_directory(PATH)


def _link(host: FakeHost, target: str) -> None:
    host.take(PATH)
    host.put("/tmp/open.json", TEXT, 0o666)
    host.put_link(PATH, target)


SPOILT: dict[str, tuple[str, Callable[[FakeHost], None]]] = {
    "missing": ("policy-not-found", lambda host: host.take(PATH)),
    "directory": ("policy-not-read", _directory),
    "world-writable": ("policy-file-writable", lambda host: host.put(PATH, TEXT, 0o646)),
    "group-writable": ("policy-file-writable", lambda host: host.put(PATH, TEXT, 0o664, gid=100)),
    "foreign owner": ("policy-file-writable", lambda host: host.put(PATH, TEXT, uid=1000)),
    "not UTF-8": ("policy-syntax", lambda host: host.put(PATH, b'{"admin": "\xff"}')),
    "not JSON": ("policy-syntax", lambda host: host.put(PATH, "{")),
    "unknown key": ("policy-unknown-key", lambda host: host.put(PATH, '{"amdin": ""}')),
    "too large": ("policy-not-read", lambda host: host.put(PATH, b" " * 20_000_001)),
    "dangling link": ("policy-not-read", lambda host: _link(host, "/nowhere")),
    "link to a writable file": ("policy-file-writable", lambda host: _link(host, "/tmp/open.json")),
}


@pytest.mark.parametrize("spoilt", SPOILT)
@pytest.mark.parametrize("postfix", [False, True])
def test_spoilt_policy_file_touches_nothing(spoilt: str, postfix: bool) -> None:
    """A policy file that cannot be believed ends each command with 64, and nothing was changed."""
    host = FakeDebian(postfix=postfix)
    host.put(PATH, TEXT)
    code, spoil = SPOILT[spoilt]
    spoil(host)
    host.changes.clear()
    before = host.world()
    runs: list[Callable[[], object]] = [
        lambda: plan.run(host, PATH, {}),
        lambda: prove.run(host, PATH, {}),
        lambda: apply.run(host, PATH, {}, print),
    ]
    for run in runs:
        with pytest.raises(SysmailError) as caught:
            run()
        assert (caught.value.code, caught.value.exit_code) == (code, EXIT_USAGE)
        assert caught.value.remedy
    assert host.changes == []
    assert host.world() == before


@pytest.mark.parametrize(
    ("mode", "gid"), [(0o600, 0), (0o644, 0), (0o640, 100), (0o664, 0), (0o444, 7)]
)
def test_closed_policy_file_is_read(mode: int, gid: int) -> None:
    """A policy file that root alone, or root's group, can write is read."""
    host = FakeHost()
    host.put(PATH, TEXT, mode, gid=gid)
    policy, source = load_policy(host, PATH, {}, None)
    assert (policy.admin, source) == ("ops@example.com", PATH)


def _admin_of(
    host: FakeHost,
    path: str = "",
    flags: Optional[Mapping[str, object]] = None,
    last: Optional[Mapping[str, object]] = None,
) -> tuple[str, str]:
    policy, source = load_policy(host, path, flags or {}, last)
    return policy.admin, source


def test_precedence_of_policies() -> None:
    """A named file is before the default file, that before the last apply; flags are on top."""
    host = FakeHost()
    last = {"admin": "last@example.com"}
    assert _admin_of(host) == ("", "the defaults")
    assert _admin_of(host, last=last) == ("last@example.com", "the last apply")
    host.put("/etc/sysmail/policy.json", '{"admin": "json@example.com"}')
    assert _admin_of(host, last=last)[0] == "json@example.com"
    host.put("/etc/sysmail/policy.toml", 'admin = "toml@example.com"')
    assert _admin_of(host, last=last) == ("toml@example.com", "/etc/sysmail/policy.toml")
    host.put(PATH, TEXT)
    assert _admin_of(host, PATH, last=last) == ("ops@example.com", PATH)
    assert _admin_of(host, PATH, {"admin": "flag@example.com"}, last)[0] == "flag@example.com"
    assert _admin_of(host, PATH, {"admin": None}, last)[0] == "ops@example.com"


def test_flags_keep_the_rest_of_the_file() -> None:
    """A flag replaces its own key, and is checked together with the others."""
    host = FakeHost()
    host.put(PATH, '{"admin": "a@example.com", "queue": {"lifetime": "2d"}}')
    policy, _ = load_policy(host, PATH, {"sender": "s@example.com"}, None)
    assert (policy.admin, policy.sender) == ("a@example.com", "s@example.com")
    assert policy.queue.lifetime == 2 * 86400
    with pytest.raises(PolicyError):
        load_policy(host, PATH, {"next_hop": "mailu"}, None)


def test_last_apply_is_the_policy_of_the_next_run() -> None:
    """After an apply with flags, plan without any finds nothing to do."""
    host = FakeDebian()
    assert apply.run(host, "", {"admin": "ops@example.com"}, print).outcome == "applied"
    assert plan.run(host, "", {}).outcome == "nothing-to-do"
    assert plan.run(host, "", {"admin": "other@example.com"}).exit_code == 2


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644, 0o777])
def test_password_file_that_others_read_is_refused(mode: int) -> None:
    """A password file that every user can read is refused before anything is touched."""
    host = FakeDebian(postfix=True)
    host.put(PASSWORD_FILE, "hunter2hunter2\n", mode)
    host.put(PATH, json.dumps({"smarthost": _table(LOGIN)}))
    host.changes.clear()
    with pytest.raises(UsageError, match=f"{mode:04o}") as caught:
        apply.run(host, PATH, {}, print)
    assert (caught.value.code, caught.value.exit_code) == ("password-file-readable", EXIT_USAGE)
    assert host.changes == []


def _table(hop: Hop) -> dict[str, str]:
    return {"host": hop.host, "username": hop.username, "password_file": hop.password_file}


@pytest.mark.parametrize(
    ("content", "password"),
    [
        ("secret", "secret"),
        ("secret\n", "secret"),
        ("secret\r\n", "secret"),
        ("two words", "two words"),
        ("schlüssel\n", "schlüssel"),
        ("#:$'\"\\", "#:$'\"\\"),
    ],
)
def test_password_is_the_line_of_its_file(content: str, password: str) -> None:
    """The password is the one line of its file, whatever characters it has."""
    host = FakeHost()
    host.put(PASSWORD_FILE, content, 0o600)
    assert load_password(host, LOGIN) == Secret(password)


@pytest.mark.parametrize("content", ["", "\n", "a\nb", " a", "a ", "a\tb", "a\x00b", "a\x7f"])
def test_unusable_password_is_refused(content: str) -> None:
    """An empty password, one of two lines or with a character nobody sees is refused."""
    host = FakeHost()
    host.put(PASSWORD_FILE, content, 0o600)
    with pytest.raises(PolicyError) as caught:
        load_password(host, LOGIN)
    assert caught.value.code == "password-unusable"


@pytest.mark.parametrize("there", ["nothing", "directory"])
def test_missing_password_file_is_said(there: str) -> None:
    """A password file that is not there, or is none, is named."""
    host = FakeHost()
    if there == "directory":
        host.put_directory(PASSWORD_FILE)
    with pytest.raises(UsageError, match=PASSWORD_FILE) as caught:
        load_password(host, LOGIN)
    assert caught.value.code == "password-not-read"


def test_password_command() -> None:
    """password_command's output is the password; its failure is told without its output."""
    host = FakeHost()
    hop = Hop("m.example", username="u", password_command=("/usr/bin/pass", "mail"))
    host.answer("/usr/bin/pass", "hunter2\n")
    assert load_password(host, hop) == Secret("hunter2")
    host.answer("/usr/bin/pass", "hunter2\n", 1, "hunter2 is locked")
    with pytest.raises(UsageError) as caught:
        load_password(host, hop)
    assert caught.value.code == "password-not-read"
    assert "hunter2" not in caught.value.message + caught.value.remedy


def test_no_login_no_password() -> None:
    """Without a login no password is looked for; one given by Ansible is taken as it is."""
    host = FakeHost()
    assert load_password(host, None) is None
    assert load_password(host, Hop("m.example")) is None
    given = Hop("m.example", username="u", password=Secret("x"))
    assert load_password(host, given) == Secret("x")
    assert host.asked == []


def test_policy_of_the_last_apply_is_whole() -> None:
    """What an apply records is read again as the same policy."""
    text: dict[str, Any] = {
        "admin": "ops@example.com",
        "next_hop": "hold",
        "queue": {"lifetime": "2d"},
        "postfix": {"mail_name": "x"},
    }
    host = FakeDebian()
    host.put(PATH, json.dumps(text))
    apply.run(host, PATH, {}, print)
    journal = json.loads(host.text("/var/lib/sysmail/checkpoints/0001/journal.json"))
    assert parse(journal["policy"]) == parse(text)
    assert isinstance(parse(text), Policy)
