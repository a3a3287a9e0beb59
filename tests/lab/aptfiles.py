"""How the machine itself gets Debian packages, put into a form a chroot can use.

No address is written down in this repository: the lab asks apt for the machine's own sources
and its own settings, so it works wherever the machine can install packages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .machine import LabError, call

# What decides how files are fetched; the rest of the machine's configuration is its own affair.
_FETCHING = re.compile(r"^Acquire::(Check-|http|https|Retries|Max-|ForceIPv|Allow)", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """One apt source: where, which suite, which component."""

    uri: str
    suite: str
    component: str

    def line(self) -> str:
        """As a line of sources.list."""
        return f"deb {self.uri} {self.suite} {self.component}"


def codename() -> str:
    """The release the machine runs, for instance `bookworm`."""
    for line in Path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip('"')
    raise LabError("/etc/os-release has no VERSION_CODENAME: the lab needs a Debian machine")


def debian_sources() -> list[Source]:
    """Debian's own sources among those the machine uses, the release itself first.

    Raises LabError if there are none.
    """
    form = "$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)"
    said = call(["apt-get", "indextargets", "--format", form, "Created-By: Packages"])
    release = codename()
    found: list[Source] = []
    for line in said.splitlines():
        origin, _, rest = line.partition(" ")
        words = rest.split()
        # Without downloaded lists apt does not know the origin yet and leaves it empty.
        if origin in ("Debian", "") and len(words) == 3 and words[1].startswith(release):
            source = Source(*words)
            if source not in found:
                found.append(source)
    found.sort(key=lambda source: (source.suite != release, source.component != "main"))
    if not found or found[0].suite != release:
        raise LabError(
            f"the machine's apt has no source for Debian {release}; is `apt-get update` done?"
        )
    return found


def fetch_settings() -> str:
    """The machine's settings for fetching, as the text of an apt.conf file."""
    dump = call(["apt-config", "dump"]).splitlines()
    return "".join(f"{line}\n" for line in dump if _FETCHING.match(line))
