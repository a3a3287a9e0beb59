"""The healthy hosts that faults start from, and faults of the lab around a host."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping

from onhost import apply, mailu_policy, policy

from lab import Host, Lab

__all__ = ["ACTS", "KINDS", "Pool"]

_RELAY = ("postfix", "msmtp")
_ADMIN = 'admin = "ops@example.org"\n'
_SOON = '[queue]\nretry_every = "10s"\n'


def _smarthost(lab: Lab, host: Host, *, login: bool = True, top: str = "") -> None:
    """A policy for the lab's submission server."""
    folder = host.root / "etc/sysmail"
    folder.mkdir(exist_ok=True)
    shutil.copy(lab.smarthost.ca_file, folder / "ca.pem")
    secret = folder / "password"
    secret.write_text(lab.smarthost.password + "\n")
    secret.chmod(0o600)
    lines = [f'sender = "{lab.smarthost.username}"', top, _SOON, "[smarthost]"]
    lines += [f'host = "{lab.smarthost.host}"', 'ca_file = "/etc/sysmail/ca.pem"']
    if login:
        lines += ["port = 465", 'tls = "implicit"', f'username = "{lab.smarthost.username}"']
        lines += ['password_file = "/etc/sysmail/password"']
    else:
        lines += ["port = 25", 'tls = "starttls"']
    policy(host, _ADMIN + "\n".join(lines) + "\n")
    lab.smarthost.strict(on=login)


def _direct(lab: Lab, base: str, top: str = "", *, ipv6: bool = True, bare: bool = False) -> Host:
    host = lab.host(f"broken-{base}", base, packages=() if bare else _RELAY, ipv6=ipv6)
    policy(host, _ADMIN + top + _SOON)
    return host


def _login(lab: Lab) -> Host:
    host = lab.host("broken-login", packages=_RELAY)
    _smarthost(lab, host)
    # For a fault: only the lab has the authority's key.
    shutil.copy(lab.ca.expired(), host.root / "root/ca-expired.pem")
    return host


def _no_login(lab: Lab) -> Host:
    host = lab.host("broken-nologin", packages=_RELAY)
    _smarthost(lab, host, login=False)
    return host


def _system_certificates(lab: Lab) -> Host:
    """The lab's authority is one that the whole host trusts."""
    host = lab.host("broken-system", packages=_RELAY)
    _smarthost(lab, host)
    shutil.copy(lab.ca.file, host.root / "usr/local/share/ca-certificates/lab.crt")
    host.run("update-ca-certificates")
    path = host.root / "etc/sysmail/policy.toml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if "ca_file" not in line))
    return host


def _mailu(lab: Lab, base: str = "debian", route: str = "mailu") -> Host:
    packages = _RELAY if route == "relay" else ()
    host = lab.host("broken-mailu", base, packages=packages)
    mailu_policy(lab, host, f'route = "{route}"')
    return host


def _adopted(lab: Lab) -> Host:
    """It was a mail server for others, and its owner said --adopt."""
    host = lab.host("broken-adopted", packages=_RELAY)
    server = ["mynetworks=127.0.0.0/8 192.0.2.0/24", "relay_domains=customer.example"]
    host.run(["postconf", "-e", *server])
    host.run("systemctl restart postfix")
    policy(host, _ADMIN + _SOON)
    apply(host, "--adopt")
    return host


def _no_admin(lab: Lab) -> Host:
    """Mail for root is refused there, which is what its policy asks for."""
    host = lab.host("broken-no-admin", packages=_RELAY)
    policy(host, _SOON)
    return host


def _extras(lab: Lab) -> Host:
    """Parameters of the operator's own, one that a check looks at among them."""
    host = lab.host("broken-extras", packages=_RELAY)
    own = '[postfix]\nsmtp_helo_timeout = "60s"\ninet_protocols = "ipv4"\n'
    policy(host, _ADMIN + _SOON + own + 'always_bcc = "copies@example.org"\n')
    return host


