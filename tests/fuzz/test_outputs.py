"""What programs and the kernel say, damaged: facts or a clear error, and a plan with such facts."""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path
from typing import Any, Callable

from hypothesis import given
from hypothesis import strategies as st

from fuzz.through import MARK, SEENS, Count, Record, carry_on, check_error, examples
from sysmail import logline, maillog, queue, submissions, takeover
from sysmail.distro import DISTROS
from sysmail.errors import SysmailError
from sysmail.facts import collect, parse
from sysmail.host.port import Completed
from sysmail.policy import parse as parse_policy
from unit.fake_debian import FakeDebian
from unit.test_facts import PARSERS

CASES = Path(__file__).resolve().parents[1] / "cases"

# Of every kind what parsers stumble over: other digits, numbers of thousands of digits, other ends
# of a line, half a character, and a line of our own.
BITS = (
    *(b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\r", b"\r\n", b"\x0b", b"\x1c", b"\x85", b"\n\n"),
    *(
        "\u2028".encode(),
        "\u0661\u0662".encode(),
        "\u00b2".encode(),
        "\u202e".encode(),
        b" ",
        b"\t",
    ),
    *(b"9" * 5000, b"-1", b"1e999", b"99999999999999999999", b"0x", b"NaN", b"null", b"{}", b"[]"),
    *(
        b"${x}",
        b"$(id)",
        b"'",
        b'"',
        b"\\",
        b"/",
        b"../../etc/x",
        b"%s",
        b"=",
        b":",
        b",",
        b";",
        b"#",
    ),
    *(f"\n{MARK} = yes\n".encode(), f" {MARK}".encode(), b"[" * 3000, b"{" * 3000),
)


def samples() -> dict[str, list[bytes]]:
    """The inputs of the cases below tests/cases, by what they are an input of."""
    found: dict[str, list[bytes]] = {}
    for path in sorted(CASES.rglob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(data, dict) and isinstance(data.get("input"), list):
            lines = [line for line in data["input"] if isinstance(line, str)]
            found.setdefault(path.parent.name, []).append("\n".join(lines).encode() + b"\n")
    return found


SAMPLES = samples()
ALL = [sample for some in SAMPLES.values() for sample in some]


def damaged(chance: random.Random, sample: bytes) -> bytes:
    """The sample: cut, turned, mixed with another, repeated, bits flipped, something slipped in."""
    for _ in range(chance.choice((1, 1, 2, 4, 8))):
        place = chance.randrange(len(sample) + 1)
        kind = chance.randrange(8)
        if kind == 0:
            sample = sample[:place]
        elif kind == 1:
            sample = sample[place:] + sample[:place]
        elif kind == 2:
            lines = sample.split(b"\n") + chance.choice(ALL).split(b"\n")
            chance.shuffle(lines)
            sample = b"\n".join(lines)
        elif kind == 3 and sample:
            flipped = bytearray(sample)
            for _ in range(chance.randrange(1, 20)):
                flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
            sample = bytes(flipped)
        elif kind == 4 and len(sample) < 50_000:
            sample *= chance.randrange(2, 6)
        elif kind == 5:
            sample = sample.decode("latin-1").encode(chance.choice(("utf-16", "utf-8", "utf-32")))
        else:
            end = place + chance.choice((0, 0, 1, 8))
            sample = sample[:place] + chance.choice(BITS) + sample[end:]
    return sample


def text_of(data: bytes) -> str:
    """As the machine hands a program's output on."""
    return data.decode("utf-8", "replace")


def test_parsers(record_property: Record) -> None:
    """Each parser, on damaged samples of its own and of others: plain data, never an exception."""
    count = Count("outputs through parsers")
    packages = {f"packages of {row.name}": "packages" for row in DISTROS}
    names = sorted(PARSERS)
    more: dict[str, Callable[[str], Any]] = {
        "reasons": lambda said: queue.by_reason(queue.parse(said)),
        "times": lambda said: [logline.moment(line, 1.7e9) for line in said.splitlines()],
    }
    folders = {"deliveries": "maillog", "queue_id_of": "maillog", "times": "maillog",
               "reasons": "queue", **packages}  # fmt: skip
    parsers: dict[str, Callable[[str], Any]] = {**PARSERS, **more, "submissions": submissions.parse,
               "host_name": partial(parse.host_name)}  # fmt: skip
    names = sorted(parsers)

    @examples(7000)
    @given(st.integers(0, 2**63), st.sampled_from(names))
    def each(number: int, name: str) -> None:
        chance = random.Random(number)
        own = SAMPLES.get(folders.get(name, name), ALL)
        said = text_of(damaged(chance, chance.choice(own if chance.random() < 0.8 else ALL)))
        parsers[name](said)
        count.ended[name] += 1

    each()
    count.finish(record_property, 7000)


PROGRAMS = ("postconf", "systemctl", "dpkg-query", "apt-cache", "getent", "postqueue", "journalctl")
FILES = (
    *("/etc/os-release", "/etc/hosts", "/proc/net/tcp", "/proc/net/tcp6", "/proc/net/fib_trie"),
    *("/proc/net/if_inet6", "/etc/exim4/update-exim4.conf.conf", "/etc/postfix/main.cf"),
)
POLICIES = tuple(
    parse_policy(data, from_ansible=True)
    for data in (
        {},
        {"admin": "ops@example.org"},
        {"next_hop": "hold", "postfix": {"smtp_helo_timeout": "20s"}},
        {"smarthost": {"host": "m.example.org", "username": "u", "password": "a-marked-password"}},
        {"mailu": {"host": "m.example.org"}, "route": "relay"},
        {"mailu": {"host": "m.example.org", "username": "u@example.org",
                   "password_file": "/etc/sysmail/password"}},
    )
)  # fmt: skip


def damaged_host(chance: random.Random) -> FakeDebian:
    """A Debian host on which one to three programs or files say something damaged."""
    host = FakeDebian(postfix=chance.random() < 0.7)
    recipients = [{"address": "a@b", "delay_reason": "x"}]
    message = {"queue_id": "4A", "queue_name": "deferred", "arrival_time": 1, "sender": ""}
    host.queue = [{**message, "message_size": 1, "recipients": recipients}]
    for target in chance.sample((*PROGRAMS, *FILES, "name"), chance.randrange(1, 4)):
        if target == "name":
            host.name = text_of(damaged(chance, b"web1.example.org"))
        elif target in FILES:
            before = host.read(target) or b"x"
            after = damaged(chance, before)
            host.dynamic[target] = lambda after=after: after  # type: ignore[misc]
        elif target in host.programs:
            host.programs[target] = _damaged_program(chance, host.programs[target])
    return host


def _damaged_program(chance: random.Random, real: Any) -> Any:
    number = chance.randrange(2**63)

    def program(argv: Any, stdin: Any) -> Completed:
        said = real(argv, stdin)
        out = text_of(damaged(random.Random(number), said.out.encode("utf-8", "replace")))
        return Completed(said.argv, said.status, out, said.err)

    return program


def test_hosts(record_property: Record) -> None:
    """Facts of a host whose programs and files are damaged, and plans with such facts."""
    count = Count("damaged hosts")

    @examples(4000)
    @given(st.integers(0, 2**63), st.sampled_from(POLICIES), st.sampled_from(SEENS))
    def each(number: int, policy: Any, seen: Any) -> None:
        host = damaged_host(random.Random(number))
        try:
            facts = collect(host)
            takeover.findings(facts)
            queue.waiting(host)
            maillog.losses(host, facts, "", 1.0)
            maillog.last_fatal(host, facts, "")
            maillog.losses(host, facts, "", 1.0)
        except SysmailError as error:
            check_error(error)
            count.ended["no facts"] += 1
            return
        count.ended[carry_on(policy, facts, seen)] += 1

    each()
    count.finish(record_property, 4000)
