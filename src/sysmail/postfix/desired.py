"""The files of the relay: main.cf, master.cf, the tables and the password."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Optional

from sysmail.desired import ManagedFile
from sysmail.facts.model import Facts
from sysmail.policy import Hop, Policy, Secret
from sysmail.postfix import maps
from sysmail.postfix.main_cf import SASL_PASSWORDS, main_cf, parameters, relayhost
from sysmail.postfix.master_cf import master_cf
from sysmail.route import Decision

__all__ = [
    "MINIMUM_VERSION",
    "catch_for_try",
    "desired_files",
    "own_paths",
    "skeleton",
]

MINIMUM_VERSION = (3, 4)
"""tlsproxy for reused connections and maillog_file are from 3.4 on (postconf(5))."""

MAIN_CF = "/etc/postfix/main.cf"
MASTER_CF = "/etc/postfix/master.cf"


def desired_files(
    policy: Policy,
    facts: Facts,
    decision: Decision,
    version: str,
    password: Optional[Secret] = None,
) -> tuple[tuple[ManagedFile, ...], tuple[str, ...]]:
    """The files that should be there, and those of sysmail's own that should not."""
    tables = maps.tables(policy, facts)
    if decision.next_hop == "hold":
        tables["hold"] = maps.hold_map()
    files = [
        ManagedFile(MAIN_CF, main_cf(parameters(policy, facts, decision, version)).encode()),
        ManagedFile(
            MASTER_CF, master_cf(policy.limits.message_size, policy.queue.retry_every).encode()
        ),
    ]
    files += [
        ManagedFile(f"{maps.DIRECTORY}/{name}", text.encode()) for name, text in tables.items()
    ]
    files += [
        ManagedFile(_restart_file(unit), _restart(facts).encode()) for unit in facts.service.forking
    ]
    absent = [f"{maps.DIRECTORY}/{name}" for name in _OPTIONAL if name not in tables]
    if decision.hop is not None and decision.hop.username and password is not None:
        files.append(_password_file(decision.hop, password))
    else:
        absent.append(SASL_PASSWORDS)
    return tuple(files), tuple(absent)


def own_paths(facts: Facts) -> tuple[str, ...]:
    """Every file of sysmail's own that only a relay has a use for."""
    return (
        *(f"{maps.DIRECTORY}/{name}" for name in (*_ALWAYS, *_OPTIONAL)),
        SASL_PASSWORDS,
        *(_restart_file(unit) for unit in (facts.distro.units if facts.distro else ())),
    )


def _restart_file(unit: str) -> str:
    return f"/etc/systemd/system/{unit}.d/sysmail.conf"


def _restart(facts: Facts) -> str:
    """systemd.service(5): a killed master comes back by itself.

    Distributions' units neither say which process is the main one nor restart
    it (measured: after a SIGKILL of master nothing brought it back). A
    `postfix stop` ends it with status 0, and it stays stopped.

    journald drops what a unit logs beyond 10,000 messages in 30 seconds, more or
    less: of 10,000 deliveries 3,858 were kept. Without a limit (0) it still
    dropped; with this one it kept all (measured; journald.conf(5)).
    """
    queue = facts.postfix["queue_directory"] if facts.postfix is not None else ""
    if not re.fullmatch("(?:/[A-Za-z0-9_.-]+)+", queue):
        queue = "/var/spool/postfix"  # what systemd would read in its own way is no such folder
    return (
        "# Written by sysmail: when master(8) is killed, it is started again,\n"
        "# and journald keeps every line that it logs.\n"
        "[Service]\n"
        f"PIDFile={queue}/pid/master.pid\n"
        "Restart=on-failure\n"
        "RestartSec=3\n"
        "LogRateLimitIntervalSec=1s\n"
        "LogRateLimitBurst=1000000\n"
    )


_ALWAYS = (
    *("generic", "local_part", "recipient", "recipient_account"),
    *("sender_account", "sender_is_local", "wait"),
)
_OPTIONAL = ("command_filter", "hold", "refuse", "refuse_account")


def _password_file(hop: Hop, password: Secret) -> ManagedFile:
    line = f"{relayhost(hop)} {hop.username}:{password.reveal()}\n"
    return ManagedFile(SASL_PASSWORDS, line.encode(), 0o600, secret=True)


def skeleton() -> ManagedFile:
    """A main.cf that listens on loopback only, for before the package is installed.

    Only this kept a Debian host closed during the installation, and after a
    power cut in the middle of it (docs/promises.md, Debian's package).
    """
    text = (
        "# Written by sysmail before Postfix is installed, so that it never listens outside.\n"
        "compatibility_level = 2\n"
        "inet_interfaces = loopback-only\n"
        "mydestination =\n"
        "local_transport = error:local delivery disabled\n"
        "default_transport = retry:4.3.0 sysmail is setting up this host\n"
        # A sendmail(1) that runs before the package has set its modes would wait for ever.
        "authorized_submit_users = !static:all\n"
    )
    return ManagedFile(MAIN_CF, text.encode())


def catch_for_try(
    files: tuple[ManagedFile, ...], sender: str, port: int, keep: dict[str, str]
) -> tuple[ManagedFile, ...]:
    """The same relay for a try: only mail of ``sender`` leaves, to 127.0.0.1:``port``.

    Everything else waits and is neither warned about nor returned, so that it
    leaves as it would have once the host is put back. ``keep`` are parameters
    of the Postfix that was there before: mail of others must be rewritten as
    that one would have done it.
    """
    catcher = f"inline:{{ {{ {sender} = smtp:[127.0.0.1]:{port} }} }}"
    overrides = {
        "default_transport": "retry:4.3.0 sysmail try is running on this host",
        # smtpd(8) would answer 450 for a retry transport, and clients without a queue would lose
        # their mail: it is to be accepted, and to wait.
        "smtpd_reject_unlisted_recipient": "no",
        "sender_dependent_default_transport_maps": catcher,
        "maximal_queue_lifetime": "100d",
        "bounce_queue_lifetime": "100d",
        "delay_warning_time": "0s",
        "minimal_backoff_time": "5s",
        "maximal_backoff_time": "5s",
        "queue_run_delay": "5s",
        "smtp_tls_security_level": "none",
        # Mail of the try shows its own sender to the catcher.
        "smtp_generic_maps": "",
        **keep,
    }
    text = "\n# For `sysmail try`; put back when it ends.\n" + "".join(
        f"{name} = {value}".rstrip() + "\n" for name, value in overrides.items()
    )
    result: list[ManagedFile] = []
    for file in files:
        data = file.data
        if file.path == MAIN_CF:
            lines = data.decode().splitlines(keepends=True)
            kept = [line for line in lines if line.partition(" =")[0] not in overrides]
            data = ("".join(kept) + text).encode()
        result.append(replace(file, data=data))
    return tuple(result)
