"""One transaction: every change is in the journal before it is made."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import Callable, Union

from sysmail import queue
from sysmail.apply import disk, guard, neighbour, packages, retire, service, submission, timer
from sysmail.apply.bystanders import ETC_POSTFIX, write_down
from sysmail.apply.checkpoint import FORMER, Checkpoint, digest, finish, remember, save
from sysmail.apply.restartable import require_room
from sysmail.apply.undo import tidy
from sysmail.distro import Distro
from sysmail.errors import HostError, StepError
from sysmail.facts.model import Facts
from sysmail.host.port import Writer
from sysmail.plan import (
    DownloadPackages,
    InstallPackages,
    RemoveFile,
    Requeue,
    Retire,
    Service,
    Step,
    Submission,
    Timer,
    WriteFile,
)
from sysmail.takeover import other_mtas

__all__ = ["Transaction"]

REQUEUE_SECONDS = 5.0
UNITS = "/etc/systemd/system/"
MAIN_CF = f"{ETC_POSTFIX}/main.cf"
ENABLED = f"{UNITS}multi-user.target.wants/postfix.service"
SENDMAIL = ("/usr/sbin/sendmail", "/usr/lib/sendmail", "/usr/bin/mailq", "/usr/bin/newaliases")


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
        self._units_changed = False

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
        checkpoint.unserved = True
        checkpoint.watch = facts.watch.active or facts.watch.enabled
        checkpoint.submission = [a for a, unit in facts.msmtpd.items() if unit.active]
        checkpoint.directories = [path for path in _parents(paths) if not there(path)]
        checkpoint.packages_before = sorted(facts.packages)
        checkpoint.absent_before = [path for path in paths if not there(path)]
        checkpoint.leftovers_before = [
            path for path in (distro.leftovers if distro else ()) if there(path)
        ]
        try:
            guard.place(writer)
            save(writer, checkpoint)
        except BaseException:
            with contextlib.suppress(HostError):
                tidy(writer)
            raise
        return cls(writer, facts, checkpoint, say)

    @classmethod
    def take_up(
        cls,
        writer: Writer,
        facts: Facts,
        pending: Checkpoint,
        paths: Iterable[str],
        say: Callable[[str], None],
    ) -> Transaction:
        """Go on with what waited for packages, maybe for other ``paths`` than before."""
        absent = {path for path in paths if writer.state(path, content=False) is None}
        pending.absent_before = sorted({*pending.absent_before, *absent})
        pending.state = "open"
        guard.place(writer)
        found = cls(writer, facts, pending, say)
        found.installed()
        return found

    def do(self, step: Step) -> None:
        """Carry out one step. StepError or HostError when it fails."""
        if isinstance(step, DownloadPackages):
            self._fetch(step)
        elif isinstance(step, InstallPackages):
            self._install(step)
        elif isinstance(step, WriteFile):
            self._write(step)
        elif isinstance(step, RemoveFile):
            remember(self._writer, self.checkpoint, step.path, None)
            self._writer.keep(step.path, step.path + FORMER)
            self._writer.remove(step.path)
            self._units_changed |= step.path.startswith(UNITS)
        elif isinstance(step, (Service, Timer)):
            self._serve(step)
        elif isinstance(step, Submission):
            self._submit(step)
        elif isinstance(step, Retire):
            self._retire()
        elif isinstance(step, Requeue):
            self._requeue()
        # RecordPolicy: the journal itself is the record.

    def update_facts(self, facts: Facts) -> None:
        """Go on with newer facts, as after an installation."""
        self._facts = facts

    def commit(self) -> None:
        """The new state is in force."""
        self._read_units()
        write_down(self._writer, self.checkpoint, self._facts.distro)
        disk.flush(self._writer)
        finish(self._writer, self.checkpoint)

    def _distro(self) -> Distro:
        if self._facts.distro is None:
            raise StepError(
                "unknown-distribution", "no package manager is known", "install by hand"
            )
        return self._facts.distro

    def prepare(self, step: InstallPackages) -> None:
        """Write down what is there before packages come; whoever installs them may be cut off."""
        if not self.checkpoint.packages_asked:
            self._remember_folders(ETC_POSTFIX)
            # Anew: others may have installed something since the facts were collected.
            now = packages.installed(self._writer, self._distro())
            self.checkpoint.packages_before = sorted(now)
        self.checkpoint.packages_asked += list(step.names)
        self.checkpoint.unserved = False
        # Not known until it is over, also where an earlier step has installed something.
        self.checkpoint.packages_brought = self.checkpoint.packages_lost = None
        self._remember_directory(ETC_POSTFIX)
        self._remember_sendmail()
        known = packages.only_configured(self._writer, self._distro())
        self.checkpoint.packages_configured = sorted({*self.checkpoint.packages_configured, *known})
        if "postfix" in known and self._writer.state(ENABLED, content=False) is not None:
            self.checkpoint.service["link_left"] = True  # of a Postfix that was removed earlier
        save(self._writer, self.checkpoint)

    def installed(self) -> None:
        """Write down what came with the packages."""
        self._settle()
        before = set(self.checkpoint.packages_before)
        now = packages.installed(self._writer, self._distro())
        self.checkpoint.packages_brought = packages.came_for(
            self._writer,
            self._distro(),
            self.checkpoint.packages_asked,
            sorted(before),
            cut_off=False,
        )
        self.checkpoint.packages_lost = sorted(before - set(now))
        if self.checkpoint.handed_over:
            self.checkpoint.packages_lost = []
        along = set(packages.automatic(self._writer, self._distro()))
        self.checkpoint.packages_along = sorted(along & set(self.checkpoint.packages_brought))
        if "postfix" in self.checkpoint.packages_brought:
            retire.end_postdrops(self._writer)
        save(self._writer, self.checkpoint)

    def _fetch(self, step: DownloadPackages) -> None:
        self.checkpoint.fetching = True
        save(self._writer, self.checkpoint)
        packages.fetch(self._writer, self._distro(), step.names, step.replaced, self._say)
        self.checkpoint.fetching = False

    def _install(self, step: InstallPackages) -> None:
        self.prepare(step)
        names, distro = step.names, self._distro()
        self._say(f"installing {', '.join(names)}")
        known = set(self._writer.names(ETC_POSTFIX))
        if step.replaced:
            neighbour.remember_neighbours(self._writer, self.checkpoint, distro, step.replaced)
            neighbour.require_empty(self._writer, step.replaced)
        packages.install(self._writer, distro, names, self._say, step.replaced)
        self._forget_kept_files(known)
        # Programs went on sending until the moment it went.
        neighbour.require_empty(self._writer, step.replaced, seconds=5.0)
        self.installed()

    def _forget_kept_files(self, known: set[str]) -> None:
        """What pacman keeps as .pacsave of a package that goes; the journal has it too."""
        for name in set(self._writer.names(ETC_POSTFIX)) - known:
            if re.search(r"\.pacsave(\.\d+)?$", name):
                self._writer.remove(f"{ETC_POSTFIX}/{name}")

    def _settle(self) -> None:
        """What the package manager made of files that are remembered is no edit of a person's."""
        for entry in self.checkpoint.files:
            state = self._writer.state(entry["path"])
            entry["after"] = digest(state.data) if state is not None else None
            if "access" in entry and state is not None:
                entry["access"] = [state.mode, state.uid, state.gid]

    def _remember_sendmail(self) -> None:
        """Of no package, it is overwritten when one brings its own (dpkg asks nobody)."""
        if self._facts.postfix is not None or other_mtas(self._facts):
            return
        for path in SENDMAIL:
            known = any(entry["path"] == path for entry in self.checkpoint.files)
            if not known and self._writer.state(path, content=False) is not None:
                remember(self._writer, self.checkpoint, path, None)
                self.checkpoint.files[-1]["packaged"] = True

    def _remember_folders(self, path: str) -> None:
        """A purge takes them along, and what is put back would be in others', open to all."""
        state = self._writer.state(path, content=False)
        if state is None or path in self.checkpoint.directories:
            return
        folder = {"path": path, "mode": state.mode, "uid": state.uid, "gid": state.gid}
        if path == ETC_POSTFIX and state.kind == "link":
            folder["target"] = state.target
        elif state.kind != "directory":
            return
        self.checkpoint.folders.append(folder)
        for name in self._writer.names(path):
            self._remember_folders(f"{path}/{name}")

    def _remember_directory(self, path: str) -> None:
        """Purging a package takes what others put into its directory along (measured)."""
        for name in self._writer.names(path):
            if name.endswith(FORMER):
                continue
            inner = f"{path}/{name}"
            state = self._writer.state(inner, content=False)
            if state is not None and state.kind == "directory":
                self._remember_directory(inner)
            elif state is not None and not any(e["path"] == inner for e in self.checkpoint.files):
                remember(self._writer, self.checkpoint, inner, None)

    def _write(self, step: WriteFile) -> None:
        file = step.file
        self.checkpoint.directories += [
            path
            for path in _parents([file.path])
            if path not in self.checkpoint.directories
            and self._writer.state(path, content=False) is None
        ]
        access = (file.mode, file.uid, file.gid)
        remember(self._writer, self.checkpoint, file.path, file.data, access)
        self._writer.mkdir(file.path.rpartition("/")[0], 0o755)
        if step.before is not None and step.before.kind == "file":
            self._writer.keep(file.path, file.path + FORMER)
        self._writer.write(file.path, file.data, file.mode, file.uid, file.gid)
        self._units_changed |= file.path.startswith(UNITS)

    def _read_units(self) -> None:
        if self._units_changed and self._facts.systemd:
            self._writer.run(["systemctl", "daemon-reload"])
        self._units_changed = False

    def _submit(self, step: Submission) -> None:
        self._read_units()
        if step.action == "start":
            submission.start(self._writer, step.listen, step.port)
        else:
            submission.stop(self._writer, step.listen)

    def _watch(self, step: Timer) -> None:
        if step.action == "stop":
            timer.stop(self._writer)
            return
        if self._writer.state(timer.WANTS, content=False) is None:
            self.checkpoint.directories.append(timer.WANTS)
            save(self._writer, self.checkpoint)
        timer.start(self._writer)

    def _retire(self) -> None:
        retire.drain(self._writer, self._say)
        self._touch_service()
        main_cf = self._writer.state(MAIN_CF)
        if main_cf is not None and main_cf.kind == "file":
            remember(self._writer, self.checkpoint, MAIN_CF, main_cf.data + retire.CLOSED)
            retire.close_sendmail(self._writer)
        retire.stop_for_good(self._writer, self._facts, self._say)

    def _serve(self, step: Union[Service, Timer]) -> None:
        self._read_units()
        if isinstance(step, Timer):
            self._watch(step)
        elif step.action == "enable":
            service.act(self._writer, self._facts, step.action)
        else:
            if step.action == "restart" and self._facts.master_running:
                require_room(self._writer, self._facts)
            self._touch_service()
            service.bring_up(self._writer, self._facts, step.action, step.listen)

    def _touch_service(self) -> None:
        """Write down that the way back has to restart Postfix from here on."""
        if self.checkpoint.unserved:
            self.checkpoint.unserved = False
            try:
                save(self._writer, self.checkpoint)
            except BaseException:
                self.checkpoint.unserved = True  # it was not
                raise

    def _requeue(self) -> None:
        """postsuper(1): through cleanup(8) again, so that the new tables apply. Held mail stays.

        pickup(8) looks into maildrop once a minute unless it is woken; the proof
        that follows is about what waits then.
        """
        if not any(m.queue == "deferred" for m in queue.waiting(self._writer) or []):
            return
        self._writer.run(["postsuper", "-r", "ALL", "deferred"])
        self._writer.run(["postkick", "public", "pickup", "W"])
        self._writer.run(["postqueue", "-f"])
        deadline = self._writer.elapsed() + REQUEUE_SECONDS
        while self._writer.elapsed() < deadline:
            if not any(m.queue == "maildrop" for m in queue.waiting(self._writer) or []):
                return
            self._writer.sleep(0.05)


def _parents(paths: Iterable[str]) -> list[str]:
    """Every directory above the paths, the upper ones first."""
    found: set[str] = set()
    for path in paths:
        parts = path.split("/")
        found |= {"/".join(parts[:end]) for end in range(2, len(parts))}
    return sorted(found)
