"""Asks DNS for the exchangers of a domain (MX, RFC 1035), with the standard library alone.

The C library's resolver cannot ask for them, and dnspython is an extra. Questions go over UDP to
the servers of resolv.conf(5) in turn; an answer that is cut off still names some.
"""

from __future__ import annotations

import os
import re
import socket
import struct

from sysmail.host.port import ABSENT, FOUND, NOTHING, UNANSWERED, Answer

__all__ = ["ask_exchangers", "parse_answer", "servers"]

DNS_PORT = 53
MX = 15
MOST_SERVERS = 3
"""resolv.conf(5), MAXNS."""

TRIES = 2
"""A datagram can be lost; and a server that had to ask others knows it the second time."""

SIZE = 1232
"""Bytes of an answer that we offer to take (RFC 6891, EDNS)."""

_WHY = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}


def servers(text: str) -> list[str]:
    """The servers that resolv.conf(5) names; this very host where it names none."""
    found = re.findall(r"^[ \t]*nameserver[ \t]+([0-9a-fA-F.:]+)", text, re.MULTILINE)
    return found[:MOST_SERVERS] or ["127.0.0.1"]


def ask_exchangers(domain: str, resolv_conf: str, seconds: float) -> Answer:
    """The exchangers, the best first; each server has so many seconds, twice. Never raises."""
    asked = servers(resolv_conf)
    why = ""
    try:
        question = _question(domain)
    except (UnicodeError, ValueError):
        return Answer(ABSENT, why="no such name can exist")
    for server in asked * TRIES:
        try:
            said = _exchange(server, question, seconds)
            answer = parse_answer(said, question[:2])
        except socket.timeout:
            why = f"{server} does not answer in {seconds:g} s"
            continue
        except OSError as error:
            why = f"{server}: {error.strerror or error}"
            continue
        if answer.status != UNANSWERED:
            return answer
        why = f"{server} answers {answer.why}"
    return Answer(UNANSWERED, why=why)


def _question(domain: str) -> bytes:
    labels = domain.rstrip(".").encode("ascii").split(b".")
    if not all(0 < len(label) < 64 for label in labels):
        raise ValueError(domain)
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    # Recursion desired; one question, and one record that says how much we take.
    header = os.urandom(2) + struct.pack(">HHHHH", 0x0100, 1, 0, 0, 1)
    return header + name + struct.pack(">HH", MX, 1) + struct.pack(">BHHIH", 0, 41, SIZE, 0, 0)


def _exchange(server: str, question: bytes, seconds: float) -> bytes:
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as asking:
        asking.settimeout(seconds)
        asking.connect((server, DNS_PORT))
        asking.send(question)
        return asking.recv(4096)


def parse_answer(said: bytes, number: bytes) -> Answer:
    """From the bytes of an answer to a question with this number."""
    try:
        if said[:2] != number:
            return Answer(UNANSWERED, why="something else")
        flags, questions, records = struct.unpack_from(">HHH", said, 2)
        if flags & 15 == 3:
            return Answer(ABSENT)
        if flags & 15:
            return Answer(UNANSWERED, why=_WHY.get(flags & 15, f"with code {flags & 15}"))
        place = 12
        for _ in range(questions):
            place = _name(said, place)[1] + 4
        found: list[tuple[int, str]] = []
        for _ in range(records):
            place = _name(said, place)[1]
            kind, _, _, length = struct.unpack_from(">HHIH", said, place)
            place += 10
            if kind == MX:
                (preference,) = struct.unpack_from(">H", said, place)
                found.append((preference, _name(said, place + 2)[0]))
            place += length
    except (struct.error, IndexError, ValueError):
        return Answer(UNANSWERED, why="what is no answer")
    if not found:
        return Answer(NOTHING)
    return Answer(FOUND, tuple(f"{preference} {name}" for preference, name in sorted(found)))


def _name(said: bytes, place: int) -> tuple[str, int]:
    """A name and where it ends; ValueError for one that points around in circles."""
    labels: list[str] = []
    end, jumps = -1, 0
    while True:
        length = said[place]
        if length >= 192:
            end = place + 2 if end < 0 else end
            place = (length & 63) << 8 | said[place + 1]
            jumps += 1
            if jumps > 20:
                raise ValueError("a circle")
            continue
        place += 1
        if not length:
            return ".".join(labels).lower(), place if end < 0 else end
        labels.append(said[place : place + length].decode("ascii", "replace"))
        place += length
