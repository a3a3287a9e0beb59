"""The command line tells a policy's password to Postfix or msmtpd, and to nobody else."""

from __future__ import annotations

import pytest
from onhost import POLICY, SYSMAIL, mailu_policy
from told import Watch, files_with, forms, journal, spaces_of

from lab import FreshHost, Host, Lab

FORMER = "7e57-the-former-one-7e57"
WRONG = "7e57-not-the-password-7e57"
BASES = pytest.mark.parametrize("base", ["debian", "arch"])


def require_kept(host: Host, secrets: list[bytes], said: str) -> None:
    """In files of root's alone, none of them a checkpoint; in no log and in nothing printed."""
    assert not any(secret in said.encode() for secret in secrets)
    assert not any(secret in journal(host) for secret in secrets)
    found = files_with(host, secrets, "root")
    assert found, "the password is nowhere, and nothing was looked at"
    assert [path for path in found if "/checkpoints/" in path or "log" in path] == []
    assert files_with(host, secrets, "alice") == []
    for path in found:
        inside = host.root / path.lstrip("/")
        if inside.exists():  # not below a mount of the host's own, such as a unit's credentials
            state = inside.stat()
            assert (state.st_mode & 0o077, state.st_uid) == (0, 0), path


@pytest.mark.parametrize("route", ["relay", "mailu"])
@BASES
def test_password_is_told_to_nobody(lab: Lab, fresh_host: FreshHost, base: str, route: str) -> None:
    """Through every command, a wrong and a changed password, and the ways back among them."""
    login = lab.mailu.username
    host = fresh_host(base)
    former = host.root / "etc/msmtprc"
    former.write_text(f"account default\nhost old.example.org\nuser {login}\npassword {FORMER}\n")
    former.chmod(0o600)
    secrets = [
        form for secret in (lab.mailu.password, FORMER, WRONG) for form in forms(login, secret)
    ]
    watch = Watch(spaces_of(host), secrets, lambda: None)
    said: list[str] = []

    def run(*words: str, status: int) -> None:
        # What changes the host did so the first time; a second rollback would undo more.
        for shape in ((), ("--json",))[: 1 if words[0] == "rollback" else 2]:
            done = host.run([SYSMAIL, *shape, *words], check=False, timeout=300)
            said.append(done.stdout + done.stderr)
            if not shape:
                assert done.returncode == status, said[-1]

    with watch.looking():
        mailu_policy(lab, host, f'route = "{route}"', password=WRONG)
        run("apply", status=1)
        mailu_policy(lab, host, f'route = "{route}"')
        run("plan", status=2)
        run("apply", status=0)
        run("prove", "--to", "ops@example.org", status=0)
        run("status", status=0)
        run("queue", "list", status=0)
        other = lab.mailu.accounts["backup@example.org"]
        secrets += forms("backup@example.org", other)
        mailu_policy(
            lab, host, f'route = "{route}"', 'username = "backup@example.org"', password=other
        )
        run("plan", status=2)
        run("apply", status=0)
        require_kept(host, secrets, "".join(said))
        run("rollback", status=0)
        require_kept(host, secrets, "".join(said))
    assert watch.processes == set()
    assert watch.programs >= {"python3", "systemd"}
    with watch.looking():
        host.run(["rm", "-f", POLICY])
        run("remove", status=0)  # and once more, with nothing to undo
    assert watch.processes == set()
    assert FORMER in former.read_text()
    assert not (host.root / "var/lib/sysmail").exists()
