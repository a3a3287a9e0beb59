"""How fast `sysmail trace` reads 1 GB of log, beside ``grep ID FILE | wc -l`` on the same file."""

from __future__ import annotations

import random
import resource
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lab import Lab

BOUND = 2.0
"""Times as long as grep with wc."""

SIZE = 1_000_000_000
ROUNDS = 3
SYSMAIL = Path(__file__).resolve().parents[1] / "sysmail"
_LETTERS = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxy"
_TLS = (
    "Verified TLS connection established to mail.example.org[192.0.2.25]:465: TLSv1.3 with cipher "
    "TLS_AES_256_GCM_SHA384 (256/256 bits) key-exchange X25519 server-signature RSA-PSS "
    "(2048 bits) server-digest SHA256"
)


def section(_lab: Lab) -> list[str]:
    """Each kind of query, in turn with grep; the best of the rounds."""
    with tempfile.TemporaryDirectory(prefix="sysmail-bench-") as folder:
        log = Path(folder) / "mail.log"
        oldest, newest = _write(log)
        print(f"trace in a log of {log.stat().st_size / 1e9:.2f} GB, grep ID FILE | wc -l beside:")
        queries = {
            "queue id, the oldest message": oldest,
            "queue id, the newest message": newest,
            "queue id that is not there": "4ZZZZZZZZZzZZZZ",
            "Message-ID of the oldest": f"{oldest}@app.example.org",
            "recipient of many": "ops@example.com",
            "recipient that is not there": "nobody@example.com",
        }
        broken = [name for name, query in queries.items() if _compare(name, query, log) > BOUND]
    return [f"trace, {name}" for name in broken]


def _compare(name: str, query: str, log: Path) -> float:
    ours: list[Taken] = []
    grep: list[Taken] = []
    for _ in range(ROUNDS):
        # Standard output is a pipe: grep that writes to /dev/null stops at the first match.
        grep.append(_seconds(["sh", "-c", f"grep -- '{query}' {log} | wc -l"]))
        ours.append(_seconds([str(SYSMAIL), "trace", query, "--log", str(log)]))
    # The best of the rounds: whatever else is at work only ever adds to it.
    wall, plain = min(took.wall for took in ours), min(took.wall for took in grep)
    work, least = min(took.processor for took in ours), min(took.processor for took in grep)
    print(
        f"    {name}: {wall:.2f} s against {plain:.2f} s: {wall / plain:.2f} times "
        f"(bound {BOUND:g}); processor time {work:.2f} s against {least:.2f} s"
    )
    return wall / plain


@dataclass(frozen=True)
class Taken:
    """Seconds until a command ended, and of the processors that it and its children had."""

    wall: float
    processor: float


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _seconds(argv: list[str]) -> Taken:
    before, started = _processor(), time.perf_counter()
    done = subprocess.run(argv, capture_output=True, check=False)
    taken = Taken(time.perf_counter() - started, _processor() - before)
    if done.returncode not in (0, 3):
        raise RuntimeError(f"{argv}: {done.returncode} {done.stdout!r} {done.stderr!r}")
    return taken


def _write(log: Path) -> tuple[str, str]:
    """A log of messages that differ, every hundredth to one recipient; its first and last id."""
    chance = random.Random(1)  # noqa: S311 - the same log each time
    first = last = ""
    with log.open("wb") as handle:
        number = 0
        while handle.tell() < SIZE:
            chunk: list[str] = []
            for _ in range(10_000):
                last = "4" + "".join(chance.choices(_LETTERS, k=9)) + "z"
                last += "".join(chance.choices(_LETTERS, k=4))
                first = first or last
                chunk.append(_message(number, last, chance))
                number += 1
            handle.write("".join(chunk).encode())
    return first, last


def _message(number: int, queue_id: str, chance: random.Random) -> str:
    second = number // 20
    stamp = f"Nov {1 + second // 86400:2} {second // 3600 % 24:02}:{second // 60 % 60:02}"
    start = f"{stamp}:{second % 60:02} web1 postfix/"
    recipient = "ops@example.com" if number % 100 == 0 else f"u{chance.randrange(9999)}@example.net"
    smtp = f"{start}smtp[{chance.randrange(1000, 99999)}]: "
    return (
        f"{start}pickup[871]: {queue_id}: uid={1000 + number % 9} from=<app>\n"
        f"{start}cleanup[{chance.randrange(1000, 99999)}]: {queue_id}: "
        f"message-id=<{queue_id}@app.example.org>\n"
        f"{start}qmgr[881]: {queue_id}: from=<app@web1.example.org>, size=1200, nrcpt=1 "
        "(queue active)\n"
        f"{smtp}{_TLS}\n"
        f"{smtp}{queue_id}: to=<{recipient}>, orig_to=<root>, "
        "relay=mail.example.org[192.0.2.25]:465, delay=0.74, delays=0.03/0.02/0.4/0.29, dsn=2.0.0, "
        f"status=sent (250 2.0.0 Ok: queued as {''.join(chance.choices(_LETTERS, k=12))})\n"
        f"{start}qmgr[881]: {queue_id}: removed\n"
    )
