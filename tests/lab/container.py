"""Boots, stops and kills a host with systemd-nspawn, and runs commands in it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .cgroups import Cgroup, entering_host_of
from .machine import LabError, children, end_process, wait_until
from .network import Node

# What a service manager gives a root shell; nothing of the test's own environment gets in.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}
BOOT_SECONDS = 60
STOP_SECONDS = 30
_UNIFIED = {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}


@dataclass
class Container:
    """One booted root. `name` is the machine name; `console` collects what it prints at boot.

    With `unified` it has the control groups of version 2 alone, also where the machine has both.
    """

    name: str
    root: Path
    node: Node
    console: Path
    binds: Mapping[Path, str] = field(default_factory=dict)
    unified: bool = False
    leader: int = 0
    _nspawn: subprocess.Popen[str] | None = None

    @property
    def cgroup(self) -> Cgroup:
        """The control group that everything of this host is in."""
        return Cgroup(self.name)

    def boot(self) -> None:
        """Start systemd and wait until it says it is up.

        Raises LabError with the console's text if it is not, within BOOT_SECONDS.
        """
        if self.running:
            return
        self.cgroup.make()
        argv = [
            *self.cgroup.entering(),
            *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit"),
            *(f"--network-namespace-path={self.node.netns_path}", f"--machine={self.name}"),
            *("--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=read-only"),
            *(f"--directory={self.root}", f"--hostname={self._hostname()}"),
            *(f"--bind-ro={outside}:{path}" for outside, path in self.binds.items()),
        ]
        with self.console.open("a") as console:
            self._nspawn = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, **_UNIFIED} if self.unified else None,
                start_new_session=True,  # an interrupt at the terminal is for the test, not for it
            )
        try:
            self._wait_for_systemd(self._nspawn)
        except LabError as problem:
            text = self.console.read_text(errors="replace")[-6000:]
            self.kill()
            raise LabError(f"{self.name} did not boot: {problem}\nconsole:\n{text}") from problem

    @property
    def running(self) -> bool:
        """True from boot to stop or kill."""
        return self._nspawn is not None and self._nspawn.poll() is None

    def stop(self) -> None:
        """Shut down as a power button does; killed if that takes too long."""
        if self._nspawn is not None:
            end_process(self._nspawn, STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End every process of the host at one instant; its files stay as they are."""
        if self.leader:
            # The first process of a pid namespace takes all others with it.
            _kill(self.leader)
        if self._nspawn is not None:
            if not self.leader:
                for child in children(self._nspawn.pid):
                    _kill(child)
            end_process(self._nspawn)
        for pid in self.cgroup.pids():
            _kill(pid)
        self.leader, self._nspawn = 0, None
        self.cgroup.remove()

    def argv(
        self, command: str | Sequence[str], user: str | None, env: Mapping[str, str] | None
    ) -> list[str]:
        """The machine's argument list that runs `command` in the host."""
        if not self.running:
            raise LabError(f"{self.name} is not running")
        home = "/root" if user in (None, "root") else f"/home/{user}"
        names = {"USER": user or "root", "LOGNAME": user or "root", "HOME": home}
        become = (
            []
            if user is None
            else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        )
        return [
            *entering_host_of(self.leader),
            *("nsenter", f"--target={self.leader}", "--mount", "--uts", "--ipc", "--net", "--pid"),
            *("--cgroup", "--root", "--wd", "--", *become, "env", "-i"),
            *(f"{name}={value}" for name, value in {**ENVIRONMENT, **names, **(env or {})}.items()),
            *(["sh", "-c", command] if isinstance(command, str) else command),
        ]

    def run(
        self,
        command: str | Sequence[str],
        *,
        check: bool = False,
        input: str | None = None,  # noqa: A002 - the name is subprocess.run's
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; see Host.run."""
        # Files and not pipes: a daemon that the command leaves behind keeps its output open,
        # and reading a pipe would wait for the daemon.
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
            with tempfile.TemporaryFile() as typed:
                typed.write((input or "").encode(errors="surrogateescape"))
                typed.seek(0)
                process = subprocess.Popen(
                    self.argv(command, user, env),
                    stdin=typed,
                    stdout=said,
                    stderr=complained,
                    start_new_session=True,
                )
                late = False
                try:
                    process.wait(timeout)
                except subprocess.TimeoutExpired:
                    late = True
                finally:
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)
                        process.wait()
            said.seek(0)
            complained.seek(0)
            done = subprocess.CompletedProcess(
                command,
                process.returncode,
                said.read().decode(errors="surrogateescape"),
                complained.read().decode(errors="surrogateescape"),
            )
        if late or (check and done.returncode != 0):
            outcome = f"not done after {timeout:g} s" if late else f"exit {done.returncode}"
            raise LabError(f"{self.name}: {command!r}: {outcome}\n{done.stdout}{done.stderr}")
        return done

    def _hostname(self) -> str:
        return (self.root / "etc/hostname").read_text().strip()

    def _wait_for_systemd(self, nspawn: subprocess.Popen[str]) -> None:
        def has_leader() -> bool:
            if nspawn.poll() is not None:
                raise LabError(f"systemd-nspawn ended with {nspawn.returncode}")
            for child in children(nspawn.pid):
                if _is_init(child):
                    self.leader = child
            return self.leader != 0

        end = time.monotonic() + BOOT_SECONDS
        wait_until("systemd is process 1", has_leader, BOOT_SECONDS)
        state = "no answer"
        while time.monotonic() < end:
            # Before its bus is there it cannot be asked; then one question waits for the answer.
            done = self.run(
                "systemctl is-system-running --wait", timeout=end - time.monotonic() + 1
            )
            state = done.stdout.strip() or done.stderr.strip()
            if state in ("running", "degraded"):
                return
            if nspawn.poll() is not None:
                raise LabError(f"systemd-nspawn ended with {nspawn.returncode}")
            time.sleep(0.05)
        raise LabError(f"systemd says {state!r} after {BOOT_SECONDS} s")


def _is_init(pid: int) -> bool:
    """True for the systemd that is process 1 of a container, once nspawn has started it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return fields["Name"].strip() == "systemd" and fields["NSpid"].split()[1:] == ["1"]


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