_FRONT = """\
import socket
s = socket.create_server(('', 25))
while True:
    c, _ = s.accept(); c.sendall(b'220 front ESMTP Mailu\\r\\n'); c.close()
"""
_FRONT_UNIT = """\
[Service]
ExecStart=/usr/bin/python3 /usr/local/lib/front.py
ExecStartPost=/bin/sh -c "until ss -Hltn | grep -q ':25 '; do sleep 0.1; done"
[Install]
WantedBy=multi-user.target
"""


def _beside(lab: Lab) -> Host:
    """Mailu's own front has port 25 there: msmtpd listens on 10025."""
    host = _mailu(lab, route="auto")
    (host.root / "usr/local/lib/front.py").write_text(_FRONT)
    (host.root / "etc/systemd/system/front.service").write_text(_FRONT_UNIT)
    host.run("systemctl daemon-reload && systemctl enable --now front.service")
    return host


def _exim(lab: Lab) -> Host:
    host = lab.host("broken-exim", packages=("exim4",))
    policy(host, _ADMIN + _SOON)
    return host


KINDS: Mapping[str, Callable[[Lab], Host]] = {
    "relay": lambda lab: _direct(lab, "debian"),
    "relay on Arch": lambda lab: _direct(lab, "arch"),
    "relay on Debian 11": lambda lab: _direct(lab, "debian11", bare=True),
    "relay on Debian 13": lambda lab: _direct(lab, "debian13", bare=True),
    "relay with login": _login,
    "relay to a smarthost without login": _no_login,
    "relay that holds": lambda lab: _direct(lab, "debian", 'next_hop = "hold"\n'),
    "relay without IPv6": lambda lab: _direct(lab, "debian", ipv6=False),
    "relay in place of exim4": _exim,
    "relay with the system's certificates": _system_certificates,
    "relay in place of a mail server": _adopted,
    "relay to Mailu": lambda lab: _mailu(lab, route="relay"),
    "relay without admin": _no_admin,
    "relay with parameters of its own": _extras,
    "route mailu": _mailu,
    "route mailu beside a program on port 25": _beside,
    "route mailu on Arch": lambda lab: _mailu(lab, "arch"),
}
"""Each kind's way to a booted host with a policy that is not applied yet."""


Act = Callable[[Lab], contextlib.AbstractContextManager[None]]


def _act(break_: Callable[[Lab], object], mend: Callable[[Lab], object]) -> Act:
    """Both as one: broken inside of the context, mended after it."""

    @contextlib.contextmanager
    def act(lab: Lab) -> Iterator[None]:
        break_(lab)
        try:
            yield
        finally:
            mend(lab)

    return act


def _shows(names: tuple[str, ...] = (), days: int = 365, *, trusted: bool = True) -> Act:
    """The smarthost shows another certificate."""

    def present(lab: Lab) -> None:
        names_ = names or (lab.smarthost.host,)
        lab.smarthost.present(lab.ca.issue(*names_, days=days, trusted=trusted))

    return _act(present, lambda lab: lab.smarthost.own_certificate())


def _smarthost_with(**changed: str) -> Act:
    """Parameters of the smarthost's Postfix, and back to what they were."""
    before: dict[str, str] = {}

    def put(lab: Lab, values: Mapping[str, str]) -> None:
        words = [f"{name}={value}" for name, value in values.items()]
        lab.smarthost.machine.run(["postconf", "-e", *words])
        lab.smarthost.machine.run("postfix reload")

    def change(lab: Lab) -> None:
        for name in changed:
            said = lab.smarthost.machine.run(["postconf", "-h", name]).stdout
            before[name] = said.strip()
        put(lab, changed)

    return _act(change, lambda lab: put(lab, before))


def _owner(name: str) -> Callable[[Lab], None]:
    """Who owns the sender at the smarthost: the login of that name."""

    def write(lab: Lab) -> None:
        smarthost = lab.smarthost
        line = f"{smarthost.username} {name or smarthost.username}\n"
        (smarthost.machine.root / "etc/postfix/owners").write_text(line)
        smarthost.machine.run("postfix reload")

    return write


