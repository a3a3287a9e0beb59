"""A mail server that asks of a client what Mailu asks: Postfix and Dovecot on a host of its own.

465 with TLS from the start and a login; 587 with STARTTLS, which Mailu has off; 25 without login,
for mail to its own domains; IMAP over TLS on 993 with the same login. The envelope sender must be
the login's own address, an alias of it, or null. What it accepts for its own domains ends in
mailboxes on the host, those of accounts in their own and all others' in one.
"""

from __future__ import annotations

import email
import email.policy
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

from .arrivals import wait_for_messages
from .ca import Ca, Certificate
from .host import Host
from .machine import wait_until
from .mailhost import GREYLIST_PORT, MAIN_CF, MASTER_CF, RATE_PORT, SETTINGS, SUBMISSION
from .network import PREFIX4, PREFIX6
from .server import Server

ACCOUNTS: Mapping[str, str] = {
    "no-reply@example.org": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",  # as Mailu's tokens are
    "ops@example.org": "a mailbox somebody reads",
    "backup@example.org": "correct horse battery staple",
}
ALIASES: Mapping[str, str] = {"alerts@example.org": "no-reply@example.org"}
DOMAINS = ("example.org", "example.net", "lab.test")
_ANYBODY = "anybody"
_MAIN: Mapping[str, str] = {
    "mynetworks": "127.0.0.0/8 [::1]/128",
    "message_size_limit": "50000000",
    "smtpd_delay_reject": "yes",
    "pause": "",
}
_LATER: Mapping[str, float | None] = {"serial": 0, "rate": None, "greylist": None}
_FIRST_PIPE = 10465
_NAME = re.compile(r"(\d+)\.\w+?M(\d+)\.")

# Postfix takes the space that is free in its queue for what it may accept, and a program inside of
# the host cannot shrink the disk: so its queue moves to a small file system, which is then filled.
_FILL = """
set -e
systemctl stop postfix@-
mkdir -p /run/queue
mount --bind --make-private /var/spool/postfix /run/queue
mount -t tmpfs -o size=24m,mode=0755 tmpfs /var/spool/postfix
cp -a /run/queue/. /var/spool/postfix/
umount /run/queue
systemctl start postfix@-
dd if=/dev/zero of=/var/spool/postfix/filler bs=4k 2>/dev/null || true
"""
_EMPTY = """
set -e
systemctl stop postfix@-
rm /var/spool/postfix/filler
mount --bind --make-private /var/spool/postfix /run/queue
umount /var/spool/postfix
cd /var/spool/postfix
find active bounce defer deferred hold incoming maildrop -type f -delete
cp -a /run/queue/. /var/spool/postfix/
umount /run/queue
systemctl start postfix@-
"""


@dataclass(frozen=True)
class Delivered:
    """One copy of a message in a mailbox. `time` is in seconds since 1970, `id` is unique."""

    id: str
    mailbox: str
    time: float
    data: bytes

    @property
    def message(self) -> EmailMessage:
        """The data, parsed; the first three headers are those that delivery put there."""
        parsed: EmailMessage = email.message_from_bytes(self.data, policy=email.policy.default)
        return parsed

    @property
    def sender(self) -> str:
        """The envelope's sender, "" for the null sender."""
        return _header(self.data, "Return-Path").strip("<>")

    @property
    def recipients(self) -> list[str]:
        """The envelope's recipient: one, since each gets a copy."""
        return [_header(self.data, "X-Original-To")]

    @property
    def delivered_to(self) -> str:
        """The recipient after aliases."""
        return _header(self.data, "Delivered-To")

    def __str__(self) -> str:
        """One line for the eyes."""
        subject = self.message["Subject"]
        return f"{self.mailbox}: <{self.sender}> to {self.recipients}, subject {subject!r}"


