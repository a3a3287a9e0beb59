"""Single values of a policy: what each kind accepts, and how it refuses the rest."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sysmail.errors import PolicyError
from sysmail.policy import Policy, parse

HOP: Mapping[str, object] = {"host": "mail.example.org"}


def at(key: str, value: object) -> dict[str, object]:
    """Make a policy's mapping with one value; a server gets the host that it needs."""
    section, _, last = key.rpartition(".")
    if not section:
        return {last: value}
    return {section: {**(HOP if section in {"mailu", "smarthost"} else {}), last: value}}


def refusal(key: str, value: object) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        parse(at(key, value), from_ansible=key.endswith(".password"))
    error = caught.value
    assert error.message
    assert error.remedy
    assert "\n" not in error.message + error.remedy
    return error


def value_of(key: str, value: object) -> object:
    policy: object = parse(at(key, value))
    for name in key.split("."):
        policy = getattr(policy, name)
    return policy


def test_empty_policy_is_the_defaults() -> None:
    """A policy without any key is the documented defaults."""
    assert parse({}) == Policy()
    assert Policy().queue.lifetime == 432_000
    assert Policy().limits.message_size == 50_000_000


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("ops@example.org", "ops@example.org"),
        ("Ops+cron@Example.ORG", "Ops+cron@example.org"),
        ("o'neil/x=y@xn--bcher-kva.example", "o'neil/x=y@xn--bcher-kva.example"),
        ("a" * 64 + "@example.org", "a" * 64 + "@example.org"),
        ("", ""),
    ],
)
def test_addresses_are_accepted(given: str, kept: str) -> None:
    """An ASCII dot-atom at a qualified domain is an address; its domain becomes lower case."""
    assert value_of("admin", given) == kept
    assert value_of("sender", given) == kept


@pytest.mark.parametrize(
    "value",
    [
        "root",
        "@example.org",
        "root@",
        "a@b@example.org",
        '"a b"@example.org',
        ".a@example.org",
        "a.@example.org",
        "a..b@example.org",
        "a b@example.org",
        "Ops <ops@example.org>",
        "a@example.org, b@example.org",
        "root@localhost",
        "root@LOCALHOST",
        "root@localhost.localdomain",
        "root@web1.localdomain",
        "root@web1.localhost",
        "root@web1",
        "root@[127.0.0.1]",
        "root@127.0.0.1",
        "root@example.org.",
        "root@-example.org",
        "root@exam_ple.org",
        "a" * 65 + "@example.org",
        "a@" + ".".join(["b" * 60] * 5),
        "ops@bücher.example",
        "оps@example.org",  # noqa: RUF001  # the first letter is Cyrillic
        "ops@exаmple.org",  # noqa: RUF001  # the third letter of the domain is Cyrillic
        "ops@example。org",
        "ops＠example.org",  # noqa: RUF001  # a full-width @
        "ops@ｅxample.org",  # noqa: RUF001  # a full-width e
    ],
)
def test_addresses_are_refused(value: str) -> None:
    """What is no address, is at this host, or looks like another address is refused."""
    error = refusal("admin", value)
    assert error.code == "policy-bad-value"
    assert error.key == "admin"
    assert error.message.isascii() or "…" in error.message


def test_foreign_domain_hint() -> None:
    """A domain in another script is refused with the hint to write its ASCII form."""
    assert "xn--" in refusal("admin", "ops@bücher.example").remedy


@pytest.mark.parametrize(
    "character",
    [chr(code) for code in (*range(32), 0x7F, 0x85, 0xAD, 0x61C, 0x200B, 0x2028, 0x2029, 0x202E)]
    + [chr(code) for code in (0x2066, 0xFEFF, 0xD800, 0xE0041)],
    ids=ascii,
)
@pytest.mark.parametrize(
    "key",
    [
        "admin",
        "hostname",
        "route",
        "mailu.host",
        "mailu.username",
        "mailu.password_file",
        "mailu.password",
        "mailu.password_command",
        "alert.webhook",
        "queue.lifetime",
        "limits.message_size",
        "postfix.smtp_helo_timeout",
    ],
)
def test_unseen_characters_are_refused(key: str, character: str) -> None:
    """A control, bidirectional or zero-width character is refused in every key."""
    error = refusal(key, f"/a{character}b")
    assert error.code == "policy-control-character"
    assert error.key == key
    assert f"U+{ord(character):04X}" in error.message


