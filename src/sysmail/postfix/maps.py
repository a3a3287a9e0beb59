"""The lookup tables of the relay: regexp_table(5) files that need no database.

``pipemap:{...}`` (postconf -m, Postfix 3.0) chains them: the local part is
taken out of an address at an own name, looked up among the accounts of the
host as they are at that moment (``unix:passwd.byname``), and only what is
found there is local. A user who is added tomorrow needs no new apply.
"""

from __future__ import annotations

from sysmail.facts.model import Facts
from sysmail.policy import Policy
from sysmail.postfix.names import (
    LOOPBACK_DOMAINS,
    SYSTEM_NAMES,
    escape,
    literal,
    my_hostname,
    own_names,
    people_names,
)

__all__ = ["ALWAYS_FAILS", "DIRECTORY", "NO_ADMIN", "accounts_map", "hold_map", "tables"]

DIRECTORY = "/etc/postfix/sysmail"

NO_ADMIN = "mail for local users has no destination: set admin in the policy of sysmail"
"""What a person reads when mail for root is refused, or waits."""

ALWAYS_FAILS = "always-fails@sysmail-probe.invalid"
"""An address of nobody (RFC 2606), for `sysmail prove --bounce`: mail to it fails at once."""

_HEADER = "# Written by sysmail; changes belong in its policy. Format: regexp_table(5).\n"


def accounts_map(last: str) -> str:
    """A table that finds accounts at own names; ``last`` is the file that maps a found one."""
    return (
        f"pipemap:{{regexp:{DIRECTORY}/local_part, unix:passwd.byname, regexp:{DIRECTORY}/{last}}}"
    )


def _any_of(names: tuple[str, ...]) -> str:
    return "(" + "|".join(escape(name) for name in names) + r")\.?"


def tables(policy: Policy, facts: Facts) -> dict[str, str]:
    """The tables by file name. Which of them are used is decided in main_cf."""
    own = own_names(policy, facts)
    hostname = my_hostname(policy, facts)
    system = "(" + "|".join(escape(name) for name in SYSTEM_NAMES) + ")"
    at_own = _any_of(own)
    local = [rf"/^.*@{LOOPBACK_DOMAINS}$/", rf"/^{system}(\+[^@]*)?@{at_own}$/"]
    admin = literal(policy.admin)
    found = {
        # Own names: user, or user+extension, to the bare account name.
        "local_part": [rf"/^([^@+]+)(\+[^@]*)?@{at_own}$/ $1"],
        "sender_is_local": _senders(policy, own, hostname),
        "sender_account": [r"/^([^:]+):/ $1@localhost"],
        "generic": _generic(policy, hostname),
        "wait": [
            rf"/^.*@{LOOPBACK_DOMAINS}$/ retry:4.3.0 {NO_ADMIN}",
            f"/^{escape(ALWAYS_FAILS)}$/ error:5.1.1 this address always fails (sysmail prove)",
        ],
    }
    if policy.admin:
        found["recipient"] = [f"{pattern} {admin}" for pattern in local]
        found["recipient_account"] = [f"/./ {admin}"]
    else:
        found["recipient"] = [f"{local[1]} $1@localhost"]
        found["recipient_account"] = [r"/^([^:]+):/ $1@localhost"]
        found["refuse"] = [f"{pattern} REJECT 5.1.1 {NO_ADMIN}" for pattern in local]
        found["refuse_account"] = [f"/./ REJECT 5.1.1 {NO_ADMIN}"]
        # smtpd(8) accepts a bare postmaster whatever the restrictions say (measured),
        # so it is given a domain before they look at it.
        found["command_filter"] = [
            r"/^(RCPT +TO: *)<?postmaster>?( .*)?$/ ${1}<postmaster@localhost>${2}"
        ]
    return {name: _HEADER + "\n".join(lines) + "\n" for name, lines in sorted(found.items())}


def _senders(policy: Policy, own: tuple[str, ...], hostname: str) -> list[str]:
    """Local senders become user@localhost, so that their bounces reach admin.

    The double-bounce address must stay as it is: qmgr(8) knows by it that a
    notice about a notice came back. Rewritten, notices multiply without end
    (measured: hundreds a second).
    """
    lines = [rf"/^double-bounce@/ double-bounce@{hostname}"]
    # A name that is people's domain: only accounts are local there (sender_account).
    ours = tuple(name for name in own if name not in people_names(policy))
    if ours:
        lines.append(rf"/^(.+)@{_any_of(ours)}$/ $1@localhost")
    lines.append(rf"/^(.+)@{LOOPBACK_DOMAINS}$/ $1@localhost")
    return lines


def _generic(policy: Policy, hostname: str) -> list[str]:
    """What the world sees of local senders. The null sender matches nothing here."""
    if policy.sender:
        return [
            rf"/^double-bounce@{escape(hostname)}$/ {literal(policy.sender)}",
            rf"/^.+@localhost$/ {literal(policy.sender)}",
        ]
    return [rf"/^(.+)@localhost$/ $1@{hostname}"]


def hold_map() -> str:
    """header_checks(5) for the next hop ``hold``: every message has a header."""
    return _HEADER + "/^/ HOLD sysmail holds all mail (next_hop = hold)\n"
