"""A real submission server: Postfix with Dovecot's login on a booted host of its own.

587 with STARTTLS, 465 with TLS from the start, both with login; 25 without, for the lab network.
Whatever it accepts it gives to the lab's MX. It asks of clients what a mail provider asks, and
with strict() what Mailu asks (docs: an envelope sender that the login owns, or the null sender).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .ca import Ca, Certificate
from .host import Host
from .machine import wait_until
from .network import PREFIX4, PREFIX6
from .server import Server

ACCOUNTS: Mapping[str, str] = {
    "no-reply@example.org": "0123456789abcdef0123456789abcdef",  # looks like a Mailu token
    "backup@example.org": "correct horse battery staple",
}

_MAIN_CF = f"""\
compatibility_level = 3.6
myhostname = smarthost.lab.test
mydestination =
inet_interfaces = all
inet_protocols = all
mynetworks = 127.0.0.0/8 [::1]/128 {PREFIX4}.0.0/16 [{PREFIX6}::]/64 [fe80::]/64
relayhost = [mx.lab.test]
alias_maps =
smtputf8_enable = no
message_size_limit = 50000000
minimal_backoff_time = 2s
maximal_backoff_time = 5s
queue_run_delay = 2s
smtpd_tls_cert_file = /etc/ssl/smarthost.pem
smtpd_tls_key_file = /etc/ssl/smarthost.key
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_tls_loglevel = 1
smtp_tls_security_level = may
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
smtpd_sender_login_maps = texthash:/etc/postfix/owners
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_error_sleep_time = 0
maillog_file = /var/log/postfix.log
"""
_SUBMISSION = """\
{port} inet n - n - - smtpd
  -o syslog_name=postfix/{port}
  -o smtpd_tls_wrappermode={wrapped}
  -o smtpd_tls_security_level=encrypt
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_client_restrictions=
  -o smtpd_sender_restrictions=$submission_sender_restrictions
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
"""
_DOVECOT_CONF = """\
protocols =
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
log_path = /var/log/dovecot.log
auth_verbose = yes
auth_failure_delay = 0
passdb {
  driver = passwd-file
  args = scheme=PLAIN username_format=%u /etc/dovecot/accounts
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=/nonexistent
}
service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
    user = postfix
    group = postfix
  }
}
"""


class Smarthost(Server):
    """The server. `host` is its name; `machine` the booted host, for a look at its logs."""

    def __init__(self, machine: Host, ca: Ca) -> None:
        """`machine` is on the base `smarthost` and not booted yet; start() does the rest."""
        super().__init__(machine, ca, ACCOUNTS)

    def start(self) -> None:
        """Configure, boot and wait until all three ports and the login answer."""
        self._configure()
        self.machine.boot()
        self._wait_for_ports()

    def strict(self, *, on: bool) -> None:
        """As Mailu: the envelope sender must be the login's own address, or null."""
        value = "reject_authenticated_sender_login_mismatch" if on else ""
        self._set(f"submission_sender_restrictions={value}")

    def refuse_logins(self, *, on: bool) -> None:
        """While on, every password is wrong: what a changed password looks like to a client."""
        self._write_accounts(
            {name: f"{on}-{word}" if on else word for name, word in ACCOUNTS.items()}
        )
        # A reload would let the old password pass for about a second more.
        self.machine.run("systemctl restart dovecot")
        self._wait_for_ports()

    def present(self, certificate: Certificate) -> None:
        """Show another certificate from the next connection on: expired, untrusted, misnamed."""
        self._place(certificate)
        self.machine.run("postfix reload")

    def own_certificate(self) -> None:
        """Show the good certificate again."""
        self.present(self._certificate)

    def log(self) -> str:
        """What Postfix and Dovecot have logged so far."""
        logs = (self.machine.root / "var/log" / name for name in ("postfix.log", "dovecot.log"))
        return "".join(log.read_text(errors="replace") for log in logs if log.exists())

    def _configure(self) -> None:
        etc = self.machine.root / "etc"
        (etc / "postfix/main.cf").write_text(_MAIN_CF + "submission_sender_restrictions =\n")
        (etc / "postfix/owners").write_text("".join(f"{name} {name}\n" for name in ACCOUNTS))
        stock = (self.machine.root / "usr/share/postfix/master.cf.dist").read_text()
        services = [_SUBMISSION.format(port=587, wrapped="no")]
        services += [_SUBMISSION.format(port=465, wrapped="yes")]
        postlog = "postlog unix-dgram n - n - 1 postlogd\n"
        (etc / "postfix/master.cf").write_text(_unchrooted(stock) + "".join(services) + postlog)
        (etc / "dovecot/dovecot.conf").write_text(_DOVECOT_CONF)
        self._write_accounts(ACCOUNTS)
        self._place(self._certificate)

    def _write_accounts(self, accounts: Mapping[str, str]) -> None:
        file = self.machine.root / "etc/dovecot/accounts"
        file.write_text("".join(f"{name}:{{PLAIN}}{word}\n" for name, word in accounts.items()))

    def _place(self, certificate: Certificate) -> None:
        ssl = self.machine.root / "etc/ssl"
        (ssl / "smarthost.pem").write_bytes(certificate.chain.read_bytes())
        (ssl / "smarthost.key").write_bytes(certificate.key.read_bytes())
        (ssl / "smarthost.key").chmod(0o600)

    def _set(self, setting: str) -> None:
        self.machine.run(["postconf", "-e", setting])
        self.machine.run("postfix reload")

    def _wait_for_ports(self) -> None:
        def listens() -> bool:
            shown = self.machine.run("ss -Hltn").stdout
            socket = self.machine.root / "var/spool/postfix/private/auth"
            return all(f":{port} " in shown for port in (25, 465, 587)) and socket.is_socket()

        wait_until(f"{self.host} listens", listens, 30, 0.1)


def _unchrooted(master_cf: str) -> str:
    return re.sub(r"^(\w\S* +\w+ +\S +\S +)y", r"\1n", master_cf, flags=re.MULTILINE)
