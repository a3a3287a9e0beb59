"""Two hosts with the lab's Mailu as their next hop: stock Postfix, and sysmail's relay.

Stock is Debian's package as it is installed, plus what a smarthost with a login
needs and Postfix's own documentation tells (SASL_README, TLS_README). Both get the
same messages in the same way, and take turns, so that the machine's mood hits both.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from onhost import apply, mailu_policy

from lab import Host, Lab, Mailu

MESSAGES = 1000
SIZE = 2000
"""Bytes of a message: a cron job's output or an alert, with headers."""
RECIPIENT = "x@example.net"
_CONNECTION = re.compile(r"/smtpd\[\d+\]: ((?:dis)?connect from)")

_STOCK = {
    "smtp_sasl_auth_enable": "yes",
    "smtp_sasl_password_maps": "hash:/etc/postfix/sasl_passwd",
    "smtp_sasl_security_options": "noanonymous",
    "smtp_tls_security_level": "secure",
    "smtp_tls_wrappermode": "yes",
    "smtp_tls_CAfile": "/etc/ssl/lab.pem",
}
# What arrives is put on hold, the same way on both, and takes no part in queue runs. A process that
# has accepted a connection before it knows of the reload ends it as it was: hence the wait.
_FILL = """
set -e
postconf -e 'smtpd_end_of_data_restrictions = check_client_access static:HOLD'
postfix reload
sleep 1
smtp-source -s 5 -m {messages} -l {size} -f {sender} -t {recipient} localhost:25
postconf -X smtpd_end_of_data_restrictions
postfix reload
sleep 1
held=$(find /var/spool/postfix/hold -type f | wc -l)
test $held = {messages} || {{ echo "$held are on hold"; postqueue -p | tail; exit 1; }}
"""
# Files are counted, since a queue manager that is asked has something else to do.
WAITING = """
def waiting():
    queues = ("maildrop", "incoming", "active", "deferred")
    folders = (os.walk("/var/spool/postfix/" + queue) for queue in queues)
    return sum(len(files) for queue in folders for _, _, files in queue)
"""
_DRAIN = (
    "import json, os, subprocess, time\n"
    + WAITING
    + """
started = time.time()
subprocess.run(["postsuper", "-H", "ALL"], check=True, stderr=subprocess.DEVNULL)
subprocess.run(["postqueue", "-f"], check=True)
while waiting():
    time.sleep(0.1)
print(json.dumps([started, time.time() - started]))
"""
)


@dataclass
class Relay:
    """A host whose Postfix hands all mail to the lab's Mailu; ``to_port`` says at which port."""

    host: Host
    mailu: Mailu
    to_port: Callable[[int], None]

    def fill(self) -> None:
        """Put MESSAGES messages into the queue, on hold."""
        self.host.run(
            _FILL.format(
                messages=MESSAGES, size=SIZE, sender=self.mailu.username, recipient=RECIPIENT
            )
        )

    def drain(self) -> Drained:
        """Release what is on hold, and wait until the queue is empty and Mailu has it all."""
        self.mailu.clear()
        before = len(_CONNECTION.findall(self.mailu.log()))
        said = self.host.run(["python3", "-c", _DRAIN], timeout=900).stdout
        started, seconds = json.loads(said)
        found = self.mailu.wait_for(lambda _message: True, count=MESSAGES)
        assert len(found) == MESSAGES, f"{len(found)} messages arrived"
        logged = _CONNECTION.findall(self.mailu.log())[before:]
        at_once = accumulate(1 if word == "connect from" else -1 for word in logged)
        return Drained(
            seconds,
            max(m.time for m in found) - started,
            logged.count("connect from"),
            max(at_once),
        )


@dataclass(frozen=True)
class Drained:
    """Seconds until the queue was empty, and until the last message was in a mailbox.

    And the connections that were made for it: all of them, and the most at one moment.
    """

    seconds: float
    in_mailbox: float
    connections: int
    at_once: int

    @property
    def rate(self) -> float:
        """Messages per second."""
        return MESSAGES / self.seconds


def stock(lab: Lab) -> Relay:
    """Debian's Postfix with the lab's Mailu as smarthost."""
    host = lab.host("stock", packages=["postfix", "msmtp"])
    shutil.copy(lab.mailu.ca_file, host.root / "etc/ssl/lab.pem")
    for name, value in _STOCK.items():
        host.run(["postconf", "-e", f"{name} = {value}"])
    password = host.root / "etc/postfix/sasl_passwd"

    def to_port(port: int) -> None:
        hop = f"[{lab.mailu.host}]:{port}"
        password.write_text(f"{hop} {lab.mailu.username}:{lab.mailu.password}\n")
        host.run(["postmap", "/etc/postfix/sasl_passwd"])
        host.run(["postconf", "-e", f"relayhost = {hop}"])
        host.run("postfix reload; sleep 1")

    to_port(465)
    return Relay(host, lab.mailu, to_port)


def ours(lab: Lab) -> Relay:
    """A host after `sysmail apply` with Mailu as the relay's next hop."""
    host = lab.host("relay", packages=["postfix", "msmtp"])

    def to_port(port: int) -> None:
        mailu_policy(lab, host, 'route = "relay"', f"port = {port}")
        apply(host)
        host.run("sleep 1")

    to_port(465)
    return Relay(host, lab.mailu, to_port)
