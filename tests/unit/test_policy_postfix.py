"""Extra Postfix parameters: which are accepted, which are refused, and for which promise."""

from __future__ import annotations

import pytest

from sysmail.errors import PolicyError
from sysmail.policy import KEYS, parse
from sysmail.policy.postfix_extras import PROTECTED, RULES, protection
from sysmail.policy.postfix_protected import _GROUPS
from sysmail.policy.reference import postfix_markdown
from sysmail.report import PROMISES

HARMLESS = """
    always_bcc biff default_process_limit disable_vrfy_command enable_long_queue_ids
    hopcount_limit in_flow_delay lmdb_map_size mail_name max_use qmgr_message_active_limit
    queue_minfree recipient_delimiter smtp_address_preference smtp_bind_address
    smtp_connect_timeout smtp_destination_rate_delay smtp_header_checks smtp_helo_name
    smtp_host_lookup smtp_tls_cert_file smtp_tls_key_file smtp_tls_session_cache_database
    smtpd_banner smtpd_helo_required smtpd_timeout my-relay_destination_concurrency_limit
    default_transport_rate_delay smtp_tls_mandatory_exclude_ciphers smtp_tls_note_starttls_offer
""".split()

FATAL = """
    inet_interfaces proxy_interfaces mynetworks mynetworks_style mydestination myorigin
    myhostname local_transport default_transport relay_transport virtual_transport
    mailbox_transport transport_maps mailbox_transport_maps fallback_transport_maps
    sender_dependent_default_transport_maps relayhost sender_dependent_relayhost_maps
    fallback_relay smtp_fallback_relay virtual_alias_maps virtual_alias_domains
    virtual_mailbox_domains alias_maps alias_database local_recipient_maps luser_relay
    home_mailbox mailbox_command mailbox_size_limit smtpd_relay_restrictions
    smtpd_recipient_restrictions smtpd_client_restrictions smtpd_end_of_data_restrictions
    smtpd_authorized_xclient_hosts smtpd_authorized_xforward_hosts smtpd_sasl_auth_enable
    notify_classes bounce_notice_recipient 2bounce_notice_recipient error_notice_recipient
    delay_notice_recipient smtp_sasl_auth_enable smtp_sasl_password_maps
    smtp_sasl_security_options smtp_tls_security_level smtp_tls_policy_maps smtp_tls_wrappermode
    smtp_tls_CAfile smtp_tls_CApath smtp_tls_secure_cert_match tls_high_cipherlist
    smtp_generic_maps lmtp_generic_maps canonical_maps sender_canonical_maps
    recipient_canonical_classes masquerade_domains maximal_queue_lifetime bounce_queue_lifetime
    delay_warning_time message_size_limit minimal_backoff_time queue_run_delay soft_bounce
    header_checks body_checks mime_header_checks nested_header_checks milter_header_checks
    content_filter receive_override_options smtpd_command_filter smtpd_proxy_filter
    queue_directory config_directory command_directory daemon_directory data_directory
    mail_owner setgid_group compatibility_level maillog_file syslog_name multi_instance_enable
    import_environment export_environment debugger_command debug_peer_list
    master_service_disable authorized_submit_users double_bounce_sender defer_transports
    default_database_type reject_code unknown_local_recipient_reject_code bounce_service_name
    smtp_reply_filter smtp_delivery_status_filter default_delivery_status_filter known_tcp_ports
    tlsproxy_client_level smtpd_tls_security_level lmtp_tls_security_level
    empty_address_recipient append_dot_mydomain
""".split()


def extras(table: dict[str, object]) -> dict[str, str]:
    return dict(parse({"postfix": table}).postfix)


def refusal(name: str, value: object) -> PolicyError:
    with pytest.raises(PolicyError) as caught:
        parse({"postfix": {name: value}})
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_parameters(name: str) -> None:
    """A parameter that can break no promise is accepted."""
    assert extras({name: "x"}) == {name: "x"}


