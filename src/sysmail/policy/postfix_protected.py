"""The main.cf parameters that are sysmail's own, and the promise that each one carries.

Judged one by one from postconf(5) of Postfix 3.7, and the parameters that 3.8
to 3.10 added. A parameter that only makes something slower, tidier or wordier
is not here, nor one without effect on a relay without mailboxes. Names with a
``*`` stand for the parameters that exist once for every transport or service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PROTECTED", "Protected"]


@dataclass(frozen=True)
class Protected:
    """Why a parameter is refused: the promise, the reason, and the key to use instead or ``""``."""

    promise: str
    why: str
    use: str = ""


# (promise, why, key of the policy to use instead, parameters)
_GROUPS = (
    (
        "loopback-only",
        "it decides which addresses and ports Postfix listens on or takes for its own",
        "",
        "inet_interfaces known_tcp_ports proxy_interfaces",
    ),
    (
        "loopback-only",
        "another instance of Postfix would listen and send outside of what is proven",
        "",
        "multi_instance_* postmulti_*",
    ),
    (
        "local-clients",
        "it decides who may relay",
        "",
        (
            "mynetworks mynetworks_style parent_domain_matches_subdomains permit_mx_backup_networks"
            " relay_domains relay_clientcerts relay_recipient_maps smtpd_*_restrictions"
            " smtpd_restriction_classes smtpd_delay_reject smtpd_sasl_* smtpd_sender_login_maps"
            " smtpd_reject_unlisted_sender smtpd_authorized_xclient_hosts"
            " smtpd_authorized_xforward_hosts smtpd_upstream_proxy_* postscreen_upstream_proxy_*"
            " qmqpd_authorized_clients smtpd_client_event_limit_exceptions authorized_submit_users"
            " local_login_sender_maps *_tempfail_action smtpd_forbidden_commands"
        ),
    ),
    (
        "local-clients",
        "programs on this host speak plain SMTP on loopback, and would be refused",
        "",
        (
            "smtpd_tls_security_level smtpd_tls_wrappermode smtpd_tls_req_ccert smtpd_enforce_tls"
            " smtpd_use_tls"
        ),
    ),
    (
        "local-clients",
        "a recipient spelt as a route would be relayed by another rule than its domain's",
        "",
        (
            "allow_percent_hack allow_untrusted_routing resolve_dequoted_address"
            " resolve_null_domain resolve_numeric_domain swap_bangpath"
        ),
    ),
    (
        "no-mailboxes",
        "it decides what is local and where mail for it is put",
        "admin",
        (
            "mydestination alias_database alias_maps allow_mail_to_commands"
            " allow_mail_to_files default_privs dont_remove fallback_transport"
            " fallback_transport_maps forward_path home_mailbox local_recipient_maps"
            " local_command_shell luser_relay mail_spool_directory mailbox_* relocated_maps"
            " smtpd_reject_unlisted_recipient virtual_*"
        ),
    ),
    (
        "no-mailboxes",
        "it decides which program gets the mail",
        "next_hop",
        "*_transport *transport_maps",
    ),
    (
        "nothing-lost",
        "it decides who is told of mail that failed",
        "admin",
        (
            "notify_classes *_notice_recipient empty_address_recipient double_bounce_sender"
            " bounce_size_limit bounce_template_file"
        ),
    ),
    (
        "nothing-lost",
        "mail and its bounce have to live equally long",
        "queue.lifetime",
        "maximal_queue_lifetime bounce_queue_lifetime",
    ),
    ("nothing-lost", "it decides when a delay is told", "queue.warn_after", "delay_warning_time"),
    (
        "nothing-lost",
        "it decides how soon a backlog leaves",
        "queue.retry_every",
        "minimal_backoff_time maximal_backoff_time queue_run_delay",
    ),
    (
        "nothing-lost",
        "notices of failures have to fit within it too",
        "limits.message_size",
        "message_size_limit",
    ),
    (
        "nothing-lost",
        "mail would wait with nothing in the policy that says so",
        "next_hop",
        "defer_transports",
    ),
    (
        "nothing-lost",
        "it can make mail disappear, or go elsewhere, after it was accepted",
        "",
        (
            "body_checks content_filter default_filter_nexthop header_checks milter_header_checks"
            " mime_header_checks nested_header_checks message_reject_characters"
            " receive_override_options smtpd_command_filter smtpd_milter_maps smtpd_noop_commands"
            " smtpd_proxy_*"
        ),
    ),
    (
        "nothing-lost",
        "it can turn a refusal into something else, so that failed mail looks delivered or kept",
        "",
        "*_code *_delivery_status_filter *_reply_filter soft_bounce",
    ),
    (
        "nothing-lost",
        "a service that is missing or has another name stops mail on the way",
        "",
        "master_service_disable *_service_name smtp_tls_connection_reuse",
    ),
    (
        "nothing-lost",
        "a type of map that this build lacks stops every delivery",
        "",
        "default_database_type",
    ),
    (
        "nothing-lost",
        "what happened to a message is read from the log",
        "",
        "maillog_* syslog_name syslog_facility",
    ),
    (
        "nothing-lost",
        "it changes the meaning of all other parameters",
        "",
        "compatibility_level process_id process_name service_name stress",
    ),
    (
        "verified-next-hop",
        "it decides which server gets the mail",
        "next_hop",
        (
            "fallback_relay relayhost sender_based_routing sender_dependent_relayhost_maps"
            " smtp_cname_overrides_servername smtp_fallback_relay smtp_tcp_port"
        ),
    ),
    (
        "verified-next-hop",
        "it decides whether and to whom the login is sent",
        "smarthost.username",
        (
            "cyrus_sasl_config_path smtp_sasl_* smtp_sender_dependent_authentication"
            " smtp_never_send_ehlo smtp_discard_ehlo_keyword_address_maps"
        ),
    ),
    (
        "verified-next-hop",
        "it decides whether the server's certificate is verified",
        "smarthost.tls",
        (
            "smtp_enforce_tls smtp_tls_enforce_peername smtp_tls_fingerprint_* smtp_tls_per_site"
            " smtp_tls_policy_maps smtp_tls_scert_verifydepth smtp_tls_secure_cert_match"
            " smtp_tls_security_level smtp_tls_servername smtp_tls_verify_cert_match"
            " smtp_tls_wrappermode smtp_use_tls smtp_tls_enable_rpk tls_required_enable"
            " tlsproxy_client_*"
        ),
    ),
    (
        "verified-next-hop",
        "it decides which authorities may vouch for the server",
        "smarthost.ca_file",
        "smtp_tls_CAfile smtp_tls_CApath smtp_tls_trust_anchor_file tls_append_default_CA",
    ),
    (
        "verified-next-hop",
        "it can allow ciphers without encryption or without a certificate",
        "",
        "smtp_tls_cipherlist tls_config_* tls_*_cipherlist",
    ),
    (
        "accepted-senders",
        "it decides what the host's own names are",
        "hostname",
        "mydomain myhostname myorigin append_at_myorigin append_dot_mydomain",
    ),
    (
        "accepted-senders",
        "it rewrites addresses",
        "sender",
        (
            "*canonical_* *_generic_maps local_header_rewrite_clients masquerade_*"
            " remote_header_rewrite_domain"
        ),
    ),
    (
        "all-or-nothing",
        "a running Postfix and its files would no longer be where they are looked for",
        "",
        (
            "command_directory config_directory daemon_directory data_directory meta_directory"
            " process_id_directory queue_directory shlib_directory alternate_config_directories"
        ),
    ),
    (
        "reversible",
        "it belongs to the package, which sets owners and paths by it",
        "",
        (
            "mail_owner setgid_group mailq_path newaliases_path sendmail_path html_directory"
            " manpage_directory readme_directory sample_directory"
        ),
    ),
    (
        "no-secrets-told",
        "it can write the login into a log or hand it to another program",
        "",
        "debug_peer_level debug_peer_list debugger_command export_environment import_environment",
    ),
)

PROTECTED: Mapping[str, Protected] = {
    name: Protected(promise, why, use)
    for promise, why, use, names in _GROUPS
    for name in names.split()
}
"""Name as Postfix spells it, or pattern with ``*``, of each protected parameter."""
