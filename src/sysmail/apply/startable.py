"""Asks Postfix whether it would start with a former configuration, before the running one stops.

Somebody may have broken or removed it while Postfix ran, which goes on all the same. Measured
with 3.7: ``postfix check`` exits with 1 for every configuration with which ``postfix start``
does, for a missing master.cf and an address that this host has not, too; ``postconf -M`` knows
less, and is the only one of them that says the reason without a terminal or a log.
"""

from __future__ import annotations

import posixpath
import re
from typing import Optional

from sysmail import maillog
from sysmail.apply.checkpoint import Checkpoint, Store
from sysmail.apply.edits import changed_paths
from sysmail.apply.scratch import ROOT, take_away
from sysmail.errors import HostError
from sysmail.facts.model import Facts
from sysmail.host.port import Writer

__all__ = ["why_not_started"]

CONFIG = f"{ROOT}/etc"
_NOT_RUN = (124, 126, 127)
"""It did not end in time, or could not be run: that says nothing of the configuration."""

_FATAL = re.compile(r"(?:fatal|panic): (.*)")


def why_not_started(writer: Writer, facts: Facts, checkpoint: Checkpoint) -> str:
    """Postfix's own words; empty where it would start, or where that cannot be found out."""
    take_away(writer)
    try:
        writer.mkdir(CONFIG, 0o700)
        for name in ("main.cf", "master.cf"):
            data = _former(writer, checkpoint, f"/etc/postfix/{name}")
            if data is not None:
                writer.write(f"{CONFIG}/{name}", data, 0o600)
        done = writer.run(["postfix", "-c", CONFIG, "check"])
        if done.status in (0, *_NOT_RUN):
            return ""
        said = writer.ask(["postconf", "-c", CONFIG, "-M"]).err
    except HostError:
        return ""
    finally:
        take_away(writer)
    found = _FATAL.search(said) or _FATAL.search(done.err)
    log_file = facts.postfix["maillog_file"] if facts.postfix is not None else ""
    words = found.group(1) if found else maillog.last_fatal(writer, facts, log_file)
    return (words or "`postfix check` says why").replace(CONFIG, "/etc/postfix")


def _former(writer: Writer, checkpoint: Checkpoint, path: str) -> Optional[bytes]:
    """What a path will be once it is put back."""
    entry = changed_paths(checkpoint).get(path)
    if entry is None:
        return writer.read(path)
    if entry["before"] is None:
        return None
    if entry["before"]["kind"] == "link":
        return writer.read(posixpath.join("/etc/postfix", entry["before"]["target"]))
    return Store(writer).backup(checkpoint, dict(entry))
