"""The roles from where they are installed: a tarball of the collection, and pip."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import Controller, Host, Lab, Played, ansible
from lab.machine import call
from sysmail.fleet.place import COMMAND, FOLDER, archive_path

pytestmark = pytest.mark.hosts

ROLE = "sysmail.host.sys_svc_mail"
BOOK: list[dict[str, Any]] = [
    {
        "hosts": "all",
        "gather_facts": False,
        "roles": [{"role": ROLE, "vars": {"sys_svc_mail_policy": {"admin": "ops@example.org"}}}],
    }
]
IDENTITY = "from sysmail.fleet import archive; print(archive.__file__, archive.identity())"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ansible.copy_project(tmp_path_factory.mktemp("cloned") / "sysmail")


@pytest.fixture(scope="module")
def identity(project: Path) -> str:
    """What the archive of the copy is to be named by."""
    return identity_by(Path("/usr/bin/python3"), PYTHONPATH=f"{project / 'src'}").split()[1]


@pytest.fixture(scope="module")
def target(lab: Lab, controller: Controller) -> Iterator[Host]:
    host = lab.host("install")
    try:
        controller.admit(host)
        yield host
    finally:
        lab.remove(host)


@pytest.fixture(scope="module")
def tarball(project: Path) -> Path:
    return ansible.build_collection(project)


def identity_by(python: Path, **environ: str) -> str:
    return call([python, "-c", IDENTITY], env={"PYTHONDONTWRITEBYTECODE": "1", **environ})


def without_the_tool(host: Host) -> None:
    host.run(["rm", "-rf", FOLDER, COMMAND])


def require_in_force(host: Host, played: Played, identity: str, installed: Path) -> None:
    """Proven, by the role in that folder, and by the tool whose identity it is."""
    assert played.status == 0, played.out + played.err
    (asked,) = [r for r in played.of(host.name) if r.action == "sysmail.host.sysmail"]
    assert (asked.changed, asked.result["exit_code"]) == (True, 0)
    assert all(v["status"] == "pass" for v in asked.result["report"]["verdicts"])
    ran_from = set(re.findall(r"^task path: (\S+):\d+$", played.out, re.MULTILINE))
    roles = installed / "ansible_collections/sysmail/host/roles"
    assert {path for path in ran_from if ROLE.rpartition(".")[2] in path} == {
        f"{roles}/sys_svc_mail/tasks/main.yml"
    }
    command = host.root / COMMAND.lstrip("/")
    assert f"{command.readlink()}" == archive_path(identity)
    status = host.run([COMMAND, "--json", "status"], check=False)
    assert status.returncode == 0, status.stdout
    program = f"import sys; sys.path.insert(0, {archive_path(identity)!r}); {IDENTITY}"
    assert host.run(["python3", "-c", program]).stdout.split()[1] == identity


@pytest.mark.parametrize("series", ansible.series())
def test_from_a_tarball(
    controller: Controller,
    target: Host,
    tarball: Path,
    identity: str,
    tmp_path: Path,
    series: str,
) -> None:
    """What `make collection` packs is installed by ansible-galaxy offline, and is all it takes."""
    # In place of the path in the controller's settings, and so of the checkout.
    only_here = {"ANSIBLE_COLLECTIONS_PATH": f"{tmp_path}", "ANSIBLE_ROLES_PATH": f"{tmp_path}"}
    environ = {**controller.environment(series), **only_here}
    galaxy = ansible.environment(series) / "bin/ansible-galaxy"
    options = ["--offline", "--no-deps", "--collections-path", f"{tmp_path}"]
    call([galaxy, "collection", "install", *options, tarball], env=environ)
    without_the_tool(target)
    played = controller.play(
        BOOK,
        controller.inventory(target),
        "-vv",
        series=series,
        pipelining=True,
        env=only_here,
    )
    require_in_force(target, played, identity, tmp_path)


def test_from_pip(
    controller: Controller,
    target: Host,
    project: Path,
    identity: str,
    tmp_path: Path,
) -> None:
    """Pip brings the command line, and beside Ansible the collection, which nothing else names."""
    series = ansible.newest()
    environ = tmp_path / "venv"
    call([ansible.environment(series) / "bin/python", "-m", "venv", environ])
    python = environ / "bin/python"
    # The releases that are here already, so that pip takes them out of its own cache.
    (release,) = re.findall(rf"ansible-core==({re.escape(series)}\.\w+)", ansible.PINS.read_text())
    pip: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    call([*pip, f"{project}[ansible]", f"ansible-core=={release}"], cwd=tmp_path)
    assert call([environ / "bin/sysmail", "--help"], cwd=tmp_path).startswith("usage: sysmail")
    file, installed = identity_by(python).split()
    assert file.startswith(f"{environ}/")
    assert installed == identity
    without_the_tool(target)
    settings = controller._configuration.read_text().splitlines()
    plain = [line for line in settings if not line.startswith(("collections_path", "roles_path"))]
    configuration = tmp_path / "ansible.cfg"
    configuration.write_text("\n".join(plain) + "\n")
    played = controller.play(
        BOOK,
        controller.inventory(target),
        "-vv",
        pipelining=True,
        env={
            "PATH": f"{environ / 'bin'}:/usr/bin:/bin",
            "ANSIBLE_CONFIG": f"{configuration}",
        },
    )
    (packages,) = (environ / "lib").glob("python3.*/site-packages")
    require_in_force(target, played, identity, packages)
