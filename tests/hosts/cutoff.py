"""Changes of a host, cut off at a given moment, and what must hold afterwards.

A `Bench` is one booted host that serves many samples: before each it is brought to where a change
begins, from wherever the sample before left it. Every message that any sendmail of the host took,
before and during, is counted at the end of each sample: it has arrived, or is in the queue.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from onhost import (
    POLICY,
    Ran,
    apply,
    differences,
    listeners,
    mailu_policy,
    packages,
    policy,
    queued,
    snapshot,
    sysmail,
    units,
)

from lab import Host, Lab, Rule
from lab.machine import wait_until

KILLED = "/run/killed.py"
NEVER = 10**6
NEXT = (("status",), ("plan",), ("prove",), ("queue", "list"), ("apply",))
WAITS = Rule(reply="450 4.3.0 later", recipient="^wait", stage="rcpt")
"""What the lab's MX says to mail that is to stay in the queue for as long as a test likes."""
TELLTALE = (
    "ps -eo pid,comm,args --no-headers | "
    "grep -E 'killed[.]py|opt/sysmail/sysmail|apt-get|[ /]dpkg|[ /]pacman|[p]ostdrop' | "
    "grep -v grep || true"
)
EXIM = (
    "sed -i \"s/^dc_eximconfig_configtype=.*/dc_eximconfig_configtype='satellite'/;"
    "s/^dc_smarthost=.*/dc_smarthost='mx.lab.test'/\" /etc/exim4/update-exim4.conf.conf && "
    "update-exim4.conf && systemctl restart exim4"
)
MSMTPRC = "account default\nhost mx.lab.test\nfrom owner@example.com\nauth off\n"
SENDER = """
i=0; while [ ! -e /run/enough ]; do i=$((i+1)); id={prefix}x$i
printf 'Subject: s\\nX-Id: %s\\n\\nx\\n' $id | /usr/sbin/sendmail -i $id@example.net 2>/dev/null \\
    && echo $id; sleep 0.1; done
"""


def assert_same(before: Mapping[str, object], now: Mapping[str, object], where: str) -> None:
    """Two looks at a host show the same."""
    for part, was in before.items():
        if isinstance(was, dict):
            differ = differences(was, now[part])  # type: ignore[arg-type]
            assert differ == [], f"{where}: {differ}"
        else:
            assert now[part] == was, f"{where}: {part}: {was} -> {now[part]}"


