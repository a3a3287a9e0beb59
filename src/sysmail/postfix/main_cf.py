"""main.cf: the parameters of the relay, see postconf(5).

Each group says which promise it holds. What goes wrong without them was
measured and stands in docs/promises.md; the reasons are repeated where a reader would
otherwise "simplify" them away.
"""

from __future__ import annotations

import re

from sysmail.facts.model import Facts
from sysmail.policy import Hop, Policy
from sysmail.postfix.maps import DIRECTORY, accounts_map
from sysmail.postfix.names import literal, my_hostname
from sysmail.route import Decision

__all__ = [
    "SASL_PASSWORDS",
    "compatibility_level",
    "main_cf",
    "parameters",
    "protocols",
    "relayhost",
]

SASL_PASSWORDS = f"{DIRECTORY}/sasl_password"

Groups = list[tuple[str, dict[str, str]]]

# How fast a backlog leaves for a Mailu some way off. A message takes seven round trips with a
# connection and a login of its own, and three over one that is in use (RSET, MAIL to DATA, the
# text): Postfix's own limit of 20 cannot make that 3 times as fast. 1,000 messages, 20 ms each
# way, against stock Postfix: 2.1 times with 20, 2.7 with 30, 3.0 with 40 (benchmarks/README.md).
# Mailu's Postfix takes 50 from one client. Not for other smarthosts: providers allow fewer.
_MAILU_SPEED = {
    "smtp_destination_concurrency_limit": "40",
    # Twice as many each time all have succeeded. Postfix's own way is one more each time, and
    # most of 1,000 messages are gone before it gets to 40.
    "smtp_destination_concurrency_positive_feedback": "1",
    # On demand alone the first connections are not used again: 1.08 times as fast. All mail goes
    # to one server, and an IPv6 address would be read as a table here.
    "smtp_connection_cache_destinations": "static:all",
}


def compatibility_level(version: str) -> str:
    """What the installed version supports: its own number from 3.6 on, 2 before (postconf(5))."""
    match = re.match(r"([0-9]{1,3})\.([0-9]{1,3})", version)
    if match and (int(match.group(1)), int(match.group(2))) >= (3, 6):
        return f"{match.group(1)}.{match.group(2)}"
    return "2"


def protocols(policy: Policy, facts: Facts) -> str:
    """inet_protocols: never empty, and no IPv6 where the kernel has none (docs/promises.md)."""
    return dict(policy.postfix).get("inet_protocols") or ("all" if facts.ipv6_loopback else "ipv4")


def parameters(policy: Policy, facts: Facts, decision: Decision, version: str) -> Groups:
    """The parameters in groups, each with the comment above it."""
    groups: Groups = [
        ("Generated for this version of Postfix.", _version(version)),
        ("Loopback only: nobody outside of this host connects.", _listen(policy, facts)),
        ("Local clients may relay, over both loopback families; nobody else may.", _clients()),
        ("No mailboxes: mail for local users goes to admin, or is refused.", _local(policy)),
        ("Local senders get an address that the world accepts.", _senders(policy, facts)),
        ("Nothing is lost: who is told, and how long mail waits.", _notices(policy, decision)),
        (f"The next hop: {decision.next_hop}.", _next_hop(decision, facts)),
        ("Limits, and what would only add ways to fail.", _limits(policy)),
    ]
    if not facts.systemd and not facts.log_socket:
        # Without /dev/log there is no log at all (docs/promises.md).
        groups.append(("Nobody collects logs here.", {"maillog_file": "/var/log/postfix.log"}))
    extra = {k: v for k, v in policy.postfix if k != "inet_protocols"}
    if not extra:
        return groups
    # What the policy may set takes the place of ours: postconf(1) warns of a second entry.
    ours = [(why, {k: v for k, v in group.items() if k not in extra}) for why, group in groups]
    return [*ours, ("From [postfix] of the policy.", extra)]


def _version(version: str) -> dict[str, str]:
    return {"compatibility_level": compatibility_level(version)}


def _listen(policy: Policy, facts: Facts) -> dict[str, str]:
    return {
        "inet_interfaces": "loopback-only",
        "inet_protocols": protocols(policy, facts),
    }


def _clients() -> dict[str, str]:
    return {
        "mynetworks": "127.0.0.0/8 [::1]/128",
        "smtpd_client_restrictions": "permit_mynetworks, reject",
        "smtpd_relay_restrictions": "permit_mynetworks, reject",
        "local_header_rewrite_clients": "permit_mynetworks",
    }


def _local(policy: Policy) -> dict[str, str]:
    accounts = accounts_map("recipient_account")
    found = {
        # A bare name means this host, whatever the host is called.
        "myorigin": "localhost",
        "append_dot_mydomain": "no",
        "mydestination": "",
        "relay_domains": "",
        "alias_maps": "",
        "alias_database": "",
        "local_recipient_maps": "",
        "local_transport": "error:local delivery disabled",
        # Its default is $virtual_alias_maps, and a regexp there that matches a bare domain
        # makes all mail bounce.
        "virtual_alias_domains": "",
        "virtual_mailbox_domains": "",
        "virtual_alias_maps": f"regexp:{DIRECTORY}/recipient, {accounts}",
        "transport_maps": f"regexp:{DIRECTORY}/wait",
    }
    if not policy.admin:
        refuse = accounts_map("refuse_account")
        found["smtpd_recipient_restrictions"] = (
            f"check_recipient_access regexp:{DIRECTORY}/refuse, check_recipient_access {refuse}"
        )
        found["smtpd_command_filter"] = f"regexp:{DIRECTORY}/command_filter"
    return found


