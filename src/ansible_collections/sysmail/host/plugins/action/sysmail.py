# Copyright: the sysmail authors. MIT License (see LICENSE).
"""The controller's side of the module sysmail: asks the host, and installs what it lacks.

On a host that has the tool, one module execution is all. The tool is sent
along where it is missing; packages that are missing are installed by the
distribution's own module, between two halves of one transaction.
"""

from __future__ import annotations

import base64
import importlib.util
import os
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase


def _load_tool() -> None:
    """By the place of the real file: under the seed's role names no collection is configured."""
    here = os.path.dirname(os.path.realpath(__file__))
    path = os.path.join(here, "..", "plugin_utils", "tool.py")
    spec = importlib.util.spec_from_file_location("sysmail_host_tool", path)
    if spec is None or spec.loader is None:
        raise AnsibleError(f"{path} is missing: install the collection again")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.load_tool()


# Once a run, in the process that every host's worker is forked from.
_load_tool()

from sysmail.errors import SysmailError  # noqa: E402 - found just now
from sysmail.fleet import archive, exchange  # noqa: E402 - as above

IDENTITY = archive.identity()


class ActionModule(ActionBase):
    """One host."""

    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what ansible-doc says of sysmail.host.sysmail."""
        variables = task_vars or {}
        outcome: dict[str, Any] = super().run(tmp, task_vars)
        try:
            options = exchange.read_options(self._task.args)
            policy = exchange.mailu_from_inventory(
                options["policy"],
                str(options["mailu_group"]),
                variables.get("groups", {}),
                variables.get("hostvars", {}),
            )
        except SysmailError as error:
            return {**outcome, **exchange.unusable(error)}
        self._variables, self._check = variables, bool(self._task.check_mode)
        outcome.update(self._bring_about(options, policy))
        return outcome

    def _bring_about(self, options: Any, policy: Any) -> dict[str, Any]:
        def ask(**more: Any) -> dict[str, Any]:
            return self._ask(exchange.request(options, policy, check=self._check, **more))

        answer = ask()
        names: list[str] = []
        while exchange.wants_packages(answer):
            wanted = answer["report"]["packages"]
            trouble = self._install(wanted)
            placed = answer.get("placed", False)
            if trouble:
                answer = {"placed": placed, **ask(phase="give_up", why=trouble)}
                break
            answer = {"placed": placed, **ask(phase="go_on")}
            names += wanted["names"]
        return exchange.result(answer, packages=names)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """One module execution, and a second one where the host does not have the tool yet."""
        arguments = {"identity": IDENTITY, "request": request, "archive": ""}
        answer = self._run_module(self._task.action, arguments)
        if not answer.get("missing"):
            return answer
        arguments["archive"] = base64.b64encode(archive.build()).decode()
        return self._run_module(self._task.action, arguments)

    def _install(self, wanted: dict[str, Any]) -> str:
        """Install with the distribution's module; empty, or why it failed.

        Package lists are renewed only where it fails without: most hosts have them.
        """
        name = exchange.PACKAGE_MODULES[wanted["manager"]]
        trouble = ""
        for refresh in (False, True):
            arguments = exchange.package_arguments(
                wanted["manager"], wanted["names"], refresh=refresh
            )
            try:
                done = self._run_module(name, arguments)
            except AnsibleConnectionFailure:
                raise  # the package manager may well go on there, and the next run goes on with it
            except AnsibleError as error:
                return f"{name}: {error}"
            if not done.get("failed"):
                return ""
            trouble = f"{name}: {exchange.why_failed(done)}"
        return trouble

    def _run_module(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        done: dict[str, Any] = self._execute_module(
            module_name=name, module_args=arguments, task_vars=self._variables
        )
        return done