@pytest.mark.parametrize("name", FATAL)
def test_protected_parameters(name: str) -> None:
    """A parameter that can break a promise is refused by the promise's name, whatever its value."""
    for value in ("", "x", "$mydomain"):
        error = refusal(name, value)
        assert (error.code, error.key) == ("policy-postfix-parameter", f"postfix.{name}")
        assert any(f"promise {promise}:" in error.message for promise in PROMISES)
    assert refusal(name.upper(), "x").code == "policy-postfix-parameter"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("relayhost", "next_hop"),
        ("maximal_queue_lifetime", "queue.lifetime"),
        ("delay_warning_time", "queue.warn_after"),
        ("minimal_backoff_time", "queue.retry_every"),
        ("message_size_limit", "limits.message_size"),
        ("smtp_tls_CAfile", "smarthost.ca_file"),
        ("myhostname", "hostname"),
        ("sender_canonical_maps", "sender"),
        ("bounce_notice_recipient", "admin"),
    ],
)
def test_the_remedy_is_a_key(name: str, key: str) -> None:
    """Where the policy has a key for what a parameter does, the remedy names it."""
    assert f"`{key}`" in refusal(name, "x").remedy


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("inet_protocols", ["all", "ipv4"], ["", "ipv6", "ipv6, ipv4", "$x", "ALL"]),
        ("smtputf8_enable", ["no", False], ["yes", True, ""]),
        ("smtp_tls_mandatory_ciphers", ["high", "medium"], ["null", "low", "export", "$x", ""]),
        (
            "smtp_tls_mandatory_protocols",
            [">=TLSv1.2", ">=TLSv1.3", "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1"],
            ["", ">=TLSv1", "TLSv1", "!SSLv2, !SSLv3", "!SSLv2, !SSLv3, !TLSv1.1", "$x"],
        ),
        ("smtp_tls_loglevel", [0, "1", 2], [3, "4", "$x", -1, ""]),
        (
            "smtp_discard_ehlo_keywords",
            ["dsn", "chunking, silent-discard", "", "authx"],
            ["starttls", "dsn, AUTH", "dsn auth", "$x", "dsn,StartTLS,etrn"],
        ),
        (
            "smtpd_milters",
            ["", "unix:/run/opendkim/opendkim.sock", "inet:localhost:8891, inet:8892@127.0.0.1"],
            ["inet:milter.example.org:8891", "$x", "inet:10.0.0.1:1", "{inet:a:1}"],
        ),
        ("non_smtpd_milters", ["unix:opendkim/sock"], ["inet:a.example:1"]),
        ("milter_default_action", ["accept", "tempfail"], ["reject", "quarantine", ""]),
    ],
)
def test_parameters_with_some_values(name: str, good: list[object], bad: list[object]) -> None:
    """Some parameters are accepted with values that keep the promises, and only with those."""
    for value in good:
        assert list(extras({name: value})) == [name]
    for value in bad:
        error = refusal(name, value)
        assert error.code == "policy-postfix-parameter"
        assert "Write" in error.remedy


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a=b", "a\nb", "-x", "_x", "smtp_helo_timeout ", "ä", "a" * 101, "a.b", "$x"],
)
def test_names_that_are_none(name: str) -> None:
    """What cannot be a parameter's name is refused."""
    assert refusal(name, "1").code in {"policy-bad-value", "policy-control-character"}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("a\nrelayhost = evil", "policy-control-character"),
        ("a\x00", "policy-control-character"),
        ("${mydomain?{a}:{b}}", "policy-bad-value"),
        ("$(mydomain)", "policy-bad-value"),
        ("inline:{a=b", "policy-bad-value"),
        ("}{", "policy-bad-value"),
        ("bücher", "policy-bad-value"),
        (10**13, "policy-bad-value"),
        (None, "policy-wrong-type"),
        ([1], "policy-wrong-type"),
    ],
)
def test_values_that_are_refused(value: object, code: str) -> None:
    """A value that is not one line of plain text is refused."""
    assert refusal("smtp_helo_timeout", value).code == code


def test_values_are_text_and_sorted() -> None:
    """Numbers and truth values become Postfix's text; the pairs are sorted by name."""
    table: dict[str, object] = {
        "smtp_helo_timeout": 10,
        "biff": False,
        "always_add_missing_headers": True,
        "smtpd_banner": " $myhostname ESMTP ",
        "proxy_read_maps": "inline:{ {a=b} }",
    }
    assert parse({"postfix": table}).postfix == (
        ("always_add_missing_headers", "yes"),
        ("biff", "no"),
        ("proxy_read_maps", "inline:{ {a=b} }"),
        ("smtp_helo_timeout", "10"),
        ("smtpd_banner", "$myhostname ESMTP"),
    )


def test_too_many_parameters() -> None:
    """A table of thousands of parameters is a mistake."""
    with pytest.raises(PolicyError):
        parse({"postfix": {f"x{number}": "1" for number in range(1000)}})


def test_table_is_sound() -> None:
    """Every protected name stands once, carries a known promise, and refers to a real key."""
    names = [name for *_, group in _GROUPS for name in group.split()]
    assert len(names) == len(set(names)) == len(PROTECTED)
    keys = {key.name for key in KEYS}
    for name, entry in PROTECTED.items():
        assert entry.promise in PROMISES
        assert entry.why
        assert entry.use in keys or not entry.use
        assert protection(name.replace("*", "x")) is not None or name in dict(RULES)
    for _, rule in RULES:
        assert rule.promise in PROMISES


def test_documentation_lists_all() -> None:
    """The documentation's table has every protected name and every rule."""
    text = postfix_markdown()
    for name in [*PROTECTED, *dict(RULES)]:
        assert f"`{name}`" in text
