"""The ways in that programs of the host use by name: ``sendmail``, and ``localhost``."""

from __future__ import annotations

from collections.abc import Iterator

from sysmail.prove.proof import Fault, Proof

__all__ = ["PLACES", "faults"]

# Programs have one of these written into them (Filesystem Hierarchy Standard 3.0, 4.5).
PLACES = ("/usr/sbin/sendmail", "/usr/lib/sendmail")
"""Where programs look for sendmail."""


def faults(proof: Proof) -> Iterator[Fault]:
    """A sendmail that is not Postfix's, and a localhost that leads elsewhere."""
    if proof.situation.facts.postfix is None or not proof.relay:
        return
    yield from _sendmail(proof)
    yield from _localhost(proof)


def _sendmail(proof: Proof) -> Iterator[Fault]:
    """Every sendmail that is found by its name or its place has to be Postfix's own program.

    Postfix's hands mail to postdrop(1), whose name is in it.
    """
    places = dict.fromkeys((proof.reader.which("sendmail") or PLACES[0], *PLACES))
    for place in places:
        real = proof.reader.link(place)
        if real is None:
            if place == PLACES[0]:
                yield Fault(
                    "no-takeover",
                    "sendmail-missing",
                    f"there is no {place}: programs that call it cannot send",
                    proof.again,
                )
            continue
        if b"postdrop" not in (proof.reader.read(real) or b""):
            shown = place if real == place else f"{place}, which is {real},"
            ours = place in PLACES
            yield Fault(
                "no-takeover",
                "sendmail-replaced",
                f"{shown} is not Postfix's: what programs send with it does not reach the relay",
                proof.again if ours else f"`mv {place} {place}.disabled`, or remove its package",
            )
            return


def _localhost(proof: Proof) -> Iterator[Fault]:
    """Programs connect to `localhost`: one of its addresses has to be the relay's.

    /etc/hosts is read by itself, as DNS may be slow; where it says nothing the system is asked.
    """
    found = _in_hosts(proof)
    if not found:
        said = proof.reader.ask(["getent", "ahosts", "localhost"], timeout=5).out
        found = {line.split()[0] for line in said.splitlines() if line.strip()}
    listen = set(proof.situation.desired.listen)
    # 127.0.1.1 and its like are this host's too, and nobody listens there.
    if not found & listen:
        where = f"is {', '.join(sorted(found))}" if found else "has no address"
        yield Fault(
            "local-clients",
            "localhost-elsewhere",
            f"the name localhost {where}: programs that send to localhost do not reach the relay",
            "write the line `127.0.0.1 localhost` into /etc/hosts"
            + (", and `::1 localhost`" if "::1" in listen else ""),
        )


def _in_hosts(proof: Proof) -> set[str]:
    """hosts(5): the addresses of localhost."""
    text = (proof.reader.read("/etc/hosts") or b"").decode("utf-8", "replace")
    found: set[str] = set()
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if "localhost" in (word.lower() for word in words[1:]):
            found.add(words[0])
    return found
