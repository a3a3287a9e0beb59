"""The plan: which steps are missing, and in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysmail.describe import describe
from sysmail.desired import Desired, ManagedFile
from sysmail.errors import RefusedError, SysmailError
from sysmail.facts.model import Facts
from sysmail.host.port import FileState
from sysmail.plan import (
    DownloadPackages,
    InstallPackages,
    RemoveFile,
    Requeue,
    Service,
    Step,
    Submission,
    Timer,
    WriteFile,
    plan,
)
from sysmail.policy import Policy, parse
from sysmail.postfix import skeleton
from sysmail.route import Seen, decide
from sysmail.watch.units import PATHS
from unit.cases import cases
from unit.make import FACTS, PASSWORD, POLICIES, SEEN, as_asked, facts, facts_of_case, wanted

States = dict[str, Optional[FileState]]
FEW = settings(max_examples=50)


def state(file: ManagedFile) -> FileState:
    return FileState("file", file.mode, file.uid, file.gid, file.data)


def states(desired: Desired) -> States:
    """Every file as it should be, and none that should not be there."""
    return {**dict.fromkeys(desired.absent), **{f.path: state(f) for f in desired.files}}


@pytest.mark.parametrize(("_folder", "case"), cases("plan"))
def test_plan_cases(_folder: str, case: dict[str, Any]) -> None:
    """A host and a policy give these steps, in this order."""
    about = facts_of_case(case["host"])
    _, desired = wanted(parse(case["policy"]), about, Seen(**case.get("seen", {})))
    files: States = states(desired) if case["files"] == "as asked" else {}
    if case["files"] == "skeleton":
        files = {skeleton().path: state(skeleton())}
    for path, text in case.get("edited", {}).items():
        files[path] = FileState("file", 0o644, 0, 0, text.encode())
    for path, mode in case.get("modes", {}).items():
        files[path] = replace(_there(files, path), mode=int(mode, 8))
    for path, (old, new) in case.get("replaced", {}).items():
        there = _there(files, path)
        assert old.encode() in there.data
        files[path] = replace(there, data=there.data.replace(old.encode(), new.encode()))
    steps = plan(desired, about, files, same_policy=case.get("same_policy", True))
    assert [describe(step).name for step in steps] == case["steps"]
    if "packages" in case:
        summaries = [describe(x).summary for x in steps if isinstance(x, InstallPackages)]
        assert summaries == [case["packages"]]


def _there(files: States, path: str) -> FileState:
    found = files[path]
    assert found is not None
    return found


@FEW
@given(policy=POLICIES, about=FACTS, seen=SEEN)
def test_nothing_is_missing_where_all_is_done(policy: Policy, about: Facts, seen: Seen) -> None:
    """On a host that is as asked there is nothing to do."""
    try:
        _, desired = wanted(policy, about, seen)
    except SysmailError:
        return
    done = as_asked(desired, about)
    _, desired = wanted(policy, done, seen)
    assert plan(desired, as_asked(desired, done), states(desired)) == []


PRESENT = st.sampled_from(["missing", "as asked", "edited", "mode", "owner", "link"])


@FEW
@given(policy=POLICIES, about=FACTS, seen=SEEN, data=st.data())
def test_order_keeps_the_host_closed(
    policy: Policy, about: Facts, seen: Seen, data: st.DataObject
) -> None:
    """A closed main.cf is there before an installation that starts Postfix; services act last."""
    try:
        _, desired = wanted(policy, about, seen)
    except SysmailError:
        return
    files: States = {}
    for file in desired.files:
        there = state(file)
        files[file.path] = {
            "missing": None,
            "as asked": there,
            "edited": replace(there, data=b"x"),
            "mode": replace(there, mode=0o666),
            "owner": replace(there, uid=1000),
            "link": FileState("link", 0o777, 0, 0, target="/elsewhere"),
        }[data.draw(PRESENT)]
    steps = plan(desired, about, files)
    _check_order(steps, about, files, desired)
    named = [(describe(step).name, describe(step).summary) for step in steps]
    written = [step.file.path for step in steps if isinstance(step, WriteFile)]
    wrong = {path for path, there in files.items() if there != states(desired)[path]}
    assert set(written) == wrong | ({skeleton().path} & set(written))
    assert len(named) - len(set(named)) <= 1, "only the skeleton comes before another main.cf"


def _check_order(steps: list[Step], about: Facts, files: States, desired: Desired) -> None:
    # The watch comes last: it is not to look at what is half done.
    watch = [step for step in steps if _is_watch(step)]
    assert steps[len(steps) - len(watch) :] == watch
    assert [step for step in watch if isinstance(step, Timer)] in ([], watch[:1], watch[-1:])
    steps = steps[: len(steps) - len(watch)]
    kinds = [type(step) for step in steps]
    installs = kinds.index(InstallPackages) if InstallPackages in kinds else None
    assert about.distro is not None
    # What stops listening does so before anything else comes to listen, and after what takes long.
    up = tuple(_msmtpd_up(about)) if desired.relay else ()
    first: list[Step] = [Submission("stop", up)] if up else []
    assert kinds.count(InstallPackages) <= 1
    if installs is not None:
        install = steps[installs]
        assert isinstance(install, InstallPackages)
        if install.replaced:
            first.insert(0, DownloadPackages(install.names, install.replaced))
        starts = desired.relay and about.postfix is None and about.distro.starts_on_install
        main_cf = files.get(skeleton().path)
        if starts and main_cf != state(skeleton()):
            first.append(WriteFile(skeleton(), main_cf))
        assert steps[:installs] == first
    assert steps[: len(first)] == first
    assert kinds.count(DownloadPackages) == [type(step) for step in first].count(DownloadPackages)
    acts = [
        i
        for i, step in enumerate(steps)
        if isinstance(step, Service) or (isinstance(step, Submission) and step.action == "start")
    ]
    assert (Service in kinds) <= desired.relay
    changes = [
        i for i, kind in enumerate(kinds) if kind in (WriteFile, RemoveFile, InstallPackages)
    ]
    assert not acts or not changes or max(changes) < min(acts)
    if Requeue in kinds:
        assert kinds.index(Requeue) == len(kinds) - 1
        assert acts


def _is_watch(step: Step) -> bool:
    path = step.file.path if isinstance(step, WriteFile) else getattr(step, "path", "")
    return isinstance(step, Timer) or path in PATHS


def _msmtpd_up(about: Facts) -> list[str]:
    return [address for address, unit in about.msmtpd.items() if unit.active or unit.enabled]


def test_diff_shows_what_changes() -> None:
    """The diff of a change has the old and the new line; of a mode, the old and the new mode."""
    file = ManagedFile("/etc/postfix/main.cf", b"a = 1\nb = 2\n")
    before = FileState("file", 0o644, 0, 0, b"a = 1\nb = 3\n")
    diff = describe(WriteFile(file, before)).diff.splitlines()
    assert "-b = 3" in diff
    assert "+b = 2" in diff
    moded = replace(state(file), mode=0o600, uid=7)
    assert "mode 0600 owner 7:0 -> mode 0644 owner 0:0" in describe(WriteFile(file, moded)).diff


@given(old=st.binary(), new=st.binary())
def test_diff_never_shows_a_secret(old: bytes, new: bytes) -> None:
    """Whatever a secret file holds, before and after, its diff is the same words."""
    file = ManagedFile("/etc/postfix/sysmail/sasl_password", new, 0o600, secret=True)
    before = FileState("file", 0o600, 0, 0, old)
    assert describe(WriteFile(file, before)).diff == "(secret, not shown)\n"
    assert PASSWORD.reveal() not in repr(WriteFile(file, before))


@pytest.mark.parametrize(
    ("policy", "route", "next_hop", "reason"),
    [
        ({}, "relay", "direct", "no next hop is named"),
        ({"smarthost": {"host": "s.example"}}, "relay", "smarthost", "s.example"),
        ({"mailu": {"host": "m.example"}}, "mailu", "", "m.example"),
        (
            {"mailu": {"host": "m.example"}, "smarthost": {"host": "s.example"}},
            "mailu",
            "",
            "it answers",
        ),
        (
            {"mailu": {"host": "m.example"}, "smarthost": {"host": "s.example"}, "route": "relay"},
            "relay",
            "mailu",
            "which the policy configures",
        ),
        (
            {"mailu": {"host": "m.example"}, "next_hop": "direct", "route": "relay"},
            "relay",
            "direct",
            "policy says",
        ),
        ({"route": "relay", "next_hop": "hold"}, "relay", "hold", "mail is held"),
    ],
)
def test_decision_follows_the_policy(
    policy: dict[str, Any], route: str, next_hop: str, reason: str
) -> None:
    """The decision is what the policy says, else what it configures, and says why."""
    found = decide(parse(policy), facts())
    assert (found.route, found.next_hop) == (route, next_hop)
    assert reason in found.reason
    assert "\n" not in found.reason


@pytest.mark.parametrize(
    ("policy", "refused"),
    [
        ({}, True),
        ({"sender": "a@example.org"}, True),
        ({"hostname": "web1.example.org"}, False),
        ({"smarthost": {"host": "s.example"}}, True),
        ({"smarthost": {"host": "s.example"}, "sender": "a@example.org"}, False),
        ({"next_hop": "hold"}, False),
    ],
)
def test_host_without_a_name_is_refused_where_it_matters(
    policy: dict[str, Any], refused: bool
) -> None:
    """Without a qualified name, other servers would refuse the mail: that is said before."""
    about = facts(fqdn="", nodename="web1")
    if not refused:
        assert decide(parse(policy), about).route == "relay"
        return
    with pytest.raises(RefusedError, match="web1") as caught:
        decide(parse(policy), about)
    assert caught.value.code == "no-fqdn"
