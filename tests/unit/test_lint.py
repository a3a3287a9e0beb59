"""The lint: silent about all that sysmail makes, and a finding for each thing that kills mail.

That these things do kill mail is shown by tests/hosts/test_lint.py, with the real Postfix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmail.commands import apply, plan
from sysmail.desired import ManagedFile
from sysmail.errors import RefusedError
from sysmail.facts.model import Facts
from sysmail.policy import Policy, parse
from sysmail.postfix.lint import Candidate, Finding, candidate, files_read, lint
from unit import make
from unit.fake_debian import FakeDebian

LOGIN = {
    "host": "mail.example.org",
    "username": "u@example.org",
    "password_file": "/etc/sysmail/password",
}
DATA: dict[str, Any] = {"admin": "ops@example.org", "route": "relay", "smarthost": LOGIN}


def _files(policy: Policy, about: Facts) -> tuple[ManagedFile, ...]:
    return make.wanted(policy, about)[1].files


def _changed(
    main: Mapping[str, str | None],
    master: tuple[str, str] = ("", ""),
    about: Facts | None = None,
    missing: frozenset[str] = frozenset(),
) -> list[Finding]:
    """What the lint says of sysmail's own candidate with some values changed; None drops one."""
    host = make.facts(postfix=make.postfix()) if about is None else about
    files = []
    for file in _files(parse(DATA), make.facts()):
        text = file.data.decode()
        if file.path == "/etc/postfix/main.cf":
            lines = [x for x in text.splitlines() if x.partition(" =")[0] not in main]
            lines += [f"{name} = {value}" for name, value in main.items() if value is not None]
            text = "\n".join(lines) + "\n"
        if file.path == "/etc/postfix/master.cf":
            text = re.sub(*master, text, flags=re.MULTILINE) if master[0] else text
        files.append(replace(file, data=text.encode()))
    return lint(candidate(tuple(files), host, missing=missing))


@given(make.POLICIES, st.booleans(), st.booleans())
def test_nothing_to_say_of_our_own(policy: Policy, ipv6: bool, there: bool) -> None:
    """What sysmail makes of a policy without extras passes, with Postfix there and before."""
    about = make.facts(ipv6_loopback=ipv6, postfix=make.postfix() if there else None)
    plain = replace(make.relayed(policy), postfix=())
    assert lint(candidate(_files(plain, about), about, settled=there)) == []


