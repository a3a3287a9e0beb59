"""A callback plugin for Ansible that writes down what happened, a JSON object a line.

Results of tasks are what Ansible tells every callback. What a host was made to do (modules that
were executed on it, commands and files that went over the connection) no callback is told: so the
functions through which all of it goes are wrapped. Workers are forks of the process that this is
loaded into, and have the wrappers too.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from typing import Any, ClassVar

from ansible.executor.task_executor import TaskExecutor
from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: results
type: notification
short_description: results of tasks, and what ran on hosts, as lines of JSON
description: For the lab; writes into the file that SYSMAIL_LAB_RESULTS names.
"""

# Which host the process works for: a worker runs one task on one host.
_worker: dict[str, str] = {"host": "", "task": ""}


def _write(kind: str, **facts: Any) -> None:
    line = json.dumps({"kind": kind, **facts}, default=str) + "\n"
    # One write in append mode: lines of several workers do not mix.
    file = os.open(os.environ["SYSMAIL_LAB_RESULTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode(errors="surrogateescape"))
    finally:
        os.close(file)


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """The plugin."""

    CALLBACK_VERSION: ClassVar[float] = 2.0
    CALLBACK_TYPE: ClassVar[str] = "notification"
    CALLBACK_NAME: ClassVar[str] = "results"
    CALLBACK_NEEDS_ENABLED: ClassVar[bool] = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _wrap()

    def v2_runner_on_ok(self, result: Any) -> None:
        _write_result("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: FBT002 - Ansible's
        _write_result("failed", result, ignored=bool(ignore_errors))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        _write_result("unreachable", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        _write_result("skipped", result)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        for host in sorted(stats.processed):
            _write("stats", host=host, counts=stats.summarize(host))


def _write_result(outcome: str, result: Any, *, ignored: bool = False) -> None:
    _write(
        "result",
        outcome=outcome,
        host=result.host.get_name(),
        task=result.task.get_name(),
        action=result.task.resolved_action or result.task.action,
        changed=bool(result.result.get("changed", False)),
        ignored=ignored,
        result=dict(result.result),
    )


def _wrap() -> None:
    if getattr(TaskExecutor.run, "of_the_lab", False):
        return
    TaskExecutor.run = _remembering_host(TaskExecutor.run)
    ActionBase._execute_module = _recording_module(ActionBase._execute_module)
    ActionBase._low_level_execute_command = _recording_command(
        ActionBase._low_level_execute_command
    )
    ActionBase._transfer_file = _recording_file(ActionBase._transfer_file)


def _remembering_host(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        _worker.update(host=self._host.get_name(), task=self._task.get_name())
        return original(self, *args, **kwargs)

    run.of_the_lab = True  # type: ignore[attr-defined]
    return run


def _where(action: Any) -> str:
    """The host that the action's connection leads to; "" is the controller itself."""
    if action._connection.transport == "local":
        return ""
    return str(action._task.delegate_to or _worker["host"])


def _recording(kind: str, action: Any, do: Callable[[], Any], **facts: Any) -> Any:
    """Do it, then say so, and whether the connection carried it."""
    reached = False
    try:
        done = do()
        reached = True
        return done
    finally:
        _write(kind, host=_where(action), task=_worker["task"], reached=reached, **facts)


def _recording_module(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def execute(self: Any, module_name: str | None = None, *args: Any, **kwargs: Any) -> Any:
        return _recording(
            "module",
            self,
            lambda: original(self, module_name, *args, **kwargs),
            name=module_name or self._task.action,
        )

    return execute


def _recording_command(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def execute(self: Any, cmd: str, *args: Any, **kwargs: Any) -> Any:
        return _recording(
            "command", self, lambda: original(self, cmd, *args, **kwargs), name=cmd[:500]
        )

    return execute


def _recording_file(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def transfer(self: Any, local_path: str, remote_path: str) -> Any:
        return _recording(
            "file",
            self,
            lambda: original(self, local_path, remote_path),
            name=str(remote_path),
            size=os.stat(local_path).st_size,  # noqa: PTH116 - a path of Ansible's
        )

    return transfer
