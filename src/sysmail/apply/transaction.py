"""One transaction: every change is in the journal before it is made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Callable

from sysmail import queue
from sysmail.apply import packages, service
from sysmail.apply.checkpoint import Checkpoint, remember, save
from sysmail.errors import StepError
from sysmail.facts.model import Facts
from sysmail.host.port import Writer
from sysmail.plan import (
    InstallPackages,
    RemoveFile,
    Requeue,
    Service,
    Step,
    WriteFile,
)
from sysmail.postfix.maps import DIRECTORY

__all__ = ["Transaction"]

REQUEUE_SECONDS = 5.0
_OWN_DIRECTORIES = ("/etc/postfix", DIRECTORY)


class Transaction:
    """Carries out steps on a host; ``say`` is told what is being done, for a person to read."""

    def __init__(
        self,
        writer: Writer,
        facts: Facts,
        checkpoint: Checkpoint,
        say: Callable[[str], None],
    ) -> None:
        self._writer = writer
        self._facts = facts
        self.checkpoint = checkpoint
        self._say = say

    @classmethod
    def begin(
        cls,
        writer: Writer,
        facts: Facts,
        checkpoint: Checkpoint,
        paths: Iterable[str],
        say: Callable[[str], None],
    ) -> Transaction:
        """Open the journal; from here on a cut-off transaction is undone by the next command.

        ``paths`` are the files that may be written: whether they were there
        before is remembered even where a package puts them there first.
        """
        distro = facts.distro

        def there(path: str) -> bool:
            return writer.state(path, content=False) is not None

        checkpoint.time = writer.now()
        checkpoint.service = {
            "enabled": facts.service.enabled,
            "running": facts.master_running,
        }
        checkpoint.directories = [path for path in _OWN_DIRECTORIES if not there(path)]
        checkpoint.packages_before = sorted(facts.packages)
        checkpoint.absent_before = [path for path in paths if not there(path)]
        checkpoint.leftovers_before = [
            path for path in (distro.leftovers if distro else ()) if there(path)
        ]
        save(writer, checkpoint)
        return cls(writer, facts, checkpoint, say)

    def do(self, step: Step) -> None:
        """Carry out one step. StepError or HostError when it fails."""
        if isinstance(step, InstallPackages):
            self._install(step.names)
        elif isinstance(step, WriteFile):
            self._write(step)
        elif isinstance(step, RemoveFile):
            remember(self._writer, self.checkpoint, step.path, None)
            self._writer.remove(step.path)
        elif isinstance(step, Service):
            self._serve(step)
        elif isinstance(step, Requeue):
            self._requeue()
        # RecordPolicy: the journal itself is the record.

    def update_facts(self, facts: Facts) -> None:
        """Go on with newer facts, as after an installation."""
        self._facts = facts

    def commit(self) -> None:
        """The new state is in force."""
        self.checkpoint.state = "done"
        save(self._writer, self.checkpoint)

    def _install(self, names: tuple[str, ...]) -> None:
        distro = self._facts.distro
        if distro is None:
            raise StepError(
                "unknown-distribution", "no package manager is known", "install by hand"
            )
        before = set(self.checkpoint.packages_before)
        self.checkpoint.packages_asked += list(names)
        self._remember_directory("/etc/postfix")
        save(self._writer, self.checkpoint)
        self._say(f"installing {', '.join(names)}")
        packages.install(self._writer, distro, names, self._say)
        now = packages.installed(self._writer, distro)
        self.checkpoint.packages_brought = sorted(set(now) - before)
        save(self._writer, self.checkpoint)

    def _remember_directory(self, path: str) -> None:
        """Purging a package takes what others put into its directory along (measured)."""
        for name in self._writer.names(path):
            inner = f"{path}/{name}"
            state = self._writer.state(inner, content=False)
            if state is not None and state.kind == "directory":
                self._remember_directory(inner)
            elif state is not None and not any(e["path"] == inner for e in self.checkpoint.files):
                remember(self._writer, self.checkpoint, inner, None)

    def _write(self, step: WriteFile) -> None:
        file = step.file
        remember(self._writer, self.checkpoint, file.path, file.data)
        self._writer.mkdir(file.path.rpartition("/")[0], 0o755)
        self._writer.write(file.path, file.data, file.mode, file.uid, file.gid)

    def _serve(self, step: Service) -> None:
        if step.action == "enable":
            service.act(self._writer, self._facts, step.action)
        else:
            service.bring_up(self._writer, self._facts, step.action, step.listen)

    def _requeue(self) -> None:
        """postsuper(1): through cleanup(8) again, so that the new tables apply. Held mail stays.

        pickup(8) looks into maildrop once a minute unless it is woken; the proof
        that follows is about what waits then.
        """
        if not any(m.queue == "deferred" for m in queue.waiting(self._writer) or []):
            return
        self._writer.run(["postsuper", "-r", "ALL", "deferred"])
        self._writer.run(["postkick", "public", "pickup", "W"])
        deadline = self._writer.now() + REQUEUE_SECONDS
        while self._writer.now() < deadline:
            if not any(m.queue == "maildrop" for m in queue.waiting(self._writer) or []):
                return
            self._writer.sleep(0.05)
