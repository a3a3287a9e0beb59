"""Generated policies through every way a policy comes in: a plan or a clear error."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.policies import SNIPPETS, policy_data, value_of
from fuzz.through import MARK, SEENS, Count, Record, carry, check_problem, examples
from sysmail.cli.arguments import parse_arguments, policy_flags
from sysmail.cli.main import main
from sysmail.facts import collect
from sysmail.facts.model import Facts, Listener, ServiceFacts
from sysmail.policy import KEYS, Policy, parse, with_flags
from sysmail.policy.ansible import module_options
from sysmail.policy.text import read_document
from unit import make
from unit.fake_debian import FakeDebian

_RUNNING = {
    "postfix": make.postfix("3.10.4", smtp_helo_timeout="300s", biff="yes", hopcount_limit="50"),
    "packages": {"postfix": "3.10.4", "msmtp": "1", "libsasl2-modules": "1"},
    "service": ServiceFacts(active=True, enabled=True, forking=("postfix@-.service",)),
    "master_running": True,
    "listeners": (Listener("127.0.0.1", 25, 7), Listener("::1", 25, 8)),
}
HOSTS: dict[str, Facts] = {
    "bare Debian": make.facts(),
    "Debian with Postfix": make.facts(**_RUNNING),
    "Debian with Postfix, all of it": collect(FakeDebian(postfix=True)),
    "bare Arch": make.facts(distro=make.ROWS["pacman"], candidates={"postfix": "3.10.2-1"}),
    "Fedora": make.facts(distro=make.ROWS["dnf"], candidates={}),
    "no IPv6": make.facts(ipv6_loopback=False),
    "no name": make.facts(fqdn="", nodename="web1"),
    "a name that is none": make.facts(fqdn="", nodename=f"x\n{MARK} = yes"),
    "no systemd, no log": make.facts(systemd=False, log_socket=False, **_RUNNING),
    "no SASL": make.facts(**{**_RUNNING, "sasl_plain": False}),
    "an old Postfix": make.facts(postfix=make.postfix("3.3.1")),
    "an unknown distribution": make.facts(distro=None),
}
# Those on which nothing can be had come up less often than the others.
_SELDOM = ("an old Postfix", "an unknown distribution", "a name that is none", "no name", "no SASL")
ABOUT = st.sampled_from([name for name in HOSTS for _ in range(1 if name in _SELDOM else 3)])
SEEN = st.sampled_from(SEENS)
NUMBER = st.integers(0, 2**63)


def test_as_ansible_gives_them(record_property: Record) -> None:
    """Plain data of any kind, with and without what only Ansible may give: a plan or an error."""
    count = Count("policies as plain data")

    @examples(4000)
    @given(NUMBER, ABOUT, SEEN, st.booleans())
    def each(number: int, host: str, seen: Any, inline: bool) -> None:
        data = policy_data(number, inline=inline)
        count.ended[carry(lambda: parse(data, from_ansible=inline), HOSTS[host], seen)] += 1

    each()
    count.finish(record_property, 4000, planned=1800)


def test_any_value(record_property: Record) -> None:
    """Whatever Python can hold, for one key of a good policy: a plan or an error."""
    count = Count("policies with any value")
    scalars = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
        st.binary(max_size=5), st.sampled_from(SNIPPETS), st.just(10**400),
    )  # fmt: skip
    values = st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)
        ),
        max_leaves=4,
    )
    names = st.one_of(st.sampled_from([k.name for k in KEYS]), st.just("postfix.mail_name"))

    @examples(1000)
    @given(names, values, ABOUT)
    def each(name: str, value: Any, host: str) -> None:
        section, _, last = name.rpartition(".")
        data = _of(section, last, value)
        count.ended[carry(lambda: parse(data, from_ansible=True), HOSTS[host])] += 1

    each()
    count.finish(record_property, 1000)


def _converted(data: dict[Any, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """What Ansible's own conversion leaves: None for what is not given, texts for what is one."""
    found: dict[str, Any] = {}
    for name, option in spec.items():
        value = data.get(name)
        if option["type"] == "dict" and "options" in option and isinstance(value, dict):
            value = _converted(value, option["options"])
        elif option["type"] == "str" and isinstance(value, (int, float)) and abs(value) < 1e300:
            value = str(value)
        found[name] = value
    return found


