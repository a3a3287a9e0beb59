"""Services of master.cf that mail needs, and the level that decides what a dash in it means."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sysmail.postfix.lint.candidate import Candidate, Finding, Service

__all__ = ["RULES", "files_read"]

_NEEDED = (
    *("pickup", "cleanup", "qmgr", "rewrite", "bounce", "defer", "trace", "smtp", "relay"),
    *("error", "retry", "proxymap", "tlsmgr", "showq"),
)
_TRANSPORTS = (
    *("default_transport", "relay_transport", "local_transport"),
    *("virtual_transport", "mailbox_transport", "fallback_transport"),
)
# Programs that look names up, or that verify certificates.
_NEED_FILES = frozenset(("smtp", "smtpd", "lmtp", "tlsproxy"))


def _needed(given: Candidate) -> Iterator[Finding]:
    """A service that is not in master.cf: whoever asks it waits for ever."""
    unix = {service.name for service in given.services if service.kind in ("unix", "fifo")}
    inet = [service for service in given.services if service.kind == "inet"]
    for name in _NEEDED:
        if name not in unix:
            yield Finding(
                "service-missing",
                "master.cf",
                f"there is no service {name}: mail stays where it needs it",
                f"add {name} as in the master.cf of Postfix's own package",
            )
    if not any(service.command == "smtpd" for service in inet):
        yield Finding(
            "service-missing",
            "master.cf",
            "there is no smtpd: port 25 answers nothing",
            "add the service smtp inet, as in the master.cf of Postfix's own package",
        )


def _reuse(given: Candidate) -> Iterator[Finding]:
    """A TLS connection that is used again is held by tlsproxy(8)."""
    names = {service.name for service in given.services if service.kind == "unix"}
    if given.yes("smtp_tls_connection_reuse") and not {"tlsproxy", "scache"} <= names:
        yield Finding(
            "reuse-without-tlsproxy",
            "smtp_tls_connection_reuse",
            "master.cf has no service tlsproxy: all mail is deferred with `handshake failure`",
            "add tlsproxy to master.cf, or write no",
        )


def _transports(given: Candidate) -> Iterator[Finding]:
    """A transport has to be a service."""
    names = {service.name for service in given.services if service.kind == "unix"}
    for parameter in _TRANSPORTS:
        if parameter not in given.main or not given[parameter].strip():
            continue
        name = given[parameter].partition(":")[0].strip()
        if name not in names:
            yield Finding(
                "transport-missing",
                parameter,
                f"master.cf has no service {name[:60]}: its mail waits as `mail transport "
                "unavailable`, and then bounces",
                "name a transport that master.cf has",
            )


def _level(given: Candidate) -> Iterator[Finding]:
    """Below 2, defaults of Postfix 2 are in force; above its own version Postfix warns for ever."""
    if given.level < 2000:
        yield Finding(
            "compatibility-level",
            "compatibility_level",
            "defaults of Postfix 2 are in force: unset parameters, and a dash in master.cf, mean "
            "something else, and Postfix warns with every program",
            "write the version that is installed, such as 3.7, or 2 before 3.6",
        )
    postfix = given.facts.postfix
    found = (
        re.match(r"([0-9]{1,6})\.([0-9]{1,3})", postfix.version) if postfix is not None else None
    )
    newest = int(found.group(1)) * 1000 + int(found.group(2)) if found else 0
    if newest and given.settled and given.level > newest:
        yield Finding(
            "compatibility-level",
            "compatibility_level",
            "this Postfix is older than that, and warns with every program",
            "write the version that is installed",
        )


def _chroot(given: Candidate) -> Iterator[Finding]:
    """A chrooted client without resolv.conf finds no server, although DNS answers."""
    for service in given.services:
        inside = service.chroot == "y" or (service.chroot == "-" and given.level < 1000)
        if inside and service.command in _NEED_FILES and _lacks(given):
            yield Finding(
                "chroot-without-files",
                "master.cf",
                f"{service.name} is chrooted and {_resolver(given)} is not there: mail is deferred "
                "with `Name service error`, although DNS answers",
                "write n into the column chroot",
            )
            return


def _lacks(given: Candidate) -> bool:
    return _resolver(given) in given.missing


def _resolver(given: Candidate) -> str:
    return f"{given['queue_directory']}/etc/resolv.conf"


def _is_chrooted(service: Service) -> bool:
    return service.chroot in ("y", "-")


def files_read(given: Candidate) -> Iterator[str]:
    """What a chrooted service needs in the queue directory."""
    if any(_is_chrooted(service) for service in given.services):
        yield _resolver(given)


RULES = (_needed, _reuse, _transports, _level, _chroot)
