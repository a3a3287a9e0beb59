"""What the operator wants: one schema, the same from a TOML file and from Ansible.

    >>> parse({"admin": "ops@example.org", "queue": {"lifetime": "2d"}}).queue.lifetime
    172800

Pure: nothing here reads a file, runs a program or opens a connection. Every
failure is a :class:`~sysmail.errors.PolicyError` with one of these codes, and
``key`` set to the dotted name of the key where there is one:

``policy-syntax``
    the text is neither TOML nor JSON
``policy-unknown-key``, ``policy-wrong-type``, ``policy-bad-value``
    a key that does not exist, or whose value cannot be used
``policy-control-character``
    a value holds a character that nobody sees
``policy-conflict``
    values that are right alone and wrong together
``policy-postfix-parameter``
    an extra Postfix parameter would break a promise
"""

from __future__ import annotations

from sysmail.policy.dump import dump, with_flags
from sysmail.policy.load import parse
from sysmail.policy.model import Alert, Hop, Limits, Policy, Queue, Secret
from sysmail.policy.quantities import duration_text, size_text
from sysmail.policy.schema import KEYS, SECTIONS, Key

__all__ = [
    "KEYS",
    "SECTIONS",
    "Alert",
    "Hop",
    "Key",
    "Limits",
    "Policy",
    "Queue",
    "Secret",
    "dump",
    "duration_text",
    "parse",
    "size_text",
    "with_flags",
]
