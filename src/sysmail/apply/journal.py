"""What a journal may look like: every value is of the type that the code relies on. Pure.

A disk, an editor or a bad copy can leave a journal that is JSON and still no
journal. Nothing of such a one is carried out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Callable

__all__ = ["read"]

_STATES = {"open", "packages", "done", "undoing"}
_HASH = re.compile("[0-9a-f]{64}")


def read(text: bytes, types: Mapping[str, str]) -> dict[str, Any]:
    """The values of a journal by name; ``types`` are those of their annotations.

    ValueError with a sentence where it is none. Names that are not in ``types``
    are of a newer sysmail, and are left for the caller to see.
    """
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(data, dict):
        raise ValueError("it is not a table of names and values")  # noqa: TRY004 - of its text
    for name in ("number", "kind", "state"):
        if name not in data:
            raise ValueError(f"it has no {name}")
    for name, value in data.items():
        check = _TYPES.get(types.get(name, ""))
        if check is not None and not check(value):
            raise ValueError(f"its {name} is not of the kind that was written")
    if data["state"] not in _STATES:
        raise ValueError(f"its state is {data['state']!r}")
    if data.get("route") and not {"name", "next_hop", "reason"} <= set(data["route"]):
        raise ValueError("its route is not whole")
    _check_contents(data, types)
    return data


def _check_contents(data: Mapping[str, Any], known: Iterable[str]) -> None:
    for name in known:
        if name.startswith("packages_") and not all(map(_is_package, data.get(name) or ())):
            raise ValueError(f"its {name} has a name that no package has")
    for entry in data.get("files", []):
        _check_entry(entry)
    for folder in data.get("folders", []):
        _check_folder(folder)
    if not all(map(_is_step, data.get("steps", []))):
        raise ValueError("a step of its report is not whole")


def _is_package(name: Any) -> bool:
    """Nothing that a package manager takes for one of its options, or for more than one name."""
    return _is_text(name) and re.fullmatch(r"[^\s-]\S*", name) is not None


_STEP = {"name": str, "summary": str, "changed": bool, "diff": str, "edited": str}


def _is_step(step: Mapping[str, Any]) -> bool:
    known = all(name in _STEP and _is(value, _STEP[name]) for name, value in step.items())
    return known and {"name", "summary"} <= set(step)


def _check_entry(entry: Mapping[str, Any]) -> None:
    path, before, after = (entry.get(name) for name in ("path", "before", "after"))
    if not isinstance(path, str) or not _is_text(path) or not path.startswith("/"):
        raise ValueError("an entry of its files has no path")
    if after is not None and not (isinstance(after, str) and _HASH.fullmatch(after)):
        raise ValueError(f"what {path} was given has no hash")
    if "access" in entry and not (_list_of(int)(entry["access"]) and _is_access(entry["access"])):
        raise ValueError(f"the owner and mode that {path} was given are not whole")
    if before is not None and not _is_former(before):
        raise ValueError(f"what {path} was before is not whole")


def _check_folder(folder: Mapping[str, Any]) -> None:
    path, access = folder.get("path"), [folder.get(name, -1) for name in _ACCESS]
    known = _is_text(path) and str(path).startswith("/") and _is_text(folder.get("target", ""))
    if not (known and _list_of(int)(access) and _is_access(access)):
        raise ValueError("an entry of its folders is not whole")


def _is_former(before: Any) -> bool:
    if not isinstance(before, dict) or not all(_is(before.get(n), int) for n in _ACCESS):
        return False
    if not _is_access([before[name] for name in _ACCESS]):
        return False
    if before.get("kind") == "link":
        return _is_text(before.get("target"))
    backup, digest = before.get("backup"), before.get("sha256")
    return (
        before.get("kind") == "file"
        and isinstance(backup, str)
        and re.fullmatch("[0-9]{3,}", backup) is not None
        and isinstance(digest, str)
        and _HASH.fullmatch(digest) is not None
    )


_ACCESS = ("mode", "uid", "gid")


def _is_access(values: list[int]) -> bool:
    """Mode, owner and group as a file can have them; chown(2) and chmod(2) take nothing else."""
    return (
        len(values) == len(_ACCESS)
        and 0 <= values[0] <= 0o7777
        and all(0 <= each < 2**32 - 1 for each in values[1:])
    )


def _is_text(value: Any) -> bool:
    """What can be a name or an argument: of any bytes but 0, those that are no UTF-8 as escapes."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _is(value: Any, kind: type) -> bool:
    if kind is str:
        return _is_text(value)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _list_of(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(_is(each, kind) for each in value)


def _table_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(check(each) for each in value.values())


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool)


_LAST_YEAR = 253_402_300_800


def _is_time(value: Any) -> bool:
    """Seconds since the epoch that Python's datetime can tell, up to the end of the year 9999."""
    return (_is(value, int) or _is(value, float)) and 0 <= value < _LAST_YEAR


_TYPES: dict[str, Callable[[Any], bool]] = {
    "int": lambda value: _is(value, int) and value > 0,
    "float": _is_time,
    "bool": _is_truth,
    "str": _is_text,
    "dict[str, Any]": lambda value: isinstance(value, dict),
    "dict[str, str]": _table_of(_is_text),
    "Optional[dict[str, str]]": lambda value: value is None or _table_of(_is_text)(value),
    "dict[str, bool]": _table_of(_is_truth),
    "dict[str, dict[str, bool]]": _table_of(_table_of(_is_truth)),
    "list[str]": _list_of(str),
    "list[dict[str, Any]]": _list_of(dict),
    "Optional[list[str]]": lambda value: value is None or _list_of(str)(value),
}
