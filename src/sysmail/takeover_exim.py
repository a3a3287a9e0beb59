"""What shows that Debian's exim4 serves others than its own host. Pure.

Debian asks a few questions and keeps the answers in update-exim4.conf.conf; an
administrator who wants more writes /etc/exim4/exim4.conf, which takes their place
(update-exim4.conf(8)).
"""

from __future__ import annotations

from sysmail.facts.model import Facts
from sysmail.takeover_names import foreign_names

__all__ = ["exim_findings"]

_OF_OTHERS = (
    ("dc_relay_domains", "relays for the domains"),
    ("dc_relay_nets", "relays for the networks"),
)

# Macros of Debian's configuration that say for whom exim4 is there, and how it delivers.
_MACROS = frozenset(
    {
        "LOCAL_DELIVERY",
        "MAIN_LOCAL_DOMAINS",
        "MAIN_LOCAL_INTERFACES",
        "MAIN_RELAY_NETS",
        "MAIN_RELAY_TO_DOMAINS",
    }
)


def exim_findings(facts: Facts) -> list[str]:
    """One clause for each answer that the package's default does not have."""
    if facts.exim_by_hand:
        # The answers are not in use then.
        return ["exim4 has a configuration written by hand (/etc/exim4/exim4.conf)"]
    settings = facts.exim_settings
    found: list[str] = []
    if facts.exim_role == "internet":
        found.append("exim4 is set up as a mail server (dc_eximconfig_configtype = internet)")
    interfaces = settings.get("dc_local_interfaces")
    if interfaces is not None and not _is_loopback_only(interfaces):
        where = interfaces or "every interface"
        found.append(f"exim4 listens on {where} (dc_local_interfaces)")
    foreign = foreign_names(facts, _names(settings.get("dc_other_hostnames", "")))
    if foreign:
        found.append(f"exim4 is the destination of {', '.join(foreign)} (dc_other_hostnames)")
    found += [
        f"exim4 {what} {', '.join(_names(settings[key]))} ({key})"
        for key, what in _OF_OTHERS
        if _names(settings.get(key, ""))
    ]
    delivery = settings.get("dc_localdelivery", "")
    if delivery not in ("", "mail_spool"):
        found.append(f"exim4 delivers to {delivery} (dc_localdelivery)")
    macros = [name for name in facts.exim_macros if name in _MACROS]
    if macros:
        found.append(f"exim4 has macros of its owner's: {', '.join(macros)}")
    return found


def _names(text: str) -> list[str]:
    """A list of exim's: separated by ``:`` or, as Debian writes it, by `` ; ``."""
    separator = ";" if ";" in text else ":"
    return [word.strip().lower() for word in text.split(separator) if word.strip()]


def _is_loopback_only(interfaces: str) -> bool:
    """``127.0.0.1 ; ::1``, as the package answers; empty means every interface."""
    words = [word.strip().strip("[]") for word in interfaces.split(";")]
    return any(words) and all(word.startswith("127.") or word == "::1" for word in words if word)