class Mailu(Server):
    """The server. `host` is its name; `machine` the booted host, for a look at its logs."""

    def __init__(self, machine: Host, ca: Ca) -> None:
        """`machine` is on the base `mailu` and not booted yet; boot() does the rest."""
        super().__init__(machine, ca, ACCOUNTS)
        self._main = dict(_MAIN)
        self._later = dict(_LATER)
        self._ports = {25, 465, 993}
        self._pipes: dict[float, int] = {}
        self._full = False
        self._read: dict[str, Delivered] = {}

    def boot(self) -> None:
        """Configure, boot and wait until all ports and the login answer; again after a kill."""
        self._full = False
        self._pipes.clear()
        self._ports &= {25, 465, 587, 993}
        self._configure()
        self.machine.boot()
        self._wait_for_ports()

    def stop(self) -> None:
        """End the services: connections are refused from then on, until start()."""
        self.machine.run("systemctl stop postfix@- dovecot")

    def start(self) -> None:
        """Start the services again."""
        self.machine.run("systemctl start postfix@- dovecot")
        self._wait_for_ports()

    def submission_587(self, *, on: bool) -> None:
        """Open or close port 587."""
        self._ports = self._ports | {587} if on else self._ports - {587}
        self._reload()

    def relaynets(self, *, on: bool) -> None:
        """While on, port 25 relays to anywhere for the lab's network, without a login."""
        networks = f" {PREFIX4}.0.0/16 [{PREFIX6}::]/64 [fe80::]/64" if on else ""
        self._set(mynetworks=_MAIN["mynetworks"] + networks)

    def size_limit(self, size: int | None) -> None:
        """The largest message in bytes, in EHLO too; None is 50 MB again."""
        self._set(message_size_limit=_MAIN["message_size_limit"] if size is None else str(size))

    def slow(self, seconds: int) -> None:
        """Wait so long before the greeting and the answers to EHLO, MAIL, RCPT and DATA.

        For connections that begin from now on; 0 is off.
        """
        pause = f"sleep {seconds}" if seconds else ""
        self._set(pause=pause, smtpd_delay_reject="no" if seconds else "yes")

    def rate_limit(self, *, messages: int | None) -> None:
        """Answer 450 to each login after so many recipients from now on; None is no limit."""
        self._hold_up(rate=messages)

    def greylist(self, *, on: bool, seconds: float = 3) -> None:
        """Answer 450 to each client, sender and recipient for so long after their first attempt."""
        self._hold_up(greylist=seconds if on else None)

    def refuse_logins(self, *, on: bool) -> None:
        """While on, every password is wrong: what a changed password looks like to a client."""
        self._write_accounts(
            {name: f"{on}-{word}" if on else word for name, word in ACCOUNTS.items()}
        )
        # A reload would let the old password pass for about a second more.
        self.machine.run("systemctl restart dovecot")
        self._wait_for_ports()

    def failed_logins(self) -> int:
        """How many logins have failed so far, at any port."""
        log = self._log("dovecot.log")
        return len(re.findall(r"Password mismatch|unknown user", log, flags=re.IGNORECASE))

    def present(self, certificate: Certificate) -> None:
        """Show another certificate from the next connection on: expired, untrusted, misnamed."""
        self._place(certificate)
        self._reload()
        self.machine.run("doveadm reload")

    def own_certificate(self) -> None:
        """Show the good certificate again."""
        self.present(self._certificate)

    def fill_disk(self, *, on: bool) -> None:
        """Make the disk with the queue full, or as it was; connections end while it is done."""
        if on != self._full:
            self.machine.run(_FILL if on else _EMPTY)
            self._full = on
            self._wait_for_ports()

    def delayed_port(self, milliseconds: float) -> int:
        """A port that is 465 at a distance of so many milliseconds in each direction."""
        if milliseconds not in self._pipes:
            port = _FIRST_PIPE + len(self._pipes)
            program = "/usr/bin/python3 /opt/sysmail/tests/lab/slow.py"
            unit = f"systemd-run --quiet --unit=pipe-{port}"
            self.machine.run(f"{unit} {program} pipe {port} 465 {milliseconds / 1000}")
            self._pipes[milliseconds] = port
            self._ports |= {port}
            self._wait_for_ports()
        return self._pipes[milliseconds]

    def log(self) -> str:
        """What Postfix and Dovecot have logged so far."""
        return self._log("postfix.log") + self._log("dovecot.log")

    def received(self) -> list[Delivered]:
        """All messages in all mailboxes since the last clear(), oldest first."""
        files = self._files()
        known = {name: found for name, found in self._read.items() if name in files}
        for name, path in files.items():
            if name not in known and (data := _content(path)) is not None:
                known[name] = Delivered(name, _mailbox(path), _moment(name), data)
        self._read = known
        return sorted(known.values(), key=lambda found: (found.time, found.id))

    def wait_for(
        self, predicate: Callable[[Delivered], bool], count: int = 1, timeout: float = 60
    ) -> list[Delivered]:
        """Wait until `count` messages match, and return all that do.

        Raises AssertionError that lists what did arrive after `timeout` seconds.
        """
        return wait_for_messages(self.received, predicate, count, timeout)

    def ids(self, header: str = "Message-ID") -> list[str]:
        """A header of all messages, in no order; "" where it is missing. For very many of them."""
        while True:
            heads = [_content(path, 16384) for path in self._files().values()]
            found = [_header(head, header) for head in heads if head is not None]
            if len(found) == len(heads):
                return found

    def clear(self) -> None:
        """Forget all messages."""
        for path in self._files().values():
            path.unlink(missing_ok=True)
        self._read.clear()

    def _files(self) -> dict[str, Path]:
        """The path of each message by what stays the same when it is read over IMAP."""
        mailboxes = self.machine.root / "var/vmail"
        # In this order: a client moves them from the one to the other.
        paths = (path for folder in ("new", "cur") for path in mailboxes.glob(f"*/{folder}/*"))
        return {path.name.partition(":")[0]: path for path in paths}

    def _log(self, name: str) -> str:
        file = self.machine.root / "var/log" / name
        return file.read_text(errors="replace") if file.exists() else ""

    def _configure(self) -> None:
        etc = self.machine.root / "etc/postfix"
        owners = {**{name: name for name in ACCOUNTS}, **ALIASES}
        _table(etc / "owners", owners)
        _table(etc / "mailboxes", {name: f"{name}/" for name in ACCOUNTS})
        _table(etc / "anybody", {f"@{domain}": f"{_ANYBODY}/" for domain in DOMAINS})
        _table(etc / "aliases", ALIASES)
        self._write_main_and_master()
        self._write_later()
        self._write_accounts(ACCOUNTS)
        self._place(self._certificate)

    def _write_main_and_master(self) -> None:
        etc = self.machine.root / "etc/postfix"
        changing = "".join(f"{name} = {value}\n" for name, value in self._main.items())
        _write(etc / "main.cf", MAIN_CF + changing)
        services = SUBMISSION.format(port=465, wrapped="yes")
        if 587 in self._ports:
            services += SUBMISSION.format(port=587, wrapped="no")
        _write(etc / "master.cf", MASTER_CF + services)

    def _write_accounts(self, accounts: Mapping[str, str]) -> None:
        file = self.machine.root / "etc/dovecot/accounts"
        file.write_text("".join(f"{name}:{{PLAIN}}{word}\n" for name, word in accounts.items()))

    def _write_later(self) -> None:
        file = self.machine.root / SETTINGS
        draft = file.with_suffix(".draft")
        draft.write_text(json.dumps(self._later))
        draft.rename(file)

    def _place(self, certificate: Certificate) -> None:
        ssl = self.machine.root / "etc/ssl"
        (ssl / "mail.pem").write_bytes(certificate.chain.read_bytes())
        (ssl / "mail.key").write_bytes(certificate.key.read_bytes())
        (ssl / "mail.key").chmod(0o600)

    def _set(self, **changes: str) -> None:
        self._main |= changes
        self._reload()

    def _hold_up(self, **changes: float | None) -> None:
        self._later |= {**changes, "serial": time.monotonic()}
        self._write_later()

    def _reload(self) -> None:
        self._write_main_and_master()
        before = self._log("postfix.log").count(": reload ")
        self.machine.run("postfix reload")
        wait_until(
            "Postfix has read its files again",
            lambda: self._log("postfix.log").count(": reload ") > before,
        )
        self._wait_for_ports()

    def _wait_for_ports(self) -> None:
        inside = {RATE_PORT, GREYLIST_PORT}

        def listens() -> bool:
            shown = self.machine.run("ss -Hltn; test -S /run/dovecot/for-postfix && echo login")
            ports = {int(port) for port in re.findall(r":(\d+) ", shown.stdout)}
            mine = ports & {25, 465, 587, 993, *self._pipes.values()}
            return mine == self._ports and inside <= ports and "login" in shown.stdout

        wait_until(f"{self.host} listens", listens, 30, 0.1)


def _table(path: Path, entries: Mapping[str, str]) -> None:
    _write(path, "".join(f"{name} {value}\n" for name, value in entries.items()))


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    # Postfix waits two seconds before it reads a file that has just been changed.
    before = time.time() - 10
    os.utime(path, (before, before))


def _content(path: Path, size: int = -1) -> bytes | None:
    """The beginning of a message, None if it was moved away meanwhile: it will be found again."""
    try:
        with path.open("rb") as file:
            head = file.read(size)
            while size > 0 and b"\n\n" not in head and (more := file.read(size)):
                head += more
            return head
    except FileNotFoundError:
        return None


def _header(data: bytes, name: str) -> str:
    """The first header of that name, unfolded; "" if there is none."""
    head = data.partition(b"\n\n")[0]
    pattern = rb"^" + re.escape(name.encode()) + rb":[ \t]*(.*(?:\n[ \t].*)*)"
    found = re.search(pattern, head, flags=re.IGNORECASE | re.MULTILINE)
    return re.sub(r"\s*\n\s*", " ", found[1].decode(errors="replace")).strip() if found else ""


def _mailbox(path: Path) -> str:
    return path.parent.parent.name


def _moment(name: str) -> float:
    found = _NAME.match(name)
    return int(found[1]) + int(found[2]) / 1e6 if found else 0.0
