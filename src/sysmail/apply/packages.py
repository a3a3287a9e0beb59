"""Installing and removing packages with the distribution's own manager."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Callable, Optional

from sysmail.distro import Distro
from sysmail.errors import StepError
from sysmail.facts import parse
from sysmail.host.port import Completed, Writer

__all__ = ["install", "installed", "uninstall"]

INSTALL_SECONDS = 900.0
_WORTH_TELLING = re.compile(
    r"^(Get:|Unpacking |Setting up |Removing |Purging |downloading |installing |removing |\()"
)


def installed(writer: Writer, distro: Distro) -> dict[str, str]:
    """The installed packages and their versions."""
    return parse.packages(writer.ask(distro.query).out, distro.name)


def install(
    writer: Writer, distro: Distro, names: Sequence[str], say: Callable[[str], None]
) -> None:
    """Install; when the package lists are missing or old, renew them and try once more.

    StepError with the package manager's own words when it fails.
    """
    done = _call(writer, distro, [*distro.install, *names], say)
    if done.status != 0:
        say("renewing the package lists")
        _call(writer, distro, distro.refresh, say)
        done = _call(writer, distro, [*distro.install, *names], say)
    if done.status != 0:
        raise _failure("packages-not-installed", f"install {', '.join(names)}", distro, done)
    missing = [name for name in names if name not in installed(writer, distro)]
    if missing:
        raise _failure("packages-not-installed", f"install {', '.join(missing)}", distro, done)


def uninstall(
    writer: Writer, distro: Distro, names: Sequence[str], say: Callable[[str], None]
) -> None:
    """Remove exactly these packages with their configuration; no autoremove.

    Removing is refused where the manager would take others along.
    """
    present: list[str] = [name for name in names if name in installed(writer, distro)]
    if not present:
        return
    done = _call(writer, distro, [*distro.uninstall, *present], say)
    if done.status != 0 and distro.repair:
        _call(writer, distro, distro.repair, say)
        done = _call(writer, distro, [*distro.uninstall, *present], say)
    if done.status != 0:
        raise _failure("packages-not-removed", f"remove {', '.join(present)}", distro, done)


def _call(
    writer: Writer, distro: Distro, argv: Sequence[str], say: Callable[[str], None]
) -> Completed:
    def tell(line: str) -> None:
        if _WORTH_TELLING.match(line):
            say(line)

    return writer.run(argv, env=distro.environment, timeout=INSTALL_SECONDS, on_line=tell)


def _failure(code: str, what: str, distro: Distro, done: Completed) -> StepError:
    lines = [line for line in done.out.splitlines() if line.strip()]
    marked: Optional[str] = next(
        (line for line in lines if re.match(r"(E:|error:|Error)", line)), None
    )
    words = marked or (lines[-1] if lines else f"exit status {done.status}")
    return StepError(
        code,
        f"{distro.name} could not {what}: {words.strip()[:300]}",
        f"run it by hand to see all of it: {' '.join(done.argv[:2])} ...; then retry",
    )
