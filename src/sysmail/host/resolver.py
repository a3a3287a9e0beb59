"""DNS with dnspython, the library of the extra ``deliverability``.

The C library's resolver cannot ask for TXT or MX records, and does not tell
"there is no such name" from "nobody answered", on which every verdict hangs.
"""

from __future__ import annotations

import re
import time
from typing import Any, Callable

from sysmail.errors import HostError
from sysmail.host.port import ABSENT, FOUND, NOTHING, UNANSWERED, Answer

__all__ = ["LiveResolver"]

QUESTION_SECONDS = 6.0
"""For one question, all servers and repetitions together."""

TRY_SECONDS = 2.0
"""For one server to answer once."""

_ANSWERED = re.compile(r" answered (.*?)(?=; Server |\Z)")


class LiveResolver:
    """Asks the servers of /etc/resolv.conf, for ``seconds`` in all; after that nothing is known.

    Only the time that questions take counts: what else is looked at in between is not DNS's fault.
    What was truncated is asked again over TCP (dnspython does). HostError
    (``dnspython-missing``) where the library is not installed.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        try:
            import dns.exception
            import dns.name
            import dns.resolver
        except ImportError as error:
            raise HostError(
                "dnspython-missing",
                f"the check of deliverability needs dnspython, and there is none: {error}",
                "install the distribution's python3-dnspython (python3-dns, python-dnspython), or "
                "`pip install 'sysmail[deliverability]'` for the Python that runs sysmail",
            ) from error
        self._clock = clock
        self._left = seconds
        self._trouble = ""
        self._resolver: Any = None
        try:
            self._resolver = dns.resolver.Resolver()
        except (dns.exception.DNSException, OSError) as error:
            self._trouble = f"/etc/resolv.conf names no server: {error}"
        else:
            self._resolver.timeout = TRY_SECONDS
            # The answers are remembered by who asks; none may come from an earlier run.
            self._resolver.cache = None

    def lookup(self, name: str, kind: str) -> Answer:
        """Ask; whatever a server says or sends instead of an answer, nothing is raised."""
        if self._trouble:
            return Answer(UNANSWERED, why=self._trouble)
        if self._left <= 0:
            return Answer(UNANSWERED, why="the time for asking DNS was over")
        started = self._clock()
        try:
            return self._ask(name, kind)
        finally:
            self._left -= self._clock() - started

    def _ask(self, name: str, kind: str) -> Answer:
        import dns.exception
        import dns.resolver

        try:
            found = self._resolver.resolve(
                _name(name),
                kind,
                lifetime=min(self._left, QUESTION_SECONDS),
                search=False,
                raise_on_no_answer=False,
            )
            values = _values(found.rrset or (), kind)
        except dns.resolver.NXDOMAIN:
            return Answer(ABSENT)
        except (_NoSuchNameError, dns.exception.SyntaxError):
            return Answer(ABSENT, why="no such name can exist")
        except dns.exception.Timeout:
            return Answer(UNANSWERED, why="no answer in time")
        except Exception as error:  # noqa: BLE001 - bytes of strangers in a parser that is not ours
            return Answer(UNANSWERED, why=_reason(error))
        return Answer(FOUND, values) if values else Answer(NOTHING)


class _NoSuchNameError(Exception):
    """A text that cannot be a name in DNS (RFC 1035, 2.3.4)."""


def _name(text: str) -> Any:
    """The name label by label: a backslash in it is a backslash, not an escape."""
    import dns.exception
    import dns.name

    labels = text.rstrip(".").split(".")
    try:
        return dns.name.Name([label.encode("latin-1") for label in labels] + [b""])
    except (dns.exception.DNSException, UnicodeEncodeError) as error:
        raise _NoSuchNameError(text) from error


def _values(records: Any, kind: str) -> tuple[str, ...]:
    if kind == "TXT":
        return tuple(b"".join(record.strings).decode("latin-1") for record in records)
    if kind == "MX":
        ordered = sorted((record.preference, _text(record.exchange)) for record in records)
        return tuple(f"{preference} {name}" for preference, name in ordered)
    if kind == "PTR":
        return tuple(sorted(_text(record.target) for record in records))
    return tuple(sorted(record.address for record in records))


def _text(name: Any) -> str:
    return str(name.to_text(omit_final_dot=True)).lower()


def _reason(error: Exception) -> str:
    """One short line: what dnspython says repeats the question and lists every server."""
    text = " ".join(str(error).split())
    answers = [answer for answer in _ANSWERED.findall(text) if answer]
    if answers:
        return f"the resolver answers: {answers[-1]}"[:160]
    return (text or type(error).__name__)[:160]
