"""Ansible for the lab: an environment for each series of ansible-core, and community.general.

The environments are in the checkout, at .venv/ansible-<series>, apart from those that the tests
themselves run in: ansible-core wants a newer Python than sysmail does. Which releases are taken is
said by requirements/fleet.txt alone.
"""

from __future__ import annotations

import fcntl
import functools
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from .cache import cache_folder, made_once
from .host import CHECKOUT
from .machine import LabError, call

PINS = CHECKOUT / "requirements/fleet.txt"
BUNDLE = CHECKOUT / "requirements/collections.txt"
# Series -> the oldest and the newest Python 3 its controller runs on, as Ansible's documentation
# has it. (2.20 and 2.21 also run on 3.14, for which the other pins have not been tried.)
_CONTROLLERS = {"2.19": (11, 13), "2.20": (12, 13), "2.21": (12, 13)}
_COLLECTION = "ansible_collections/community/general/"
# Not the path it was found by: that may be a wrapper's, or an environment's that is made anew.
_PROBE = """
import os, sys, venv, ensurepip
assert sys.version_info[:2] == (3, {minor})
print(os.path.realpath(sys._base_executable))
"""


@functools.cache
def pythons() -> dict[int, Path]:
    """Minor version -> a Python 3 of the machine that can make environments, as `make` finds it."""
    pyenv = Path.home() / ".pyenv/versions"
    found: dict[int, Path] = {}
    for minor in sorted({minor for span in _CONTROLLERS.values() for minor in range(span[0], 14)}):
        named = [shutil.which(f"python3.{minor}"), shutil.which("python3"), sys.executable]
        tried = [Path(name) for name in named if name]
        tried += sorted(pyenv.glob(f"3.{minor}.*/bin/python3.{minor}"))
        for python in tried:
            probe = [f"{python}", "-c", _PROBE.format(minor=minor)]
            said = subprocess.run(probe, check=False, capture_output=True, text=True)
            if said.returncode == 0:
                found[minor] = Path(said.stdout.strip())
                break
    return found


@functools.cache
def series() -> tuple[str, ...]:
    """The series of ansible-core that can run on this machine, oldest first."""
    return tuple(name for name in _CONTROLLERS if _python_for(name) is not None)


def newest() -> str:
    """The newest series that can run here. Raises LabError if none can."""
    if not series():
        raise LabError("no Python 3.11 or newer with venv: no maintained Ansible can run here")
    return series()[-1]


def environment(name: str) -> Path:
    """The environment with the series `name`, made if it is not there or its pins have changed.

    By one process at a time; half a minute. Raises LabError if the series cannot run here.
    """
    python = _python_for(name)
    if python is None:
        raise LabError(f"ansible-core {name} cannot run here; there are: {', '.join(series())}")
    folder = CHECKOUT / f".venv/ansible-{name}"
    wanted = _requirements(name)
    stamp = folder / "made-of.txt"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / f".ansible-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == wanted and _runs(folder):
            return folder
        _make(folder, python, wanted)
        stamp.write_text(wanted)
    return folder


def collections() -> Path:
    """A folder for Ansible's path of collections that has community.general in it.

    The collection comes from the wheel of Ansible's big bundle, which pip can fetch from
    wherever the machine gets its Python packages; all of the bundle would be half a gigabyte.
    """
    bundle = re.search(r"^ansible==(\S+)$", BUNDLE.read_text(), re.MULTILINE)
    if bundle is None:
        raise LabError(f"{BUNDLE}: no line `ansible==...`")
    current = f"community.general-{bundle[1]}"
    target = cache_folder() / "collections" / current
    return made_once(target, "community.general", current, _unpack)


# What a checkout has beside the project itself; `seed` is what the project grew from.
_NOT_THE_PROJECT = ".git .venv build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache".split()


def copy_project(target: Path) -> Path:
    """A copy of the project as somebody who cloned it has it, with the checkout's environments."""

    def left_out(folder: str, names: list[str]) -> list[str]:
        top = _NOT_THE_PROJECT if folder == f"{CHECKOUT}" else []
        return [name for name in names if name in ("__pycache__", *top)]

    shutil.copytree(CHECKOUT, target, symlinks=True, ignore=left_out)
    return target


def build_collection(project: Path) -> Path:
    """The tarball that `make collection` makes in a copy of the project; it stays in its dist."""
    # By a link: what is there is not made anew, and nothing but the environment is the checkout's.
    environments = project / ".venv"
    if not environments.exists():
        environments.symlink_to(CHECKOUT / ".venv")
    galaxy = environment(newest()) / "bin/ansible-galaxy"
    python = Path(sys.base_prefix) / f"bin/python3.{sys.version_info.minor}"
    call(["make", "collection", f"PYTHON={python}", f"ANSIBLE_GALAXY={galaxy}"], cwd=project)
    (tarball,) = (project / "dist").glob("*.tar.gz")
    return tarball


def _python_for(name: str) -> Path | None:
    oldest, latest = _CONTROLLERS[name]
    able = [minor for minor in pythons() if oldest <= minor <= latest]
    return pythons()[max(able)] if able else None


def _requirements(name: str) -> str:
    """The pins with the one release of the series in place of all others."""
    text = PINS.read_text()
    release = re.search(rf"\bansible-core==({re.escape(name)}\.\w+)", text)
    if release is None:
        raise LabError(f"{PINS}: no release of ansible-core {name}")
    pins = [line for line in text.splitlines() if line and not line.startswith("#")]
    others = [pin for pin in pins if not pin.startswith("ansible-core==")]
    return "\n".join([f"ansible-core=={release[1]}", *others, ""])


def _runs(folder: Path) -> bool:
    """False if the Python that the environment stands on has gone."""
    python = folder / "bin/python"
    return python.exists() and subprocess.run([python, "-c", ""], check=False).returncode == 0


def _make(folder: Path, python: Path, wanted: str) -> None:
    began = time.monotonic()
    print(f"lab: making {folder.name} (once) ...", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    call([python, "-m", "venv", folder])
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(wanted)
        file.flush()
        python = folder / "bin/python"
        pip = [f"{python}", "-m", "pip", "install", "--disable-pip-version-check"]
        call([*pip, "--quiet", "--requirement", file.name])
    print(f"lab: {folder.name} made in {time.monotonic() - began:.0f} s", file=sys.stderr)


def _unpack(draft: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet"]
        # The bundle's own limit on Python is none of the collection's: 3.11 may fetch it too.
        pip += ["--no-deps", "--only-binary=:all:", "--python-version=3.13"]
        call([*pip, "--dest", folder, "--requirement", BUNDLE])
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(_COLLECTION)]
            archive.extractall(draft, names)
