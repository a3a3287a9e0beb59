"""What must hold between the keys of a policy, and what is filled in."""

from __future__ import annotations

import pytest

from sysmail.errors import PolicyError
from sysmail.policy import parse

LOGIN = {"username": "no-reply@example.org", "password_file": "/etc/sysmail/password"}


def conflict(data: dict[str, object], *, from_ansible: bool = False) -> str:
    """Return the key that a policy with a conflict is refused for."""
    with pytest.raises(PolicyError) as caught:
        parse(data, from_ansible=from_ansible)
    assert caught.value.code == "policy-conflict"
    assert caught.value.remedy
    assert caught.value.exit_code == 64
    return caught.value.key


@pytest.mark.parametrize("section", ["mailu", "smarthost"])
@pytest.mark.parametrize(
    ("given", "port", "tls"),
    [
        ({}, 465, "implicit"),
        ({"tls": "implicit"}, 465, "implicit"),
        ({"tls": "starttls"}, 587, "starttls"),
        ({"tls": "none"}, 25, "none"),
        ({"port": 25}, 25, "starttls"),
        ({"port": 587}, 587, "starttls"),
        ({"port": "465"}, 465, "implicit"),
        ({"port": 2465}, 2465, "implicit"),
        ({"port": 2525, "tls": "starttls"}, 2525, "starttls"),
    ],
)
def test_port_and_tls(section: str, given: dict[str, object], port: int, tls: str) -> None:
    """Of port and TLS, what is not given follows from what is."""
    policy = parse({section: {"host": "Mail.Example.org", **given}})
    hop = policy.mailu if section == "mailu" else policy.smarthost
    assert hop is not None
    assert (hop.host, hop.port, hop.tls) == ("mail.example.org", port, tls)


@pytest.mark.parametrize("section", ["mailu", "smarthost"])
@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"tls": "none", **LOGIN}, "tls"),
        ({"tls": "none", "ca_file": "/a"}, "ca_file"),
        ({"port": 465, "tls": "starttls"}, "tls"),
        ({"port": 465, "tls": "none"}, "tls"),
        ({"port": 587, "tls": "implicit"}, "tls"),
        ({"port": 25, "tls": "implicit"}, "tls"),
        ({"username": "a"}, "username"),
        ({"password_file": "/a"}, "password_file"),
        ({"password_command": "/bin/a"}, "password_command"),
        ({**LOGIN, "password_command": "/bin/a"}, "password_command"),
    ],
)
def test_server_conflicts(section: str, given: dict[str, object], key: str) -> None:
    """A login without TLS, half a login, or TLS that cannot work is refused."""
    assert conflict({section: {"host": "mail.example.org", **given}}) == f"{section}.{key}"


def test_two_passwords_from_ansible() -> None:
    """A password and a file of it at once are refused, and the password is not told."""
    hop = {"host": "mail.example.org", **LOGIN, "password": "hunter2"}
    with pytest.raises(PolicyError) as caught:
        parse({"mailu": hop}, from_ansible=True)
    assert caught.value.code == "policy-conflict"
    assert "hunter2" not in str(vars(caught.value))


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "[2001:db8::1]"])
def test_ip_address_only_without_tls(host: str) -> None:
    """A server named by its IP address has no certificate to verify, so it takes no TLS."""
    assert conflict({"smarthost": {"host": host}}) == "smarthost.host"
    assert conflict({"smarthost": {"host": host, **LOGIN}}) == "smarthost.host"
    hop = parse({"smarthost": {"host": host, "tls": "none"}}).smarthost
    assert hop is not None
    assert hop.host == host.strip("[]")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "224.0.0.1", "fe80::1%eth0", "10.0.0.0/8", ""])
def test_no_server(host: str) -> None:
    """An address that is not one server's is refused."""
    with pytest.raises(PolicyError) as caught:
        parse({"smarthost": {"host": host, "tls": "none"}})
    assert (caught.value.code, caught.value.key) == ("policy-bad-value", "smarthost.host")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.0.1", "::1"])
def test_smarthost_is_not_this_relay(host: str) -> None:
    """A smarthost on port 25 of this host would be the relay itself; another port is a tunnel."""
    assert conflict({"smarthost": {"host": host, "tls": "none"}}) == "smarthost.host"
    parse({"smarthost": {"host": host, "tls": "none", "port": 2525}})
    parse({"mailu": {"host": host, "tls": "none"}})


def test_server_needs_host() -> None:
    """A table of a server without `host` is refused."""
    with pytest.raises(PolicyError) as caught:
        parse({"mailu": {"port": 465}})
    assert (caught.value.code, caught.value.key) == ("policy-bad-value", "mailu.host")


@pytest.mark.parametrize(
    ("key", "value"), [("route", "mailu"), ("next_hop", "mailu"), ("next_hop", "smarthost")]
)
def test_a_name_needs_its_table(key: str, value: str) -> None:
    """A route or next hop that needs a server's table is refused without it."""
    assert conflict({key: value}) == key
    parse({key: value, value: {"host": "mail.example.org"}})


@pytest.mark.parametrize(("key", "value"), [("route", "relais"), ("next_hop", "MX"), ("route", "")])
def test_choices(key: str, value: str) -> None:
    """A word that is not a choice is refused with all choices."""
    with pytest.raises(PolicyError) as caught:
        parse({key: value})
    assert caught.value.code == "policy-bad-value"
    assert '"mailu"' in caught.value.message


@pytest.mark.parametrize("user", ["a:b", "a b", "ü@example.org", "a\u00a0b"])
def test_logins_that_no_map_holds(user: str) -> None:
    """A login with a colon, white space or letters outside of ASCII is refused."""
    with pytest.raises(PolicyError) as caught:
        parse({"mailu": {"host": "m.example", **LOGIN, "username": user}})
    assert caught.value.key == "mailu.username"


def test_queue_times_agree() -> None:
    """A warning or a retry that comes after the mail was returned is refused."""
    assert conflict({"queue": {"lifetime": "1h", "warn_after": "1h"}}) == "queue.warn_after"
    queue = {"lifetime": "1h", "warn_after": 0, "retry_every": "1h"}
    assert conflict({"queue": queue}) == "queue.retry_every"


def test_admin_may_be_sender() -> None:
    """The same address may be admin and sender."""
    policy = parse({"admin": "a@example.org", "sender": "a@example.org"})
    assert policy.admin == policy.sender
