"""A change of a host during which its power goes, and what must hold after the next boot."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cutoff import KILLED, NEVER
from onhost import (
    apply,
    differences,
    mailu_policy,
    packages,
    policy,
    queued,
    sendmail,
    snapshot,
    sysmail,
    units,
)

from lab import FreshHost, Host, Lab, LabError
from lab.machine import wait_until

POLICY = 'admin = "{admin}"\nnext_hop = "hold"\n'
OLD, NEW = "old@example.org", "new@example.org"


@dataclass(frozen=True)
class Change:
    """What the power goes during: `prepare` brings the host to where `words` are run.

    ``admins`` are those of the policies that may be in force afterwards, None for a host that
    is as it was before sysmail; the last one is what the change leads to. ``policies`` write
    the policy of each admin, that of `hold` unless it is named there. ``packages`` are
    installed before.
    """

    name: str
    words: tuple[str, ...]
    prepare: Callable[[Powered], None]
    admins: tuple[str | None, ...]
    packages: tuple[str, ...] = ()
    policies: Mapping[str, Callable[[Lab, Host, str], None]] = field(default_factory=dict)


def _hold(_lab: Lab, host: Host, admin: str) -> None:
    policy(host, POLICY.format(admin=admin))


def _login(lab: Lab, host: Host, admin: str) -> None:
    mailu_policy(lab, host, f'admin = "{admin}"\nroute = "relay"')


def _mailu(lab: Lab, host: Host, admin: str) -> None:
    mailu_policy(lab, host, f'admin = "{admin}"\nroute = "mailu"')


def _first(powered: Powered) -> None:
    powered.write(OLD)


def _second(powered: Powered) -> None:
    _away(powered)
    powered.submit()
    powered.write(NEW)


def _deferred(powered: Powered) -> None:
    """The same, with mail that Mailu did not take, and now would."""
    _away(powered)
    limit = powered.lab.mailu.rate_limit
    limit(messages=0)
    try:
        powered.submit()
        wait_until("it was tried", lambda: "deferred" in powered.queued().values(), 60, 0.2)
    finally:
        limit(messages=None)
    powered.write(NEW)


def _back(powered: Powered) -> None:
    _second(powered)
    apply(powered.host)


def _away(powered: Powered) -> None:
    _first(powered)
    apply(powered.host)


CHANGES = (
    Change("first install", ("apply",), _first, (None, OLD)),
    Change("exim4 replaced", ("apply",), _first, (None, OLD), ("exim4",)),
    Change("policy change", ("apply",), _second, (OLD, NEW)),
    Change("next hop", ("apply",), _second, (OLD, NEW), policies={NEW: _login}),
    Change("to mailu", ("apply",), _deferred, (OLD, NEW), policies={OLD: _login, NEW: _mailu}),
    Change("to relay", ("apply",), _second, (OLD, NEW), policies={OLD: _mailu, NEW: _login}),
    Change("rollback", ("rollback",), _back, (NEW, OLD)),
    Change("remove", ("remove",), _away, (OLD, None)),
)


class Powered:
    """A host with a disk of its own, and one change of it."""

    def __init__(self, lab: Lab, fresh_host: FreshHost, base: str, change: Change) -> None:
        self.lab, self._change = lab, change
        self._taken: set[str] = set()
        self.host = fresh_host(base, own_disk=True, packages=change.packages)
        self._bare = _look(self.host)

    def moments(self) -> list[str]:
        """What the moments are called, in order; the power goes when the command has just ended."""
        names = self._cut(NEVER, "at its end")
        assert self._in_force() == self._change.admins[-1], "a change that was done is lost"
        self._settle()
        return names

    def cut(self, number: int) -> bool:
        """The power goes at a moment; what is there after the boot is the old or the new.

        False where the change ended before the moment came.
        """
        names = self._cut(number, f"at moment {number}")
        self._settle()
        return names == []

    def _settle(self) -> None:
        """Ready for the next cut: without mail, and bare where the change begins bare."""
        if None in self._change.admins:
            self.clear()
        else:
            self._drop_mail()

    def close(self) -> None:
        """Nobody needs the host any more."""
        self.host.kill()

    def _cut(self, number: int, when: str) -> list[str]:
        where = f"{self._change.name}, the power went {when}"
        print(where)
        self._change.prepare(self)
        source = Path(__file__).with_name("killed.py").read_text()
        self.host.run(["sh", "-c", f"cat > {KILLED}"], input=source)
        words = ["python3", KILLED, str(number), "stand", *self._change.words]
        process = self.host.start(words)
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if line == "cut\n" or line.startswith("moments "):
                break
        else:
            raise AssertionError(f"{where}: {said}")
        ended = line != "cut\n"
        told = self.host.run("cat /run/killed.moments").stdout if ended else ""
        self.host.cut_power()
        process.communicate(timeout=20)
        states = self._states()
        print(f"journals on the disk: {states}")
        knocks = self._boot(where)
        self._assert_holds(where, recovers=set(states) - {"done"} != set())
        assert knocks == 0, f"{where}: port 25 was open to the network {knocks} times"
        return [line.partition(" ")[2] for line in told.splitlines()]

    def _boot(self, where: str) -> int:
        with self.lab.knock(self.host) as knocker:
            self.host.boot()
            knocks = knocker.stop()
        assert knocks.attempts > 0, where
        return knocks.successes

    def _assert_holds(self, where: str, *, recovers: bool) -> None:
        host = self.host
        log = [
            json.loads(line)
            for line in host.run("journalctl -b -o json --no-pager").stdout.splitlines()
        ]
        undone = [i for i, entry in enumerate(log) if _is_of_recovery(entry)]
        if any("kipped" in str(log[i]["MESSAGE"]) for i in undone):
            undone = []
        starts = [i for i, entry in enumerate(log) if "daemon started" in str(entry["MESSAGE"])]
        words = [str(log[i]["MESSAGE"]) for i in undone]
        assert not [word for word in words if "Failed" in word or "error" in word], words
        if starts and undone:
            assert undone[-1] < starts[0], f"{where}: Postfix started before recovery was over"
        if recovers:
            assert undone, f"{where}: no recovery at boot"
        assert host.run("systemctl is-system-running").stdout.strip() == "running", where
        told = sysmail(host, "status").report.get("notes", [])
        endings = ("has been undone", "is at its end", "stays as it is")
        done = [word for word in words if any(ending in word for ending in endings)]
        assert bool(told) == bool(done), f"{where}: {told} {words}"
        assert all(note.startswith("recovered at boot: ") for note in told), f"{where}: {told}"
        assert not sysmail(host, "status").report.get("notes"), where
        admin = self._in_force()
        assert admin in self._change.admins, where
        if admin is None:
            found = differences(self._bare, _look(host))
            assert not found, f"{where}: {found}"
        else:
            self.write(admin)
            if any("stays as it is" in note for note in told):
                apply(host)  # forward: its mail could not leave, so Postfix could not go
            proof = sysmail(host, "prove")
            assert proof.status == 0, f"{where}: {proof.failed()} {proof.report['errors']}"
            assert sysmail(host, "plan").status == 0, where
        self._assert_nothing_lost(where)
        left = host.run("find / -xdev -name '*.sysmail-new'").stdout
        assert not left, f"{where}: {left}"

    def _assert_nothing_lost(self, where: str) -> None:
        """What was taken has arrived, or waits where it can be seen."""
        missing = set(self._taken)

        def all_there() -> bool:
            missing.difference_update(self.queued())
            if missing and self._change.policies:
                missing.difference_update(self.lab.mailu.ids("X-Id"))
            return not missing

        try:
            wait_until("all messages", all_there, 60, 0.3)
        except LabError as error:
            raise AssertionError(f"{where}: lost {sorted(missing)}") from error

    def write(self, admin: str) -> None:
        """The policy of this admin, in the host's file."""
        self._change.policies.get(admin, _hold)(self.lab, self.host, admin)

    def submit(self) -> None:
        """A message that sendmail takes; on the route mailu that is Mailu's answer."""
        name = f"x{secrets.token_hex(4)}"
        sendmail(self.host, f"Subject: s\nX-Id: {name}\n\nx\n", f"{name}@example.net")
        self._taken.add(name)

    def queued(self) -> dict[str, str]:
        """Which queue each message is in."""
        return queued(self.host)

    def _states(self) -> list[str]:
        folders = sorted(self.host.root.glob("var/lib/sysmail/checkpoints/*"))
        files = [folder / "journal.json" for folder in folders]
        return [json.loads(f.read_text())["state"] if f.exists() else "none" for f in files]

    def _in_force(self) -> str | None:
        """The admin of the policy in force, from the last checkpoint that is done."""
        journals = sorted(self.host.root.glob("var/lib/sysmail/checkpoints/*/journal.json"))
        found = [json.loads(path.read_text()) for path in journals]
        assert all(journal["state"] == "done" for journal in found)
        return str(found[-1]["policy"]["admin"]) if found else None

    def _drop_mail(self) -> None:
        self._taken.clear()
        if self.host.run("command -v postsuper", check=False).returncode == 0:
            self.host.run("postsuper -d ALL")

    def clear(self) -> None:
        """Back to a host that sysmail has not touched."""
        host = self.host
        self._drop_mail()
        removed = sysmail(host, "remove")
        assert removed.status == 0 or removed.codes == ["nothing-to-undo"], removed.report
        host.run("rm -rf /etc/sysmail")
        found = differences(self._bare, _look(host))
        assert not found, found


def _is_of_recovery(entry: dict[str, object]) -> bool:
    units = (entry.get("UNIT"), entry.get("_SYSTEMD_UNIT"))
    return "sysmail-recover.service" in units


def _look(host: Host) -> dict[str, str]:
    """What must be the same on a host that sysmail is not, or no longer, on."""
    found = snapshot(host)
    found["packages"] = " ".join(packages(host))
    found["units"] = " ".join(units(host))
    found["exim4"] = host.run("systemctl is-active exim4", check=False).stdout
    # Exim's hints are a cache: its packages throw them away when they go.
    passing = ("etc/sysmail", "var/spool/exim4/db/")
    return {path: state for path, state in found.items() if not path.startswith(passing)}
