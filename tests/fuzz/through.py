"""A policy and facts through the whole pure part of sysmail, and what must hold of what comes out.

Whatever goes in: a plan, or a clear error; no line in any file that something slipped in; and no
configuration that the lint refuses, except for an extra parameter of the operator's own.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from hypothesis import HealthCheck, Phase, seed, settings

from sysmail.commands.policy_source import complete
from sysmail.commands.refusals import refuse_fatal_configuration
from sysmail.describe import describe
from sysmail.desired import Desired
from sysmail.errors import RefusedError, SysmailError, UsageError
from sysmail.facts.model import Facts
from sysmail.plan import plan
from sysmail.policy import Policy, Secret, dump, parse
from sysmail.postfix.lint import candidate, lint
from sysmail.postfix.lint.candidate import logical_lines
from sysmail.postfix.main_cf import parameters
from sysmail.route import NOTHING_SEEN, Seen, decide
from sysmail.want import effective, postfix_version, want
from unit.fake_host import FakeHost

MARK = "injected"
"""Begins every line that a hostile value tries to add."""

Record = Callable[[str, object], None]
"""pytest's record_property: reaches the summary also from another process."""

PASSWORD = Secret("a-marked-password")
SEED = os.environ.get("SYSMAIL_SEED", "")
SEENS = (
    NOTHING_SEEN,
    Seen("port 465 does not answer"),
    Seen("it does not answer", in_force="mailu", down_for=7200.0),
    Seen("", owner="docker-proxy"),
)

# What a line of each file begins with, but for comments.
_SHAPES = {
    "master.cf": (
        r"[a-z]+ +(inet|unix|unix-dgram) |  -o (message_size_limit=[0-9]+|notify_classes=)$"
    ),
    "sasl_password": r"\[[^\]\s]+\]:[0-9]+ [^\s:]+:a-marked-password$",
    "sysmail.conf": (
        r"\[Service\]$|PIDFile=/\S+/pid/master\.pid$|Restart=on-failure$|RestartSec=3$"
        r"|LogRateLimit(IntervalSec=1s|Burst=1000000)$"
    ),
    "sysmail-watch.timer": (
        r"$|\[(Unit|Timer|Install)\]$|Description=[ -~]+$|WantedBy=timers\.target$"
        r"|(OnActiveSec|OnUnitActiveSec|RandomizedDelaySec|AccuracySec)=[0-9]+$"
    ),
    "msmtprc": (
        r"$|(defaults|account default|syslog LOG_MAIL|timeout 60|set_from_header on|auto_from on"
        r"|set_date_header auto|host \S+|port [0-9]+|domain \S+|from \S+|tls (on|off)"
        r"|tls_starttls (on|off)|tls_certcheck on|tls_trust_file \".*\"|auth (on|off)|user \"\S+\""
        r"|passwordeval cat \$CREDENTIALS_DIRECTORY/password)$"
    ),
    "password": r"a-marked-password$",
}
# regexp_table(5): a pattern and what it stands for, on one line.
_TABLE = r"/.*/ \S.*$"


@dataclass
class Count:
    """How many examples ran, and what came of them; told at the end and asserted."""

    what: str
    ended: Counter[str] = field(default_factory=Counter)

    @property
    def ran(self) -> int:
        return sum(self.ended.values())

    def finish(self, record: Record, least: int, planned: int = 0) -> None:
        """Hand the figures to the summary (conftest.py), and fail if there were too few.

        ``planned``: so many at least got as far as a plan.
        """
        each = ", ".join(f"{number} {name}" for name, number in sorted(self.ended.items()))
        record("ran", self.ran)
        record("figures", f"{self.what}: {self.ran} examples ({each})")
        assert self.ran >= least, f"only {self.ran} of {least} examples ran"
        plans = sum(number for name, number in self.ended.items() if name.startswith("planned"))
        assert plans >= planned, f"only {plans} of {planned} examples were planned: {each}"
        assert len(self.ended) > 1, "everything ended the same way: the examples test nothing"