@pytest.mark.parametrize("name", ["web1.example.org", "a.b", "9.example", "xn--p1ai.example"])
def test_host_names_are_accepted(name: str) -> None:
    """A qualified name of letters, digits and hyphens is a host name."""
    assert value_of("hostname", name.upper()) == name


@pytest.mark.parametrize(
    "name",
    [
        "web1",
        "localhost",
        "localhost.localdomain",
        "web1.example.org.",
        "a..b",
        "-a.b",
        "a-.b",
        "a_b.example",
        "a" * 64 + ".example",
        ".".join(["a" * 60] * 5),
        "10.0.0.1",
        "a.1",
        "é.fr",
        "[::1]",
        "a.b/c",
        "a.b:25",
        " a.b",
    ],
)
def test_host_names_are_refused(name: str) -> None:
    """What is no fully qualified host name is refused for `hostname`."""
    assert refusal("hostname", name).code == "policy-bad-value"


def test_trailing_dot_hint() -> None:
    """A name with the dot of DNS at its end is refused with the hint to leave it out."""
    assert "without the dot" in refusal("hostname", "web1.example.org.").remedy


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5d", 432000),
        ("1h", 3600),
        ("36 h", 129600),
        ("2w", 1209600),
        (86400, 86400),
        ("86400", 86400),
        ("90M", 5400),
        ("100d", 8640000),
    ],
)
def test_durations(value: object, seconds: int) -> None:
    """A duration is a number with a unit, or seconds."""
    data = {"queue": {"lifetime": value, "warn_after": 0}}
    assert parse(data).queue.lifetime == seconds


@pytest.mark.parametrize(
    "value", ["5 days", "d", "-1d", "1.5h", "1h30m", "5y", "", "\u0665d", "1e3s"]
)
def test_durations_are_refused(value: str) -> None:
    """What is no number with a unit is no duration."""
    assert refusal("queue.lifetime", value).code == "policy-bad-value"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("queue.lifetime", "59m"),
        ("queue.lifetime", "101d"),
        ("queue.lifetime", 0),
        ("queue.retry_every", "9s"),
        ("queue.retry_every", "61m"),
        ("queue.retry_every", -5),
        ("queue.warn_after", "59s"),
        ("limits.message_size", "19999B"),
        ("limits.message_size", 2**31),
        ("limits.message_size", 0),
        ("queue.lifetime", 10**20),
        ("limits.message_size", -(10**20)),
    ],
)
def test_bounds(key: str, value: object) -> None:
    """A quantity outside of its bounds is refused, and the bounds are told."""
    error = refusal(key, value)
    assert error.code == "policy-bad-value"
    assert " to " in error.remedy


@pytest.mark.parametrize("key", ["queue.lifetime", "limits.message_size", "mailu.port"])
def test_numbers_too_long_to_print(key: str) -> None:
    """A number of more digits than Python prints is refused like any other."""
    for number in (10**5000, -(10**5000)):
        assert refusal(key, number).code == "policy-bad-value"


def test_warn_after_never() -> None:
    """A `warn_after` of 0, as a number or as text, means no warning."""
    assert [value_of("queue.warn_after", zero) for zero in (0, "0", "0s", "0h")] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("50MB", 50000000),
        ("50 mb", 50000000),
        ("1MiB", 1048576),
        ("20kB", 20000),
        (20000, 20000),
        ("1GB", 10**9),
        ("30KiB", 30720),
    ],
)
def test_sizes(value: object, size: int) -> None:
    """MB is decimal, MiB binary, and a number is bytes."""
    assert value_of("limits.message_size", value) == size


@pytest.mark.parametrize("value", ["50", "50M", "MB", "1.5MB", "50MBit", "five"])
def test_sizes_are_refused(value: str) -> None:
    """A size without a unit that is known, or too small to be meant, is refused."""
    assert refusal("limits.message_size", value).code == "policy-bad-value"