FAULTS: dict[str, tuple[str, Mapping[str, str | None]]] = {
    "inet_interfaces": ("listens-outside", {"inet_interfaces": "all"}),
    "no interface": ("listens-outside", {"inet_interfaces": ""}),
    "inet_protocols": ("no-protocol", {"inet_protocols": ""}),
    "a protocol": ("protocol-not-known", {"inet_protocols": "ipv5"}),
    "IPv6 alone": ("no-ipv4", {"inet_protocols": "ipv6"}),
    "one family": ("clients-refused", {"mynetworks": "127.0.0.0/8"}),
    "a network": ("network-not-readable", {"mynetworks": "::1/128"}),
    "no reject": ("no-final-reject", {"smtpd_relay_restrictions": "permit, reject"}),
    "smtputf8": ("smtputf8", {"smtputf8_enable": None}),
    "mydestination": ("local-mail-destroyed", {"mydestination": "$myhostname"}),
    "aliases": ("aliases-do-nothing", {"virtual_alias_maps": ""}),
    "alias domains": ("domains-taken-over", {"virtual_alias_domains": None}),
    "null sender": ("null-sender-rewritten", {"sender_canonical_maps": "static:a@b"}),
    "in a pipe": ("null-sender-rewritten", {"canonical_maps": "pipemap:{static:a, inline:{a=b}}"}),
    "notices": ("nobody-is-told", {"notify_classes": None}),
    "a notice": ("notices-not-readable", {"notify_classes": "bounces"}),
    "lifetime": ("lifetime-too-short", {"maximal_queue_lifetime": "0"}),
    "backoff": ("tried-too-seldom", {"maximal_backoff_time": None}),
    "size": ("message-size", {"message_size_limit": "10000"}),
    "room": ("no-room-for-notices", {"message_size_limit": "51000000"}),
    "no transport": ("mail-does-not-leave", {"default_transport": "discard:"}),
    "brackets": ("relayhost-brackets", {"relayhost": "mail.example.org"}),
    "key": ("password-key", {"relayhost": "[mail.example.org]:submissions"}),
    "no passwords": ("no-password-map", {"smtp_sasl_password_maps": ""}),
    "may": ("login-not-protected", {"smtp_tls_security_level": "may"}),
    "encrypt": ("login-not-protected", {"smtp_tls_security_level": "encrypt"}),
    "no level": ("login-not-protected", {"smtp_tls_security_level": None}),
    "a level": ("tls-level-not-known", {"smtp_tls_security_level": "secured"}),
    "no CA": ("no-authorities", {"smtp_tls_CAfile": ""}),
    "wrapped": ("wrappermode-level", {"smtp_tls_security_level": "may"}),
    "wrapped 587": ("wrappermode-port", {"relayhost": "[mail.example.org]:587"}),
    "not wrapped": ("wrappermode-port", {"smtp_tls_wrappermode": None}),
    "noplaintext": (
        "no-mechanism",
        {"smtp_sasl_security_options": None, "smtp_sasl_tls_security_options": None},
    ),
    "an option": ("sasl-options-not-readable", {"smtp_sasl_tls_security_options": "none"}),
    "map type": ("map-type-not-there", {"smtp_generic_maps": "lmdb:/etc/x"}),
    "default type": ("map-type-not-there", {"default_database_type": "hash"}),
    "level 0": ("compatibility-level", {"compatibility_level": "0"}),
    "level unset": ("compatibility-level", {"compatibility_level": None}),
    "level of tomorrow": ("compatibility-level", {"compatibility_level": "3.9"}),
    "circle": ("value-names-itself", {"mail_name": "$smtpd_banner", "smtpd_banner": "$mail_name"}),
    "no such transport": ("transport-missing", {"default_transport": "smpt"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found(fault: str) -> None:
    """Each fault has a finding with a rule, a parameter, what becomes of mail, and a remedy."""
    rule, main = FAULTS[fault]
    found = _changed(main)
    assert rule in [each.rule for each in found]
    assert all(all(vars(each).values()) for each in found)


MASTER = {
    "no tlsproxy": ("reuse-without-tlsproxy", (r"^tlsproxy .*\n", "")),
    "no retry": ("service-missing", (r"^retry .*\n", "")),
    "no listener": ("service-missing", (r"^smtp +inet .*\n", "")),
    "chroot": ("chroot-without-files", (r"^(smtp +unix +- +- +)n", r"\1y")),
    "a short line": ("line-not-readable", (r"^anvil .*$", "anvil unix")),
    "cleanup": ("no-room-for-notices", (r"^  -o message_size_limit.*\n", "")),
}


@pytest.mark.parametrize("fault", MASTER)
def test_fault_in_master_cf(fault: str) -> None:
    """What is wrong with master.cf is found too."""
    rule, change = MASTER[fault]
    gone = frozenset({"/var/spool/postfix/etc/resolv.conf"})
    assert rule in [each.rule for each in _changed({}, change, missing=gone)]


def _known(**parameters: str) -> Facts:
    """A host whose postconf(1) prints as many names as a real one."""
    ours = {name: "" for group in _groups().values() for name in group}
    filler = {f"some_{number}": "" for number in range(400)}
    return make.facts(postfix=make.postfix(**{**ours, **filler, **parameters}))


def _groups() -> dict[str, Mapping[str, str]]:
    return {"all": candidate(_files(parse(DATA), make.facts()), make.facts()).main}


def test_names_are_those_of_this_postfix() -> None:
    """A misspelt name is found, with the one that is meant; what something uses is not."""
    about = _known(smtp_helo_timeout="300s")
    found = _changed({"smtp_helo_timeoute": "20s"}, about=about)
    assert [each.rule for each in found] == ["unknown-parameter"]
    assert "smtp_helo_timeout?" in found[0].remedy
    fine = {"retry_destination_recipient_limit": "5", "mine": "x", "smtpd_banner": "$mine"}
    assert _changed(fine, about=about) == []
    assert [f.rule for f in _changed({"smtpd_banner": "$mime"}, about=about)] == [
        "unknown-reference"
    ]


def test_values_are_of_the_kind_of_their_default() -> None:
    """A time, a number and yes or no that are none are found, by what the default is."""
    about = make.facts(
        postfix=make.postfix(smtp_helo_timeout="300s", hopcount_limit="50", biff="yes")
    )
    bad = {"smtp_helo_timeout": "1h 3m", "hopcount_limit": "many", "biff": "off"}
    assert [f.parameter for f in _changed(bad, about=about)] == list(bad)
    good = {"smtp_helo_timeout": "5m", "hopcount_limit": "9", "biff": "No", "mail_name": "off"}
    assert _changed(good, about=about) == []


def test_tables_that_are_not_there() -> None:
    """A table's file is looked for by the name that its type gives it; ours come along."""
    main = {"smtp_generic_maps": "regexp:/etc/a, texthash:/etc/b"}
    given_files = _files(parse(DATA), make.facts())
    asked = files_read(candidate(given_files, make.facts()))
    assert asked == ["/etc/ssl/certs/ca-certificates.crt"]
    found = _changed(main, missing=frozenset({"/etc/b"}))
    assert [(f.rule, f.parameter) for f in found] == [("map-file-missing", "smtp_generic_maps")]


def test_null_sender_by_the_text_of_a_table() -> None:
    """A table of regular expressions counts if one of its patterns fits an empty text."""

    def says(pattern: str) -> bool:
        made = Candidate(
            {"sender_canonical_maps": "regexp:/t"}, (), make.facts(), tables={"/t": pattern}
        )
        return "null-sender-rewritten" in [each.rule for each in lint(made)]

    for fits in ("/.*/ a@b", "/^/ a@b", "/^$/ a@b", "!/x/ a@b", "if !/@/\n/^/ a@b\nendif"):
        assert says(fits), fits
    for safe in ("/.+/ a@b", "/@/ a@b", "# /^/ a@b", "if /@/\n/^/ a@b\nendif", "/(/ a@b", ""):
        assert not says(safe), safe


def test_apply_and_plan_refuse() -> None:
    """Both refuse a candidate that kills mail, by one code; nothing is changed."""
    host = FakeDebian(postfix=True)
    given_policy = {"postfix": {"smtp_header_checks": "lmdb:/etc/x"}}
    before = dict(host.entries)
    said: list[str] = []
    runs: tuple[Callable[[], object], ...] = (
        lambda: plan.run(host, given_policy, {}),
        lambda: apply.run(host, given_policy, {}, said.append),
    )
    for run in runs:
        host.packages["msmtp"] = "ii "
        with pytest.raises(RefusedError, match="map-type-not-there") as caught:
            run()
        assert caught.value.code == "configuration-kills-mail"
        assert "smtp_header_checks" in caught.value.remedy
    assert host.entries == before
    assert host.changes == []


def test_what_comes_with_packages_is_no_fault() -> None:
    """Before its packages are there, a host cannot lack what they bring."""
    files = _files(parse(DATA), make.facts())
    bare = make.facts(sasl_plain=False)
    assert lint(candidate(files, bare, settled=False)) == []
    assert [f.rule for f in lint(candidate(files, bare))] == ["sasl-modules-missing"]
    gone = frozenset({"/etc/ssl/certs/ca-certificates.crt"})
    assert [f.rule for f in _changed({}, missing=gone)] == ["no-authorities"]
