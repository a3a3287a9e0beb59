"""The collection and the roles pass what Ansible's own tools ask of published ones."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from lab import ansible
from lab.host import CHECKOUT
from lab.machine import call

# Written as `ansible-test sanity --list-tests` says it. Left out by their names: `changelog`, which
# asks for fragments of a changelog, and this collection's is written by hand; `pslint`, which
# needs PowerShell; `pylint`, since ruff has looked at the same files.
LEFT_OUT = ("changelog", "pslint", "pylint")
# These bring no libraries of their own: they run wherever ansible-core does.
OFFLINE = """action-plugin-docs compile empty-init ignores line-endings no-assert no-get-exception
    no-illegal-filenames no-smart-quotes replace-urlopen shebang shellcheck symlinks
    use-argspec-type-path use-compat-six""".split()
# These do, pinned by ansible-test. They are fetched once, and kept with the environments.
WITH_LIBRARIES = "ansible-doc import pep8 runtime-metadata validate-modules yamllint".split()
# The bootstrap of pip that ansible-test would download for its environments.
PIP = "import ensurepip\nensurepip.bootstrap(default_pip=True)\n"


@pytest.fixture(scope="module", autouse=True)
def _ansible() -> None:
    if not ansible.series():
        pytest.skip("Ansible needs Python 3.11 or newer with venv")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the staged collection in build/."""
    copy = ansible.copy_project(tmp_path_factory.mktemp("cloned") / "sysmail")
    ansible.build_collection(copy)
    return copy


@pytest.fixture(scope="module")
def collection(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The staged collection where ansible-test wants it: in a folder of its name, under git."""
    folder = tmp_path_factory.mktemp("check") / "ansible_collections/sysmail/host"
    folder.parent.mkdir(parents=True)
    (project / "build/collection").rename(folder)
    call(["git", "init", "--quiet"], cwd=folder)
    call(["git", "add", "--all"], cwd=folder)
    (project / "build/collection").symlink_to(folder)
    return folder


def run(folder: Path, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the newest Ansible's environment in a folder."""
    programs = ansible.environment(ansible.newest()) / "bin"
    environ = {
        "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
        "HOME": f"{home}",
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "ANSIBLE_NOCOLOR": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    argv: list[str | Path] = [programs / words[0], *words[1:]]
    return subprocess.run(
        argv, check=False, cwd=folder, env=environ, capture_output=True, text=True
    )


@pytest.mark.parametrize("what", ["collection", "roles"])
def test_ansible_lint(project: Path, collection: Path, tmp_path: Path, what: str) -> None:
    """Nothing is found with the strictest profile."""
    folder = collection if what == "collection" else project / "roles"
    done = run(folder, tmp_path, "ansible-lint", "--offline", "--profile", "production")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed: 0 failure(s), 0 warning(s)" in done.stdout + done.stderr


def test_sanity_tests_are_all_known(collection: Path, tmp_path: Path) -> None:
    """A sanity test that a new Ansible brings is run, or left out for a reason."""
    done = run(collection, tmp_path, "ansible-test", "sanity", "--list-tests")
    listed = done.stdout.split()
    assert sorted(listed) == sorted([*OFFLINE, *WITH_LIBRARIES, *LEFT_OUT]), done.stderr


def test_sanity(collection: Path, tmp_path: Path) -> None:
    """Nothing is found by the sanity tests that ansible-core alone can run."""
    require_clean(sanity(collection, tmp_path, OFFLINE), OFFLINE)


@pytest.mark.parametrize("name", WITH_LIBRARIES)
def test_sanity_with_libraries(collection: Path, name: str) -> None:
    """Nothing is found by a sanity test that has libraries; without them it is skipped by name."""
    # ansible-test keeps its environments in the home folder, for the next run.
    home = CHECKOUT / f".venv/sanity-{ansible.newest()}"
    (source,) = ansible.environment(ansible.newest()).glob(
        "lib/python3.*/site-packages/ansible_test/_internal/python_requirements.py"
    )
    (version,) = set(re.findall(r"\bpip='([\d.]+)'", source.read_text()))
    bootstrap = home / f".ansible/test/cache/get_pip_{version.replace('.', '_')}.py"
    bootstrap.parent.mkdir(parents=True, exist_ok=True)
    bootstrap.write_text(PIP)
    done = sanity(collection, home, [name])
    said = done.stdout + done.stderr
    if done.returncode != 0 and any(
        sign in said
        for sign in ("Download failed", "No matching distribution", "does not have pip")
    ):
        pytest.skip(f"{name}: its libraries could not be fetched")
    require_clean(done, [name])


def sanity(collection: Path, home: Path, names: list[str]) -> subprocess.CompletedProcess[str]:
    python = ansible.environment(ansible.newest()) / "bin/python"
    version = call([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]).strip()
    tests = [word for name in names for word in ("--test", name)]
    return run(collection, home, "ansible-test", "sanity", "--python", version, *tests)


def require_clean(done: subprocess.CompletedProcess[str], names: list[str]) -> None:
    """Each was run, and the whole found nothing."""
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    for name in names:
        assert f'Running sanity test "{name}"' in said
