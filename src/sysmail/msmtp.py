"""``sys-svc-mail-msmtp``: the configuration of msmtp that a route asks for. Pure.

On the route ``relay`` everybody's msmtp talks to Postfix on localhost. On the
route ``mailu`` it talks to msmtpd on localhost, which runs as a user of its
own and is alone in reading the password: neither setgid, nor a group, nor
``passwordeval`` hides it from who may run msmtp with it (docs/promises.md).
"""

from __future__ import annotations

from typing import Optional

from sysmail.desired import ManagedFile
from sysmail.facts.model import Facts
from sysmail.msmtpd import UNIT_FILE
from sysmail.policy import Hop, Policy, Secret
from sysmail.postfix.maps import NO_ADMIN
from sysmail.postfix.names import SYSTEM_NAMES, my_hostname, own_names
from sysmail.route import Decision

__all__ = [
    "DIRECTORY",
    "MSMTPRC",
    "PASSWORD",
    "mailu_files",
    "mailu_paths",
    "relay_file",
]

MSMTPRC = "/etc/msmtprc"
DIRECTORY = "/etc/sysmail-msmtpd"
PASSWORD = f"{DIRECTORY}/password"
SUBMIT = f"{DIRECTORY}/submit"

_OURS = "# Written by sysmail; changes belong in its policy."


def mailu_paths() -> tuple[str, ...]:
    """Every file that only the route ``mailu`` has a use for."""
    return (f"{DIRECTORY}/msmtprc", SUBMIT, PASSWORD, UNIT_FILE)


def relay_file(port: int = 25) -> ManagedFile:
    """/etc/msmtprc: everybody may read it, there is no secret in it.

    Bare recipients are given on as they are, and what listens on localhost
    sends them to admin. The sender is the calling user at localhost, which is
    rewritten there like any local sender. The log is syslog's: msmtp needs no
    home directory.
    """
    text = (
        f"{_OURS} Format: msmtp(1).\n"
        "defaults\n"
        "auth off\n"
        "tls off\n"
        "syslog LOG_MAIL\n"
        "\n"
        "account default\n"
        "host localhost\n"
        f"port {port}\n"
        "from %U@localhost\n"
    )
    return ManagedFile(MSMTPRC, text.encode())


def mailu_files(
    policy: Policy, facts: Facts, decision: Decision, hop: Hop, password: Optional[Secret]
) -> tuple[ManagedFile, ...]:
    """The files of the route ``mailu``: client, daemon, and the password for the daemon alone."""
    sender = policy.sender or f"root@{my_hostname(policy, facts)}"
    files = [
        relay_file(decision.port),
        ManagedFile(f"{DIRECTORY}/msmtprc", _daemon_rc(policy, facts, hop, sender).encode()),
        ManagedFile(SUBMIT, _submit(policy, facts, sender).encode(), 0o755),
        ManagedFile(UNIT_FILE, _unit(decision.port, secret=password is not None).encode()),
    ]
    if password is not None:
        files.append(ManagedFile(PASSWORD, password.reveal().encode() + b"\n", 0o600, secret=True))
    return tuple(files)


def _daemon_rc(policy: Policy, facts: Facts, hop: Hop, sender: str) -> str:
    lines = [
        f"{_OURS} Format: msmtp(1).",
        "# Read by sysmail-msmtpd alone; the password is in a credential of that service.",
        "defaults",
        "syslog LOG_MAIL",
        "timeout 60",
        # Mailu accepts only senders that the login owns.
        "set_from_header on",
        "set_date_header auto",
        "",
        "account default",
        f"host {hop.host}",
        f"port {hop.port}",
        f"domain {my_hostname(policy, facts)}",
        f"from {sender}",
    ]
    if hop.tls == "none":
        lines.append("tls off")
    else:
        trusted = hop.ca_file or (facts.distro.ca_file if facts.distro else "system")
        lines += ["tls on", f"tls_starttls {'on' if hop.tls == 'starttls' else 'off'}"]
        lines += ["tls_certcheck on", f'tls_trust_file "{trusted}"']
    if hop.username:
        lines += ["auth on", f'user "{hop.username}"']
        # Without quotes: msmtp takes those of its own syntax off, and knows no escapes.
        lines.append("passwordeval cat $CREDENTIALS_DIRECTORY/password")
    else:
        lines.append("auth off")
    return "\n".join(lines) + "\n"


def _submit(policy: Policy, facts: Facts, sender: str) -> str:
    """The program that msmtpd gives each message to: local recipients become admin.

    msmtp's own aliases know bare names only, and programs also write
    ``root@localhost`` and ``root@$(hostname)``.
    """
    own = own_names(policy, facts)
    always = ["*@localhost", "*@localhost.localdomain", "*@localhost6", "*@ip6-localhost"]
    always += ["*@ip6-loopback", r"*@\[127.*\]", r"*@\[ipv6:*:1\]"]
    for who in SYSTEM_NAMES:
        always += [f"{form}@{name}" for name in own for form in (who, f"{who}+*")]
    accounts = [f"*@{name}" for name in own]
    by_account = (
        f"        {' | '.join(accounts)})\n"
        "            account=${address%@*}; account=${account%%+*}\n"
        # getent(1) also finds numbers, which are no names.
        '            case $(getent passwd -- "$account") in "$account":*) return 0 ;; esac\n'
        "            return 1 ;;\n"
        if accounts
        else ""
    )
    import shlex  # the relay has no such script

    return f"""#!/bin/sh
{_OURS}
# Called by msmtpd(1) for each message: submit SENDER -- RECIPIENT...
admin={shlex.quote(policy.admin)}
sender={shlex.quote(sender)}

# Bare names and names at localhost are local; at this host's own names, its accounts are.
is_local() {{
    address=$(printf '%s' "$1" | tr '[:upper:]' '[:lower:]')
    address=${{address%.}}
    case $address in
        {" | ".join(always)}) return 0 ;;
{by_account}        *@*) return 1 ;;
        *) return 0 ;;
    esac
}}

# The null sender stays null; msmtp has this word for it.
[ "$1" = MAILER-DAEMON ] && sender=MAILER-DAEMON
shift 2
count=$#
told=
while [ "$count" -gt 0 ]; do
    recipient=$1
    shift
    count=$((count - 1))
    if ! is_local "$recipient"; then
        set -- "$@" "$recipient"
    elif [ -z "$admin" ]; then
        echo {shlex.quote(NO_ADMIN)} >&2
        cat >/dev/null  # msmtpd asks for the exit code only once the message is read
        exit 67
    elif [ -z "$told" ]; then
        told=yes
        set -- "$@" "$admin"
    fi
done
exec msmtp -C {DIRECTORY}/msmtprc -f "$sender" -- "$@"
"""


def _unit(port: int, *, secret: bool) -> str:
    credential = f"LoadCredential=password:{PASSWORD}\n" if secret else ""
    # %%F is msmtpd's %F: systemd replaces what begins with one percent sign.
    return f"""{_OURS} Format: systemd.service(5).
[Unit]
Description=Mail of this host to Mailu, taken on %I (sysmail)
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/bin/msmtpd --interface=%I --port={port} "--command={SUBMIT} %%F --"
# A user of its own, which nobody else can become, with a copy of the password of its own.
DynamicUser=yes
User=sysmail-msmtpd
{credential}AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
ProtectHome=yes
Restart=always
RestartSec=2

[Install]
WantedBy=multi-user.target
"""
