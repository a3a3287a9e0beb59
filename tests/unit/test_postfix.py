"""The configuration of Postfix: what main.cf says, and what its tables do to an address."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sysmail.desired import Desired, ManagedFile
from sysmail.errors import PolicyError, RefusedError, SysmailError
from sysmail.facts.model import Facts
from sysmail.policy import Policy, parse
from sysmail.postfix import catch_for_try, parameters, skeleton
from sysmail.postfix.main_cf import compatibility_level, main_cf
from sysmail.postfix.master_cf import NOTICE_ROOM, master_cf
from sysmail.postfix.names import escape
from sysmail.route import Seen
from sysmail.want import check_postfix, effective, postfix_version
from unit.cases import cases
from unit.fake_debian import main_cf_values
from unit.make import (
    ANY_FACTS,
    FACTS,
    PASSWORD,
    POLICIES,
    SEEN,
    facts,
    facts_of_case,
    postfix,
    relayed,
    wanted,
)
from unit.regexp_table import find, lookup, rules

# A generated policy on a generated host takes a while to make.
FEW = settings(max_examples=40)
MAIN_CF = "/etc/postfix/main.cf"


class Relay:
    """What the files of a desired state do, by their own words."""

    def __init__(self, desired: Desired, accounts: list[str]) -> None:
        self.files = {file.path: file.data.decode() for file in desired.files}
        self.values = main_cf_values(self.files[MAIN_CF])
        self._accounts = {name: f"{name}:x:1000:1000::/:/bin/sh" for name in accounts}

    def maps(self, parameter: str, key: str) -> str:
        """What a parameter's tables give for a key; accounts are found in any case (dict_unix)."""
        wanted = self.values.get(parameter, "").replace("check_recipient_access ", "")
        return find(wanted, key, self.files, self._accounts)

    def qualified(self, address: str) -> str:
        """trivial-rewrite(8): a bare name gets myorigin; the null sender stays as it is."""
        return address if "@" in address or not address else f"{address}@{self.values['myorigin']}"

    def recipient(self, address: str) -> str:
        """cleanup(8): virtual aliases until nothing changes any more."""
        address = self.qualified(address)
        for _ in range(10):
            found = self.maps("virtual_alias_maps", address)
            if not found or found == address:
                return address
            address = found
        raise AssertionError(f"{address} is aliased without end")

    def local_sender(self, address: str) -> str:
        """cleanup(8): the sender as it stands in the queue."""
        address = self.qualified(address)
        return self.maps("sender_canonical_maps", address) or address

    def sender(self, address: str) -> str:
        """smtp(8): the sender that the next hop sees."""
        address = self.local_sender(address)
        return self.maps("smtp_generic_maps", address) or address


@pytest.mark.parametrize(("_folder", "case"), cases("postfix"))
def test_configuration_cases(_folder: str, case: dict[str, Any]) -> None:
    """A policy on a host gives these parameters, and these answers for these addresses."""
    policy = relayed(parse(case["policy"]))
    _, desired = wanted(policy, facts_of_case(case["host"]))
    relay = Relay(desired, case["accounts"])
    expected = case["parameters"]
    assert {name: relay.values.get(name) for name in expected} == expected
    found: dict[str, Callable[[str], str]] = {
        "recipients": relay.recipient,
        "senders": relay.sender,
        "local_senders": relay.local_sender,
        "transports": lambda key: relay.maps("transport_maps", key),
        "access": lambda key: relay.maps("smtpd_recipient_restrictions", key),
        "commands": lambda key: relay.maps("smtpd_command_filter", key),
        "headers": lambda key: relay.maps("header_checks", key),
    }
    for kind, answer in found.items():
        addresses = case.get(kind, {})
        assert {address: answer(address) for address in addresses} == addresses, kind
    if "listen" in case:
        assert list(desired.listen) == case["listen"]


