"""From a plain mapping to a :class:`~sysmail.policy.model.Policy`, and back.

The mapping is what TOML, JSON or Ansible gave; it is not trusted to hold
anything of the right type. The first thing wrong is reported, by the name of
its key, and nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Optional

from sysmail.errors import PolicyError
from sysmail.policy.model import Alert, Hop, Limits, Policy, Queue
from sysmail.policy.rules import check_policy, read_hop
from sysmail.policy.schema import KEYS, SECTIONS, Key
from sysmail.policy.values import quoted, wrong_type

__all__ = ["parse"]


def parse(data: Mapping[str, object], *, from_ansible: bool = False) -> Policy:
    """Check a plain mapping and make a policy of it.

    ``from_ansible`` also accepts ``password`` in the tables of a server, and
    takes None for a key that was not given, as Ansible's arguments do. Raises
    :class:`~sysmail.errors.PolicyError`, and nothing else, for any mapping.
    """
    if not isinstance(data, Mapping):
        raise PolicyError(
            "policy-wrong-type",
            "the policy is not a table of keys",
            'Write keys and values, such as `admin = "ops@example.org"`.',
        )
    top = _table(data, "", from_ansible=from_ansible)
    sections = {name: _section(top, name, from_ansible=from_ansible) for name in SECTIONS}
    policy = Policy(
        **_values(top, "", KEYS),
        mailu=_hop(sections["mailu"], "mailu"),
        smarthost=_hop(sections["smarthost"], "smarthost"),
        queue=Queue(**_values(sections["queue"] or {}, "queue", KEYS)),
        alert=Alert(**_values(sections["alert"] or {}, "alert", KEYS)),
        limits=Limits(**_values(sections["limits"] or {}, "limits", KEYS)),
        postfix=_extras(sections["postfix"] or {}),
    )
    check_policy(policy)
    return policy


def _extras(table: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    if not table:
        return ()
    from sysmail.policy.postfix_extras import read_extras  # a long table that few policies need

    return read_extras(table)


def _section(
    top: Mapping[str, object], name: str, *, from_ansible: bool
) -> Optional[Mapping[str, object]]:
    """Return the table ``name``, None where it is not given."""
    if name not in top:
        return None
    table = top[name]
    if not isinstance(table, Mapping):
        raise wrong_type(name, table, f"a table, `[{name}]`")
    if name == "postfix":
        return {key: value for key, value in table.items() if not (from_ansible and value is None)}
    return _table(table, name, from_ansible=from_ansible)


def _table(
    table: Mapping[Any, object], section: str, *, from_ansible: bool
) -> Mapping[str, object]:
    """Return the entries of one table that are given, all of them keys that exist."""
    known = {key.last: key for key in KEYS if key.section == section}
    names = [*known, *(SECTIONS if not section else ())]
    for name in table:
        if not isinstance(name, str) or name not in names:
            raise _unknown(name, section, names)
        key = known.get(name)
        if key is not None and key.secret and not from_ansible:
            raise _secret_in_file(key)
    return {name: value for name, value in table.items() if not (from_ansible and value is None)}


def _values(table: Mapping[str, object], section: str, keys: Iterable[Key]) -> dict[str, Any]:
    return {
        key.last: key.read(table[key.last], key.name)
        for key in keys
        if key.section == section and key.last in table
    }


def _hop(table: Optional[Mapping[str, object]], section: str) -> Optional[Hop]:
    return None if table is None else read_hop(_values(table, section, KEYS), section)


def _unknown(name: object, section: str, names: Iterable[str]) -> PolicyError:
    """Make the error for a key that does not exist, with the one that was probably meant."""
    if not isinstance(name, str):
        return PolicyError(
            "policy-wrong-type", "a key of the policy is not text", "Write every key as a name."
        )
    prefix = f"{section}." if section else ""
    # A long text is not a misspelt key, and comparing it would take long.
    import difflib  # only for a mistake

    near = difflib.get_close_matches(name[:40].lower(), list(names), n=1, cutoff=0.6)
    elsewhere = [key.name for key in KEYS if key.last == name]
    if near:
        guess = f"; did you mean `{prefix}{near[0]}`?"
    elif elsewhere:
        guess = f"; did you mean `{elsewhere[0]}`?"
    else:
        guess = ""
    shown = quoted(name).strip('"')
    where = f"in `[{section}]`" if section else "in the policy"
    return PolicyError(
        "policy-unknown-key",
        f"unknown key `{prefix}{shown}`{guess}",
        f"Correct or remove it; {where} can be: {', '.join(names)}.",
        f"{prefix}{shown}",
    )


def _secret_in_file(key: Key) -> PolicyError:
    return PolicyError(
        "policy-unknown-key",
        f"`{key.name}` is not for a policy file: a policy is copied, shown and compared",
        f"Put the password alone into a file of mode 0600 and name it in"
        f" `{key.section}.password_file`.",
        key.name,
    )