def _senders(policy: Policy, facts: Facts) -> dict[str, str]:
    return {
        "myhostname": my_hostname(policy, facts),
        "sender_canonical_classes": "envelope_sender, header_sender",
        "sender_canonical_maps": (
            f"regexp:{DIRECTORY}/sender_is_local, {accounts_map('sender_account')}"
        ),
        "smtp_generic_maps": f"regexp:{DIRECTORY}/generic",
    }


def _notices(policy: Policy, decision: Decision) -> dict[str, str]:
    queue = policy.queue
    # A warning about mail that waits for an admin, or for a person's release, helps nobody.
    warn = 0 if decision.next_hop == "hold" or not policy.admin else queue.warn_after
    recipient = literal(policy.admin) or "postmaster"
    # Tried again at the first queue run after the backoff is over, and a try ends a moment after
    # the run that began it: with retry_every for both, every second run found nothing due.
    half = f"{queue.retry_every // 2}s"
    found = {
        "notify_classes": "resource, software, bounce, 2bounce, delay, data",
        "bounce_notice_recipient": recipient,
        "2bounce_notice_recipient": recipient,
        "delay_notice_recipient": recipient,
        "error_notice_recipient": recipient,
        "maximal_queue_lifetime": f"{queue.lifetime}s",
        "bounce_queue_lifetime": f"{queue.lifetime}s",
        "delay_warning_time": f"{warn}s",
        "minimal_backoff_time": half,
        "maximal_backoff_time": half,
        "queue_run_delay": half,
        "enable_long_queue_ids": "yes",
    }
    if decision.next_hop == "hold":
        found["header_checks"] = f"regexp:{DIRECTORY}/hold"
        # Notices are mail too: nothing leaves by itself.
        found["internal_mail_filter_classes"] = "bounce, notify"
    return found


def _next_hop(decision: Decision, facts: Facts) -> dict[str, str]:
    hop = decision.hop
    if hop is None:
        # A certificate that nobody verifies is named in the log all the same (tls_misc.c).
        level = "routine, peercert"
        return {"relayhost": "", "smtp_tls_security_level": "may", "smtp_tls_loglevel": level}
    found = {
        # Brackets: no MX lookup. The text must equal the key of the password map.
        "relayhost": relayhost(hop),
        "smtp_host_lookup": "dns, native",
        # One server, tried again soon: a connection that hangs must not hold the next try up.
        "smtp_connect_timeout": "10s",
        "smtp_tls_loglevel": "1",
        "smtp_tls_security_level": _tls_level(hop),
    }
    if hop.tls != "none":
        found["smtp_tls_wrappermode"] = "yes" if hop.tls == "implicit" else "no"
        found["smtp_tls_secure_cert_match"] = "nexthop"
        found["smtp_tls_mandatory_protocols"] = "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1"
        found["smtp_tls_CAfile"] = literal(hop.ca_file) or _system_ca(facts)
        found["smtp_tls_connection_reuse"] = "yes"
    if decision.next_hop == "mailu":
        found |= _MAILU_SPEED
    if hop.username:
        found["smtp_sasl_auth_enable"] = "yes"
        # texthash: read as root when smtp(8) starts, so that the file can be root's alone.
        found["smtp_sasl_password_maps"] = f"texthash:{SASL_PASSWORDS}"
        found["smtp_sasl_security_options"] = "noanonymous"
        found["smtp_sasl_tls_security_options"] = "noanonymous"
    return found


def relayhost(hop: Hop) -> str:
    """The next hop in Postfix's spelling: ``[host]:port``."""
    return f"[{hop.host}]:{hop.port}"


def _tls_level(hop: Hop) -> str:
    if hop.tls == "none":
        return "none"
    # An IP address cannot be verified as a name; the policy allows one only without a login.
    return "encrypt" if re.match(r"[0-9.]+$|.*:", hop.host) else "secure"


def _system_ca(facts: Facts) -> str:
    return facts.distro.ca_file if facts.distro else "/etc/ssl/certs/ca-certificates.crt"


def _limits(policy: Policy) -> dict[str, str]:
    return {
        "message_size_limit": str(policy.limits.message_size),
        "mailbox_size_limit": "0",
        # Without it, a raw UTF-8 subject bounces where the next hop lacks SMTPUTF8.
        "smtputf8_enable": "no",
        "biff": "no",
        "disable_vrfy_command": "yes",
        "smtpd_banner": "$myhostname ESMTP",
    }


def main_cf(groups: Groups) -> str:
    """The whole file."""
    lines = [
        "# Written by sysmail, whole. Changes belong in its policy: see [postfix] there.",
        "# What you change here is shown by `sysmail plan`, and kept aside by `sysmail apply`.",
    ]
    for comment, values in groups:
        lines += ["", f"# {comment}"]
        lines += [f"{name} = {value}".rstrip() for name, value in values.items()]
    return "\n".join(lines) + "\n"
