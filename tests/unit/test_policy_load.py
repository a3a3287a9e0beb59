"""From text to a policy and back: syntax, unknown keys, secrets, round trips."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sysmail.commands.policy_source import complete
from sysmail.errors import PolicyError
from sysmail.policy import (
    KEYS,
    SECTIONS,
    Policy,
    Secret,
    dump,
    parse,
    with_flags,
)
from sysmail.policy.reference import reference_markdown
from sysmail.policy.text import read_document

LOGIN = {"host": "m.example.org", "username": "u", "password": "hunter2"}


def parse_text(text: str, name: str) -> Policy:
    """A policy from a file's text, as the tool reads it."""
    return parse(read_document(text, name))


def refusal(text: str, name: str = "policy.toml") -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        parse_text(text, name)
    assert caught.value.remedy
    assert "\n" not in caught.value.message
    return caught.value


def test_same_policy_from_toml_and_json() -> None:
    """TOML and JSON of the same keys give the same policy."""
    toml = 'admin = "ops@example.org"\n[queue]\nlifetime = "2d"\n[postfix]\nmail_name = "x"\n'
    plain = {"admin": "ops@example.org", "queue": {"lifetime": "2d"}, "postfix": {"mail_name": "x"}}
    policy = parse_text(toml, "/etc/sysmail/policy.toml")
    assert policy == parse_text(json.dumps(plain), "POLICY.JSON") == parse(plain)
    assert parse_text("\ufeff" + toml.replace("\n", "\r\n"), "p.toml") == policy


@pytest.mark.parametrize(
    ("text", "name", "place"),
    [
        ('admin = "a"\nsender = \n', "p.toml", "line 2"),
        ('admin = "a', "p.toml", "line 1"),
        ("a = 1\na = 2\n", "p.toml", "line 2"),
        ('{"admin": "a",\n "sender" 1}', "p.json", "line 2, column 11"),
    ],
)
def test_syntax_errors_have_a_place(text: str, name: str, place: str) -> None:
    """A mistake in TOML or JSON is reported with its line."""
    error = refusal(text, name)
    assert error.code == "policy-syntax"
    assert place in error.message


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[1]", "p.json"),
        ('{"admin": "a", "admin": "b"}', "p.json"),
        ('{"queue": {"lifetime": NaN}}', "p.json"),
        ('{"a": ' + "[" * 100_000, "p.json"),
        ("a = " + "[" * 100_000, "p.toml"),
        ("a = " + "1" * 5000, "p.toml"),
        ('{"a": ' + "1" * 5000 + "}", "p.json"),
        ("a = 2024-02-31", "p.toml"),
        ("#" * 300_000, "p.toml"),
        ("admin = '\x00'", "p.toml"),
    ],
    ids=range(10),
)
def test_odd_documents(text: str, name: str) -> None:
    """A document that a parser trips over is refused like any other mistake."""
    assert refusal(text, name).code in {"policy-syntax", "policy-unknown-key"}


