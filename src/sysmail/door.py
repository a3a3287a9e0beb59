"""The door for programs: a request in, an answer out, both plain data. Ansible comes in here.

A request is a mapping with these keys, all but ``command`` optional:

    command             apply or remove
    check               true: say what would change, and change nothing
    phase               begin; go_on or give_up after packages were wanted
    why                 with give_up: what the package manager said
    policy              the keys of the policy; empty for the policy of the host itself
    relay, adopt, acknowledge_losses    as in ``commands.apply.run``

The answer is ``{"report", "exit_code"}``: the report as the command line
prints it with ``--json``. Its outcome ``packages-wanted`` means that the caller
has to install ``report["packages"]`` and then ask again with ``go_on``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, Optional

from sysmail.errors import SysmailError
from sysmail.report import Problem, Report
from sysmail.session import carry_out, catch_signals, guarded

__all__ = ["answer", "answer_and_place"]


def answer(
    request: Mapping[str, Any], machine: Optional[Any] = None, *, archive: str = ""
) -> dict[str, Any]:
    """Carry out a request. Never raises an Exception: failures are in the report.

    ``archive`` is where the tool runs from; one that was compiled for another
    Python is compiled anew, unless nothing is to be changed.
    """
    from sysmail.host.machine import Machine

    catch_signals()
    host = machine or Machine()
    command, check = str(request["command"]), bool(request.get("check"))
    shown = "plan" if check else command
    report = guarded(
        shown,
        lambda: carry_out(
            host,
            shown,
            lambda writer: _work(writer, request),
            _silent,
            changes=not check,
            going_on=request.get("phase", "begin") != "begin",
        ),
    )
    if command == "remove" and report.exit_code == 0 and not check:
        from sysmail.fleet import place

        place.take_away(host)
    elif archive and not check and not _is_compiled():
        from sysmail.fleet import place

        place.compile_anew(host, archive)
    return {"report": report.as_data(), "exit_code": report.exit_code}


def answer_and_place(
    request: Mapping[str, Any], archive: bytes, identity: str, machine: Optional[Any] = None
) -> dict[str, Any]:
    """The same on a host that does not have the tool yet: it gets it first, but for a check."""
    from sysmail.fleet import place
    from sysmail.host.machine import Machine

    host = machine or Machine()
    if not request.get("check") and request["command"] != "remove":
        try:
            place.place(host, archive, identity)
        except SysmailError as error:
            problem = Problem(error.code, error.message, error.remedy)
            report = Report(str(request["command"]), "failed", 1, errors=(problem,))
            return {"report": report.as_data(), "exit_code": 1}
    return answer(request, host)


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
    from sysmail.apply import Store
    from sysmail.commands import rollback

    if not Store(writer).load():
        return Report("remove", "nothing-to-do", 0)
    if check:
        return rollback.foresee(writer)
    return rollback.remove(writer, _silent, force=False)
