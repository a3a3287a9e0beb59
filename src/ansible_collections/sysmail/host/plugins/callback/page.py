# Copyright: the sysmail authors. MIT License (see LICENSE).
"""Writes one page about the mail of all hosts of a run."""

# ruff: noqa: E402 - validate-modules wants the documentation before the imports
from __future__ import annotations

DOCUMENTATION = """
name: page
type: notification
short_description: one HTML page about the mail of all hosts of a run
version_added: "1.0.0"
description:
  - After a run, writes one HTML file that shows a row for each host. It has the host's route and
    next hop, what became of each promise, the queue, what failed and what to do.
  - The file needs nothing else and can be mailed or put on a web server.
  - It holds the reports of sysmail, the queue's count and age, and the messages of tasks that
    failed. No policy and no other result goes into it.
  - Whatever goes wrong while it is written is a warning; the run goes on.
options:
  path:
    description: Where to write the page. A file that is there is replaced.
    type: path
    default: sysmail-fleet.html
    env:
      - name: SYSMAIL_PAGE
    ini:
      - section: callback_sysmail_page
        key: path
requirements:
  - V(sysmail.host.page) in C(callbacks_enabled)
author:
  - the sysmail authors (!UNKNOWN)
"""

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

TITLE = "Outbound mail of the fleet"
KEPT = ("report", "queue")
ACTIONS = ("sysmail.host.sysmail", "sysmail")
HARMLESS_EXITS = (None, 0, 2, 3)
"""Nothing failed; there are changes; something could not be determined, which the verdicts say."""

UNREACHABLE = "check that it is up and that the login works, then run the playbook again"
FAILED = "mend what it ran into, then run the playbook again"
SKIPPED = "sysmail did not run on this host"


def _careful(hook: Callable[..., None]) -> Callable[..., None]:
    """A hook whose errors are warnings."""

    @wraps(hook)
    def wrapped(self: CallbackModule, *args: Any, **kwargs: Any) -> None:
        try:
            hook(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - a page is never worth a run
            self._display.warning(f"the page of sysmail: {type(error).__name__}: {error}")

    return wrapped


def _message(found: Mapping[str, Any]) -> str:
    if "censored" in found:
        return "what it said is hidden by no_log"
    message = found.get("msg")
    return message if isinstance(message, str) else ""


class CallbackModule(CallbackBase):
    """Collects what is known of each host, the last that happened to it counting."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "sysmail.host.page"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._hosts: dict[str, dict[str, Any]] = {}
        self._play_hosts: list[str] = []
        self._meant: dict[str, None] = {}  # in order

    @_careful
    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Notes which hosts the play is for, so that those it never gets to are not left out."""
        self._play_hosts = []
        inventory = play.get_variable_manager()._inventory  # noqa: SLF001 - nothing else knows
        hosts = inventory.get_hosts(play.hosts, ignore_restrictions=True)
        self._play_hosts = [host.get_name() for host in hosts]

    @_careful
    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002
        """A play that runs sysmail is for the fleet."""
        if task.action in ACTIONS:
            self._meant.update(dict.fromkeys(self._play_hosts))

    @_careful
    def v2_runner_on_ok(self, result: Any) -> None:
        """A task ended well, or sysmail did and says what it found."""
        if result.task.action in ACTIONS:
            self._sysmail(result)

    @_careful
    def v2_runner_on_failed(
        self,
        result: Any,
        ignore_errors: bool = False,  # noqa: FBT002 - as Ansible calls it
    ) -> None:
        """Sysmail failed, or another task of a host."""
        if result.task.action in ACTIONS:
            self._sysmail(result)
        elif not ignore_errors:
            said = _message(result.result) or "it failed"
            self._note(result, "failed", f"{result.task.get_name()}: {said}", FAILED, other=True)

    @_careful
    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host could not be reached."""
        self._note(result, "unreachable", _message(result.result), UNREACHABLE)

    @_careful
    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Writes the page, if there is anybody to write about."""
        fleet = {*self._hosts, *self._meant}
        if not fleet:
            return
        from ansible_collections.sysmail.host.plugins.plugin_utils.tool import load_tool

        load_tool()
        from sysmail.fleet.page import HostRow, render

        rows = [HostRow(name=name, **self._known(name, stats)) for name in sorted(fleet)]
        path = Path(self.get_option("path")).absolute()
        _write(path, render(rows, title=TITLE, time=time.time()))
        self._display.display(f"sysmail: the page of this run is {path}")

    def _known(self, name: str, stats: Any) -> dict[str, Any]:
        """The fields of a host's row."""
        known = dict(self._hosts.get(name) or {"outcome": "skipped", "message": SKIPPED})
        before, other = known.pop("before", ""), known.pop("other", False)
        if other and not stats.summarize(name)["failures"]:
            # The playbook itself came to the rescue.
            known.update(outcome=before, message="", remedy="")
        return known

    def _sysmail(self, result: Any) -> None:
        """What a task of sysmail found on a host; of a loop each item."""
        items = result.result.get("results")
        for found in items if isinstance(items, list) else [result.result]:
            if not isinstance(found, Mapping) or found.get("skipped"):
                continue
            if found.get("failed") or found.get("exit_code") not in HARMLESS_EXITS:
                self._note(result, "failed", _message(found), FAILED)
            else:
                changed = found.get("changed") or self._row(result)["outcome"] == "changed"
                self._note(result, "changed" if changed else "ok")
            self._row(result).update(
                {key: found[key] for key in KEPT if isinstance(found.get(key), Mapping)}
            )

    def _row(self, result: Any) -> dict[str, Any]:
        return self._hosts.setdefault(str(result.host.get_name()), {"outcome": "skipped"})

    def _note(
        self,
        result: Any,
        outcome: str,
        message: str = "",
        remedy: str = "",
        *,
        other: bool = False,
    ) -> None:
        """What just happened to a host. ``other``: by a task that is not sysmail's."""
        row = self._row(result)
        before = row["before"] if row.get("other") else row["outcome"]
        row.update(outcome=outcome, message=message, remedy=remedy, other=other, before=before)


def _write(path: Path, text: str) -> None:
    """Put the file there whole or not at all, for everybody to read."""
    descriptor, name = tempfile.mkstemp(prefix=".sysmail-", suffix=".html", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise
