"""Talking to the next hop as the relay or msmtpd will, and who owns the port that they need."""

from __future__ import annotations

from typing import Optional

from sysmail import nexthop, takeover
from sysmail.errors import HostError
from sysmail.facts import Facts
from sysmail.host.port import ABSENT, UNANSWERED, Reader
from sysmail.policy import Policy, Secret
from sysmail.route import Decision

__all__ = ["port_owner", "talk", "way_out"]

DNS_SECONDS = 3.0
CONNECT_SECONDS = 5.0
MOST_EXCHANGERS = 2
NULL_MX = "0 "
"""RFC 7505: a domain that takes no mail, and has an exchanger without a name that says so."""


def port_owner(reader: Reader, facts: Facts, port: int = 25) -> Optional[tuple[str, str]]:
    """A program on a port that stays, and its address: not Postfix, nor ours, nor replaced."""
    mine: set[int] = set()
    for unit in facts.msmtpd.values():
        mine |= reader.socket_inodes(unit.pid) if unit.pid else set()
    for listener in takeover.foreign(facts, port):
        if listener.inode not in mine and not takeover.goes(facts, listener):
            owner = listener.owner or reader.socket_owner(listener.inode) or "another program"
            return owner, listener.address
    return None


def talk(
    reader: Reader,
    policy: Policy,
    facts: Facts,
    decision: Decision,
    sender: str,
    password: Optional[Secret],
    *,
    patient: bool = True,
) -> Optional[HostError]:
    """What talking to a server the whole way ran into; None when it answers.

    ``patient``: one that puts the message off with a 4xx answers too, as the
    relay's queue is made for that.
    """
    hop = decision.hop
    if hop is None:
        return None
    ours = decision.route == "relay" or port_owner(reader, facts) is None
    if hop.port == 25 and ours and _is_this_host(reader, facts, hop.host):
        return HostError(
            "next-hop-is-self",
            f"the next hop {hop.host} port 25 is this relay itself",
            "name another server as host in the policy",
        )
    ca_file = facts.distro.ca_file if facts.distro is not None else ""
    if decision.route == "mailu" and hop.ca_file and not _for_all(reader, hop.ca_file):
        return HostError(
            "ca-file-not-readable",
            f"{hop.ca_file} cannot be read by everybody, and msmtpd runs as a user of its own",
            "put it into a folder such as /etc/ssl, both open to all: certificates are no secret",
        )
    try:
        reached = nexthop.check_next_hop(reader, policy, hop, sender, password, ca_file)
    except HostError as error:
        return error
    if reached.put_off and not patient:
        return HostError(
            "next-hop-busy",
            f"{reached.peer} takes no message now: {reached.put_off}",
            "look at that server, and at its limits",
        )
    return None


def _for_all(reader: Reader, path: str) -> bool:
    """Whether any user can read a file; one that is not there is found by the dialogue."""
    real = reader.link(path)
    if real is None:
        return True
    if real.startswith(("/root/", "/home/", "/run/user/")):
        return False  # ProtectHome= of the service
    state = reader.state(real, content=False)
    parts = real.split("/")
    above = [reader.state("/".join(parts[:end]), content=False) for end in range(2, len(parts))]
    return (
        state is not None
        and bool(state.mode & 0o004)
        and all(folder is None or folder.mode & 0o001 for folder in above)
    )


def _is_this_host(reader: Reader, facts: Facts, host: str) -> bool:
    """Whether a name or an address is one of this host's own."""
    if host.startswith("127.") or host in ("localhost", "::1", *facts.addresses):
        return True
    said = reader.ask(["getent", "ahosts", host], timeout=10).out
    found = {line.split()[0] for line in said.splitlines() if line.strip()}
    return bool(found) and all(
        address.startswith("127.") or address == "::1" or address in facts.addresses
        for address in found
    )


def way_out(reader: Reader, policy: Policy) -> Optional[HostError]:
    """What keeps mail for admin from leaving directly: DNS, or port 25; None where nothing does.

    No SMTP is spoken: what another server thinks of this host is `prove --deliverability`'s.
    """
    domain = policy.admin.rpartition("@")[2]
    if not domain or domain.startswith("["):
        return None
    answer = reader.exchangers(domain, DNS_SECONDS)
    if answer.status == UNANSWERED:
        return HostError(
            "name-not-resolved",
            f"DNS does not say where mail for {domain} goes: {answer.why}",
            "look at /etc/resolv.conf and at the DNS servers that it names",
        )
    if answer.status == ABSENT or answer.values == (NULL_MX,):
        why = f"there is no domain {domain}" if answer.status == ABSENT else f"{domain} says so"
        return HostError(
            "admin-refused",
            f"nobody takes mail for {policy.admin}: {why}",
            "set admin in the policy to an address that receives mail: notices go there",
        )
    # Without MX records the domain itself is the exchanger (RFC 5321, 5.1).
    names = [value.split()[-1] for value in answer.values] or [domain]
    troubles: list[str] = []
    for name in names[:MOST_EXCHANGERS]:
        trouble = reader.connection_trouble(name, 25, timeout=CONNECT_SECONDS)
        if not trouble:
            return None
        troubles.append(f"{name} port 25: {trouble}")
    return HostError(
        "port-closed",
        f"no connection to an exchanger of {domain}: {'; '.join(troubles)}",
        "let port 25 leave this host (firewall, provider), or name a [smarthost] in the policy",
    )