def _named(*addresses: str) -> Callable[[Lab], None]:
    """What the smarthost's name leads to: own and own6 are its addresses."""

    def write(lab: Lab) -> None:
        machine = lab.smarthost.machine
        known = {"own": machine.address, "own6": machine.address6}
        lab.dns.remove(machine.fqdn)
        for address in addresses:
            lab.dns.add(machine.fqdn, "ADDRESS", known[address])

    return write


_OWN_NAME = _named("own", "own6")

ACTS: Mapping[str, Act] = {
    "Mailu is stopped": _act(lambda lab: lab.mailu.stop(), lambda lab: lab.mailu.start()),
    "Mailu limits rates to none": _act(
        lambda lab: lab.mailu.rate_limit(messages=0),
        lambda lab: lab.mailu.rate_limit(messages=None),
    ),
    "Mailu refuses logins": _act(
        lambda lab: lab.mailu.refuse_logins(on=True), lambda lab: lab.mailu.refuse_logins(on=False)
    ),
    "Mailu's certificate is for another name": _act(
        lambda lab: lab.mailu.present(lab.ca.issue("other.lab.test")),
        lambda lab: lab.mailu.own_certificate(),
    ),
    "DNS is cut off": _act(lambda lab: lab.cut(lab.dns), lambda lab: lab.join(lab.dns)),
    "DNS is stopped": _act(lambda lab: lab.dns.stop(), lambda lab: lab.dns.start()),
    "the smarthost gave the sender to another login": _act(
        _owner("backup@example.org"), _owner("")
    ),
    "the smarthost is cut off": _act(
        lambda lab: lab.cut(lab.smarthost), lambda lab: lab.join(lab.smarthost)
    ),
    "the smarthost is stopped": _act(
        lambda lab: lab.smarthost.machine.run("systemctl stop postfix@-"),
        lambda lab: lab.smarthost.machine.run("systemctl start postfix@-"),
    ),
    "the smarthost puts all mail off": _smarthost_with(submission_sender_restrictions="defer"),
    "the smarthost refuses everybody": _smarthost_with(
        smtpd_delay_reject="no", smtpd_client_restrictions="reject"
    ),
    "the smarthost refuses logins": _act(
        lambda lab: lab.smarthost.refuse_logins(on=True),
        lambda lab: lab.smarthost.refuse_logins(on=False),
    ),
    "the smarthost relays for nobody": _smarthost_with(mynetworks="127.0.0.0/8"),
    "the smarthost takes 1 MB": _smarthost_with(message_size_limit="1000000"),
    "the smarthost's certificate is expired": _shows(days=-1),
    "the smarthost's certificate is for another name": _shows(("other.lab.test",)),
    "the smarthost's certificate is self-signed": _shows(trusted=False),
    "the smarthost's name is gone": _act(_named(), _OWN_NAME),
}
"""Faults that are not on the host: in force inside of the context, mended after it."""


class Pool:
    """One booted and applied host at a time, used again as long as it is healthy.

    ``proven``: all of its promises passed at the end of the last test, and nothing was done since.
    """

    def __init__(self, lab: Lab) -> None:
        """Nothing is booted before it is asked for."""
        self.lab = lab
        self._kind = ""
        self._host: Host | None = None
        self.proven = False

    def host(self, kind: str) -> Host:
        """The healthy host of a kind."""
        if self._host is None or self._kind != kind:
            self.put_aside()
            self._host, self._kind = KINDS[kind](self.lab), kind
            apply(self._host)
            self.proven = False
        return self._host

    def put_aside(self) -> None:
        """Take the host away: what it is like now is not known."""
        if self._host is not None:
            host, self._host = self._host, None
            self.lab.remove(host)

    @contextlib.contextmanager
    def aside_on_failure(self) -> Iterator[None]:
        """The host is put aside where what is inside fails."""
        try:
            yield
        except BaseException:
            self.put_aside()
            raise