@dataclass
class Bench:
    """A host, what it was like when it booted, and the messages that were taken on it so far."""

    lab: Lab
    host: Host
    other: str = ""
    first: dict[str, object] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    number: int = 0
    uses_mailu: bool = False
    sound: bool = True

    def __post_init__(self) -> None:
        if self.other == "exim4":
            self.host.run(EXIM)
        elif self.other:
            (self.host.root / "etc/msmtprc").write_text(MSMTPRC)
        source = Path(__file__).with_name("killed.py").read_text()
        self.host.run(["sh", "-c", f"cat > {KILLED}"], input=source)
        self.lab.mx.behave([WAITS])
        self.lab.mx.clear()
        self.first = self.look()
        self._knocker = self.lab.knock(self.host)
        self._knocker.start()

    def close(self) -> None:
        """Nobody knocks any more."""
        self._knocker.stop()

    def assert_closed(self, where: str) -> None:
        """At no moment since the last look was port 25 open to the network."""
        knocks = self._knocker.stop()
        self._knocker.start()
        assert knocks.attempts > 0
        opened = [t.first for t in knocks.tallies if t.first]
        assert knocks.successes == 0, f"{where}: open from {opened} on: {knocks}"

    def look(self) -> dict[str, object]:
        """Everything that `remove` promises to put back."""
        host = self.host
        automatic = "pacman -Qdq || true" if host.base == "arch" else "apt-mark showauto"
        files = {p: s for p, s in snapshot(host).items() if "exim4/db/" not in p}
        return {
            "files": {p: s for p, s in files.items() if not p.startswith(("etc/sysmail", "root"))},
            "packages": packages(host),
            "units": units(host),
            "listeners": listeners(host),
            "automatic": host.run(automatic).stdout.split(),
            "failed": host.run("systemctl list-units --failed --no-legend --plain").stdout,
        }

    def assert_as_at_first(self, where: str) -> None:
        """The host is as it was before sysmail came."""
        assert_same(self.first, self.look(), where)

    def checkpoints(self) -> dict[str, str]:
        """The journals by number with their states, as a look from outside shows them."""
        parent = self.host.root / "var/lib/sysmail/checkpoints"
        found: dict[str, str] = {}
        for path in sorted(parent.iterdir()) if parent.is_dir() else []:
            journal = path / "journal.json"
            state = json.loads(journal.read_text())["state"] if journal.exists() else "none"
            found[path.name] = state
        return found

    def clear(self) -> None:
        """Back to a host that sysmail has not touched; mail that waits leaves first."""
        if not self.checkpoints():
            return
        self.let_go()
        self.host.run("rm -rf /etc/sysmail")
        removed = sysmail(self.host, "remove", "--force")
        if removed.codes == ["queue-not-empty"]:
            self.let_go()  # a notice that came meanwhile
            removed = sysmail(self.host, "remove", "--force")
        assert removed.status == 0, removed.report

    def let_go(self) -> None:
        """Let everything that waits arrive."""
        self.lab.mx.behave([])
        if self.host.run("command -v postqueue", check=False).returncode == 0:
            self.host.run("postsuper -H ALL; postqueue -f", check=False)
            wait_until("the queue is empty", lambda: not self.queued(), 60, 0.3)
        self.lab.mx.behave([WAITS])

    def queued(self) -> dict[str, str]:
        """Ids of the messages in the queue, and which queue they are in."""
        return queued(self.host)

    def submit(self, kind: str, count: int = 1) -> None:
        """Messages that are taken by sendmail; those of the kind `wait` stay until `let_go`."""
        for _ in range(count):
            self.number += 1
            name = f"{kind}{self.number}"
            text = f"Subject: s\nX-Id: {name}\n\nx\n"
            self.host.run(["/usr/sbin/sendmail", "-i", f"{name}@example.net"], input=text)
            self.taken.add(name)

    def arrived(self) -> list[str]:
        """The ids of what has arrived anywhere."""
        found = [str(m.message["X-Id"]) for m in self.lab.mx.messages()]
        if self.uses_mailu:
            found += self.lab.mailu.ids("X-Id")
        return found

    def assert_nothing_lost(self, where: str) -> None:
        """Every message that was taken has arrived, or waits where it can be seen."""
        missing: set[str] = set()

        def all_there() -> bool:
            missing.clear()
            # The queue first: what leaves meanwhile has arrived then.
            missing.update(self.taken - set(self.queued()) - set(self.arrived()))
            return not missing

        try:
            wait_until("all messages", all_there, 40, 0.3)
        except Exception as error:
            raise AssertionError(f"{where}: lost {sorted(missing)}") from error

    def forget_messages(self) -> None:
        """Begin to count afresh; the queue is empty."""
        self.taken.clear()
        self.lab.mx.clear()
        if self.uses_mailu:
            self.lab.mailu.clear()

    @contextmanager
    def programs_that_send(self) -> Iterator[None]:
        """Somebody uses sendmail all the time."""
        self.number += 1
        self.host.run("rm -f /run/enough")
        sender = self.host.start(SENDER.format(prefix=f"s{self.number}"), user="alice")
        try:
            yield
        finally:
            self.host.run("touch /run/enough")
            said = ""
            try:
                said, _ = sender.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                sender.kill()
                raise
            self.taken |= set(said.split())


