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
    return host


def _no_login(lab: Lab) -> Host:
    host = lab.host("broken-nologin", packages=_RELAY)
    _smarthost(lab, host, login=False)
    return host


def _mailu(lab: Lab) -> Host:
    host = lab.host("broken-mailu")
    mailu_policy(lab, host, 'route = "mailu"')
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
    "route mailu": _mailu,
}
"""Each kind's way to a booted host with a policy that is not applied yet."""


@contextlib.contextmanager
def _cut_smarthost(lab: Lab) -> Iterator[None]:
    lab.cut(lab.smarthost)
    try:
        yield
    finally:
        lab.join(lab.smarthost)


ACTS: Mapping[str, Callable[[Lab], contextlib.AbstractContextManager[None]]] = {
    "the smarthost is cut off": _cut_smarthost,
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
