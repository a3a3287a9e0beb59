"""Names on the network: host names, mail addresses, servers and webhooks.

Only ASCII is accepted. A name in another script has a spelling in ASCII
(``xn--…``, IDNA) that programs exchange, and which looks like nothing else: a
Cyrillic letter in an address is found here and not by lost mail. Domains are
returned in lower case, because Postfix compares some of them as text.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Optional, Union

from sysmail.errors import PolicyError
from sysmail.policy.values import bad_value, quoted, read_text

__all__ = [
    "is_ip_address",
    "is_loopback",
    "read_address",
    "read_hop_host",
    "read_hostname",
    "read_username",
    "read_webhook",
]

_IPAddress = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

_LABEL = re.compile("[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
# RFC 5322 dot-atom, in ASCII; quoted local parts are legal and refused (see read_address).
_ATOM = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_MAX_NAME = 253
_MAX_LOCAL_PART = 64
_MAX_ADDRESS = 254
# RFC 6761 keeps every name under .localhost on this host; the others are those of /etc/hosts.
_LOOPBACK_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")


def read_hostname(value: object, key: str) -> str:
    """Read a fully qualified host name, not ``localhost``; ``""`` means not set."""
    name = read_text(value, key)
    return _qualified(name, key) if name else ""


def read_address(value: object, key: str) -> str:
    """Read a mail address outside of this host; ``""`` means not set.

    The local part is a dot-atom: a quoted one would have to be quoted again,
    each time in another way, in Postfix's maps and in msmtp's configuration.
    Limits are those of RFC 5321: 64 characters before the ``@``, 254 in all.
    """
    address = read_text(value, key)
    if not address:
        return ""
    hint = "Write one address such as ops@example.org, without a name and without brackets."
    local, at, domain = address.rpartition("@")
    if not at or "@" in local or not local or not domain:
        raise bad_value(key, f"{quoted(address)} is not one mail address", hint)
    if not local.isascii():
        raise _not_ascii(key, local, "Write an address in ASCII; ask the provider for an alias.")
    if len(address) > _MAX_ADDRESS or len(local) > _MAX_LOCAL_PART:
        raise bad_value(
            key,
            f"{quoted(address)} is longer than a mail address may be",
            f"Write at most {_MAX_LOCAL_PART} characters before the @ and {_MAX_ADDRESS} in all.",
        )
    if not _DOT_ATOM.fullmatch(local):
        raise bad_value(key, f"{quoted(local)} cannot stand before the @ of an address", hint)
    if domain.startswith("["):
        raise bad_value(
            key,
            "an address at an IP address is read by nobody",
            "Write an address with a domain, at another host than this one.",
        )
    return f"{local}@{_qualified(domain, key)}"


def read_hop_host(value: object, key: str) -> str:
    """Read the name or the IP address (IPv6 also in brackets) of a server."""
    host = read_text(value, key)
    if not host:
        raise bad_value(key, "the server has no name", "Write its name, such as mail.example.org.")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    address = _ip_address(bare)
    if address is None:
        return _host_name(host, key)
    if address.is_unspecified or address.is_multicast:
        raise bad_value(
            key, f"{quoted(host)} is not the address of one server", "Write the server's address."
        )
    return str(address)


def is_ip_address(host: str) -> bool:
    """Tell whether a host is an IP address and not a name."""
    return _ip_address(host) is not None


def is_loopback(host: str) -> bool:
    """Tell whether a host, by name or address, is certainly this host itself."""
    address = _ip_address(host)
    if address is not None:
        return address.is_loopback
    name = host.lower()
    return name in _LOOPBACK_NAMES or name.endswith(".localhost")


def read_username(value: object, key: str) -> str:
    """Read a login name; ``""`` means not set.

    Postfix's password maps separate the name from the password by the first
    colon and fields by white space, so neither can be in a name.
    """
    name = read_text(value, key)
    if not name.isascii():
        raise _not_ascii(key, name, "Write the login in ASCII, as the provider shows it.")
    if ":" in name or any(character.isspace() for character in name):
        raise bad_value(
            key,
            f"{quoted(name)} holds a colon or white space",
            "Write the login name alone; the password goes into the file of `password_file`.",
        )
    return name


def read_webhook(value: object, key: str) -> str:
    """Read a URL that alerts are posted to; ``""`` means not set. The URL is in no error.

    ``https`` only, because an alert tells of the host; ``http`` on loopback.
    """
    url = read_text(value, key)
    if not url:
        return ""
    hint = "Write a URL that begins with https:// (http:// only for this host itself)."
    if not url.isascii() or any(character in ' "<>\\^`{|}' for character in url):
        raise bad_value(
            key, "the URL holds a character that no URL has", "Write it percent-encoded, in ASCII."
        )
    from urllib.parse import urlsplit  # where there is a URL at all

    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        raise bad_value(key, "the URL cannot be read", hint) from error
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        raise bad_value(key, "this is not the URL of a web server", hint)
    if _ip_address(host) is None:
        _host_name(host, key)
    if parts.scheme == "http" and not is_loopback(host):
        raise bad_value(key, "the URL would send alerts unencrypted", hint)
    if "@" in parts.netloc or parts.fragment:
        raise bad_value(
            key,
            "the URL holds a login or a fragment",
            "Write it without; for a service that needs a login use `alert.command`.",
        )
    return url


def _qualified(name: str, key: str) -> str:
    host = _host_name(name, key)
    if is_loopback(host) or host.endswith(".localdomain"):
        raise bad_value(
            key,
            f"{quoted(host)} is every host's name for itself",
            "Write a name that other hosts know too: mail has to leave this host.",
        )
    if "." not in host:
        raise bad_value(
            key,
            f"{quoted(host)} is not a fully qualified name",
            f"Write the whole name, such as {host[:20]}.example.org.",
        )
    return host


def _host_name(name: str, key: str) -> str:
    if not name.isascii():
        raise _not_ascii(key, name, "Write the domain in its ASCII form, which begins with xn--.")
    if len(name) > _MAX_NAME + 1:
        raise bad_value(key, f"{quoted(name)} is too long for a host name", "Write the real name.")
    if name.endswith("."):
        raise bad_value(
            key, f"{quoted(name)} ends with a dot", "Write the name without the dot at its end."
        )
    labels = name.split(".")
    if not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit() or len(name) > _MAX_NAME:
        raise bad_value(
            key,
            f"{quoted(name)} is not a host name",
            "Write letters, digits and hyphens in parts of at most 63 characters, joined by dots.",
        )
    return name.lower()


def _ip_address(host: str) -> Optional[_IPAddress]:
    # A zone (fe80::1%eth0) is valid for Python and for no SMTP client's configuration.
    if "%" in host or "/" in host:
        return None
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _not_ascii(key: str, text: str, remedy: str) -> PolicyError:
    return bad_value(key, f"{quoted(text)} has characters that are not ASCII", remedy)
