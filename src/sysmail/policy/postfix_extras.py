"""The operator's own main.cf parameters, and which of them are refused.

An extra is refused if sysmail sets the parameter itself or if it could break a
promise (:data:`PROTECTED`); some are accepted with certain values only
(:data:`RULES`). A name that is in neither may still be one that the host's
Postfix does not know: that depends on its version and is checked on the host.

Milters are accepted on this host's sockets, although a milter may discard mail:
a DKIM signer is one, direct delivery is hardly accepted without a signature,
and which program runs there is the operator's own choice. Automatic copies
(``always_bcc``) are accepted: they add a recipient and take none away; so are
``smtp_header_checks``, which on the way out can neither drop nor redirect mail.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import translate
from typing import Optional

from sysmail.errors import PolicyError
from sysmail.policy.postfix_protected import PROTECTED, Protected
from sysmail.policy.values import bad_value, check_seen, quoted, read_text, wrong_type

__all__ = ["PROTECTED", "RULES", "Protected", "Rule", "protection", "read_extras"]

# Postfix takes any name up to the `=`. Its own have lower case, but for a few (smtp_tls_CAfile);
# those of a transport begin with its name in master.cf, which may hold a hyphen.
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_MAX_EXTRAS = 500


@dataclass(frozen=True)
class Rule:
    """A parameter of which only some values are harmless.

    ``pattern`` matches the whole of a harmless value; ``allowed`` describes it.
    """

    pattern: re.Pattern[str]
    allowed: str
    promise: str
    why: str


_LOOPBACK = r"(?:localhost|127\.0\.0\.1|\[::1\])"
_LOCAL_SOCKET = rf"(?:unix:[\w./-]+|inet:(?:[0-9]+@{_LOOPBACK}|{_LOOPBACK}:[0-9]+))"
_OLD_TLS = r"(?=.*!SSLv2\b)(?=.*!SSLv3\b)(?=.*!TLSv1(?!\.))(?=.*!TLSv1\.1\b)"


def _rule(pattern: str, allowed: str, promise: str, why: str) -> Rule:
    return Rule(re.compile(pattern, re.ASCII), allowed, promise, why)


_MILTERS = _rule(
    rf"(?:{_LOCAL_SOCKET}(?:[\s,]+{_LOCAL_SOCKET})*)?",
    "sockets of this host, such as `unix:/run/opendkim/opendkim.sock`",
    "nothing-lost",
    "a milter on another host decides over mail, and may be gone when this host is not",
)

RULES: tuple[tuple[str, Rule], ...] = (
    (
        "inet_protocols",
        _rule(
            "all|ipv4",
            "`all` or `ipv4`",
            "local-clients",
            "without IPv4, or with an empty value, nothing listens on 127.0.0.1",
        ),
    ),
    (
        "smtputf8_enable",
        _rule(
            "no",
            "`no`",
            "nothing-lost",
            "a next hop without SMTPUTF8 makes mail with a raw UTF-8 header bounce, and its bounce",
        ),
    ),
    (
        "smtp_tls_mandatory_ciphers",
        _rule(
            "medium|high",
            "`medium` or `high`",
            "verified-next-hop",
            "a lower grade includes ciphers that hide nothing",
        ),
    ),
    (
        "smtp_tls_mandatory_protocols",
        _rule(
            rf">=TLSv1\.[23]|{_OLD_TLS}(?:!(?:SSLv[23]|TLSv1(?:\.[123])?)[\s,:]*)+",
            "`>=TLSv1.2` or `>=TLSv1.3`, or a list that excludes everything older",
            "verified-next-hop",
            "a login is not sent over a version of TLS that can be broken",
        ),
    ),
    (
        "smtp_tls_loglevel",
        _rule("[012]", "`0`, `1` or `2`", "no-secrets-told", "a higher level dumps the session"),
    ),
    (
        "smtp_discard_ehlo_keywords",
        _rule(
            r"(?i:(?!(?:.*[\s,])?(?:auth|starttls)(?:[\s,]|$))[\w\s,-]*)",
            "words other than `starttls` and `auth`",
            "verified-next-hop",
            "without these two no login can be sent safely",
        ),
    ),
    ("smtpd_milters", _MILTERS),
    ("non_smtpd_milters", _MILTERS),
    (
        "milter_default_action",
        _rule(
            "accept|tempfail",
            "`accept` or `tempfail`",
            "nothing-lost",
            "with another action a milter that is down makes mail bounce or stay",
        ),
    ),
)
"""Parameters that are accepted with some values only."""

_RULES = dict(RULES)
_FOLDED = {name.lower(): entry for name, entry in PROTECTED.items()}
_PATTERNS = tuple(
    (re.compile(translate(name)), entry) for name, entry in _FOLDED.items() if "*" in name
)


def protection(name: str) -> Optional[Protected]:
    """Return why a main.cf parameter is refused whatever its value, None if it is not."""
    folded = name.lower()
    if folded.startswith("lmtp_"):
        # The LMTP client is the SMTP client with names of its own.
        folded = "smtp_" + folded[5:]
    if folded in _RULES:
        return None
    if folded in _FOLDED:
        return _FOLDED[folded]
    return next((entry for pattern, entry in _PATTERNS if pattern.match(folded)), None)


def read_extras(table: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    """Read ``[postfix]``: pairs of a parameter's name and its value, sorted by name.

    Numbers and ``true``/``false`` are taken as Postfix writes them.
    """
    if len(table) > _MAX_EXTRAS:
        raise bad_value("postfix", f"it holds {len(table)} parameters", "Remove the superfluous.")
    return tuple(sorted(_extra(name, value) for name, value in table.items()))


def _extra(name: object, value: object) -> tuple[str, str]:
    if not isinstance(name, str):
        raise wrong_type("postfix", name, "names of parameters as text")
    check_seen(name[:200], "postfix")
    if not _NAME.fullmatch(name):
        raise bad_value(
            "postfix",
            f"{quoted(name)} cannot be the name of a parameter",
            "Write the name as `postconf` prints it: letters, digits, `_` and `-`.",
        )
    key = f"postfix.{name}"
    entry = protection(name)
    if entry is not None:
        raise _refused(key, name, entry.promise, entry.why, _instead(entry.use, name))
    text = _value(value, key)
    rule = _RULES.get(name.lower())
    if rule is not None and not rule.pattern.fullmatch(text):
        remedy = f"Write {rule.allowed}, or remove `{name}` from `[postfix]`."
        raise _refused(key, name, rule.promise, rule.why, remedy)
    return str(name), text


def _value(value: object, key: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        if abs(value) > 10**12:
            raise bad_value(key, "the number is out of range", "Write a smaller number.")
        return str(int(value))
    text = read_text(value, key).strip()
    if not text.isascii():
        raise bad_value(key, "main.cf is ASCII and the value is not", "Write it in ASCII.")
    if "${" in text or "$(" in text:
        # `$name` copies a value; these choose one by a condition that cannot be judged here.
        raise bad_value(key, "the value is a conditional expression", "Write the value itself.")
    depth = 0
    for brace in re.findall("[{}]", text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            break
    if depth:
        raise bad_value(key, "the braces in the value do not match", "Close every brace.")
    return text


def _instead(use: str, name: str) -> str:
    if use:
        return f"Remove `{name}` from `[postfix]`, and use the policy's key `{use}`."
    return f"Remove `{name}` from `[postfix]`; sysmail decides it."


def _refused(key: str, name: str, promise: str, why: str, remedy: str) -> PolicyError:
    return PolicyError(
        "policy-postfix-parameter",
        f"`{name}` in `[postfix]` could break the promise {promise}: {why}",
        remedy,
        key,
    )
