"""How long `sysmail prove` takes with messages: through every entrance, there and back."""

from __future__ import annotations

import json
import shlex
import time

from onhost import SYSMAIL, apply, mailu_policy

from lab import Host, Lab

SENDING = 3.0
"""Seconds with every entrance, to a next hop that is near."""

BOUNCES = 3.0
ROUNDS = 5


def section(lab: Lab) -> list[str]:
    """Each way of proving on a relay to Mailu; the best of the rounds."""
    host = lab.host("proof", packages=["postfix", "msmtp"])
    mailu_policy(lab, host, 'route = "relay"')
    apply(host)
    ways = {
        "prove --to, every entrance": (["--to", "someone@example.net"], SENDING),
        "prove --bounce": (["--bounce"], BOUNCES),
        "prove --arrival": (["--arrival"], SENDING),
    }
    return [name for name, (words, bound) in ways.items() if not _holds(host, name, words, bound)]


def _holds(host: Host, name: str, words: list[str], bound: float) -> bool:
    taken = min(_seconds(host, words) for _ in range(ROUNDS))
    sent = "" if not words else f", {_sent(host, words)} messages"
    print(f"{name}: {taken:.2f} s{sent} (bound {bound:g} s)")
    return taken <= bound


def _seconds(host: Host, words: list[str]) -> float:
    # In the host: entering its namespaces takes time too.
    command = shlex.join([SYSMAIL, "--json", "prove", *words])
    script = "import subprocess, time; t = time.perf_counter(); "
    script += f"subprocess.run({command!r}, shell=True, check=True, stdout=subprocess.DEVNULL); "
    script += "print(time.perf_counter() - t)"
    time.sleep(1)  # what the round before began to deliver is out of the way
    return float(host.run(["python3", "-c", script]).stdout)


def _sent(host: Host, words: list[str]) -> int:
    report = json.loads(host.run([SYSMAIL, "--json", "prove", *words]).stdout)
    return len(report.get("sent", [])) + len(report.get("bounced", []))
