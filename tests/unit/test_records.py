"""Classes of plain data are as the standard library would make them, and cost no import of it."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import pickle
from typing import Any, Callable

import pytest

from sysmail import records
from unit import shape_rules as shape


def _classes(maker: Any) -> dict[str, Any]:
    """The same classes by one of the two decorators."""

    @maker.dataclass(frozen=True)
    class Frozen:
        """Has a default, and a field that is neither shown nor compared."""

        a: int
        b: str = "b"
        hidden: int = maker.field(default=0, repr=False, compare=False)
        more: tuple[int, ...] = maker.field(default_factory=tuple)

    @maker.dataclass
    class Open:
        """Can be changed, and has a method for what is made of it."""

        a: int
        parts: list[int] = maker.field(default_factory=list)

        def __post_init__(self) -> None:
            self.a += 1

        @property
        def twice(self) -> int:
            return self.a * 2

    @maker.dataclass(frozen=True)
    class Empty:
        """Has no field."""

    @maker.dataclass(frozen=True)
    class Own:
        """Says itself how it is shown."""

        a: int

        def __repr__(self) -> str:
            return "secret"

    return {"Frozen": Frozen, "Open": Open, "Empty": Empty, "Own": Own}


def _set(record: Any, name: str) -> Any:
    setattr(record, name, 5)
    return record


def _delete(record: Any, name: str) -> Any:
    delattr(record, name)
    return vars(record)


def _open_parts(c: Any) -> Any:
    first = c["Open"](1)
    first.parts.append(1)
    return first.parts, c["Open"](1).parts


DOES: dict[str, Callable[[Any], Any]] = {
    "by position": lambda c: vars(c["Frozen"](1, "x", 2, (3,))),
    "in order, however given": lambda c: list(vars(c["Frozen"](hidden=4, a=1)).items()),
    "defaults": lambda c: vars(c["Frozen"](1)),
    "a default of the class": lambda c: (c["Frozen"].b, hasattr(c["Frozen"], "more")),
    "a factory each time": _open_parts,
    "nothing missing": lambda c: c["Frozen"](),
    "nothing unknown": lambda c: c["Frozen"](1, other=2),
    "nothing twice": lambda c: c["Frozen"](1, a=2),
    "not too much": lambda c: c["Frozen"](1, "x", 2, (), 5),
    "not too much, nor less": lambda c: c["Empty"](1),
    "no fields": lambda c: (c["Empty"]() == c["Empty"](), repr(c["Empty"]())[-2:]),
    "shown": lambda c: [repr(c[n](1)).rpartition(".")[2] for n in ("Frozen", "Open", "Own")],
    "equal": lambda c: c["Frozen"](1) == c["Frozen"](1, hidden=9),
    "not equal": lambda c: c["Frozen"](1) == c["Frozen"](2),
    "of another class": lambda c: c["Frozen"](1) == c["Own"](1),
    "hashed": lambda c: len({c["Frozen"](1), c["Frozen"](1, hidden=9), c["Frozen"](2)}),
    "not hashed": lambda c: hash(c["Open"](1)),
    "frozen": lambda c: _set(c["Frozen"](1), "a"),
    "frozen, anything": lambda c: _set(c["Frozen"](1), "other"),
    "frozen, not deleted": lambda c: _delete(c["Frozen"](1), "a"),
    "open": lambda c: vars(_set(c["Open"](1), "a")),
    "after it": lambda c: (c["Open"](1).a, c["Open"](1).twice),
    "copied": lambda c: copy.copy(c["Frozen"](1)) == copy.deepcopy(c["Frozen"](1)),
    "as plain data": lambda c: dataclasses.asdict(c["Frozen"](1)),
    "replaced by dataclasses": lambda c: vars(dataclasses.replace(c["Frozen"](1), b="y")),
    "fields by dataclasses": lambda c: [
        (f.name, f.type, f.repr, f.compare, f.default is dataclasses.MISSING)
        for f in dataclasses.fields(c["Frozen"])
    ],
}


@pytest.mark.parametrize("what", DOES)
def test_as_the_standard_library(what: str) -> None:
    """The same comes of it, or the same kind of error."""
    found = []
    for maker in (records, dataclasses):
        try:
            found.append(DOES[what](_classes(maker)))
        except (TypeError, AttributeError) as error:
            found.append(type(error))
    assert found[0] == found[1]


def test_what_takes_both() -> None:
    """Fields and replacements are asked of ours alone."""
    made = _classes(records)["Frozen"](1)
    assert [each.name for each in records.fields(made)] == ["a", "b", "hidden", "more"]
    assert records.replace(made, b="y") == type(made)(1, "y")
    assert records.is_dataclass(made)
    assert not records.is_dataclass("made")
    with pytest.raises(TypeError):
        records.fields("made")  # type: ignore[arg-type]


def test_a_default_that_changes_is_refused() -> None:
    """One list for all would be shared."""
    with pytest.raises(ValueError, match="one default for all"):

        @records.dataclass
        class Shared:
            a: list[int] = []  # noqa: RUF012


def test_the_source_uses_these() -> None:
    """A single class by the standard library would load all of it."""
    wrong = [
        f"{found.name}: take it from sysmail.records"
        for found in shape.modules()
        if found.name != "sysmail.records"
        and any(shape.is_in(name, {"dataclasses"}) for name in shape.imports(found))
    ]
    assert wrong == []


def test_a_record_of_the_source_can_be_kept() -> None:
    """A class of a module survives pickling, as everything in a report may be."""
    problem = importlib.import_module("sysmail.report").Problem("a", "b", "c")
    assert pickle.loads(pickle.dumps(problem)) == problem  # noqa: S301
