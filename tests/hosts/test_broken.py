"""Hosts that are broken on purpose: the right check finds each fault, and its remedy heals it.

The faults are the files of tests/faults, whose README describes them. SYSMAIL_SEED draws a sample
of them, and of the kinds of healthy hosts; `make torture` takes all (SYSMAIL_FAULTS=all).
"""

from __future__ import annotations

import contextlib
import os
import random
import re
from collections.abc import Iterable, Iterator

import pytest
from broken_hosts import ACTS, KINDS, Pool
from fault_files import Fault, faults
from onhost import Ran, sysmail

from lab import Host, Lab, NotOfferedError
from sysmail.prove import CHECKS

SAMPLES = 25
HEALTHY = 8


def _sample(every: Iterable[str], count: int) -> set[str]:
    """So many of them, the same in each process of a run."""
    if os.environ.get("SYSMAIL_FAULTS") == "all":
        return set(every)
    drawn = random.Random(os.environ["SYSMAIL_SEED"])  # noqa: S311 - a sample, not a secret
    return set(drawn.sample(sorted(every), count))


_NAMES = _sample((fault.name for fault in faults()), SAMPLES)
# In the order of the kinds of hosts.
FAULTS = [fault for fault in faults() if fault.name in _NAMES]

# What a row's shell has: sysmail by its name, as on a host where it is installed; a way to wait.
_ENV = {"PATH": "/opt/sysmail:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_PRELUDE = """\
set -e
wait_for() {
    for _ in $(seq 300); do sh -c "$1" > /dev/null 2>&1 && return 0; sleep 0.1; done
    echo "never happened: $1" >&2; return 1
}
"""
# systemd lets a unit start five times in ten seconds; the faults before have used some of that.
_RESTED = "systemctl reset-failed 'postfix*' 2> /dev/null || true\n"


@pytest.fixture(scope="module")
def pool(lab: Lab) -> Iterator[Pool]:
    """The hosts of this module."""
    opened = Pool(lab)
    try:
        yield opened
    finally:
        opened.put_aside()


def _shell(host: Host, script: str) -> None:
    if script:
        host.run(_PRELUDE + script, env=_ENV, timeout=240)


def _healthy(ran: Ran) -> None:
    assert ran.status == 0, f"not healthy: {ran.failed()} {ran.report['errors']}"
    assert {verdict["status"] for verdict in ran.report["verdicts"]} == {"pass"}
    assert len(ran.report["verdicts"]) >= 10


def _postfix_check(host: Host) -> str:
    """What Postfix's own check says: none (no Postfix), fails, warns, or passes without a word."""
    done = host.run("command -v postfix > /dev/null || exit 127; postfix check", check=False)
    print("postfix check:", done.returncode, done.stdout + done.stderr)
    if done.returncode == 127:
        return "none"
    said = (done.stdout + done.stderr).strip()
    return "fails" if done.returncode else "warns" if said else "passes"


def _found(fault: Fault, ran: Ran) -> None:
    """The check that the file names fails, or is unknown, with its words; no other one does."""
    print(ran.failed())
    verdict = ran.verdict(fault.check)
    print(verdict["remedy"])
    assert verdict["status"] == fault.status, verdict
    assert set(ran.failed()) == fault.broken
    assert ran.status == (1 if fault.status == "fail" else 3)
    for word in fault.says:
        assert word in verdict["evidence"], verdict
    _remedy(fault, verdict["remedy"])


def _remedy(fault: Fault, remedy: str) -> None:
    """It says what the file wants, and what heals the host is what it says."""
    assert fault.remedy, "a remedy has words"
    for word in fault.remedy:
        assert word in remedy, remedy
    commands = re.findall("`([^`]+)`", remedy)
    assert not commands or any(command in fault.heal for command in commands), remedy


def _told(fault: Fault, ran: Ran) -> None:
    """Without verdicts: the command ends with the error whose code is ``check``."""
    error = next(e for e in ran.report["errors"] if e["code"] == fault.check)
    assert ran.status != 0
    for word in fault.says:
        assert word in error["message"], error
    _remedy(fault, error["remedy"])


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_broken_on_purpose(pool: Pool, fault: Fault) -> None:
    """Healthy; broken, and found by exactly the check that should; healed by what that says."""
    host = pool.host(fault.host)
    if not pool.proven:
        _healthy(sysmail(host, "prove"))
    pool.proven = False
    try:
        with contextlib.ExitStack() as around:
            if fault.lab:
                around.enter_context(ACTS[fault.lab](pool.lab))
            _shell(host, fault.break_ and _RESTED + fault.break_)
            ran = sysmail(host, *fault.command)
            (_found if fault.check in CHECKS else _told)(fault, ran)
            # Last: it makes folders that are missing.
            assert _postfix_check(host) == fault.postfix_check
    finally:
        # Also where it was not found: the host is for the next fault then.
        with pool.aside_on_failure():
            _shell(host, fault.heal)
            healed = sysmail(host, "prove")
            _shell(host, fault.cleanup and _RESTED + fault.cleanup)
            _healthy(sysmail(host, "prove") if fault.cleanup else healed)
            _healthy(healed)
            pool.proven = True


@pytest.mark.parametrize("kind", sorted(_sample(KINDS, HEALTHY)))
def test_no_false_alarm(pool: Pool, kind: str) -> None:
    """On each kind of healthy host everything passes, also after a reboot; nothing is to do."""
    try:
        host = pool.host(kind)
    except NotOfferedError as problem:
        pytest.skip(f"{kind}: {problem}")
    _healthy(sysmail(host, "prove"))
    host.stop()
    host.boot()
    _healthy(sysmail(host, "prove"))
    plan = sysmail(host, "plan")
    assert (plan.status, plan.report["steps"]) == (0, [])
