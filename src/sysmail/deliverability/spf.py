"""SPF as a receiver evaluates it (RFC 7208): the function check_host().

Ours, because the result is not what a report needs most: it is the term that
decided, and "nobody answered" kept apart from "not allowed", under one time
limit for everything (docs/decisions/0021-an-spf-of-our-own.md).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Optional

from sysmail.deliverability.names import address_kind, addresses_of, can_exist
from sysmail.deliverability.spf_macro import Client, expand
from sysmail.deliverability.spf_record import (
    BadRecordError,
    Mechanism,
    Record,
    is_spf,
    read_spf,
)
from sysmail.host.port import ABSENT, UNANSWERED, Answer, Resolver

__all__ = ["MOST_NAMES", "Client", "Outcome", "check_host"]

MOST_LOOKUPS = 10
MOST_VOID_LOOKUPS = 2
MOST_NAMES = 10


@dataclass(frozen=True)
class Outcome:
    """A result of RFC 7208, 2.6, with what led to it.

    ``result`` is pass, fail, softfail, neutral, none, temperror or permerror;
    ``why`` is the term that matched, or what is wrong; ``lookups`` is how many
    of the ten terms that ask DNS were used up.
    """

    result: str
    why: str
    lookups: int = 0


def check_host(resolver: Resolver, client: Client, domain: str) -> Outcome:
    """What a receiver makes of a client for a domain; never raises."""
    if client.address.version == 6 and client.address.ipv4_mapped is not None:
        client = Client(client.address.ipv4_mapped, client.sender, client.helo)
    evaluation = _Evaluation(resolver, client)
    try:
        result, why = evaluation.check(domain.lower().rstrip("."))
    except _EndError as end:
        result, why = end.result, end.why
    return Outcome(result, why, evaluation.lookups)


class _EndError(Exception):
    """The evaluation ends here, whatever it is inside of: a temperror or a permerror."""

    def __init__(self, result: str, why: str) -> None:
        super().__init__(why)
        self.result, self.why = result, why


class _Evaluation:
    """One run of check_host() with all that it includes; the limits count over all of it."""

    def __init__(self, resolver: Resolver, client: Client) -> None:
        self._resolver, self._client = resolver, client
        self._kind = address_kind(client.address)
        self.lookups = 0
        self._voids = 0

    def check(self, domain: str) -> tuple[str, str]:
        record = self._record(domain)
        if record is None:
            return "none", f"{domain} has no SPF record"
        for mechanism in record.mechanisms:
            if self._matches(mechanism, domain):
                return mechanism.result, mechanism.text
        if not record.redirect:
            return "neutral", f"no mechanism of {domain} matches"
        self._count()
        target = self._expand(record.redirect, domain)
        result, why = self.check(target)
        if result == "none":
            raise _EndError("permerror", f"redirect={record.redirect} leads to no SPF record")
        return result, why

    def _record(self, domain: str) -> Optional[Record]:
        if not can_exist(domain) or "." not in domain:
            return None
        texts = [text for text in self._ask(domain, "TXT").values if is_spf(text)]
        if not texts:
            return None
        if len(texts) > 1:
            raise _EndError("permerror", f"{domain} has {len(texts)} SPF records")
        try:
            return read_spf(texts[0])
        except BadRecordError as error:
            raise _EndError("permerror", f"the record of {domain}: {error}") from None

    def _ask(self, name: str, kind: str) -> Answer:
        if not can_exist(name):
            return Answer(ABSENT)
        answer = self._resolver.lookup(name, kind)
        if answer.status == UNANSWERED:
            raise _EndError("temperror", f"{kind} of {name}: {answer.why}")
        return answer

    def _count(self) -> None:
        self.lookups += 1
        if self.lookups > MOST_LOOKUPS:
            raise _EndError("permerror", f"it takes more than {MOST_LOOKUPS} look-ups in DNS")

    def _ask_for_term(self, name: str, kind: str) -> tuple[str, ...]:
        """The first question of a term: only two of them may find nothing (4.6.4)."""
        values = self._ask(name, kind).values
        if not values:
            self._voids += 1
            if self._voids > MOST_VOID_LOOKUPS:
                limit = f"more than {MOST_VOID_LOOKUPS} of its look-ups find nothing"
                raise _EndError("permerror", f"{limit}, the last {kind} of {name}")
        return values

    def _matches(self, mechanism: Mechanism, domain: str) -> bool:
        if mechanism.name == "all":
            return True
        if mechanism.network is not None:
            return self._client.address in mechanism.network
        self._count()
        target = self._expand(mechanism.domain, domain) if mechanism.domain else domain
        if mechanism.name == "include":
            return self._included(target)
        if mechanism.name == "exists":
            return bool(self._ask_for_term(target, "A"))
        if mechanism.name == "ptr":
            return any(_is_below(name, target) for name in self._own_names())
        if mechanism.name == "a":
            found = list(self._ask_for_term(target, self._kind))
        else:
            found = [a for mx in self._exchangers(target) for a in self._ask(mx, self._kind).values]
        return any(self._is_near(text, mechanism) for text in found)

    def _included(self, target: str) -> bool:
        result, _ = self.check(target)
        if result == "none":
            raise _EndError("permerror", f"include:{target} leads to no SPF record")
        return result == "pass"

    def _exchangers(self, target: str) -> list[str]:
        found = [value.partition(" ")[2] for value in self._ask_for_term(target, "MX")]
        if len(found) > MOST_NAMES:
            raise _EndError("permerror", f"{target} has more than {MOST_NAMES} MX records")
        return [name for name in found if name.strip(".")]

    def _is_near(self, text: str, mechanism: Mechanism) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        length = mechanism.length4 if address.version == 4 else mechanism.length6
        return self._client.address in ipaddress.ip_network((address, length), strict=False)

    def _expand(self, text: str, domain: str) -> str:
        return expand(text, self._client, domain, lambda: self._own_name(domain))

    def _own_names(self) -> list[str]:
        """The client's names that lead back to it (5.5); what cannot be asked is no name."""
        answer = self._resolver.lookup(self._client.address.reverse_pointer, "PTR")
        return [
            name
            for name in answer.values[:MOST_NAMES]
            if can_exist(name)
            and self._client.address in addresses_of(self._resolver, name, self._kind)
        ]

    def _own_name(self, domain: str) -> str:
        names = self._own_names()
        best = [name for name in names if name == domain] or [
            name for name in names if _is_below(name, domain)
        ]
        return next(iter(best or names), "unknown")


def _is_below(name: str, domain: str) -> bool:
    return name == domain or name.endswith("." + domain.lower())
