"""Runs inside a host: submits many messages through every entrance, and says what was taken.

Usage: submitter.py PREFIX COUNT. Prints the id of each message that an entrance took (250, or
exit code 0) on a line of its own, until COUNT were taken. A message that is refused, or of which
the answer was cut off, is never sent again under the same id: the next has another. So an id that
arrives twice was delivered twice, and one that was printed and does not arrive was lost.
"""

from __future__ import annotations

import itertools
import smtplib
import subprocess
import sys
import threading
import time
from collections.abc import Callable

PAUSE = 0.2

prefix, wanted = sys.argv[1], int(sys.argv[2])
numbers = itertools.count(1)
lock = threading.Lock()
taken = 0


def message(name: str) -> str:
    """A message that carries its id in a header."""
    return f"From: root\nTo: root\nSubject: one of many\nX-Id: {name}\n\nbody of {name}\n"


def over_smtp(address: str) -> Callable[[str], bool]:
    """One connection for many messages, made anew when it is lost."""
    client: list[smtplib.SMTP] = []

    def send(name: str) -> bool:
        try:
            if not client:
                client.append(smtplib.SMTP(address, 25, timeout=20))
            client[0].sendmail("root@localhost", ["root@localhost"], message(name))
        except (OSError, smtplib.SMTPException):
            client.clear()
            return False
        return True

    return send


def by_program(*argv: str) -> Callable[[str], bool]:
    """A process for each message."""

    def send(name: str) -> bool:
        try:
            done = subprocess.run(
                argv, input=message(name).encode(), stderr=subprocess.DEVNULL, check=False
            )
        except OSError:
            return False
        return done.returncode == 0

    return send


def work(entrance: str, send: Callable[[str], bool]) -> None:
    """Submit until enough were taken by all entrances together."""
    global taken  # noqa: PLW0603 - counted under the lock by every entrance
    while True:
        with lock:
            if taken >= wanted:
                return
            name = f"{prefix}-{entrance}-{next(numbers)}"
        if send(name):
            with lock:
                taken += 1
                print(name, flush=True)
        else:
            time.sleep(PAUSE)


ENTRANCES = {
    "ipv4": over_smtp("127.0.0.1"),
    "ipv6": over_smtp("::1"),
    "localhost": over_smtp("localhost"),
    "sendmail": by_program("/usr/sbin/sendmail", "-i", "root"),
    "msmtp": by_program("/usr/bin/msmtp", "root"),
}
threads = [threading.Thread(target=work, args=each) for each in ENTRANCES.items()]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
