"""A policy as plain data again, and with a few keys changed.

What :func:`dump` returns holds what differs from the defaults, can be written
as JSON or TOML, and gives an equal policy when it is parsed, except that it
never holds a password or the address of a webhook.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from sysmail.errors import PolicyError
from sysmail.policy.load import parse
from sysmail.policy.model import Alert, Hop, Limits, Policy, Queue
from sysmail.policy.quantities import duration_text, size_text
from sysmail.policy.rules import PORT_OF_TLS
from sysmail.policy.schema import HOPS, KEYS

__all__ = ["dump", "with_flags"]


def dump(policy: Policy) -> dict[str, object]:
    """Return the keys that differ from the defaults, as :func:`parse` takes them; no secret.

    A login whose password came from Ansible is therefore incomplete in it, and so is an
    ``[alert]`` with a webhook.
    """
    return _plain(policy, secrets=False)


def with_flags(policy: Policy, flags: Mapping[str, Optional[object]]) -> Policy:
    """Return the policy with the given keys replaced, and checked again.

    ``flags`` has dotted names, such as ``next_hop`` or ``queue.lifetime``; a
    None is a flag that was not given. Raises
    :class:`~sysmail.errors.PolicyError`.
    """
    known = {key.name: key for key in KEYS if not key.secret}
    data = _plain(policy, secrets=True)
    for name, value in flags.items():
        if value is None:
            continue
        if name not in known:
            raise PolicyError(
                "policy-unknown-key",
                "a flag names no key of the policy",
                "Look at `sysmail --help`.",
            )
        key = known[name]
        table = data.setdefault(key.section, {}) if key.section else data
        if isinstance(table, dict):
            table[key.last] = value
    return parse(data, from_ansible=True)


def _plain(policy: Policy, *, secrets: bool) -> dict[str, object]:
    tables: dict[str, object] = {
        key.name: getattr(policy, key.name)
        for key in KEYS
        if not key.section and getattr(policy, key.name) != getattr(Policy, key.name)
    }
    hops = {name: getattr(policy, name) for name in HOPS}
    tables.update({name: _hop(hop, secrets=secrets) for name, hop in hops.items() if hop})
    tables["queue"] = {
        name: duration_text(getattr(policy.queue, name))
        for name in ("lifetime", "warn_after", "retry_every")
        if getattr(policy.queue, name) != getattr(Queue, name)
    }
    tables["alert"] = {
        name: _alert_value(name, value)
        for name, value in vars(policy.alert).items()
        if value != getattr(Alert, name) and (secrets or name != "webhook")
    }
    limits = policy.limits
    tables["limits"] = {
        name: size_text(value) if name == "message_size" else value
        for name, value in vars(limits).items()
        if value != getattr(Limits, name)
    }
    tables["postfix"] = dict(policy.postfix)
    return {name: value for name, value in tables.items() if value != {}}


def _alert_value(name: str, value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return duration_text(value) if name in _AGES and isinstance(value, int) else value


_AGES = ("oldest", "proof_age")


def _hop(hop: Hop, *, secrets: bool) -> dict[str, object]:
    table: dict[str, object] = {"host": hop.host}
    # Without `tls`, port 25 or 587 means STARTTLS and any other implicit TLS: see rules.py.
    if hop.tls != "implicit":
        table["tls"] = hop.tls
    if hop.port != PORT_OF_TLS[hop.tls]:
        table["port"] = hop.port
    for name in ("username", "password_file", "ca_file"):
        if getattr(hop, name):
            table[name] = getattr(hop, name)
    if hop.password_command:
        table["password_command"] = list(hop.password_command)
    if secrets and hop.password is not None:
        table["password"] = hop.password
    return table
