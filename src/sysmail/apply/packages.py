"""Installing and removing packages with the distribution's own manager."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Callable, Optional

from sysmail.apply import disk, guard
from sysmail.distro import Distro
from sysmail.errors import HostError, StepError
from sysmail.facts import parse
from sysmail.host.port import Completed, Reader, Writer

__all__ = [
    "at_work",
    "automatic",
    "bring_back",
    "came_for",
    "fetch",
    "half_installed",
    "install",
    "installed",
    "let_end",
    "mark",
    "mend",
    "only_configured",
    "uninstall",
]

INSTALL_SECONDS = 900.0

BOOT_SECONDS = 180.0
"""How long recovery at boot waits for a package manager that is at work.

Nothing outlives a boot: it is one that the boot itself has started, such as apt-daily, and it
may wait for us, where it upgrades a service that starts after recovery.
"""

BOOT_LOCK_SECONDS = 30.0
"""How long apt-get then waits for its lock, at each call."""
TIMED_OUT = 124
"""The status of a manager that did not end in its time: it is not asked again (host/port.py)."""
_LOCK_WAIT = re.compile(r"^(DPkg::Lock::Timeout=)\d+$")
_WORTH_TELLING = re.compile(
    r"^(Get:|Unpacking |Setting up |Removing |Purging |downloading |installing |removing |\()"
)


def installed(writer: Writer, distro: Distro) -> dict[str, str]:
    """The installed packages and their versions."""
    return parse.packages(writer.ask(distro.query).out, distro.name)


def at_work(writer: Writer, distro: Distro) -> bool:
    """Whether a package manager is at work; one that waits for a lock looks once a second."""
    for number in range(3):
        if number:
            writer.sleep(1.0)
        if any(writer.is_locked(path) for path in distro.locks):
            return True
    return False


def let_end(writer: Writer, distro: Distro, seconds: float, say: Callable[[str], None]) -> None:
    """Wait for a package manager that has outlived us, and take away what one that died left.

    HostError where it does not end in so many seconds.
    """
    deadline, said = writer.elapsed() + seconds, False
    while at_work(writer, distro):
        if not said:
            say("waiting for the package manager, which is still at work")
        said = True
        if writer.elapsed() >= deadline:
            raise HostError(
                "package-manager-busy",
                f"{distro.name} has been at work for {seconds / 60:.0f} minutes, and what was cut "
                "off cannot be undone before it ends",
                "see what it waits for, then retry",
            )
        writer.sleep(1.0)  # one look costs a walk over all processes
    for path in distro.lock_files:
        writer.remove(path)


def came_for(
    writer: Writer, distro: Distro, asked: Sequence[str], before: Sequence[str], *, cut_off: bool
) -> list[str]:
    """Those of ``asked`` that are installed, and what came for their sake alone.

    Somebody else may have installed packages while our call waited for the manager's lock, or
    after it was cut off: not all that is new since ``before`` is ours. What a cut-off call has
    brought may lack the very package that it was for.
    """
    new = set(installed(writer, distro)) - set(before)
    ours = new & set(asked)
    along = new - ours
    if along and distro.dependencies:
        said = writer.ask([*distro.dependencies, *asked], timeout=60).out
        # Its lines without an indent; a name that only others provide is in brackets.
        along &= {line.partition(":")[0] for line in said.splitlines()}
        marked = along & set(automatic(writer, distro))
        # apt-get marks what came along all at once, and not at all when it is killed (measured).
        along = along if cut_off and not marked else marked
    elif along:
        along &= set(automatic(writer, distro))
    if along and not distro.dependencies:
        said = writer.ask([*distro.would_remove, *sorted(ours | along)]).out
        along &= {line.split()[1] for line in said.splitlines() if line.startswith("Remv ")}
    return sorted(ours | along)


def install(
    writer: Writer,
    distro: Distro,
    names: Sequence[str],
    say: Callable[[str], None],
    replaced: Sequence[str] = (),
) -> None:
    """Install; when the package lists are missing or old, renew them and try once more.

    ``replaced`` packages go in the same run of the manager.
    StepError with the package manager's own words when it fails.
    """
    argv = distro.replace if replaced else distro.install
    done = _call_or_renew(writer, distro, [*argv, *names], say, names)
    if done.status != 0:
        raise _failure("packages-not-installed", f"install {', '.join(names)}", distro, done)
    missing = [name for name in names if name not in installed(writer, distro)]
    if missing:
        raise _failure("packages-not-installed", f"install {', '.join(missing)}", distro, done)
    disk.flush(writer)


def automatic(writer: Writer, distro: Distro) -> list[str]:
    """The packages that only came with others, and may go with them."""
    if not distro.automatic:
        return []
    return [line.partition(":")[0] for line in writer.ask(distro.automatic).out.split()]


def fetch(
    writer: Writer,
    distro: Distro,
    names: Sequence[str],
    replaced: Sequence[str],
    say: Callable[[str], None],
) -> None:
    """Download both sides before one replaces the other, so that the way back needs no network."""
    also = f", and {', '.join(replaced)} for the way back" if replaced else ""
    say(f"downloading {', '.join(names)}{also}")
    done = _call_or_renew(writer, distro, [*distro.fetch, *names], say)
    if done.status == 0 and replaced:
        done = _call(writer, distro, [*distro.fetch, *replaced], say)
    if done.status != 0:
        raise _failure(
            "packages-not-downloaded",
            f"download {', '.join((*names, *replaced))} before one replaces the other",
            distro,
            done,
        )
    disk.flush(writer)


def bring_back(
    writer: Writer,
    distro: Distro,
    lost: Sequence[str],
    before: Sequence[str],
    brought: Sequence[str],
    say: Callable[[str], None],
) -> None:
    """Install packages again that were replaced; what was ``brought`` and excludes them goes.

    Of those that were there ``before``, what a cut-off run of the manager left half
    removed is whole again, and what it only meant to remove is meant to stay.
    """
    present = installed(writer, distro)
    absent = [name for name in lost if name not in present]
    absent += _half(writer, distro, before)
    if absent:
        done = _call_or_renew(writer, distro, [*distro.replace, *absent], say, absent)
        if done.status != 0 and distro.repair:
            _call(writer, distro, distro.repair, say)
            # Unpacked without what it depends on, it can only go: a minus says so (apt-get(8)).
            # dpkg(1) removes nothing that was killed while it was unpacked; whole again, it goes.
            states = _states(writer, distro, _half(writer, distro, brought))
            going = [name if state[1] == "H" else f"{name}-" for name, state in states.items()]
            done = _call(writer, distro, [*distro.restore, *absent, *going], say)
            done = _judge(writer, distro, done, absent, say)
        if done.status != 0:
            raise _failure("packages-not-restored", f"install {', '.join(absent)}", distro, done)
    doomed = [n for n, s in _states(writer, distro, before).items() if s in ("ri", "pi")]
    if doomed:
        lines = "".join(f"{name} install\n" for name in doomed)
        writer.run(["dpkg", "--set-selections"], stdin=lines.encode())


def half_installed(reader: Reader, distro: Distro) -> list[str]:
    """Packages that are half-installed, unpacked or half-configured (dpkg-query(1)), whoever's.

    apt-get sets up what it can of them whatever it is asked for, and fails as long as one stays so.
    """
    return sorted(n for n, s in _all_states(reader, distro).items() if s[1:2] in set("HUF"))


def _half(reader: Reader, distro: Distro, names: Sequence[str]) -> list[str]:
    known = half_installed(reader, distro)
    return [name for name in names if name in known]


def _judge(
    writer: Writer,
    distro: Distro,
    done: Completed,
    names: Sequence[str],
    say: Callable[[str], None],
) -> Completed:
    """A call that failed at packages of somebody else's alone is none: ``names`` are whole.

    Set up, or with triggers that are still to come (dpkg-query(1)).
    """
    others = set(half_installed(writer, distro)) - set(names) if done.status != 0 else set()
    states = _states(writer, distro, names)
    if not others or any(states.get(name, "")[1:2] not in set("iWt") for name in names):
        return done
    say(f"{distro.name} complains of {', '.join(sorted(others))}, and has done what was asked")
    return replace(done, status=0)


def mark(
    writer: Writer,
    distro: Distro,
    only_came_along: Sequence[str],
    say: Callable[[str], None],
) -> None:
    """Let the manager know again that these packages only came with others."""
    unmarked = set(only_came_along) & set(installed(writer, distro))
    unmarked -= set(automatic(writer, distro))
    if unmarked and distro.mark_automatic:
        _call(writer, distro, [*distro.mark_automatic, *sorted(unmarked)], say)


def _states(reader: Reader, distro: Distro, names: Sequence[str]) -> dict[str, str]:
    known = _all_states(reader, distro)
    return {name: known[name] for name in names if name in known}


def _all_states(reader: Reader, distro: Distro) -> dict[str, str]:
    """With dpkg, what is wanted of each package and what it is, a letter each."""
    if distro.name != "apt":
        return {}
    lines = [line.split() for line in reader.ask(distro.query).out.splitlines()]
    return {words[1]: words[0] for words in lines if len(words) >= 3}


def uninstall(
    writer: Writer,
    distro: Distro,
    names: Sequence[str],
    say: Callable[[str], None],
    configured: Sequence[str] = (),
) -> None:
    """Remove exactly these packages with their configuration; no autoremove.

    The configuration of ``configured`` ones was there before them, and stays.
    """
    books = _in_its_books(writer, distro)
    kept = [name for name in names if name in configured and distro.keep_configuration]
    for argv, some in (
        (distro.keep_configuration, kept),
        (distro.uninstall, [name for name in names if name not in kept]),
    ):
        present = [name for name in some if name in books]
        if present:
            _uninstall(writer, distro, argv, present, say)


def _uninstall(
    writer: Writer,
    distro: Distro,
    argv: Sequence[str],
    names: Sequence[str],
    say: Callable[[str], None],
) -> None:
    done = _call(writer, distro, [*argv, *names], say)
    if done.status != 0 and distro.repair:
        _make_whole(writer, distro, names, say)
        done = _call(writer, distro, [*argv, *names], say)
    if done.status != 0 and set(half_installed(writer, distro)) - set(names):
        # apt-get removes, fails at what somebody else left half installed, and purges nothing any
        # more (measured); dpkg(1) looks at these alone, and refuses where others need them.
        verb = "--remove" if argv == distro.keep_configuration else "--purge"
        done = _call(writer, distro, ["dpkg", verb, *names], say)
    if done.status != 0:
        raise _failure("packages-not-removed", f"remove {', '.join(names)}", distro, done)


def mend(writer: Writer, distro: Distro, names: Sequence[str], say: Callable[[str], None]) -> None:
    """Make whole what a cut-off run left half done, where the manager says nothing before that."""
    if names and distro.repair and distro.would_uninstall:
        said = writer.ask([*distro.would_uninstall, *names], timeout=120)
        if said.status != 0:
            _make_whole(writer, distro, names, say)


def _make_whole(
    writer: Writer, distro: Distro, names: Sequence[str], say: Callable[[str], None]
) -> None:
    _call(writer, distro, distro.repair, say)
    half = _half(writer, distro, names)
    if half:
        # dpkg(1) removes nothing that was killed while it was unpacked; whole again, it goes.
        _call(writer, distro, [*distro.restore, *half], say)


def only_configured(writer: Writer, distro: Distro) -> set[str]:
    """Packages that are gone but for their configuration, which dpkg keeps until it is purged."""
    return _in_its_books(writer, distro) - set(installed(writer, distro))


def _in_its_books(writer: Writer, distro: Distro) -> set[str]:
    """Installed packages, and with dpkg those of which the configuration is still there."""
    out = writer.ask(distro.query).out
    known = set(parse.packages(out, distro.name))
    if distro.name == "apt":
        # The first letter is what is wanted of it: r, or i where apt-get was killed meanwhile.
        lines = [words for words in map(str.split, out.splitlines()) if len(words) > 1]
        known |= {words[1] for words in lines if words[0][1:2] == "c"}
    return known


def _call(
    writer: Writer, distro: Distro, argv: Sequence[str], say: Callable[[str], None]
) -> Completed:
    def tell(line: str) -> None:
        if _WORTH_TELLING.match(line):
            say(line)

    env = dict(distro.environment)
    if guard.is_running_at_boot(writer):
        argv = [_LOCK_WAIT.sub(f"\\g<1>{BOOT_LOCK_SECONDS:.0f}", word) for word in argv]
        # systemctl(1) then starts nothing: a service of the package would wait for us, and we for
        # it. What has to run is started once all is put back.
        env["SYSTEMD_OFFLINE"] = "1"
    return writer.run(argv, env=env, timeout=INSTALL_SECONDS, on_line=tell)


def _call_or_renew(
    writer: Writer,
    distro: Distro,
    argv: Sequence[str],
    say: Callable[[str], None],
    wanted: Sequence[str] = (),
) -> Completed:
    """Call; when the package lists are missing or old, renew them and call once more.

    ``wanted`` are whole afterwards, or it failed.
    """
    done = _call(writer, distro, argv, say)
    if wanted:
        done = _judge(writer, distro, done, wanted, say)
    if done.status in (0, TIMED_OUT):
        return done
    say("renewing the package lists")
    _call(writer, distro, distro.refresh, say)
    done = _call(writer, distro, argv, say)
    return _judge(writer, distro, done, wanted, say) if wanted else done


def _failure(code: str, what: str, distro: Distro, done: Completed) -> StepError:
    lines = [line for line in done.out.splitlines() if line.strip()]
    marked: Optional[str] = next(
        (line for line in lines if re.match(r"(E:|error:|Error:|dpkg: error)", line)), None
    )
    words = marked or (lines[-1] if lines else f"exit status {done.status}")
    if marked is not None and words.endswith(":"):
        words += " ".join(["", *lines[lines.index(marked) + 1 :][:1]])  # dpkg's reason is below
    return StepError(
        code,
        f"{distro.name} could not {what}: {words.strip()[:300]}",
        f"run it by hand to see all of it: {' '.join(done.argv[:2])} ...; then retry",
    )
