"""The door for programs: a request in, an answer out, both plain data. Ansible comes in here.

A request is a mapping with these keys, all but ``command`` optional:

    command             apply or remove
    check               true: say what would change, and change nothing
    phase               begin; go_on or give_up after packages were wanted
    why                 with give_up: what the package manager said
    policy              the keys of the policy; empty for the policy of the host itself
    relay, adopt, acknowledge_losses    as in ``commands.apply.run``

The answer is ``{"report", "exit_code"}``, and ``placed`` where that is about the
tool itself, which came along or is gone: the report as the command line prints
it with ``--json``. Its outcome ``packages-wanted`` means that the caller
has to install ``report["packages"]`` and then ask again with ``go_on``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, Optional

from sysmail.errors import SysmailError
from sysmail.report import Report
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
        ),
    )
    found: dict[str, Any] = {"report": report.as_data(), "exit_code": report.exit_code}
    if not check and _leaves_nothing(host, command, report):
        from sysmail.fleet import place

        place.take_away(host)
        found["placed"] = False
    elif archive and not check and not _is_compiled():
        from sysmail.fleet import place

        place.compile_anew(host, archive)
    return found


def answer_and_place(
    request: Mapping[str, Any], archive: bytes, identity: str, machine: Optional[Any] = None
) -> dict[str, Any]:
    """The same on a host that does not have the tool yet: it gets it first, but for a check.

    A policy that cannot be used leaves nothing on the host. ``placed`` says
    whether the host got the tool, or with a check would.
    """
    from sysmail.host.machine import Machine

    host = machine or Machine()
    placed = request["command"] != "remove"
    if placed:
        shown = "plan" if request.get("check") else str(request["command"])
        report = guarded(shown, lambda: _place(host, request, archive, identity))
        if report.exit_code != 0:
            return {"report": report.as_data(), "exit_code": report.exit_code, "placed": False}
    return {"placed": placed, **answer(request, host)}


def _place(host: Any, request: Mapping[str, Any], archive: bytes, identity: str) -> Report:
    from sysmail.commands.policy_source import load_policy
    from sysmail.fleet import place

    load_policy(host, request.get("policy") or "", {}, None, relay=bool(request.get("relay")))
    if not request.get("check"):
        place.place(host, archive, identity)
    return Report(str(request["command"]), "placed", 0)


def _leaves_nothing(host: Any, command: str, report: Report) -> bool:
    """Whether nothing of sysmail is on the host now: removed, or a first apply that failed."""
    from sysmail.apply import Store

    if command == "remove" or report.exit_code in (0, 2, 3):
        return command == "remove" and report.exit_code == 0
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
    from sysmail.apply import Store
    from sysmail.commands import rollback

    if not Store(writer).load():
        return Report("remove", "nothing-to-do", 0)
    if check:
        return rollback.foresee(writer)
    return rollback.remove(writer, _silent, force=False)