def test_as_ansibles_arguments(record_property: Record) -> None:
    """A policy as Ansible's validation of arguments hands it to the module."""
    count = Count("policies as Ansible's arguments")
    options = module_options()["policy"]["options"]

    @examples(1500)
    @given(NUMBER, ABOUT, SEEN)
    def each(number: int, host: str, seen: Any) -> None:
        data = _converted(policy_data(number, inline=True), options)
        count.ended[carry(lambda: parse(data, from_ansible=True), HOSTS[host], seen)] += 1

    each()
    count.finish(record_property, 1500, planned=675)


def document(number: int) -> tuple[str, str]:
    """The text of a policy file, JSON or TOML, one time in four damaged; and its name."""
    chance = random.Random(number)
    data = policy_data(number, inline=False)
    if chance.random() < 0.5:
        text, name = json.dumps(_plain(data), default=str), "policy.json"
    else:
        text, name = toml(_plain(data)), "policy.toml"
    for _ in range(chance.choice((0, 0, 0, 0, 0, 0, 1, 3))):
        place, cut = chance.randint(0, len(text)), chance.choice((0, 0, 1, 5))
        text = text[:place] + chance.choice((*SNIPPETS, "]]", "[[x]]", '"""')) + text[place + cut :]
    return text, name


def _plain(value: Any) -> Any:
    """Data that a document can say: keys are text, and no number is too long to write."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return 10**400 if isinstance(value, int) and value > 10**400 else value


def toml(data: dict[Any, Any]) -> str:
    """TOML, as far as the data is something that TOML can say."""
    lines: list[str] = []
    for name, value in data.items():
        if not isinstance(value, dict):
            lines.append(f"{_bare(name)} = {_toml(value)}")
    for name, value in data.items():
        if isinstance(value, dict):
            lines.append(f"[{_bare(name)}]")
            lines += [f"{_bare(inner)} = {_toml(each)}" for inner, each in value.items()]
    return "\n".join(lines) + "\n"


def _bare(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else json.dumps(name)


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, (bool, int, float)):
        return str(value).lower()
    return json.dumps(str(value))


def test_as_documents(record_property: Record) -> None:
    """The text of a policy file, also a damaged one: a plan or an error with exit code 64."""
    count = Count("policies as TOML and JSON")

    @examples(2500)
    @given(NUMBER, ABOUT, SEEN)
    def each(number: int, host: str, seen: Any) -> None:
        text, name = document(number)
        count.ended[carry(lambda: parse(read_document(text, name)), HOSTS[host], seen)] += 1

    each()
    count.finish(record_property, 2500, planned=900)


def flags(chance: random.Random) -> list[str]:
    """Flags of the command line: some of them, in either spelling."""
    found: list[str] = []
    for key in KEYS:
        if key.flag and chance.random() < 0.5:
            value = str(_plain(value_of(chance, key.last)))[:6000]
            found += [f"{key.flag}={value}"] if chance.random() < 0.7 else [key.flag, value]
    return found


def test_by_flags(record_property: Record) -> None:
    """Flags of the command line on top of a policy."""
    count = Count("policies by flags")

    @examples(1500)
    @given(NUMBER, ABOUT, SEEN)
    def each(number: int, host: str, seen: Any) -> None:
        chance = random.Random(number)
        argv = ["apply", *flags(chance)]
        base: dict[str, Any] = {}
        if chance.random() < 0.5:
            base = {"smarthost": {"host": "mail.example.org"}}

        def made() -> Policy:
            return with_flags(parse(base), policy_flags(parse_arguments(argv)))

        count.ended[carry(made, HOSTS[host], seen)] += 1

    each()
    count.finish(record_property, 1500, planned=675)


def test_whole_commands(record_property: Record, capsys: pytest.CaptureFixture[str]) -> None:
    """`sysmail plan` with a file and flags: its exit code and its report."""
    count = Count("policies through sysmail plan")
    host = FakeDebian(postfix=True)

    @examples(500)
    @given(NUMBER)
    def each(number: int) -> None:
        chance = random.Random(number)
        text, name = document(number)
        for path in ("/etc/sysmail/password", "/root/a b$c"):
            host.put(path, "a-marked-password\n", 0o600)
        host.put(f"/root/{name}", text.encode("utf-8", "surrogatepass"))
        more = flags(chance) if chance.random() < 0.3 else []
        status = main(["plan", "--json", "--policy", f"/root/{name}", *more], host)
        report = json.loads(capsys.readouterr().out)
        for problem in report["errors"]:
            check_problem(problem["code"], problem["message"], problem["remedy"])
            assert problem["code"] != "bug", problem
            assert status == 64 or not problem["code"].startswith("policy-"), problem
        assert bool(report["errors"]) == (status not in (0, 2)), report
        ended = {0: "planned", 2: "planned", 64: "refused", 1: "refused by the host"}
        count.ended[ended[status]] += 1

    each()
    count.finish(record_property, 500, planned=150)


HUGE = 10_000_000
FILLERS = ("x", "a.", "a@", "${", "\n", "{", "x,", "'", "1")


def _of(section: str, name: str, value: Any) -> dict[str, Any]:
    """A policy with one key, and the server that its table needs."""
    if not section:
        return {name: value}
    server = {"host": "m.example.org"} if section in ("mailu", "smarthost") else {}
    return {section: {**server, name: value}}


def huge_values() -> Iterator[Callable[[], Policy]]:
    """10 MB for every key, for an extra parameter, for its name, and for a whole document."""
    for filler in FILLERS:
        text = filler * (HUGE // len(filler))
        for key in KEYS:
            yield partial(parse, _of(key.section, key.last, text), from_ansible=True)
        for name in ("mail_name", text):
            yield partial(parse, {"postfix": {name: text}})
        yield partial(parse, {text: text})
        for whole in (f'admin = "{text}"', f'{{"admin": "{text}"}}', text):
            yield from _documents(whole)


def deep_values() -> Iterator[Callable[[], Policy]]:
    """Thousands of levels, and numbers of thousands of digits, as data and as documents."""
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    for key in KEYS:
        yield partial(parse, _of(key.section, key.last, deep), from_ansible=True)
        yield partial(parse, _of(key.section, key.last, 10**5000), from_ansible=True)
    for size in (100, 10_000, 100_000):
        nested = ("a = " + "[" * size, "[" * size, '{"a":' * size, "a." * size + "a = 1")
        for whole in (*nested, "a = " + "9" * size, '{"a": ' + "9" * size + "}"):
            yield from _documents(whole)
    yield partial(parse, {str(number): "x" for number in range(100_000)})
    yield partial(parse, {"postfix": {f"x{number}": "x" for number in range(100_000)}})


def _documents(text: str) -> Iterator[Callable[[], Policy]]:
    for name in ("p.toml", "p.json"):
        yield lambda name=name: parse(read_document(text, name))  # type: ignore[misc]


def test_huge_and_deep(record_property: Record) -> None:
    """What is huge or deep is refused; nothing of it takes the memory or the time of a host."""
    count = Count("huge and deep policies")
    for make_one in chain([lambda: parse({})], huge_values(), deep_values()):
        count.ended[carry(make_one, HOSTS["bare Debian"])] += 1
    count.finish(record_property, 300)