def test_every_kind_of_table_has_cases() -> None:
    """Each table that a case can ask is asked by one, so that no check is empty."""
    kinds = {kind for case in cases("postfix") for kind, said in case.values[1].items() if said}
    assert kinds >= {"recipients", "senders", "transports", "access", "commands", "headers"}


def _desired(policy: Policy, about: Facts) -> Desired:
    try:
        return wanted(relayed(policy), about)[1]
    except SysmailError:
        assume(False)  # noqa: FBT003
        raise


@FEW
@given(policy=POLICIES, about=ANY_FACTS, seen=SEEN)
def test_any_policy_gives_a_desired_state_or_a_refusal(
    policy: Policy, about: Facts, seen: Seen
) -> None:
    """A valid policy on any host gives a desired state, or an error that says what to do."""
    told = ("a code", "a message", "a remedy")
    paths: list[str] = []
    try:
        _, desired = wanted(policy, about, seen)
        paths = [*(file.path for file in desired.files), *desired.absent]
    except SysmailError as error:
        told = (error.code, error.message, error.remedy)
    assert all(told)
    assert len(paths) == len(set(paths))


@FEW
@given(policy=POLICIES, about=FACTS)
def test_main_cf_says_exactly_the_parameters(policy: Policy, about: Facts) -> None:
    """main.cf read back gives each parameter once, with the value that was meant."""
    try:
        decision, desired = wanted(relayed(policy), about)
    except SysmailError:
        return
    asked = effective(policy, decision)
    groups = parameters(asked, about, decision, postfix_version(about))
    text = next(file.data.decode() for file in desired.files if file.path == MAIN_CF)
    assert text == main_cf(groups)
    merged: dict[str, str] = {}
    for _, values in groups:
        merged.update(values)
    assert main_cf_values(text) == merged
    named = re.findall(r"^([A-Za-z0-9_]+) =", text, re.MULTILINE)
    assert len(named) == len(set(named)), "a parameter stands twice: postconf(1) warns of it"


@FEW
@given(policy=POLICIES, about=FACTS)
def test_tables_hold_one_rule_a_line(policy: Policy, about: Facts) -> None:
    """Whatever policy and host say, every line of a table is a comment or one whole rule."""
    for file in _desired(policy, about).files:
        if file.path.startswith("/etc/postfix/sysmail/") and not file.secret:
            assert rules(file.data.decode())
            assert "\r" not in file.data.decode()


@FEW
@given(policy=POLICIES, about=FACTS, case=st.booleans())
def test_null_sender_matches_nothing(policy: Policy, about: Facts, case: bool) -> None:
    """The null sender is in no table of addresses: a bounce that is rewritten loops."""
    relay = Relay(_desired(policy, about), ["root"] if case else [])
    asked = [
        name
        for name, value in relay.values.items()
        if "/etc/postfix/sysmail/" in value
        and name not in ("header_checks", "smtp_sasl_password_maps")
    ]
    assert {"sender_canonical_maps", "smtp_generic_maps", "virtual_alias_maps"} <= set(asked)
    for name in asked:
        assert relay.maps(name, "") == ""


@FEW
@given(policy=POLICIES, about=FACTS)
def test_root_reaches_admin_or_waits(policy: Policy, about: Facts) -> None:
    """Mail for root ends at admin, or at a transport that keeps it; never at a mailbox."""
    relay = Relay(_desired(policy, about), ["root", "nobody"])
    for address in ("root", "nobody+x", "root@localhost", f"root@{relay.values['myhostname']}"):
        found = relay.recipient(address)
        if policy.admin:
            assert found == policy.admin
        else:
            assert relay.maps("transport_maps", found).startswith("retry:")


@pytest.mark.parametrize("admin", ["o$ps@example.com", "o$1@example.com", "o$$@example.com"])
def test_dollar_in_admin_stays(admin: str) -> None:
    """A dollar sign in an address is refused, or is no parameter of main.cf and no group."""
    try:
        policy = parse({"admin": admin, "sender": admin})
    except PolicyError:
        return
    relay = Relay(wanted(policy, facts())[1], ["root"])
    assert relay.recipient("root@web1") == relay.recipient("root") == relay.sender("root") == admin
    assert relay.values["bounce_notice_recipient"] == admin.replace("$", "$$")


