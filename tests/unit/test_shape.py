"""The source keeps its shape: who may act, who may print, what may be imported."""

from __future__ import annotations

from functools import partial

import pytest

from unit import shape_rules as shape

RULES: dict[str, shape.Rule] = {
    "only the host acts": shape.only_the_host_acts,
    "pure stays pure": shape.pure_stays_pure,
    "only the cli prints": shape.only_the_cli_prints,
    "nothing waits by the clock of the day": shape.nothing_waits_by_the_clock_of_the_day,
    "prove only reads": partial(shape.prove_only_reads, writers=shape.writer_types()),
    "only the standard library": shape.only_the_standard_library,
    "files stay small": shape.files_stay_small,
    "modules say what they are": shape.modules_say_what_they_are,
    "__all__ is what is exported": partial(
        shape.all_is_what_is_exported, used=shape.everything_imported() | {"sysmail.x.USED"}
    ),
    "errors are complete": shape.errors_are_complete,
}

DOC = '"""A module."""\n'

# rule, module, a source that breaks the rule, a source that does not
PLANTED = [
    ("only the host acts", "sysmail.apply.x", "import subprocess", "import json"),
    (
        "only the host acts",
        "sysmail.apply.x",
        "from urllib.request import urlopen",
        "import urllib.parse",
    ),
    ("only the host acts", "sysmail.x", "def f():\n    import socket", "socket = 1"),
    ("only the host acts", "sysmail.x", "open('a', 'w')", "open('a', 'rb')"),
    ("only the host acts", "sysmail.x", "open('a', mode=m)", "open('a', mode='r')"),
    (
        "only the host acts",
        "sysmail.x",
        "import os\nos.rename(a, b)",
        "import os\nos.path.join(a, b)",
    ),
    ("only the host acts", "sysmail.x", "from os import fsync", "from os import path"),
    ("only the host acts", "sysmail.x", "from pathlib import Path", "from pathlib import PurePath"),
    ("only the host acts", "sysmail.x", "__import__('socket')", "int('1')"),
    ("pure stays pure", "sysmail.policy.x", "import time", "import re"),
    ("pure stays pure", "sysmail.plan", "import os", "import difflib"),
    (
        "pure stays pure",
        "sysmail.route",
        "from sysmail.host import machine",
        "from sysmail.host.port import Reader",
    ),
    (
        "pure stays pure",
        "sysmail.postfix.x",
        "from sysmail.apply import x",
        "from sysmail import report",
    ),
    ("pure stays pure", "sysmail.policy.x", "import tomllib", "import json"),
    ("pure stays pure", "sysmail.report", "open('a')", "f('a')"),
    ("only the cli prints", "sysmail.apply.x", "print(1)", "'print(1)'"),
    (
        "only the cli prints",
        "sysmail.x",
        "import sys\nsys.stderr.write('a')",
        "import sys\nsys.exit",
    ),
    ("only the cli prints", "sysmail.host.x", "import logging", "import json"),
    (
        "nothing waits by the clock of the day",
        "sysmail.x",
        "deadline = host.now() + 5",
        "deadline = host.elapsed() + 5\nsince = host.now()",
    ),
    (
        "prove only reads",
        "sysmail.prove.x",
        "from sysmail.host.port import Writer",
        "from sysmail.host.port import Reader",
    ),
    (
        "prove only reads",
        "sysmail.prove.x",
        "from sysmail.host import machine",
        "from sysmail import report",
    ),
    (
        "prove only reads",
        "sysmail.prove.x",
        "from sysmail.apply import transaction",
        "from sysmail.facts.model import Facts",
    ),
    ("prove only reads", "sysmail.prove.x", "import sysmail.host.port", "import sysmail.report"),
    ("only the standard library", "sysmail.x", "import yaml", "import email.message"),
    ("only the standard library", "sysmail.x", "import tomllib", "import sysmail.report"),
    ("only the standard library", "sysmail.host.x", "import dns.resolver", "import socket"),
    ("only the standard library", "sysmail.x", "import distutils", "import json"),
    ("files stay small", "sysmail.x", "\n" * 401, "\n" * 400),
    ("modules say what they are", "sysmail.x", "a = 1", DOC),
    (
        "__all__ is what is exported",
        "sysmail.x",
        "__all__ = []\nUSED = 1",
        "__all__ = ['a']\na = 1\nB = 2\n_c = 3",
    ),
    ("__all__ is what is exported", "sysmail.x", "__all__ = ['a', 'b']\na = 1", "a = 1"),
    (
        "__all__ is what is exported",
        "sysmail.x",
        "from sysmail.x.y import USED\n__all__ = []",
        "from sysmail.x.y import a\n__all__ = ['a']",
    ),
    (
        "errors are complete",
        "sysmail.x",
        "PolicyError('Bad code', 'm', 'r')",
        "PolicyError('bad-code', 'm', 'r')",
    ),
    (
        "errors are complete",
        "sysmail.x",
        "errors.HostError('bad-code', 'm', '')",
        "errors.HostError(c, m, r)",
    ),
    (
        "errors are complete",
        "sysmail.x",
        "StepError('bad-code', 'm')",
        "StepError('a-b', message='m', remedy=r)",
    ),
]


@pytest.mark.parametrize("rule", RULES)
def test_source_keeps_the_rule(rule: str) -> None:
    """Every module of the source keeps the rule."""
    found = list(shape.modules())
    assert "sysmail.errors" in {module.name for module in found}
    wrong = [f"{module.name}: {text}" for module in found for text in RULES[rule](module)]
    assert not wrong, f"{rule}:\n" + "\n".join(wrong)


def test_every_module_that_is_called_pure_exists() -> None:
    """A name that is left over, or misspelt, would let its module go unchecked."""
    assert set(shape.PURE) <= {module.name for module in shape.modules()}


@pytest.mark.parametrize(("rule", "name", "bad", "good"), PLANTED)
def test_rule_can_fail(rule: str, name: str, bad: str, good: str) -> None:
    """The rule finds a planted violation, and leaves its harmless neighbour alone."""
    assert RULES[rule](shape.module(name, bad))
    assert not RULES[rule](shape.module(name, good))


def test_every_rule_has_a_planted_violation() -> None:
    """No rule stands here that was never seen to fail."""
    assert {planted[0] for planted in PLANTED} == set(RULES)


def test_rules_do_not_bind_those_who_may() -> None:
    """The host may act, and the command line may print."""
    assert not shape.only_the_host_acts(shape.module("sysmail.host.x", "import subprocess"))
    assert not shape.only_the_cli_prints(shape.module("sysmail.cli.x", "print(1)"))
    toml = shape.module(shape.TOML_READER, "import tomllib")
    assert not shape.pure_stays_pure(toml) + shape.only_the_standard_library(toml)
    asker = shape.module(shape.DNS_ASKER, "import dns.resolver")
    assert not shape.only_the_standard_library(asker)