def examples(number: int) -> Callable[[Any], Any]:
    """Run so many examples: the same ones each time, or those of SYSMAIL_SEED.

    What fails is told as it was drawn: a smaller number is no simpler policy.
    """

    def decorate(test: Any) -> Any:
        how = settings(
            max_examples=number,
            derandomize=not SEED,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        return how(seed(int(SEED))(test) if SEED else test)

    return decorate


def carry(make: Callable[[], Policy], about: Facts, seen: Seen = NOTHING_SEEN) -> str:
    """From a policy to a plan; the word for how that ended. Anything but our errors gets out."""
    try:
        policy = make()
    except SysmailError as error:
        check_error(error)
        assert isinstance(error, UsageError), error.code
        assert error.exit_code == 64
        return "refused"
    # What is recorded is read again at the next run, and has to mean the same.
    plain = dump(policy)
    try:
        hook = {"alert": policy.alert.webhook} if policy.alert.webhook else {}
        assert dump(parse(complete(plain, hook), from_ansible=True)) == plain
    except UsageError:
        assert any(hop is not None and hop.password for hop in (policy.mailu, policy.smarthost))
    return carry_on(policy, about, seen)


def carry_on(policy: Policy, about: Facts, seen: Seen = NOTHING_SEEN) -> str:
    """From a policy that was understood to a plan."""
    try:
        decision = decide(policy, about, seen)
        login = decision.hop is not None and decision.hop.username
        desired = want(policy, about, decision, PASSWORD if login else None)
    except SysmailError as error:
        check_error(error)
        assert isinstance(error, (RefusedError, UsageError)), error.code
        return "refused by the host"
    for step in plan(desired, about, {}):
        said = describe(step)
        assert PASSWORD.reveal() not in f"{said.summary}{said.diff}"
        assert "\n" not in said.summary
    check_files(desired)
    if not desired.relay:
        return "planned without a relay"
    groups = parameters(effective(policy, decision), about, decision, postfix_version(about))
    return check_relay(policy, about, desired, groups)


def check_error(error: SysmailError) -> None:
    """An error is a code, a sentence and a remedy, each of one line and of a bearable length."""
    check_problem(error.code, error.message, error.remedy)


def check_problem(code: str, message: str, remedy: str) -> None:
    """The same, of a report."""
    assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", code)
    for text in (message, remedy):
        assert text.strip()
        assert len(text) < 3000, len(text)
        assert text.isprintable(), ascii(text)
    assert PASSWORD.reveal() not in message + remedy


def check_files(desired: Desired) -> None:
    """Every line of every file is one that we meant to write."""
    for file in desired.files:
        text = file.data.decode("utf-8")
        name = file.path.rpartition("/")[2]
        assert file.path.startswith(("/etc/", "/usr/local/")), file.path
        assert ".." not in file.path
        assert not re.search("[\0\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]", text), ascii(text)
        for line in text.splitlines():
            assert not line.lstrip().startswith(MARK), f"{file.path}: {line}"
        if name == "main.cf" or name.startswith("submit") or file.path.endswith(".service"):
            continue
        shape = _SHAPES.get(name, _TABLE if "/etc/postfix/sysmail/" in file.path else "")
        assert shape or name == "submit", file.path
        for line in text.splitlines():
            assert line.startswith("#") or re.match(shape, line), f"{file.path}: {line!r}"


def check_relay(policy: Policy, about: Facts, desired: Desired, groups: Any) -> str:
    """main.cf holds what was meant, and nothing else; the lint has nothing to say."""
    meant: dict[str, str] = {}
    for _, values in groups:
        meant.update(values)
    text = next(f.data.decode() for f in desired.files if f.path == "/etc/postfix/main.cf")
    assert text.isascii()
    read = _read(text)
    assert read == {name: value.strip() for name, value in meant.items()}
    given = candidate(desired.files, about, settled=about.postfix is not None)
    files = [hop.ca_file for hop in (policy.mailu, policy.smarthost) if hop and hop.ca_file]
    assert given["smtp_tls_CAfile"] in ("", about.distro and about.distro.ca_file, *files)
    found = lint(given)
    extras = {name for name, _ in policy.postfix}
    foreign = [each for each in found if each.parameter not in extras]
    assert not foreign or _by_facts(foreign, about), foreign
    if not found:
        return "planned"
    try:
        refuse_fatal_configuration(_AllThere(), about, desired)
    except RefusedError as error:
        check_error(error)
    return "refused by the lint"


class _AllThere(FakeHost):
    """A host that has every file that a parameter names."""

    def link(self, path: str) -> str:
        return path


def _by_facts(found: list[Any], about: Facts) -> bool:
    """A host on which a login cannot work says so, whatever the policy."""
    return not about.sasl_plain and {each.rule for each in found} == {"sasl-modules-missing"}


def _read(text: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for line in logical_lines(text):
        name, equals, value = line.partition("=")
        assert equals, line
        assert name.strip() not in found, line
        found[name.strip()] = value.strip()
    return found