@dataclass(frozen=True)
class Change:
    """What is cut off. `start` brings a host to where `policy` is written and `words` are run.

    `other`: a mail program by base that is there first. `sends`: programs send meanwhile.
    `typical` is about how many moments it has: `samples` of them are drawn for every run.
    """

    name: str
    words: tuple[str, ...]
    start: Callable[[Bench], None]
    ask: Callable[[Bench], None] = lambda _bench: None
    other: bool = False
    sends: bool = False
    typical: int = 200
    samples: int = 1


def direct(bench: Bench) -> None:
    """The first policy."""
    policy(bench.host, 'admin = "ops@example.org"\n')


def another_admin(bench: Bench) -> None:
    """A change of the policy."""
    policy(bench.host, 'admin = "other@example.org"\nhostname = "other.lab.test"\n')


def hold(bench: Bench) -> None:
    """Another next hop: none."""
    policy(bench.host, 'admin = "ops@example.org"\nnext_hop = "hold"\n')


def relay_to_mailu(bench: Bench) -> None:
    """Another next hop: a server with a login."""
    bench.uses_mailu = True
    mailu_policy(bench.lab, bench.host, 'route = "relay"')


def mailu(bench: Bench) -> None:
    """The other route."""
    bench.uses_mailu = True
    mailu_policy(bench.lab, bench.host, 'route = "mailu"')


def bare(bench: Bench) -> None:
    """As it was before sysmail came."""
    bench.clear()
    bench.forget_messages()


def _in_force(bench: Bench, wanted: Callable[[Bench], None]) -> None:
    if len(bench.checkpoints()) > 8:
        bench.clear()  # nothing but a long history
    if bench.checkpoints():
        bench.let_go()
    bench.forget_messages()
    wanted(bench)
    apply(bench.host)


def relay(bench: Bench) -> None:
    """A relay with mail that waits, some of it held."""
    _in_force(bench, direct)
    bench.submit("wait", 2)
    wait_until("both were tried", lambda: "active" not in bench.queued().values(), 30, 0.1)
    bench.host.run('postsuper -h $(postqueue -j | sed -n \'1s/.*queue_id": "\\([^"]*\\).*/\\1/p\')')
    bench.submit("go")


def relay_with_mail_for_mailu(bench: Bench) -> None:
    """A relay to Mailu with mail in its queue that leaves once it is tried again."""
    _in_force(bench, relay_to_mailu)
    bench.lab.mailu.rate_limit(messages=0)
    try:
        bench.submit("later", 3)
        wait_until(
            "all were tried",
            lambda: list(bench.queued().values()) == ["deferred"] * 3,
            30,
            0.2,
        )
    finally:
        bench.lab.mailu.rate_limit(messages=None)


def on_mailu(bench: Bench) -> None:
    """The route mailu."""
    _in_force(bench, mailu)
    bench.submit("go")


def applied_twice(bench: Bench) -> None:
    """Two policies after each other, mail that waits."""
    _in_force(bench, direct)
    another_admin(bench)
    apply(bench.host)
    bench.submit("wait", 2)


def applied(bench: Bench) -> None:
    """One policy, on top of what it found; nothing waits."""
    bare(bench)
    direct(bench)
    apply(bench.host)


CHANGES = (
    Change("first apply", ("apply",), bare, direct, typical=660),
    Change("in place of another", ("apply",), bare, direct, other=True, typical=720),
    Change("policy change", ("apply",), relay, another_admin, sends=True, typical=490),
    Change("next hop to hold", ("apply",), relay, hold, sends=True, typical=320),
    Change("next hop to a login", ("apply",), relay, relay_to_mailu, sends=True, typical=400),
    Change("rollback", ("rollback",), applied_twice, sends=True, typical=145),
    Change("route to mailu", ("apply",), relay_with_mail_for_mailu, mailu, sends=True, typical=900),
    Change("route to relay", ("apply",), on_mailu, relay_to_mailu, sends=True, typical=640),
    Change("remove", ("remove",), applied, typical=150),
    Change("try", ("try",), bare, typical=350),
)