@pytest.mark.parametrize("path", ["relative", "./x", "/", "/a/", "/a/../b", "~/x"])
@pytest.mark.parametrize("key", ["mailu.password_file", "mailu.ca_file"])
def test_paths_are_absolute(key: str, path: str) -> None:
    """A file is named by its absolute path."""
    assert refusal(key, path).code == "policy-bad-value"


def test_command_is_text_or_list() -> None:
    """A command is a list of words, or a text that is split as a shell splits it."""
    words = ("/bin/a", "b c", "d")
    assert value_of("alert.command", "/bin/a 'b c' d") == words
    assert value_of("alert.command", list(words)) == words
    assert value_of("alert.command", "") == ()


@pytest.mark.parametrize("value", ["page now", "/bin/a 'b", "/bin/a \\", ["a"], ["/a"] * 5000, [1]])
def test_commands_are_refused(value: object) -> None:
    """A command without an absolute path, or with an open quote, is refused."""
    assert refusal("alert.command", value).code in {"policy-bad-value", "policy-wrong-type"}


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/x",
        "https://a.example:8443/x?y=%20z",
        "http://localhost:9/x",
        "http://127.0.0.1/x",
        "http://[::1]:80/",
    ],
)
def test_webhooks(url: str) -> None:
    """A webhook is https, or http on this host itself."""
    assert value_of("alert.webhook", url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/x",
        "ftp://a.example",
        "https://",
        "http://web.localdomain/",
        "a.example",
        "https://u:p@a.example/",
        "https://[::1/",
        "https://a.example:99999/",
        "https://a b/",
        "https://ex\u0430mple.org/",
        "http://localhost.evil.example/",
        "http://127.0.0.1.evil.example/",
        "https://a.example:0",
    ],
)
def test_webhooks_are_refused(url: str) -> None:
    """Any other URL is refused, and not repeated: it may be a secret."""
    error = refusal("alert.webhook", url)
    assert error.code == "policy-bad-value"
    assert url == "https://" or url not in error.message + error.remedy


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("admin", 1),
        ("admin", True),
        ("admin", ["a@b.c"]),
        ("admin", {}),
        ("admin", None),
        ("admin", b"ops@example.org"),
        ("mailu.port", True),
        ("mailu.port", 465.0),
        ("mailu.port", "https"),
        ("queue.lifetime", 1.5),
        ("queue.lifetime", False),
        ("queue", []),
        ("mailu", "mail.example.org"),
        ("postfix", 1),
        ("alert.command", 7),
        ("limits.message_size", None),
        ("postfix.smtp_helo_timeout", 1.5),
    ],
)
def test_wrong_types(key: str, value: object) -> None:
    """A value of another type is refused by naming the type that is wanted."""
    error = refusal(key, value)
    assert (error.code, error.key) == ("policy-wrong-type", key)


@pytest.mark.parametrize("port", [0, 65536, -1, 10**20, "0"])
def test_ports_are_in_range(port: object) -> None:
    """A port is a number from 1 to 65535."""
    assert refusal("mailu.port", port).code == "policy-bad-value"


@pytest.mark.parametrize(
    "key",
    [
        "admin",
        "hostname",
        "sender",
        "route",
        "mailu.host",
        "mailu.username",
        "mailu.ca_file",
        "mailu.password",
        "alert.webhook",
        "alert.command",
        "queue.lifetime",
        "postfix.x",
    ],
)
def test_huge_values_cost_nothing(key: str) -> None:
    """A value of 10 MB is refused, and not repeated; a search that goes back would never end."""
    error = refusal(key, "a" * 10_000_000)
    assert len(error.message) < 300


def test_huge_key_costs_nothing() -> None:
    """A key of 10 MB is refused, and not repeated; a search that goes back would never end."""
    for data in ({"a" * 10_000_000: 1}, {"queue": {"b" * 10_000_000: 1}}):
        with pytest.raises(PolicyError) as caught:
            parse(data)
        assert len(caught.value.message) < 300
    with pytest.raises(PolicyError):
        parse({"postfix": {"a" * 10_000_000: "1"}})
