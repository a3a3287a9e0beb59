"""The policy as Ansible's arguments: the options of the module and of the roles, as plain data.

An option is a dict as Ansible documents it: ``type``, ``description`` (a list of sentences in
Markdown), and where they apply ``choices``, ``default``, ``required``, ``no_log`` and ``options``.
Documentation, the roles' argument specifications and the module's own are all made of these, so
they cannot differ. No default of the policy is filled in: the tool knows them, and a value that
nobody wrote must not look as if somebody had.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sysmail.policy.schema import HOPS, KEYS, SECTIONS, Key

__all__ = ["ROLES", "argument_spec", "module_options", "policy_options", "role_options"]

Option = dict[str, Any]

ROLES: Mapping[str, tuple[str, str]] = {
    "sys_svc_mail": (
        "Decides which way mail leaves the host, and sets it up",
        "Mail goes to Mailu where there is one that answers, else through a relay on the host,"
        " unless the policy names a route.",
    ),
    "sys_svc_mail_smtp": (
        "Sets up the relay on the host: Postfix, on loopback only",
        "The same as `sys_svc_mail` with `route: relay` where the policy names no route; the host"
        " keeps the relay until a policy names one.",
    ),
    "sys_svc_mail_msmtp": (
        "Sets up msmtp, the client, for whichever way mail goes",
        "The same run as `sys_svc_mail`: with the relay msmtp talks to it on loopback, and on the"
        " way to Mailu msmtp is `sendmail`.",
    ),
}
"""The roles: for each a short description, and what sets it apart."""

# Every kind of the schema. A path stays text: Ansible's type would expand `~` and variables, and
# on another host than the one that reads the file. A duration and a size are text with a unit. A
# command is text or a list: Ansible's type for lists would split a text at its commas.
_TYPES: Mapping[str, str] = {
    "URL": "str",
    "address": "str",
    "choice": "str",
    "command": "raw",
    "duration": "str",
    "host name": "str",
    "login": "str",
    "number": "int",
    "path": "str",
    "port": "int",
    "secret": "str",
    "server": "str",
    "size": "str",
    "text": "str",
}

# Never shown: passwords, and a URL that lets everybody who knows it post.
_HIDDEN_KINDS = {"secret", "URL"}

_TABLES: Mapping[str, str] = {
    "mailu": "The Mailu server. What is missing here is taken from the member of Mailu's group in"
    " the inventory: the host is the one in its variable `sys_svc_mail_mailu`, else the member's"
    " name; the other keys are those of that variable. Of a policy that names another host nothing"
    " is filled in.",
    "smarthost": "The server of any other provider.",
    "queue": "How long mail waits, and how often it is tried.",
    "alert": "Who is told when mail itself is broken.",
    "limits": "What is accepted.",
    "postfix": "Extra parameters of `main.cf`, by name. One that would break a promise is refused.",
}

_OWN: Mapping[str, Option] = {
    "mailu_group": {
        "type": "str",
        "default": "web-app-mailu",
        "description": [
            "The group of the inventory whose member is the Mailu.",
            "Without a member, and without `mailu` in the policy, there is no Mailu.",
        ],
    },
    "adopt": {
        "type": "bool",
        "default": False,
        "description": ["Replace a mail server that is there already, which is refused otherwise."],
    },
    "acknowledge_losses": {
        "type": "bool",
        "default": False,
        "description": ["Say that the notices found to be lost are known."],
    },
    "state": {
        "type": "str",
        "default": "present",
        "choices": ["present", "absent"],
        "description": [
            "`present` puts the policy in force; `absent` puts the host back as sysmail found it.",
        ],
    },
}

_RELAY: Option = {
    "type": "bool",
    "default": False,
    "description": [
        "Ask for the relay: where the policy names no route, it is `relay`.",
        "The host keeps it for later runs without this, until a policy names a route.",
    ],
}


def policy_options() -> dict[str, Option]:
    """Return an option for every key and every table of the policy."""
    options = {key.last: _of_key(key) for key in KEYS if not key.section}
    for section in SECTIONS:
        keys = [key for key in KEYS if key.section == section]
        table: Option = {"type": "dict", "description": [_TABLES[section]]}
        if keys:
            table["options"] = {key.last: _of_key(key) for key in keys}
        options[section] = table
    return options


def module_options() -> dict[str, Option]:
    """Return the options of the module ``sysmail.host.sysmail``."""
    return {"policy": _policy(), "relay": dict(_RELAY), **_own()}


def role_options() -> dict[str, Option]:
    """Return the variables of the roles, the same for each."""
    return {
        f"sys_svc_mail_{name}": option for name, option in {"policy": _policy(), **_own()}.items()
    }


def argument_spec(options: Mapping[str, Option]) -> dict[str, Option]:
    """Return options as Ansible's validator takes them: without their descriptions.

    A password's file and command are no secrets, whatever their names look like, and say so.
    """
    spec: dict[str, Option] = {}
    for name, option in options.items():
        spec[name] = {key: value for key, value in option.items() if key != "description"}
        if "options" in option:
            spec[name]["options"] = argument_spec(option["options"])
        if name.startswith("password_"):
            spec[name]["no_log"] = False
    return spec


def _policy() -> Option:
    return {
        "type": "dict",
        "default": {},
        "description": [
            "What you want of the host's mail. Every key of it is optional.",
            "Where it is empty, and the inventory has no Mailu, the policy of the host itself is"
            " used: its file, else that of the last run, else the defaults.",
        ],
        "options": policy_options(),
    }


def _own() -> dict[str, Option]:
    return {name: dict(option) for name, option in _OWN.items()}


def _of_key(key: Key) -> Option:
    option: Option = {"type": _TYPES[key.kind], "description": _description(key)}
    if key.choices:
        # A template gives an empty text for what is not set, and the tool takes it as that.
        unset = ("",) if key.default == '""' else ()
        option["choices"] = [*key.choices, *unset]
    if key.required and key.section != HOPS[0]:  # Mailu's may come from the inventory
        option["required"] = True
    if key.kind in _HIDDEN_KINDS:
        option["no_log"] = True
    return option


def _description(key: Key) -> list[str]:
    sentences = [key.doc]
    if key.default not in {'""', "[]"} and "by default" not in key.doc and not key.required:
        sentences.append(f"The default is `{_bare(key.default)}`.")
    if key.kind == "command":
        sentences.append("A list of words, or a text that is split as a shell splits it.")
    if not key.secret and not key.choices:
        sentences.append(f"For example `{_bare(key.example)}`.")
    return sentences


def _bare(toml: str) -> str:
    """Return a TOML value as a person writes it in YAML: a text without its quotes."""
    return toml.strip('"')
