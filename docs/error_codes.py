"""The error codes of sysmail, found in its source.

Every place that makes a SysmailError or a Problem is looked at; where the code
comes from a parameter of the function around it, so are that function's calls.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Union

from sysmail import errors

SOURCE = Path(errors.__file__).parent
MOST_MESSAGES = 3

_Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]
_EXITS: dict[str, int] = {
    name: kind.exit_code
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.SysmailError)
}


@dataclass
class _Code:
    """What is known of one code."""

    exits: set[int] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)


class _Module:
    """One module of the source, and which function each of its calls stands in."""

    def __init__(self, path: Path) -> None:
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self._inside: dict[ast.AST, _Function] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for inner in ast.walk(node):
                    self._inside[inner] = node

    def calls(self, names: set[str]) -> Iterator[ast.Call]:
        """Yield every call of one of the names."""
        for node in ast.walk(self.tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in names
            ):
                yield node

    def texts(self, node: ast.expr) -> list[str]:
        """Return what an expression may be, as far as it is written down: ``…`` for the rest."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return [node.value]
        if isinstance(node, ast.IfExp):
            return self.texts(node.body) + self.texts(node.orelse)
        if isinstance(node, ast.JoinedStr):
            parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
            return ["".join(str(part) for part in parts)]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return [a + b for a in self.texts(node.left) for b in self.texts(node.right)]
        if isinstance(node, ast.Name):
            return self._arguments(node) or ["…"]
        return ["…"]

    def _arguments(self, name: ast.Name) -> list[str]:
        """Return what the parameter of a function is given by its callers in this module."""
        function = self._inside.get(name)
        names = [] if function is None else [each.arg for each in function.args.args]
        if function is None or name.id not in names:
            return []
        place = names.index(name.id)
        return [
            text
            for call in self.calls({function.name})
            if len(call.args) > place
            for text in self.texts(call.args[place])
        ]


def error_codes() -> dict[str, _Code]:
    """Return every code with its exit codes and the forms of its message."""
    found: dict[str, _Code] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        module = _Module(path)
        for call in module.calls({*_EXITS, "Problem"}):
            if len(call.args) < 2 or not isinstance(call.func, ast.Name):
                continue
            for code in module.texts(call.args[0]):
                if "…" in code:
                    continue
                entry = found.setdefault(code, _Code())
                entry.exits.add(_EXITS.get(call.func.id, 1))
                entry.messages += [
                    text for text in module.texts(call.args[1]) if text not in entry.messages
                ]
    return dict(sorted(found.items()))


def error_codes_markdown() -> str:
    """Return the table of the error codes."""
    lines = ["| code | exit | message |", "|---|---|---|"]
    for code, entry in error_codes().items():
        known = [text for text in entry.messages if text.strip("…:; ")]
        shown = [text.replace("|", "\\|") for text in known[:MOST_MESSAGES]]
        if len(known) > MOST_MESSAGES:
            shown.append(f"and {len(known) - MOST_MESSAGES} more")
        exits = ", ".join(str(number) for number in sorted(entry.exits))
        lines.append(f"| `{code}` | {exits} | {'<br>'.join(shown) or 'the words of the system'} |")
    return "\n".join(lines)
