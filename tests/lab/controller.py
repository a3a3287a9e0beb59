"""An Ansible controller: a node of the lab from which playbooks run over ssh on booted hosts.

Its programs are the machine's, in the node's network, with a home of their own: nothing of the
person who runs the tests (ssh configuration, agent, Ansible's settings) is seen by them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from . import ansible, played
from .host import CHECKOUT, Host
from .machine import LabError, call
from .network import Node, inside

RESULTS = Path(__file__).parent / "ansible_results"
# A host that is cut off is given up after this many seconds: when it is called, and in a talk.
_GIVE_UP = 10
# In the environment of a play's processes, and of no other play's: where its results go.
_MARK = "SYSMAIL_LAB_RESULTS"
_ADMIT = """
set -e
id "$1" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$1"
home=$(getent passwd "$1" | cut -d: -f6)
umask 077
mkdir -p "$home/.ssh"
cat >>"$home/.ssh/authorized_keys"
chown -R "$1:" "$home/.ssh"
systemctl start ssh
"""
_SUDOER = 'umask 337; cat >"/etc/sudoers.d/$1"'


class Controller:
    """Made by Lab.controller. `forks` is how many hosts a play works on at the same time."""

    def __init__(self, node: Node, folder: Path, collections: Path) -> None:
        """Make its home in `folder`, which is the lab's: keys and sockets of ssh, all files.

        Plays find the checkout's own collection, and those in `collections`.
        """
        self.node = node
        self.forks = 5
        self._home = folder
        self._admitted: dict[str, dict[str, Any]] = {}
        self._numbers = count(1)
        self._lock = threading.Lock()
        folder.mkdir(parents=True, mode=0o700)
        for name in (".ssh", "ansible", "cp", "tmp", "plays"):
            (folder / name).mkdir(mode=0o700)
        self._key = folder / ".ssh/id_ed25519"
        call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", self._key])
        self._known = folder / ".ssh/known_hosts"
        self._configuration = folder / "ansible.cfg"
        self._configuration.write_text(self._ansible_cfg(collections))

    def admit(self, host: Host, user: str = "root", sudo: str = "") -> dict[str, Any]:
        """Make the controller's key accepted on a booted host; returns inventory variables for it.

        An ordinary user is made if there is none, and may use sudo: without a password, or with
        the password `sudo`. Later plays that are given no inventory work on this host, too.
        """
        public = self._key.with_suffix(".pub").read_text()
        host.run(["sh", "-c", _ADMIT, "sh", user], input=public)
        variables: dict[str, Any] = {
            "ansible_host": host.address,
            "ansible_user": user,
        }
        if user != "root":
            free = "" if sudo else "NOPASSWD: "
            rule = f"{user} ALL=(ALL:ALL) {free}ALL\n"
            host.run(["sh", "-c", _SUDOER, "sh", f"lab-{user}"], input=rule)
            variables["ansible_become"] = True
            if sudo:
                host.run(["chpasswd"], input=f"{user}:{sudo}\n")
                variables["ansible_become_password"] = sudo
        keys = sorted((host.root / "etc/ssh").glob("ssh_host_*_key.pub"))
        with self._lock:
            with self._known.open("a") as known:
                known.writelines(f"{host.address} {key.read_text()}" for key in keys)
            self._admitted[host.name] = variables
        return variables

    def forget(self, host: Host) -> None:
        """Leave a host that is taken away out of plays without an inventory."""
        with self._lock:
            self._admitted.pop(host.name, None)

    def inventory(self, *hosts: Host, **more: Any) -> dict[str, Any]:
        """An inventory of admitted hosts, all or those given; `more` are variables of all."""
        names = [host.name for host in hosts] or list(self._admitted)
        return {
            "all": {"hosts": {name: dict(self._admitted[name]) for name in names}, "vars": more}
        }

    def play(
        self,
        playbook: str | Path | list[dict[str, Any]],
        inventory: Mapping[str, Any] | str | None = None,
        *args: str,
        env: Mapping[str, str] | None = None,
        check: bool = False,
        pipelining: bool = False,
        series: str = "",
        timeout: float = 600,
    ) -> played.Played:
        """Run ansible-playbook and say what came of it, whatever its exit status.

        `playbook` is YAML text, plain data, or a file; `inventory` as well plain data or text,
        and all admitted hosts if there is none. `args` are further words of the command line (no
        secrets: those belong into the inventory, which only root can read); `env` adds to the
        environment. `series` is that of ansible-core, the newest there is unless given.
        Raises LabError if the run is not done after `timeout` seconds.
        """
        with self._lock:
            folder = self._home / "plays" / f"{next(self._numbers)}"
        folder.mkdir(mode=0o700)
        book = playbook if isinstance(playbook, Path) else folder / "playbook.yml"
        if not isinstance(playbook, Path):
            book.write_text(playbook if isinstance(playbook, str) else json.dumps(playbook))
        file = self._write_inventory(folder, inventory)
        words = [f"{book}", "--inventory", f"{file}"]
        words += ["--forks", f"{self.forks}", *(["--check"] if check else []), *args]
        more = {
            _MARK: f"{folder}/results",
            "ANSIBLE_PIPELINING": f"{pipelining}",
            **(env or {}),
        }
        status = self._run("ansible-playbook", words, folder, series, more, timeout)
        out, err = ((folder / name).read_text(errors="replace") for name in ("out", "err"))
        return played.read(folder / "results", status, out, err)

    def hang_up(self) -> None:
        """End the connections that ssh keeps open between plays."""
        for socket in (self._home / "cp").iterdir():
            leave = ["ssh", "-F", "/dev/null", "-o", f"ControlPath={socket}", "-O", "exit", "host"]
            subprocess.run(leave, check=False, capture_output=True)

    def environment(self, series: str = "") -> dict[str, str]:
        """The whole environment of the controller's programs, with Ansible of that series."""
        programs = ansible.environment(series or ansible.newest()) / "bin"
        return {
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": f"{self._home}",
            "LANG": "C.UTF-8",
            "TMPDIR": f"{self._home}/tmp",
            "ANSIBLE_HOME": f"{self._home}/ansible",
            "ANSIBLE_CONFIG": f"{self._configuration}",
            "ANSIBLE_NOCOLOR": "1",
            # The checkout is not only ours: no compiled files in it.
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _run(
        self,
        program: str,
        words: list[str],
        folder: Path,
        series: str,
        env: Mapping[str, str],
        timeout: float,
    ) -> int:
        """Run a program to its end, with its outputs in files; its workers end with it."""
        whole = {**self.environment(series), **env}
        argv = inside(self.node.netns, program, *words)
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            process = subprocess.Popen(
                argv,
                cwd=folder,
                env=whole,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            try:
                return process.wait(timeout)
            except subprocess.TimeoutExpired:
                said = (folder / "out").read_text(errors="replace")[-4000:]
                raise LabError(f"{program}: not done after {timeout:g} s\n{said}") from None
            finally:
                if process.poll() is None:
                    _kill_all(f"{_MARK}={folder}/results")
                    process.wait()

    def _write_inventory(self, folder: Path, inventory: Mapping[str, Any] | str | None) -> Path:
        file = folder / ("inventory" if isinstance(inventory, str) else "inventory.json")
        data = self.inventory() if inventory is None else inventory
        file.touch(mode=0o600)
        file.write_text(data if isinstance(data, str) else json.dumps(data))
        return file

    def _ansible_cfg(self, collections: Path) -> str:
        ssh = {
            "ControlMaster": "auto",
            "ControlPersist": "60s",
            "UserKnownHostsFile": self._known,
            "IdentityFile": self._key,
            "IdentitiesOnly": "yes",
            "PreferredAuthentications": "publickey",
            "ServerAliveInterval": _GIVE_UP // 2,
            "ServerAliveCountMax": 2,
        }
        options = " ".join(f"-o {name}={shlex.quote(f'{value}')}" for name, value in ssh.items())
        return f"""\
[defaults]
collections_path = {CHECKOUT / "src"}:{collections}
roles_path = {CHECKOUT / "roles"}
callback_plugins = {RESULTS}
callbacks_enabled = results
interpreter_python = auto_silent
timeout = {_GIVE_UP}
local_tmp = {self._home}/tmp

[ssh_connection]
# The machine's own configuration of ssh is none of the lab's.
ssh_args = -F /dev/null {options}
control_path_dir = {self._home}/cp
"""


def _kill_all(setting: str) -> None:
    """Kill the processes that have a setting in their environment: workers leave their group."""
    wanted = setting.encode()
    for _ in range(3):  # one may have started another in between
        for environ in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if wanted in environ.read_bytes().split(b"\0"):
                    os.kill(int(environ.parent.name), signal.SIGKILL)
