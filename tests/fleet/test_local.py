"""A host that runs the role on itself, as with ansible-pull."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab import FreshHost, ansible, played
from lab.controller import RESULTS
from lab.host import CHECKOUT
from lab.identity import CHECKOUT_INSIDE

pytestmark = pytest.mark.hosts

SERIES = "2.19"  # the one that runs on the Python of Debian 12
BOOK: list[dict[str, Any]] = [
    {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "roles": ["sysmail.host.sys_svc_mail"],
        "vars": {"sys_svc_mail_policy": {"admin": "ops@example.org"}},
    }
]


def inside(path: Path) -> str:
    return f"{CHECKOUT_INSIDE}/{path.relative_to(CHECKOUT)}"


@pytest.mark.usefixtures("controller")
def test_role_on_the_host_itself(fresh_host: FreshHost) -> None:
    """With `connection: local` the role brings the host it runs on into force, once."""
    host = fresh_host()
    # Libraries in C are another Python's, and all of them work without.
    (packages,) = ansible.environment(SERIES).glob("lib/python3.*/site-packages")
    environ = {
        "PYTHONPATH": inside(packages),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ANSIBLE_COLLECTIONS_PATH": inside(CHECKOUT / "src"),
        "ANSIBLE_CALLBACK_PLUGINS": inside(RESULTS),
        "ANSIBLE_CALLBACKS_ENABLED": "results",
        "ANSIBLE_NOCOLOR": "1",
    }
    (host.root / "root/playbook.yml").write_text(json.dumps(BOOK))

    def play(*words: str) -> played.Played:
        results = host.root / "root/results"
        results.unlink(missing_ok=True)
        done = host.run(
            ["python3", "-m", "ansible", "playbook", "/root/playbook.yml", *words],
            env={**environ, "SYSMAIL_LAB_RESULTS": "/root/results"},
            check=False,
            timeout=300,
        )
        return played.read(results, done.returncode, done.stdout, done.stderr)

    looked = play("--check", "--diff")
    assert (looked.status, looked.changed()) == (0, ["localhost"]), looked.out + looked.err
    assert not (host.root / "usr/local/lib/sysmail").exists()
    first = play()
    assert (first.status, first.changed()) == (0, ["localhost"]), first.out + first.err
    asked = first.of("localhost")[-1]
    assert asked.result["exit_code"] == 0
    assert "postfix" in asked.result["packages"]
    assert all(v["status"] == "pass" for v in asked.result["report"]["verdicts"])
    again = play()
    assert (again.status, again.changed()) == (0, []), again.out + again.err
    status = host.run(["/usr/local/bin/sysmail", "--json", "status"], check=False)
    assert status.returncode == 0, status.stdout