def test_no_toml_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python reads no TOML, the error says which package to install, and JSON works."""
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)
    error = refusal('admin = "a@example.org"')
    assert error.code == "policy-syntax"
    assert "python3-tomli" in error.remedy
    assert ".json" in error.remedy
    assert parse_text("{}", "p.json") == Policy()


@pytest.mark.parametrize(
    ("data", "meant"),
    [
        ({"admn": "x"}, "`admin`"),
        ({"Admin": "x"}, "`admin`"),
        ({"next-hop": "x"}, "`next_hop`"),
        ({"queue": {"lifetme": 1}}, "`queue.lifetime`"),
        ({"smarthots": {}}, "`smarthost`"),
        ({"password_file": "/a"}, "`mailu.password_file`"),
    ],
)
def test_misspelt_keys(data: dict[str, object], meant: str) -> None:
    """A key that does not exist is refused with the key that was probably meant."""
    with pytest.raises(PolicyError) as caught:
        parse(data)
    assert caught.value.code == "policy-unknown-key"
    assert f"did you mean {meant}?" in caught.value.message


def test_unknown_key_without_guess() -> None:
    """A key that resembles none is refused with the list of those that exist."""
    with pytest.raises(PolicyError) as caught:
        parse({"zzz": 1})
    assert "did you mean" not in caught.value.message
    assert "next_hop" in caught.value.remedy


def test_not_a_mapping() -> None:
    """Something that is not a mapping at all is a PolicyError too."""
    nonsense: Any
    for nonsense in (None, [], "admin", 1, {1: 2}, {b"admin": 1}):
        with pytest.raises(PolicyError):
            parse(nonsense)


def test_password_from_ansible_only() -> None:
    """A password is taken from Ansible, refused in a file, and told by neither."""
    data = {"mailu": LOGIN}
    policy = parse(data, from_ansible=True)
    assert policy.mailu is not None
    assert policy.mailu.password == Secret("hunter2")
    with pytest.raises(PolicyError) as caught:
        parse(data)
    assert caught.value.key == "mailu.password"
    for told in (repr(policy), str(caught.value), json.dumps(dump(policy)), f"{policy}"):
        assert "hunter2" not in told


def test_ansible_gives_none() -> None:
    """None means not given from Ansible, and is refused from a file."""
    data = {"admin": None, "mailu": None, "queue": {"lifetime": None}, "postfix": {"biff": None}}
    assert parse(data, from_ansible=True) == Policy()
    with pytest.raises(PolicyError):
        parse({"admin": None})


def test_secret_tells_nothing() -> None:
    """A secret shows stars, compares by value, and can be neither pickled nor dumped."""
    secret = Secret("hunter2")
    assert [repr(secret), str(secret), f"{secret:>9}", f"{secret!s}"] == ["***"] * 4
    assert secret.reveal() == "hunter2"
    assert secret == Secret("hunter2")
    assert hash(secret) == hash(Secret("hunter2"))
    assert secret != Secret("other")
    assert secret != "hunter2"
    assert copy.deepcopy(secret) is secret
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_password_with_spaces_at_its_ends() -> None:
    """A password that a map would trim is refused, without telling it."""
    with pytest.raises(PolicyError) as caught:
        parse({"mailu": {**LOGIN, "password": " hunter2"}}, from_ansible=True)
    assert caught.value.key == "mailu.password"
    assert "hunter2" not in str(vars(caught.value))


def test_policy_cannot_be_changed() -> None:
    """A policy is a value: it cannot be changed, and can be a key of a dict."""
    policy = parse({"postfix": {"mail_name": "x"}})
    assert {policy: 1}[parse({"postfix": {"mail_name": "x"}})] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.admin = "x"  # type: ignore[misc]
    assert json.dumps(dataclasses.asdict(policy))


def test_flags_replace_keys() -> None:
    """A flag replaces its key, an empty one clears it, None leaves it; secrets survive."""
    policy = parse({"admin": "a@example.org", "mailu": LOGIN}, from_ansible=True)
    changed = with_flags(policy, {"admin": "b@example.org", "route": "mailu", "next_hop": None})
    assert (changed.admin, changed.route, changed.next_hop) == ("b@example.org", "mailu", "")
    assert changed.mailu == policy.mailu
    assert with_flags(policy, {"admin": ""}).admin == ""
    assert with_flags(policy, {"queue.lifetime": "2d"}).queue.lifetime == 172_800
    assert with_flags(policy, {}) == policy


@pytest.mark.parametrize(
    "flags", [{"admin": "root"}, {"next_hop": "smarthost"}, {"nonsense": "1"}, {"route": 7}]
)
def test_flags_are_checked(flags: dict[str, object]) -> None:
    """A flag's value is checked like a key's, also against the rest of the policy."""
    with pytest.raises(PolicyError):
        with_flags(Policy(), flags)


def test_dump_has_only_what_differs() -> None:
    """What equals a default is not in the dump."""
    assert dump(Policy()) == {}
    data = {"queue": {"lifetime": "5d"}, "limits": {"message_size": 50_000_000}, "route": "auto"}
    assert dump(parse(data)) == {}


def test_schema_describes_itself() -> None:
    """Every key has one sentence, an example and a row in the reference; examples are valid."""
    text = reference_markdown()
    assert len({key.name for key in KEYS}) == len(KEYS)
    for key in KEYS:
        assert key.doc.endswith(".")
        assert f"`{key.last}`" in text
        if not key.secret:
            key.read(json.loads(key.example), key.name)
            key.read(json.loads(key.default), key.name) if not key.required else None
        assert not key.section or key.section in SECTIONS


HOSTS = st.sampled_from(["m.example.org", "mail", "xn--p1ai.example", "localhost.example"])
PATHS = st.sampled_from(["", "/etc/p", "/srv/a b"])
WORDS = st.lists(st.sampled_from(["/bin/a", "b c", "'", "", '"x"']), max_size=3).map(
    lambda words: ["/bin/cmd", *words]
)


@st.composite
def hops(draw: st.DrawFn) -> dict[str, object]:
    tls, port = draw(
        st.sampled_from([("implicit", 465), ("implicit", 2465), ("starttls", 587)])
        | st.sampled_from([("starttls", 25), ("starttls", 99), ("none", 2525), ("none", 587)])
    )
    hop: dict[str, object] = {"host": draw(HOSTS), "tls": tls, "port": port}
    if tls == "none":
        return hop
    hop["ca_file"] = draw(PATHS)
    if draw(st.booleans()):
        hop["username"] = draw(st.sampled_from(["u@example.org", "u"]))
        source = draw(st.sampled_from(["password_file", "password_command"]))
        hop[source] = "/etc/secret" if source == "password_file" else draw(WORDS)
    return hop


VALID = st.fixed_dictionaries(
    {},
    optional={
        "admin": st.sampled_from(["", "ops@example.org"]),
        "hostname": st.sampled_from(["", "web1.example.org"]),
        "sender": st.sampled_from(["", "no-reply@Example.org"]),
        "route": st.sampled_from(["auto", "relay"]),
        "next_hop": st.sampled_from(["", "direct", "hold"]),
        "mailu": hops(),
        "smarthost": hops(),
        "queue": st.fixed_dictionaries(
            {"lifetime": st.integers(7200, 8_640_000)},
            optional={"warn_after": st.just(0), "retry_every": st.integers(10, 3600)},
        ),
        "alert": st.fixed_dictionaries(
            {},
            optional={
                "webhook": st.just("https://a.example/x"),
                "command": WORDS,
                "oldest": st.integers(60, 8_640_000),
                "queue": st.integers(1, 10_000),
                "proof_age": st.sampled_from(["1d", "100d"]),
            },
        ),
        "limits": st.fixed_dictionaries(
            {"message_size": st.integers(20_000, 2**31 - 1)},
            optional={"runaway": st.just(0) | st.integers(10, 10_000)},
        ),
        "postfix": st.dictionaries(
            st.sampled_from(["smtp_helo_timeout", "biff", "smtp_tls_cert_file"]),
            st.sampled_from(["", "10s", "$mail_name"]) | st.integers(0, 9) | st.booleans(),
        ),
    },
)


@given(VALID)
def test_round_trip(data: dict[str, object]) -> None:
    """What is dumped is plain data without a secret, and with those the same policy again."""
    policy = parse(data)
    plain = dump(policy)
    assert "webhook" not in repr(plain)
    secrets = {"alert": policy.alert.webhook} if policy.alert.webhook else {}
    whole = complete(json.loads(json.dumps(plain)), secrets)
    assert parse(whole) == policy
    assert dump(parse(whole)) == plain
    assert with_flags(policy, {}) == policy


HOP_VALUES = ["ops@example.org", "m.example", "/a", "5d", "50MB", "mailu", "none", 465]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.sampled_from(HOP_VALUES)
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [key.last for key in KEYS] + list(SECTIONS) + ["inet_protocols", "relayhost", "biff"]
)
TABLES = st.dictionaries(NAMES | st.text() | st.integers(), ANYTHING, max_size=5)
MAPPINGS = st.dictionaries(NAMES | st.text(), ANYTHING | TABLES, max_size=6)


@settings(max_examples=150)
@given(MAPPINGS, st.booleans())
def test_anything_is_a_policy_or_a_policy_error(data: dict[str, object], ansible: bool) -> None:
    """Any mapping at all gives a Policy or a PolicyError that can be shown, nothing else."""
    shown = [""]
    try:
        assert isinstance(parse(data, from_ansible=ansible), Policy)
    except PolicyError as error:
        shown = [error.code, error.message, error.remedy]
        "".join((*shown, error.key)).encode("utf-8")
    assert all(shown) or shown == [""]
    assert "\n" not in "".join(shown)


@settings(max_examples=300)
@given(st.text(), st.sampled_from(["p.toml", "p.json", ""]))
def test_any_text_is_a_policy_or_a_policy_error(text: str, name: str) -> None:
    """Any text at all gives a Policy or a PolicyError, nothing else."""
    try:
        assert isinstance(parse_text(text, name), Policy)
    except PolicyError as error:
        error.message.encode("utf-8")


def test_a_key_of_thousands_of_parts_is_refused_at_once() -> None:
    """Python's parser of TOML needs the square of a key's parts, 40 GB for 100,000 of them."""
    for text in ("a." * 100_000 + "a = 1", '"a".' * 50_000 + "a = 1", "[" + "a." * 100_000 + "a]"):
        with pytest.raises(PolicyError, match="too many parts"):
            read_document(text, "policy.toml")
    assert read_document('x = "' + "a." * 300 + '"  # ' + "." * 300, "policy.toml")


@pytest.mark.parametrize("path", ["/etc/ssl/b\u00f6rse.pem", "/etc/ssl/ca.pem "])
def test_a_ca_file_is_one_that_main_cf_can_name(path: str) -> None:
    """main.cf is ASCII, and drops white space at the end of a value."""
    with pytest.raises(PolicyError) as caught:
        parse({"smarthost": {"host": "m.example.org", "ca_file": path}})
    assert caught.value.key == "smarthost.ca_file"
