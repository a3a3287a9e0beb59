"""Facts: what programs and the kernel say, to plain data."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmail import queue, submissions
from sysmail.distro import DISTROS, choose
from sysmail.facts import collect, parse
from unit.cases import cases, text
from unit.fake_debian import FakeDebian
from unit.fake_host import FakeHost

PARSERS: dict[str, Callable[[str], Any]] = {
    "os_release": parse.os_release,
    "candidate_versions": parse.candidate_versions,
    "parameters": parse.parameters,
    "map_types": parse.map_types,
    "sockets": parse.sockets,
    "local_ipv4": parse.local_ipv4,
    "local_ipv6": parse.local_ipv6,
    "fqdn_from_hosts": lambda said: parse.fqdn_from_hosts(said, "web1"),
    "fqdn_from_getent": parse.fqdn_from_getent,
    "unit_blocks": parse.unit_blocks,
    "services": lambda said: parse.services(parse.unit_blocks(said)),
    "unit": lambda said: [parse.unit(block) for block in parse.unit_blocks(said)],
    "exim_macros": parse.exim_macros,
    "exim_role": parse.exim_role,
    "exim_settings": parse.exim_settings,
    "root_readers": parse.root_readers,
    "inet_services": parse.inet_services,
    "port_forwards": parse.port_forwards,
    "submissions": submissions.parse,
    **{f"packages of {r.name}": partial(parse.packages, manager=r.name) for r in DISTROS},
    "queue": queue.parse,
}

# These take what another parser has made of the text.
BLOCKS = {name: PARSERS[name] for name in ("services", "unit")}

# Pieces that parsers look for, so that generated text gets past their first glance.
PIECES = st.sampled_from(
    """ID= "x" ii iU postfix Name Version Candidate : = . :: 0A 0100007F:0019 00000000 |-- LOCAL
    /32 host 127.0.0.1 fe800000000000000000000000000001 Id= ActiveState=failed MainPID= { } [ ] " ,
    ²³ 1e999 {"queue_id":"A","queue_name":"hold","arrival_time":1,"message_size": 1e999 ,
    "sender":"","recipients":1} "recipients":[]}
    to=<a@b> relay=none, delay=1, delay=., dsn=2.0.0, status=sent (ok) postfix/smtp[1]: 4ABC:
    dc_eximconfig_configtype=' inet smtp smtpd --dport 25 --to-destination tcp dport dnat to
    host=h tls=on auth=on recipients=r smtpmsg=' ' exitcode=EX_OK
    \x1c""".split()
)
TEXTS = st.one_of(
    st.text(),
    st.lists(
        st.one_of(PIECES, st.sampled_from([" ", "\n", "\t", "\n\n"]), st.text(max_size=3))
    ).map("".join),
)


def plain(found: Any) -> Any:
    """Data classes and tuples as JSON would have them."""
    if dataclasses.is_dataclass(found) and not isinstance(found, type):
        # Of a listener a parser knows no more than its address, its port and its inode.
        values = dataclasses.asdict(found)
        return plain({k: v for k, v in values.items() if k not in ("owner", "contained", "beside")})
    if isinstance(found, dict):
        return {name: plain(value) for name, value in found.items()}
    if isinstance(found, (list, tuple)):
        return [plain(value) for value in found]
    return found


@pytest.mark.parametrize(("parser", "case"), cases("facts"))
def test_parser_cases(parser: str, case: dict[str, Any]) -> None:
    """A parser gives what a person reads in the same text."""
    arguments = {k: v for k, v in case.items() if k not in ("input", "expected")}
    said = case["input"] if isinstance(case["input"], str) else text(case["input"])
    found = BLOCKS.get(parser, getattr(parse, parser))(said, **arguments)
    assert plain(found) == case["expected"]


@pytest.mark.parametrize(("_folder", "case"), cases("submissions"))
def test_submission_cases(_folder: str, case: dict[str, Any]) -> None:
    """What msmtp logged of a message is read as a person reads it."""
    assert plain(submissions.parse(text(case["input"]))) == case["expected"]


@pytest.mark.parametrize("text", ["²", "9" * 5000, "-1", ""])
def test_pid_of_odd_digits_is_none(text: str) -> None:
    """A process id that int() does not take, or that is none, is left out like any other word."""
    assert parse.unit({"MainPID": text}).pid == 0


def test_every_parser_has_cases() -> None:
    """No parser is without a case."""
    assert {parser.values[0] for parser in cases("facts")} == set(parse.__all__)


@given(said=TEXTS)
def test_parsers_take_any_text(said: str) -> None:
    """No parser ever raises, whatever it is given."""
    for parser in PARSERS.values():
        parser(said)


@pytest.mark.parametrize(
    "said",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"queue_id":"A","queue_name":"hold","arrival_time":1,"message_size":1e999,'
        '"sender":"","recipients":[]}',
        '{"queue_id":"A","queue_name":"hold","arrival_time":1' + "0" * 400 + ',"message_size":1,'
        '"sender":"","recipients":[]}',
    ],
    ids=["array", "object", "infinite", "huge"],
)
def test_queue_takes_what_json_cannot(said: str) -> None:
    """A line that JSON or a number cannot hold is left out like any other."""
    assert queue.parse(said) == []


@pytest.mark.parametrize(
    ("ids", "family"),
    [
        (["debian"], "apt"),
        (["ubuntu", "debian"], "apt"),
        (["linuxmint", "ubuntu", "debian"], "apt"),
        (["arch"], "pacman"),
        (["manjaro", "arch"], "pacman"),
        (["rocky", "rhel", "centos", "fedora"], "dnf"),
        (["opensuse-leap", "suse", "opensuse"], "zypper"),
        (["alpine"], "apk"),
    ],
)
def test_distribution_is_chosen(ids: list[str], family: str) -> None:
    """ID comes before ID_LIKE, and a derivative gets the row of its parent."""
    row = choose(ids)
    assert row is not None
    assert row.name == family


@pytest.mark.parametrize("ids", [[], ["linux"], ["nixos"], ["debianish"]])
def test_unknown_distribution_is_not_guessed(ids: list[str]) -> None:
    """A distribution that is not known is none of them."""
    assert choose(ids) is None


def test_collect_on_a_bare_host() -> None:
    """A host on which no program and no file is there still has facts."""
    facts = collect(FakeHost())
    assert (facts.distro, facts.postfix, facts.systemd, facts.listeners) == (None, None, False, ())
    assert (facts.name, facts.ipv6_loopback, facts.mailboxes) == ("web1", False, ())


def test_collect_on_debian() -> None:
    """The facts of a Debian with its untouched Postfix are what it says."""
    facts = collect(FakeDebian(postfix=True))
    assert facts.distro is not None
    assert facts.distro.name == "apt"
    assert (facts.systemd, facts.ipv6_loopback, facts.fqdn) == (True, True, "web1.example.org")
    assert facts.addresses == ("127.0.0.1", "192.0.2.7", "::1")
    assert {(x.address, x.port) for x in facts.listeners} == {("0.0.0.0", 25), ("::", 25)}
    assert facts.postfix is not None
    assert (facts.postfix.version, facts.postfix["inet_interfaces"]) == ("3.7.11", "all")
    assert facts.postfix["no_such_parameter"] == ""
    assert (facts.service.enabled, facts.master_running, facts.sasl_plain) == (True, True, True)
    assert facts.sendmail == "/usr/sbin/sendmail"


def test_collect_asks_for_candidates_only_without_postfix() -> None:
    """What would be installed is only asked for where Postfix is not there."""
    host = FakeDebian()
    assert collect(host).candidates == {"postfix": "3.7.11-0+deb12u1"}
    assert collect(FakeDebian(postfix=True)).candidates == {}


def test_collect_does_not_believe_a_stale_pid() -> None:
    """A pid file that names another program is not a running Postfix."""
    host = FakeDebian(postfix=True)
    host.dynamic["/proc/700/comm"] = lambda: b"bash\n"
    assert not collect(host).master_running


def test_collect_finds_mailboxes_once() -> None:
    """Mailboxes that hold something are found, once also where /var/spool/mail is a link."""
    host = FakeDebian()
    host.put("/var/mail/root", "From x\n")
    host.put("/var/mail/empty", "")
    host.put_directory("/var/mail/maildir")
    host.put_link("/var/spool/mail", "/var/mail")
    assert collect(host).mailboxes == ("/var/mail/maildir", "/var/mail/root")


def test_collect_falls_back_to_built_in_defaults() -> None:
    """Without a usable main.cf the version is still known, and the complaint is kept."""
    host = FakeDebian(postfix=True)
    host.take("/etc/postfix/main.cf")
    postfix = collect(host).postfix
    assert postfix is not None
    assert postfix.version == "3.7.11"
    assert "fatal" in postfix.complaint


def test_collect_changes_nothing() -> None:
    """Collecting facts runs nothing that changes the host."""
    host = FakeDebian(postfix=True)
    host.changes.clear()
    collect(host)
    assert host.changes == []


@pytest.mark.parametrize(
    ("nodename", "hosts", "getent", "fqdn"),
    [
        ("web1.example.org", "", "", "web1.example.org"),
        ("WEB1.Example.org.", "", "", "web1.example.org"),
        ("web1", "192.0.2.7 web1.example.org web1\n", "", "web1.example.org"),
        ("web1", "", "192.0.2.7  web1.dns.example\n", "web1.dns.example"),
        ("web1", "", "", ""),
    ],
)
def test_fqdn_is_looked_for_where_it_is_cheap(
    nodename: str, hosts: str, getent: str, fqdn: str
) -> None:
    """The name comes from the kernel, else from hosts, and only then from the resolver."""
    host = FakeDebian()
    host.name = nodename
    host.put("/etc/hosts", hosts)
    host.answer("getent", getent)
    assert collect(host).fqdn == fqdn
    asked = any(call.what[0] == "getent" for call in host.asked)
    assert asked == (not hosts and "." not in nodename)
