"""The check of forward-confirmed reverse DNS (RFC 8601, 2.7.3), equal to the HELO name.

Many receivers refuse a client whose address has no name, or another one than it greets with.
"""

from __future__ import annotations

from sysmail.deliverability.names import Address, address_kind, addresses_of, is_qualified
from sysmail.deliverability.origin import Way
from sysmail.deliverability.records import address_record, pointer
from sysmail.host.port import ABSENT, UNANSWERED, Resolver
from sysmail.report import FAIL, PASS, UNKNOWN, Verdict

__all__ = ["RESOLVER", "reverse_dns"]

MOST_NAMES = 10
RESOLVER = "look at this host's resolver (/etc/resolv.conf) and at the servers of that zone; retry"


def reverse_dns(resolver: Resolver, way: Way, helo: str) -> Verdict:
    """One verdict for one family."""
    name = f"reverse-dns-{way.family}"
    if way.source is None:
        return Verdict(name, PASS, f"no mail leaves by {way.name}: {way.why}")
    if way.seen is None:
        remedy = f"say it with `--address ADDRESS` ({way.name})"
        return Verdict(name, UNKNOWN, "the address that others see is not known", remedy)
    if not is_qualified(helo):
        return Verdict(
            name,
            FAIL,
            f"Postfix greets as {helo}, a name that nobody else can look up",
            "set hostname in the policy to a name of this host in public DNS, `sysmail apply`, "
            f"then publish {address_record('NAME', way.seen)}",
        )
    return _confirmed(resolver, name, way.seen, helo.lower().rstrip("."))


def _confirmed(resolver: Resolver, name: str, address: Address, helo: str) -> Verdict:
    kind = address_kind(address)
    forth = resolver.lookup(helo, kind)
    owner = f"whoever owns the address (its provider) publishes: {pointer(address, helo)}"
    if forth.status != UNANSWERED and address not in addresses_of(resolver, helo, kind):
        owner += f"; and publish: {address_record(helo, address)}"
    back = resolver.lookup(address.reverse_pointer, "PTR")
    if back.status == UNANSWERED:
        return Verdict(name, UNKNOWN, f"the name of {address}: {back.why}", RESOLVER)
    if not back.values:
        how = "there is no such name" if back.status == ABSENT else "no PTR record"
        return Verdict(name, FAIL, f"{address} has no name in DNS: {how}", owner)
    names = back.values[:MOST_NAMES]
    if helo not in back.values:
        more = ""
        other = next(
            (n for n in names if is_qualified(n) and address in _forward(resolver, n, address)), ""
        )
        if other:
            more = (
                "; or let Postfix greet with that name, if you can publish SPF for it: "
                f'hostname = "{other}" in the policy'
            )
        return Verdict(
            name,
            FAIL,
            f"{address} is called {', '.join(names[:4])}, and Postfix greets as {helo}",
            owner + more,
        )
    if forth.status == UNANSWERED:
        return Verdict(name, UNKNOWN, f"{kind} of {helo}: {forth.why}", RESOLVER)
    if address not in addresses_of(resolver, helo, kind):
        found = ", ".join(forth.values[:4])
        but = f"{kind} of {helo} is {found}" if found else f"{helo} has no {kind} record"
        return Verdict(
            name,
            FAIL,
            f"{address} is called {helo}, but {but}",
            f"publish: {address_record(helo, address)}",
        )
    return Verdict(name, PASS, f"{address} is {helo}, which is {address}; Postfix greets with it")


def _forward(resolver: Resolver, name: str, address: Address) -> tuple[Address, ...]:
    return addresses_of(resolver, name, address_kind(address))