def open_bench(lab: Lab, fresh_host: Callable[..., Host], base: str, change: Change) -> Bench:
    """A host for a change, knocked at from outside until it is closed."""
    other = ("msmtp-mta" if base == "arch" else "exim4") if change.other else ""
    return Bench(lab, fresh_host(base, packages=[other] if other else []), other)


def run_cut(bench: Bench, change: Change, number: int, how: str) -> tuple[Ran | None, int]:
    """Run the change and cut it off: its report, if it still gave one, and the moments it had."""
    done = bench.host.run(
        ["python3", KILLED, str(number), how, *change.words], check=False, timeout=300
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stdout + done.stderr
    moments = bench.host.run("tail -n 1 /run/killed.moments").stdout.split(maxsplit=1)
    ran = None
    if done.stdout.strip():
        ran = Ran(done.returncode, json.loads(done.stdout), done.stdout, done.stderr)
    return ran, int(moments[0])


def name_of(bench: Bench, change: Change, number: int, how: str) -> str:
    """The moment in words, for who reads what failed."""
    found = bench.host.run(f"sed -n {number}p /run/killed.moments").stdout.strip()
    return f"{bench.host.base}, {change.name}, {how} at {found or f'{number} (never reached)'}"


def before_of(bench: Bench, change: Change) -> tuple[dict[str, str], str]:
    """The files before a change, and the policy that may be in force besides the one in the file.

    An apply goes from that policy to the one in the file; a rollback goes back to the one before.
    """
    files, former = snapshot(bench.host), _policy_file(bench)
    if change.words == ("rollback",):
        current = former
        direct(bench)
        former = _policy_file(bench)
        policy(bench.host, current)
    change.ask(bench)
    return files, former


def begin(bench: Bench, change: Change) -> None:
    """Bring the host to where the change begins, with the new policy in its file."""
    change.start(bench)
    change.ask(bench)


def moment_names(bench: Bench, change: Change) -> list[str]:
    """Those of a run that nobody cuts off, in order."""
    begin(bench, change)
    ran, _ = run_cut(bench, change, NEVER, "kill")
    assert ran is not None, change.name
    assert ran.status == 0, ran.out
    said = bench.host.run("cat /run/killed.moments").stdout
    return [line.partition(" ")[2] for line in said.splitlines()]


def moment(bench: Bench, change: Change, words: str) -> int:
    """The number of the first moment with these words in its name, in a run to its end."""
    for number, name in enumerate(moment_names(bench, change), 1):
        if words in name:
            return number
    raise AssertionError(f"{change.name} has no moment {words!r}")


def kill(bench: Bench, change: Change, number: int, how: str, following: int) -> bool:
    """One sample with SIGKILL. False where the change ended before the moment came."""
    bench.sound = False
    change.start(bench)
    bench.assert_closed(f"{change.name}, before it began")
    before, former = before_of(bench, change)
    if change.sends:
        with bench.programs_that_send():
            ran, _ = run_cut(bench, change, number, how)
            where = name_of(bench, change, number, how)
            _recovered(bench, following, where)
    else:
        ran, _ = run_cut(bench, change, number, how)
        where = name_of(bench, change, number, how)
        _recovered(bench, following, where)
    assert_works(bench, former, {} if change.words == ("rollback",) else before, where)
    bench.assert_nothing_lost(where)
    assert_no_trace(bench, where)
    bench.assert_closed(where)
    bench.sound = True
    return ran is None


def _recovered(bench: Bench, following: int, where: str) -> None:
    """The next command, whichever it is, recovers and says so."""
    was = bench.checkpoints()
    cut_off = any(state not in ("done", "none") for state in was.values())
    next_words = NEXT[following % len(NEXT)]
    ran = sysmail(bench.host, *next_words)
    where = f"{where}, then {' '.join(next_words)}"
    notes = " ".join(ran.report.get("notes", []))
    if cut_off:
        assert "cut off" in notes or "stays as it is" in notes, f"{where}: {was} {ran.out}"
    left = set(bench.checkpoints().values())
    assert left <= {"done"}, f"{where}: {left}"
    if "stays as it is" in notes:
        # Forward: mail that came meanwhile is in the queue of a Postfix that would have to go.
        apply(bench.host)


def _policy_file(bench: Bench) -> str:
    path = bench.host.root / POLICY.lstrip("/")
    return path.read_text() if path.exists() else ""


def assert_works(bench: Bench, former: str, before: dict[str, str], where: str) -> None:
    """The host is as sysmail found it, or the old or the new policy is in force and proven."""
    host = bench.host
    if not bench.checkpoints():
        bench.assert_as_at_first(where)
        return
    planned = sysmail(host, "plan")
    if planned.status != 0:
        assert former, f"{where}: {planned.out}"
        policy(host, former)
        planned = sysmail(host, "plan")
        assert planned.status == 0, f"{where}: {planned.out}"
        files = before and [
            line for line in differences(before, snapshot(host)) if line.startswith("etc/")
        ]
        assert [line for line in files if not line.startswith("etc/sysmail/")] == [], where
    proven = sysmail(host, "prove")
    assert proven.status == 0, f"{where}: {proven.failed()} {proven.report['errors']}"


def assert_no_trace(bench: Bench, where: str) -> None:
    """No temporary file, no scratch instance, no stray process."""
    left = "find / -xdev -name '*.sysmail-new' -not -path '/proc/*'; ls -d /run/sysmail/scratch"
    said = bench.host.run(f"({left}) 2>/dev/null || true").stdout
    assert said == "", f"{where}: {said}"
    if not bench.checkpoints():
        gone = bench.host.run("ls -d /var/lib/sysmail 2>/dev/null || true").stdout
        assert gone == "", f"{where}: {gone}"
    running = bench.host.run(TELLTALE).stdout
    assert running == "", f"{where}: {running}"
    masters = bench.host.run("pgrep -cx master || true").stdout.strip()
    assert masters in ("0", "1"), f"{where}: {masters} masters"


def interrupt(bench: Bench, change: Change, number: int, how: str) -> bool:
    """One sample with a signal: at once as before, and nothing is left for the next command."""
    bench.sound = False
    change.start(bench)
    bench.assert_closed(f"{change.name}, before it began")
    checkpoints = bench.checkpoints()
    before, former = before_of(bench, change)
    ran, _ = run_cut(bench, change, number, how)
    where = name_of(bench, change, number, how)
    assert ran is not None, where
    if ran.codes == ["interrupted"]:
        assert ran.status == 1, where
        assert bench.checkpoints() == checkpoints, f"{where}: {ran.out}"
    else:
        # Too late: it was done already. Or the way back itself, which goes on to its end.
        assert ran.status == 0, f"{where}: {ran.out}"
        assert set(bench.checkpoints().values()) <= {"done"}, where
    assert_no_trace(bench, where)
    assert_works(bench, former, {} if change.words == ("rollback",) else before, where)
    bench.assert_nothing_lost(where)
    bench.assert_closed(where)
    bench.sound = True
    return ran.codes == ["interrupted"]


def draw(seed: int, bench: Bench, change: Change, samples: int) -> list[tuple[int, str, int]]:
    """Moments, ways and following commands of a sample, the same for the same seed."""
    chosen = random.Random(f"{seed} {bench.host.base} {change.name}")  # noqa: S311 - a sample
    return [
        (
            chosen.randint(1, change.typical),
            chosen.choice(["kill", "kill-all"]),
            chosen.randint(0, 4),
        )
        for _ in range(samples)
    ]
