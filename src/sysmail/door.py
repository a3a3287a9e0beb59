"""The door for programs: a request in, an answer out, both plain data. Ansible comes in here.

A request is a mapping with these keys, all but ``command`` optional:

    command             apply or remove
    check               true: say what would change, and change nothing
    phase               begin; go_on or give_up after packages were wanted
    why                 with give_up: what the package manager said
    policy              the keys of the policy; empty for the policy of the host itself
    relay, adopt, acknowledge_losses    as in ``commands.apply.run``

The answer is ``{"report", "exit_code", "placed"}``: the report as the command line
prints it with ``--json``; ``placed`` where the tool itself came along to stay, or
went with a removal. The outcome ``packages-wanted`` means that the caller
has to install ``report["packages"]`` and then ask again with ``go_on``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable, Optional

from sysmail import signals
from sysmail.errors import SysmailError
from sysmail.report import Report, StepResult
from sysmail.session import carry_out, guarded

__all__ = ["Archive", "answer"]

# fleet.place.COMMAND, which is not imported for a run that changes nothing.
_COMMAND = "/usr/local/bin/sysmail"


@dataclass(frozen=True)
class Archive:
    """The tool as it came along: its bytes, and the name of its content."""

    data: bytes
    identity: str


def answer(
    request: Mapping[str, Any],
    machine: Optional[Any] = None,
    *,
    archive: str = "",
    new: Optional[Archive] = None,
) -> dict[str, Any]:
    """Carry out a request. Never raises an Exception: failures are in the report.

    ``archive`` is where the tool runs from; one that was compiled for another
    Python is compiled anew. ``new`` is the tool for a host that does not have
    it yet: it gets it, unless the policy cannot be used. Nothing of that with a check.
    """
    from sysmail.host.machine import Machine

    signals.catch()
    host = machine or Machine(_COMMAND)
    check = bool(request.get("check"))
    shown = "plan" if check else str(request["command"])
    placed: list[bool] = []

    def work(writer: Any) -> Report:
        """The tool itself comes and goes under the lock, too."""
        if new is not None:
            placed.append(_place(writer, request, new))
        report = guarded(shown, lambda: _work(writer, request))
        if not check and _leaves_nothing(writer, request, report):
            # What came for an apply that failed is no change; what a removal takes away is one.
            placed[:] = [_take_away(writer) and request["command"] == "remove"]
        elif archive and not check and not _is_compiled():
            _compile_anew(writer, archive)
        return _with_cut_off(writer, report) if check else report

    report = guarded(
        shown,
        lambda: carry_out(
            host,
            shown,
            work,
            _silent,
            changes=not check,
            # A second half is gone on with, however long the packages took.
            recovers=not check and request.get("phase", "begin") == "begin",
        ),
    )
    if check and request["command"] == "remove" and (archive and report.exit_code in (0, 2)):
        placed = [True]
    changed = any(placed) and (not check or report.exit_code in (0, 2, 3))
    return {"report": report.as_data(), "exit_code": report.exit_code, "placed": changed}


def _place(writer: Any, request: Mapping[str, Any], new: Archive) -> bool:
    """Give the host the tool, if its request can be understood; say whether it came."""
    from sysmail.commands.policy_source import load_policy
    from sysmail.fleet import place

    if request["command"] == "remove":
        return False
    load_policy(writer, request.get("policy") or "", {}, None, relay=bool(request.get("relay")))
    if not request.get("check"):
        place.place(writer, new.data, new.identity)
    return True


def _take_away(writer: Any) -> bool:
    from sysmail.fleet import place

    return place.take_away(writer)


def _compile_anew(writer: Any, archive: str) -> None:
    from sysmail.fleet import place

    # It only makes the next run faster; /usr/local may be read-only.
    with contextlib.suppress(SysmailError):
        place.compile_anew(writer, archive)


def _with_cut_off(reader: Any, report: Report) -> Report:
    """A check undoes nothing that was cut off, and says that a run would."""
    from sysmail.apply.checkpoint import Store
    from sysmail.apply.recovery import is_pending

    cut_off = [c for c in Store(reader).load() if c.state != "done" and not is_pending(reader, c)]
    if not cut_off or report.exit_code not in (0, 2):
        return report
    steps = [StepResult("recovery", f"undo the {c.kind} that was cut off") for c in cut_off]
    return replace(report, outcome="changes", exit_code=2, steps=(*steps, *report.steps))


def _leaves_nothing(host: Any, request: Mapping[str, Any], report: Report) -> bool:
    """Whether nothing of sysmail is on the host now: removed, or a first apply that failed."""
    from sysmail.apply.checkpoint import Store

    if request["command"] == "remove" or report.exit_code in (0, 2, 3):
        return request["command"] == "remove" and report.exit_code == 0
    try:
        return not Store(host).load()
    except SysmailError:
        return False


def _is_compiled() -> bool:
    """Whether this very code came from a compiled module: one for another Python is passed over."""
    return __file__.endswith(".pyc")


def _silent(_words: str) -> None:
    pass


def _work(writer: Any, request: Mapping[str, Any]) -> Report:
    given, relay = request.get("policy") or "", bool(request.get("relay"))
    adopt, check = bool(request.get("adopt")), bool(request.get("check"))
    if request["command"] == "remove":
        return _remove(writer, check=check)
    if check:
        from sysmail.commands import plan

        return plan.run(writer, given, {}, adopt=adopt, relay=relay)
    from sysmail.commands import apply

    phase: Callable[[], Report] = {
        "begin": lambda: apply.run(
            writer,
            given,
            {},
            _silent,
            adopt=adopt,
            acknowledge=bool(request.get("acknowledge_losses")),
            relay=relay,
            hand_over=True,
        ),
        "go_on": lambda: apply.go_on(writer, given, {}, _silent, relay=relay),
        "give_up": lambda: apply.give_up(writer, str(request.get("why", "")), _silent),
    }[request.get("phase", "begin")]
    return phase()


def _remove(writer: Any, *, check: bool) -> Report:
    """Back to how the host was; nothing to do is fine, for what is asked is a state."""
    from sysmail.apply.checkpoint import Store
    from sysmail.commands import rollback

    if not Store(writer).load():
        return Report("remove", "nothing-to-do", 0)
    if check:
        return rollback.foresee(writer)
    return rollback.remove(writer, _silent, force=False)
