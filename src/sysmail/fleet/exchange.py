"""What goes between Ansible's controller and a host, and what a task's result is made of it. Pure.

The action plugin does the talking; what is said is decided here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from sysmail.errors import SysmailError, UsageError

__all__ = [
    "PACKAGE_MODULES",
    "Options",
    "mailu_from_inventory",
    "package_arguments",
    "read_options",
    "request",
    "result",
    "unusable",
    "wants_packages",
    "why_failed",
]

Options = Mapping[str, Any]

DEFAULTS: Options = {
    "policy": {},
    "relay": False,
    "state": "present",
    "adopt": False,
    "acknowledge_losses": False,
    "mailu_group": "web-app-mailu",
}

PACKAGE_MODULES: Mapping[str, str] = {
    "apt": "ansible.builtin.apt",
    "pacman": "community.general.pacman",
    "dnf": "ansible.builtin.dnf",
    "zypper": "community.general.zypper",
    "apk": "community.general.apk",
}
"""The distribution's own module of Ansible, by sysmail's name of the package manager."""

_DPKG_SAYS = re.compile(r"^dpkg: error[^\n]*(?:\n[ \t][^\n]*)?", re.MULTILINE)

_TRUE = {"yes", "true", "on", "1", "y", "t"}
_FALSE = {"no", "false", "off", "0", "n", "f", ""}


def read_options(given: Mapping[str, Any]) -> Options:
    """The task's arguments with their defaults. UsageError for any that cannot be used."""
    unknown = sorted(str(name) for name in given if name not in DEFAULTS)
    if unknown:
        raise _usage(f"unknown option {unknown[0]}", f"it can be: {', '.join(DEFAULTS)}")
    options = {
        name: default if given.get(name) is None else given[name]
        for name, default in DEFAULTS.items()
    }
    if not isinstance(options["policy"], Mapping):
        raise _usage("policy is not a dictionary", "give the policy's keys and their values")
    if options["state"] not in ("present", "absent"):
        raise _usage("state is neither present nor absent", "write one of the two")
    for name, default in DEFAULTS.items():
        if isinstance(default, bool):
            options[name] = _boolean(name, options[name])
    return options


def _boolean(name: str, value: object) -> bool:
    word = str(value).lower()
    if word not in _TRUE | _FALSE:
        raise _usage(f"{name} is neither true nor false", f"write `{name}: true` or leave it out")
    return word in _TRUE


def _usage(message: str, remedy: str) -> UsageError:
    return UsageError("usage", message, remedy)


def mailu_from_inventory(
    policy: Mapping[str, Any],
    group: str,
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Mapping[str, Any]],
) -> Mapping[str, Any]:
    """The policy with Mailu filled in from the inventory, where a host is a member of ``group``.

    What the policy says itself comes first, then the member's variable
    ``sys_svc_mail_mailu``; ``host`` is by default the member's name.
    """
    members = groups.get(group) or ()
    if not members:
        return policy
    own = policy.get("mailu")
    if own is not None and not isinstance(own, Mapping):
        return policy  # told as a wrong type, with the key's name, by the policy's own checks
    member = members[0]
    known = hostvars.get(member, {}).get("sys_svc_mail_mailu") or {}
    if not isinstance(known, Mapping):
        raise _usage(
            f"sys_svc_mail_mailu of {member} is not a dictionary",
            "give it the keys of the policy's table mailu, such as host and username",
        )
    own = {name: value for name, value in (own or {}).items() if value is not None}
    known = {"host": member, **{n: value for n, value in known.items() if value is not None}}
    if own.get("host", known["host"]) != known["host"]:
        return policy  # a login is for its own server alone
    passwords = {"password", "password_file", "password_command"}
    if passwords & own.keys():
        known = {name: value for name, value in known.items() if name not in passwords}
    return {**policy, "mailu": {**known, **own}}


def request(
    options: Options, policy: Mapping[str, Any], *, check: bool, phase: str = "begin", why: str = ""
) -> dict[str, Any]:
    """What ``sysmail.door`` on the host is asked."""
    return {
        "command": "apply" if options["state"] == "present" else "remove",
        "check": check,
        "phase": phase,
        "why": why,
        "policy": policy,
        "relay": options["relay"],
        "adopt": options["adopt"],
        "acknowledge_losses": options["acknowledge_losses"],
    }


def package_arguments(manager: str, names: Sequence[str], *, refresh: bool) -> dict[str, Any]:
    """The arguments of the distribution's module; ``refresh``: with new package lists."""
    found: dict[str, Any] = {"name": list(names), "state": "present", "update_cache": refresh}
    if manager == "apt":
        found.update(install_recommends=False, lock_timeout=120)
    return found


def wants_packages(answer: Mapping[str, Any]) -> bool:
    """Whether the host is prepared, and packages have to be installed before it goes on."""
    report = answer.get("report")
    return isinstance(report, Mapping) and report.get("outcome") == "packages-wanted"


def why_failed(done: Mapping[str, Any]) -> str:
    """What another module's failure says, on one line.

    Some say it on standard error alone; of one that died Ansible keeps the words
    apart; and where dpkg itself gave up, only the output has the reason.
    """
    cause = _DPKG_SAYS.search(str(done.get("stdout") or ""))
    if cause:
        return " ".join(cause[0].split())
    died_of = getattr(getattr(done.get("exception"), "event", None), "msg", "")
    message = " ".join(str(done.get("msg") or died_of or "failed").split())
    said = " ".join(str(done.get("stderr") or "").split())[-300:]
    return message if said in message else f"{message}: {said}"


def unusable(error: SysmailError) -> dict[str, Any]:
    """The result for arguments that cannot be used: no host was asked."""
    message = f"{error}. {_sentence(error.remedy)}"
    return {"failed": True, "msg": message, "exit_code": error.exit_code}


def result(answer: Mapping[str, Any], *, packages: Sequence[str]) -> dict[str, Any]:
    """The result of the task. An answer without a report is Ansible's: the module died."""
    if not isinstance(answer.get("report"), Mapping):
        return {"failed": True, "msg": "the tool gave no answer", **answer}
    report: Mapping[str, Any] = answer["report"]
    code = answer["exit_code"]
    planned = report["outcome"] == "changes"
    found: dict[str, Any] = {
        "changed": bool(report["changed"]) or planned or bool(answer.get("placed")),
        "exit_code": code,
        "report": report,
        "queue": report.get("queue"),
        "packages": list(packages),
        "diff": [_diff(step) for step in report["steps"]],
    }
    trouble = _trouble(report)
    if code not in (0, 3) and not planned:
        found.update(failed=True, msg=trouble or f"{report['command']}: {report['outcome']}")
    elif trouble:
        found["warnings"] = [trouble]
    return found


def _diff(step: Mapping[str, Any]) -> dict[str, str]:
    return {"prepared": f"{step['summary']}\n{step['diff']}".rstrip() + "\n"}


def _trouble(report: Mapping[str, Any]) -> Optional[str]:
    """The first thing that is wrong, with its remedy."""
    for error in report["errors"]:
        return f"{error['message']}. {_sentence(error['remedy'])}"
    for verdict in report["verdicts"]:
        if verdict["status"] == "fail":
            return f"{verdict['check']}: {verdict['evidence']}. {_sentence(verdict['remedy'])}"
    return None


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}".rstrip(".") + "."
