"""The base of the lab's Mailu: the debian base with Postfix, Dovecot and their fixed files in it.

A base of its own, so that a test run does not wait for an installation that is always the same.
What can be switched while the host runs is written by mailu.py.
"""

from __future__ import annotations

from pathlib import Path

from .chroot import chroot, services_kept_stopped
from .hostsfile import stock_hosts_file
from .identity import CHECKOUT_INSIDE
from .overlay import layered

NAME = "mail.lab.test"
PACKAGES = ("postfix", "dovecot-core", "dovecot-imapd", "ca-certificates")
OWNER = 5000  # user and group id of all mailboxes
RATE_PORT, GREYLIST_PORT = 10031, 10032
SETTINGS = "etc/lab-later.json"

# No limit on clients, no waiting for the queue to catch up: it has to take what is thrown at it.
MAIN_CF = f"""\
compatibility_level = 3.6
myhostname = {NAME}
mydestination =
inet_interfaces = all
inet_protocols = all
alias_maps =
recipient_delimiter = +
smtputf8_enable = no
smtpd_helo_required = yes
disable_vrfy_command = yes
smtpd_discard_ehlo_keywords = chunking
smtpd_peername_lookup = no
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
smtpd_client_connection_count_limit = 0
in_flow_delay = 0
default_process_limit = 200
minimal_backoff_time = 2s
maximal_backoff_time = 5s
queue_run_delay = 2s
maillog_file = /var/log/postfix.log

smtpd_tls_cert_file = /etc/ssl/mail.pem
smtpd_tls_key_file = /etc/ssl/mail.key
smtpd_tls_security_level = may
smtpd_tls_protocols = >=TLSv1.2
smtpd_tls_mandatory_protocols = >=TLSv1.2
smtpd_tls_loglevel = 1
tls_ssl_options = NO_COMPRESSION, NO_TICKET
tls_config_file = /etc/postfix/openssl.cnf
tls_config_name = postfix
smtpd_sasl_type = dovecot
smtpd_sasl_path = /run/dovecot/for-postfix
smtpd_sasl_security_options = noanonymous

virtual_mailbox_domains = example.org example.net lab.test
virtual_mailbox_base = /var/vmail
virtual_mailbox_maps = texthash:/etc/postfix/mailboxes texthash:/etc/postfix/anybody
virtual_mailbox_limit = 0
virtual_alias_maps = texthash:/etc/postfix/aliases
virtual_uid_maps = static:{OWNER}
virtual_gid_maps = static:{OWNER}
smtpd_sender_login_maps = texthash:/etc/postfix/owners

rate = check_sasl_access socketmap:inet:127.0.0.1:{RATE_PORT}:senderrate
greylist = check_policy_service inet:127.0.0.1:{GREYLIST_PORT}
submission = $rate, reject_unlisted_sender, reject_authenticated_sender_login_mismatch,
    permit_sasl_authenticated, reject
smtpd_client_restrictions = $pause
smtpd_helo_restrictions = $pause
smtpd_sender_restrictions = $pause
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions = $pause $greylist
smtpd_data_restrictions = $pause
"""
# An account's address is listed, others of its domain are not: that is for senders. As a recipient
# everybody is welcome.
SUBMISSION = """\
{port} inet n - n - - smtpd
  -o syslog_name=postfix/{port}
  -o smtpd_tls_wrappermode={wrapped}
  -o smtpd_tls_security_level=encrypt
  -o smtpd_tls_auth_only=yes
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_relay_restrictions=$submission
  -o smtpd_reject_unlisted_recipient=no
  -o virtual_mailbox_maps=texthash:/etc/postfix/mailboxes
"""
MASTER_CF = """\
smtp inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
_DOVECOT_CONF = f"""\
protocols = imap
listen = *, ::
ssl = required
ssl_cert = </etc/ssl/mail.pem
ssl_key = </etc/ssl/mail.key
ssl_min_protocol = TLSv1.2
# For Postfix, which sees to TLS itself.
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_verbose = yes
auth_failure_delay = 0
log_path = /var/log/dovecot.log
mail_location = maildir:/var/vmail/%u
mail_max_userip_connections = 0
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u /etc/dovecot/accounts
}}
userdb {{
  driver = static
  args = uid={OWNER} gid={OWNER} home=/var/vmail/%u
}}
service auth {{
  client_limit = 5000
  unix_listener for-postfix {{
    mode = 0660
    user = postfix
    group = postfix
  }}
}}
# Failures are counted, not punished with waiting.
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = 0
  }}
}}
"""
# A session ticket just before the greeting makes the greeting wait for a late acknowledgement:
# 40 ms for each connection, measured.
_OPENSSL_CNF = """\
postfix = postfix
[postfix]
ssl_conf = ssl
[ssl]
system_default = defaults
[defaults]
NumTickets = 0
"""
_LATER_UNIT = f"""\
[Unit]
Description=Answers for Postfix: too many messages, seen for the first time
Before=postfix@-.service

[Service]
ExecStart=/usr/bin/python3 {CHECKOUT_INSIDE}/tests/lab/slow.py later \
/{SETTINGS} {RATE_PORT} {GREYLIST_PORT}
Restart=always

[Install]
WantedBy=multi-user.target
"""


def build(target: Path, below: list[Path]) -> None:
    """Fill `target` with what differs from the layers `below`; a quarter of a minute."""
    with layered(target, below) as (root, _), services_kept_stopped(root):
        (root / "etc/hosts").write_text(stock_hosts_file(NAME))
        chroot(root, ["apt-get", "-q", "update"])
        chroot(root, ["apt-get", "-qy", "install", *PACKAGES], hostname=NAME)
        user = ["--uid", str(OWNER), "--user-group", "--create-home", "--home-dir", "/var/vmail"]
        chroot(root, ["useradd", *user, "--skel", "/nonexistent", "vmail"])
        (root / "etc/dovecot/dovecot.conf").write_text(_DOVECOT_CONF)
        (root / "etc/postfix/openssl.cnf").write_text(_OPENSSL_CNF)
        (root / "etc/systemd/system/lab-later.service").write_text(_LATER_UNIT)
        chroot(root, ["systemctl", "enable", "lab-later"])