@FEW
@given(
    policy=POLICIES,
    about=FACTS,
    other=st.from_regex(r"[a-z]{1,8}@[a-z]{1,8}\.test", fullmatch=True),
)
def test_mail_of_others_is_left_alone(policy: Policy, about: Facts, other: str) -> None:
    """An address that is not of this host is the same at the next hop."""
    relay = Relay(_desired(policy, about), ["root", other.partition("@")[0]])
    assert relay.recipient(other) == other
    assert relay.sender(other) == other
    assert relay.maps("transport_maps", other) == ""


@FEW
@given(policy=POLICIES, about=FACTS)
def test_password_is_in_one_closed_file(policy: Policy, about: Facts) -> None:
    """The password stands in one file that only root can read, keyed by relayhost itself."""
    desired = _desired(policy, about)
    holding = [file for file in desired.files if PASSWORD.reveal().encode() in file.data]
    assert len(holding) == desired.needs_sasl
    for file in holding:
        assert (file.mode, file.uid, file.secret) == (0o600, 0, True)
        relayhost = main_cf_values(Relay(desired, []).files[MAIN_CF])["relayhost"]
        assert file.data.decode().startswith(relayhost + " ")
        assert PASSWORD.reveal() not in repr(file)


PRINTABLE = st.characters(exclude_categories=["C", "Z"]) | st.just(" ")


@given(text=st.text(PRINTABLE, max_size=20))
def test_escaped_text_matches_itself_alone(text: str) -> None:
    """An escaped text is a pattern for that text and no other."""
    assert re.fullmatch(escape(text), text)
    assert not re.fullmatch(escape(text), text + "x")


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("3.7.11", "3.7"),
        ("3.10.0", "3.10"),
        ("3.6.0", "3.6"),
        ("3.5.25", "2"),
        ("4.0", "4.0"),
        ("", "2"),
    ],
)
def test_compatibility_level_follows_the_version(version: str, level: str) -> None:
    """compatibility_level is what the installed version supports."""
    assert compatibility_level(version) == level


def test_master_cf_writes_no_mailboxes() -> None:
    """No service delivers locally, and the only listener in it is smtpd."""
    lines = [x for x in master_cf(1000, 60).splitlines() if x and x[0] not in "# "]
    commands = {line.split()[7] for line in lines}
    assert not commands & {"local", "virtual", "lmtp", "pipe", "spawn"}
    assert [line.split()[0] for line in lines if line.split()[1] == "inet"] == ["smtp"]
    assert {line.split()[4] for line in lines} == {"n"}, "nothing is chrooted"


def test_notices_have_room_around_the_message() -> None:
    """A notice that quotes the largest message can itself be queued."""
    assert f"message_size_limit={1000 + NOTICE_ROOM}\n" in master_cf(1000, 60)


def test_smtpd_mails_no_transcripts() -> None:
    """What it refuses a proof is no mail to admin; whoever delivers mail keeps the classes."""
    lines = master_cf(1000, 60).splitlines()
    after = [lines[at - 1].split()[7] for at, x in enumerate(lines) if "notify_classes" in x]
    assert ("  -o notify_classes=" in lines, after) == (True, ["smtpd"])


@pytest.mark.parametrize(
    ("retry_every", "wakeup"), [(60, "60"), (1, "1"), (300, "300"), (900, "300")]
)
def test_queue_is_looked_through_as_often_as_mail_is_retried(retry_every: int, wakeup: str) -> None:
    """What a reload put back is found again within retry_every, and never later than by stock."""
    rows = [line.split() for line in master_cf(1000, retry_every).splitlines() if line]
    assert [row[5] for row in rows if row[0] == "qmgr"] == [wakeup]


