"""Mail that cannot leave, or a password that leaves in the open."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sysmail.postfix.lint.candidate import Candidate, Finding
from sysmail.postfix.lint.maps import answers, tables

__all__ = ["RULES", "files_read"]

_LEVELS = ("none", "may", "encrypt", "dane", "dane-only", "fingerprint", "verify", "secure")
_ENCRYPTED = frozenset(("encrypt", "dane-only", "fingerprint", "verify", "secure"))
_VERIFIED_BY_CA = frozenset(("verify", "secure"))
_WORDS = frozenset(
    ["noplaintext", "noactive", "nodictionary", "noanonymous", "mutual_auth", "forward_secrecy"]
)
_HOP = re.compile(r"\[([^\]\s]+)\](?::([0-9a-z-]+))?")


def _transports(given: Candidate) -> Iterator[Finding]:
    """A transport that only says no: `Local only` of Debian's package writes one."""
    for name in ("default_transport", "relay_transport"):
        word = given[name].partition(":")[0].strip()
        if word in ("error", "discard"):
            what = "refused or returned" if word == "error" else "destroyed, and counts as sent"
            yield Finding(
                "mail-does-not-leave",
                name,
                f"all mail that would leave this host is {what}",
                "write smtp" if name == "default_transport" else "write relay",
            )


def _relayhost(given: Candidate) -> Iterator[Finding]:
    """``[host]:port``: brackets stop the look-up of mail exchangers."""
    value = given["relayhost"].strip()
    if value and not _HOP.fullmatch(value):
        yield Finding(
            "relayhost-brackets",
            "relayhost",
            f"`{value[:60]}` has no brackets: mail goes to that domain's mail exchangers, and not "
            "to the server of that name",
            "write [host]:port",
        )


def _passwords(given: Candidate) -> Iterator[Finding]:
    """The key of the password map is the text of relayhost, character by character."""
    if not given.login:
        return
    maps = tables(given["smtp_sasl_password_maps"])
    hop = given["relayhost"].strip()
    files = [table for table in maps if table.name in given.tables]
    if not maps:
        yield Finding(
            "no-password-map",
            "smtp_sasl_password_maps",
            "there is a login and no table with its password: smtp ends at its start, and all mail "
            "is deferred",
            "name the table that holds it",
        )
    elif maps == files and hop and not any(answers(given, table, hop) for table in files):
        yield Finding(
            "password-key",
            "relayhost",
            "no key of the password map is equal to it: no login is tried, and the server refuses "
            "or defers",
            "write the same text in both: [host]:port",
        )


def _tls_level(given: Candidate) -> Iterator[Finding]:
    """A known level; with a login one that verifies the server's certificate."""
    level = given["smtp_tls_security_level"].strip()
    if level and level not in _LEVELS:
        yield Finding(
            "tls-level-not-known",
            "smtp_tls_security_level",
            f"`{level[:60]}` is no level of TLS: smtp ends at its start, and all mail is deferred",
            f"write one of {', '.join(_LEVELS)}",
        )
    elif given.login and level != "secure":
        known = "an untrusted certificate" if level in _ENCRYPTED else "plain text"
        yield Finding(
            "login-not-protected",
            "smtp_tls_security_level",
            f"with `{level or 'nothing'}` the password is also sent with {known}",
            "write secure",
        )


def _authorities(given: Candidate) -> Iterator[Finding]:
    """Without an authority no certificate is ever verified."""
    if given["smtp_tls_security_level"].strip() not in _VERIFIED_BY_CA:
        return
    path = given["smtp_tls_CAfile"].strip()
    others = (given["smtp_tls_CApath"].strip(), given["smtp_tls_trust_anchor_file"].strip())
    if not path and not any(others) and not given.yes("tls_append_default_CA"):
        what = "no authority is known"
    elif path and path in given.missing and not any(others):
        what = f"there is no {path}"
    else:
        return
    yield Finding(
        "no-authorities",
        "smtp_tls_CAfile",
        f"{what}, so that no certificate is verified: all mail is deferred for ever",
        "name a file of the authorities, such as /etc/ssl/certs/ca-certificates.crt",
    )


def _wrapper(given: Candidate) -> Iterator[Finding]:
    """TLS from the first byte on 465, STARTTLS elsewhere."""
    wrapped = given.yes("smtp_tls_wrappermode")
    hop = _HOP.fullmatch(given["relayhost"].strip())
    port = (hop.group(2) or "25") if hop else ""
    if wrapped and given["smtp_tls_security_level"].strip() not in _ENCRYPTED:
        yield Finding(
            "wrappermode-level",
            "smtp_tls_wrappermode",
            "it needs a TLS level that does not allow plain text: all mail is deferred",
            "write smtp_tls_security_level = secure",
        )
    if wrapped and port in ("25", "587", "smtp", "submission"):
        yield Finding(
            "wrappermode-port",
            "smtp_tls_wrappermode",
            f"a server does not begin with TLS on port {port}: all mail is deferred",
            "write no, or port 465 in relayhost",
        )
    if not wrapped and port in ("465", "smtps", "submissions"):
        yield Finding(
            "wrappermode-port",
            "smtp_tls_wrappermode",
            f"a server waits for TLS on port {port} and never greets: all mail is deferred",
            "write yes, or port 587 in relayhost",
        )


def _mechanisms(given: Candidate) -> Iterator[Finding]:
    """PLAIN and LOGIN are what servers offer, and TLS is around them."""
    if not given.login:
        return
    for name in ("smtp_sasl_tls_security_options", "smtp_sasl_tls_verified_security_options"):
        words = given.words(name)
        if "noplaintext" in words:
            yield Finding(
                "no-mechanism",
                name,
                "noplaintext leaves no mechanism: all mail is deferred",
                "write smtp_sasl_security_options = noanonymous",
            )
            return
        odd = [word for word in words if word not in _WORDS]
        if odd:
            yield Finding(
                "sasl-options-not-readable",
                name,
                f"`{odd[0][:60]}` is no option: smtp ends at its start, and all mail is deferred",
                "write noanonymous",
            )
            return


def _modules(given: Candidate) -> Iterator[Finding]:
    """Cyrus SASL logs in by modules that are a package of their own."""
    if given.login and given.settled and not given.facts.sasl_plain:
        names = given.facts.distro.sasl if given.facts.distro is not None else ()
        yield Finding(
            "sasl-modules-missing",
            "smtp_sasl_auth_enable",
            "Cyrus SASL has no module for PLAIN on this host: all mail is deferred with `no "
            "mechanism available`",
            f"install {' or '.join(names) or 'the modules of Cyrus SASL'}",
        )


def files_read(given: Candidate) -> Iterator[str]:
    """The file of the authorities."""
    path = given["smtp_tls_CAfile"].strip()
    if path.startswith("/"):
        yield path


RULES = (
    _transports,
    _relayhost,
    _passwords,
    _tls_level,
    _authorities,
    _wrapper,
    _mechanisms,
    _modules,
)
