"""How soon a program is rid of a message: sendmail on the relay against msmtp straight to Mailu."""

from __future__ import annotations

import json
import shutil
import statistics

from onhost import apply, mailu_policy
from pair import RECIPIENT, SIZE, Relay, ours

from lab import Host, Lab

BOUND = 3.0
DELAY = 20
"""Milliseconds that the proxy in front of Mailu adds each way."""
RUNS = 10
ROUNDS = 3
USER = "alice"
_RC = f"/home/{USER}/.msmtprc"
_PLAIN = f"msmtp -C {_RC} {RECIPIENT}"
_SENDMAIL = f"/usr/sbin/sendmail -i {RECIPIENT}"

# Between two there is time for the one before to get where it goes, so that it is not in the way.
_IN_TURN = r"""
import json, subprocess, sys, time
runs, size, commands = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
message = b"Subject: benchmark\n\n" + b"x" * 70 + b"\n"
message += (b"y" * 70 + b"\n") * (max(0, size - len(message)) // 71)
def once(command):
    started = time.perf_counter()
    done = subprocess.run(command.split(), input=message)
    taken = time.perf_counter() - started
    assert done.returncode == 0, (command, done.returncode)
    time.sleep(0.25)
    return taken
for command in commands:
    once(command)
print(json.dumps([[once(command) for command in commands] for _ in range(runs)]))
"""


class Senders:
    """The relay with a plain msmtprc beside it, and a host on the route mailu."""

    def __init__(self, lab: Lab, relay: Relay) -> None:
        """Make the second host."""
        self._lab = lab
        self._relay = relay
        self._direct = lab.host("direct", packages=["postfix", "msmtp"])

    def to_port(self, port: int) -> None:
        """Let all of them talk to Mailu at that port."""
        self._relay.to_port(port)
        _plain_msmtprc(self._lab, self._relay.host, port)
        mailu_policy(self._lab, self._direct, 'route = "mailu"', f"port = {port}")
        apply(self._direct)

    def compare(self) -> tuple[float, float, float, float, float]:
        """Seconds of sendmail, of msmtp and of route mailu's sendmail; both ratios to the first.

        Each a median. msmtp takes turns with sendmail on the same host, the other host with both.
        """
        rows: list[tuple[float, float, float]] = []
        for _ in range(ROUNDS):
            pairs = _timed(self._relay.host, _SENDMAIL, _PLAIN)
            others = _timed(self._direct, _SENDMAIL)
            rows += [(ours, plain, other) for (ours, plain), (other,) in zip(pairs, others)]
        return (
            statistics.median(row[0] for row in rows),
            statistics.median(row[1] for row in rows),
            statistics.median(row[2] for row in rows),
            statistics.median(row[1] / row[0] for row in rows),
            statistics.median(row[2] / row[0] for row in rows),
        )


def section(lab: Lab) -> list[str]:
    """Measure and print; what is out of bounds."""
    senders = Senders(lab, ours(lab))
    broken: list[str] = []
    for port, where in (
        (465, ""),
        (lab.mailu.delayed_port(DELAY), f", {DELAY} ms away each way"),
    ):
        senders.to_port(port)
        ours_, plain, daemon, sooner, than_daemon = senders.compare()
        print(
            f"sendmail on the relay{where}: {ours_ * 1000:.0f} ms against {plain * 1000:.0f} ms "
            f"for msmtp straight to Mailu: {sooner:.1f} times sooner (bound {BOUND:g}); "
            f"against {daemon * 1000:.0f} ms on the route mailu: {than_daemon:.1f} times"
        )
        if sooner < BOUND:
            broken.append(f"sendmail{where}")
    return broken


def _timed(host: Host, *commands: str) -> list[list[float]]:
    said = host.run(
        ["python3", "-c", _IN_TURN, str(RUNS), str(SIZE), *commands], user=USER, timeout=300
    ).stdout
    rows: list[list[float]] = json.loads(said)
    return rows


def _plain_msmtprc(lab: Lab, host: Host, port: int) -> None:
    """What people write today: TLS, and a login with the password in the user's own file."""
    shutil.copy(lab.mailu.ca_file, host.root / "etc/ssl/lab.pem")
    (host.root / "etc/ssl/lab.pem").chmod(0o644)
    lines = ["defaults", "auth on", "tls on", "tls_starttls off", "syslog LOG_MAIL"]
    lines += ["tls_trust_file /etc/ssl/lab.pem", "account default", f"host {lab.mailu.host}"]
    lines += [f"port {port}", f"from {lab.mailu.username}", f"user {lab.mailu.username}"]
    lines += [f"password {lab.mailu.password}"]
    rc = host.root / _RC.lstrip("/")
    rc.write_text("\n".join(lines) + "\n")
    # msmtp insists on both.
    rc.chmod(0o600)
    host.run(["chown", USER, _RC])