def test_skeleton_is_closed() -> None:
    """The main.cf before the installation listens on loopback, keeps mail and delivers nothing."""
    values = main_cf_values(skeleton().data.decode())
    assert values["inet_interfaces"] == "loopback-only"
    assert values["default_transport"].startswith("retry:")
    assert (values["mydestination"], values["local_transport"][:6]) == ("", "error:")


def test_try_catches_its_own_sender_only() -> None:
    """In a try one sender goes to the catcher, and every other message waits."""
    _, desired = wanted(parse({"admin": "ops@example.org"}), facts())
    keep = {"myorigin": "/etc/mailname"}
    files = {f.path: f for f in catch_for_try(desired.files, "try-1@x.invalid", 2525, keep)}
    values = main_cf_values(files[MAIN_CF].data.decode())
    catcher = "inline:{ { try-1@x.invalid = smtp:[127.0.0.1]:2525 } }"
    assert values["sender_dependent_default_transport_maps"] == catcher
    assert values["default_transport"].startswith("retry:")
    assert (values["myorigin"], values["maximal_queue_lifetime"]) == ("/etc/mailname", "100d")
    text = files[MAIN_CF].data.decode()
    named = re.findall(r"^([A-Za-z0-9_]+) =", text, re.MULTILINE)
    assert len(named) == len(set(named))
    others = [f for f in desired.files if f.path != MAIN_CF]
    assert [files[f.path] for f in others] == others


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"postfix": postfix("3.3.22")}, "postfix-too-old"),
        ({"candidates": {"postfix": "3.1.15-0+deb9u1"}}, "postfix-too-old"),
        ({"postfix": postfix("2.11.3")}, "postfix-too-old"),
    ],
)
def test_old_postfix_is_refused(changes: dict[str, Any], code: str) -> None:
    """A Postfix that lacks what the relay needs is refused, installed or not yet."""
    with pytest.raises(RefusedError) as caught:
        check_postfix(facts(**changes))
    assert caught.value.code == code


def test_postfix_without_table_types_is_refused() -> None:
    """A build of Postfix without a needed table type is refused, naming the type."""
    lacking = postfix()
    with pytest.raises(RefusedError, match="pipemap"):
        check_postfix(facts(postfix=replace(lacking, map_types=("regexp", "unix"))))


def test_unknown_distribution_is_refused() -> None:
    """On a distribution that is not known nothing is attempted."""
    with pytest.raises(RefusedError, match="Slackware") as caught:
        wanted(parse({"admin": "ops@example.org"}), facts(distro=None, os_name="Slackware 15"))
    assert caught.value.code == "unknown-distribution"


def test_evaluator_knows_the_rules_of_regexp_tables() -> None:
    """The evaluator of these tests ignores case, substitutes, and stops at the first match."""
    table = "# c\n/^(a)(b)?@x$/ ${1}-$2\n/^Q/i big\n/^q/ small\n/./ rest\n"
    assert lookup(table, "AB@x") == "A-B"
    assert lookup(table, "a@x") == "a-"
    assert (lookup(table, "Qx"), lookup(table, "qx")) == ("big", "small")
    assert (lookup(table, "z"), lookup(table, "")) == ("rest", "")
    with pytest.raises(AssertionError):
        rules("/open pattern\n")


def test_managed_file_never_shows_its_content() -> None:
    """The representation of a managed file is without what is in it."""
    assert "hunter2" not in repr(ManagedFile("/x", b"hunter2", secret=True))


def test_a_dollar_in_the_name_of_a_ca_file_is_a_dollar() -> None:
    """Postfix would read another file, or none, if it took the name for a parameter."""
    hop = {"host": "m.example.org", "ca_file": "/etc/ssl/$x.pem"}
    _, desired = wanted(parse({"smarthost": hop, "route": "relay"}), facts())
    written = next(file for file in desired.files if file.path == "/etc/postfix/main.cf")
    assert b"\nsmtp_tls_CAfile = /etc/ssl/$$x.pem\n" in written.data
