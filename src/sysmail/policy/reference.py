"""The reference of the policy's keys for the documentation, made from the schema."""

from __future__ import annotations

from collections.abc import Iterable

from sysmail.policy.postfix_extras import PROTECTED, RULES
from sysmail.policy.schema import KEYS, SECTIONS, Key

__all__ = ["postfix_markdown", "reference_markdown"]


def reference_markdown() -> str:
    """Render every key, table by table, as Markdown; the text ends with a newline."""
    parts = [_table("Top level", (key for key in KEYS if not key.section))]
    parts += [
        _table(f"`[{section}]`", keys)
        for section in SECTIONS
        for keys in [[key for key in KEYS if key.section == section]]
        if keys
    ]
    return "\n".join(parts)


def postfix_markdown() -> str:
    """Render the main.cf parameters that ``[postfix]`` refuses, with reasons, as Markdown."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, entry in PROTECTED.items():
        groups.setdefault((entry.promise, entry.why), []).append(f"`{name}`")
    lines = ["| refused | promise | because |", "|---|---|---|"]
    lines += [
        f"| {', '.join(sorted(names))} | {promise} | {why} |"
        for (promise, why), names in groups.items()
    ]
    lines += ["", "| accepted with | promise | because |", "|---|---|---|"]
    lines += [f"| `{name}` {rule.allowed} | {rule.promise} | {rule.why} |" for name, rule in RULES]
    return "\n".join(lines) + "\n"


def _table(title: str, keys: Iterable[Key]) -> str:
    lines = [f"### {title}", "", "| key | type | default | meaning |", "|---|---|---|---|"]
    lines += [_row(key) for key in keys]
    return "\n".join(lines) + "\n"


def _row(key: Key) -> str:
    kind = ", ".join(f"`{choice}`" for choice in key.choices) or key.kind
    flag = f" Flag: `{key.flag}`." if key.flag else ""
    default = "required" if key.required else f"`{key.default}`"
    if key.default in {'""', "[]"} and not key.required:
        default = "–"
    return f"| `{key.last}` | {kind} | {default} | {key.doc} Example: `{key.example}`.{flag} |"
