"""Whether a host is already somebody's mail server. Pure.

A distribution's untouched default is not one: it has no domains of its own,
no mailboxes in use and no clients from outside.
"""

from __future__ import annotations

from sysmail.facts.model import Facts, Listener, PostfixFacts
from sysmail.neighbours import neighbour_of

__all__ = ["findings", "is_loopback", "listens", "other_mtas", "replaceable"]

# Mail for root that a stock Postfix stored and nobody opened is why sysmail exists, and makes no
# host a mail server.
_NOBODYS_MAILBOXES = frozenset({"root", "nobody", "mail", "postmaster"})

_DOMAINS = ("virtual_mailbox_domains", "virtual_alias_domains", "relay_domains")
_DELIVERY = ("home_mailbox", "mailbox_transport", "virtual_transport", "content_filter")
_SETTINGS = (
    ("smtpd_sasl_auth_enable", "yes", "lets users log in"),
    ("smtpd_tls_auth_only", "yes", "lets users log in"),
)
_PLAIN = {
    "virtual_mailbox_domains": ("", "$virtual_mailbox_maps"),
    "virtual_alias_domains": ("", "$virtual_alias_maps"),
    "relay_domains": ("", "$mydestination"),
    "home_mailbox": ("",),
    "mailbox_transport": ("",),
    "virtual_transport": ("", "virtual"),
    "content_filter": ("",),
}


def other_mtas(facts: Facts) -> tuple[str, ...]:
    """Installed packages that own ``sendmail`` on this host and are not Postfix."""
    known = facts.distro.other_mtas if facts.distro else ()
    return tuple(name for name in known if name in facts.packages)


def replaceable(facts: Facts) -> tuple[str, ...]:
    """Of those, the ones whose place sysmail can take."""
    return tuple(name for name in other_mtas(facts) if neighbour_of(name).replaceable)


def listens(facts: Facts) -> bool:
    """Whether one of those has a listener of its own on loopback."""
    return any(neighbour_of(name).listens for name in replaceable(facts))


def is_loopback(listener: Listener) -> bool:
    """Whether only this host can reach a listener."""
    return listener.address.startswith("127.") or listener.address == "::1"


def findings(facts: Facts, *, ports: bool = True) -> list[str]:
    """What shows that this host is a mail server, one clause each; empty when nothing does.

    ``ports``: also who listens on port 25, which a Mailu on this host may.
    """
    found = [
        f"{path} holds mail"
        for path in facts.mailboxes
        if path.rpartition("/")[2] not in _NOBODYS_MAILBOXES
    ]
    if facts.postfix is not None:
        found += _postfix(facts, facts.postfix)
    if facts.exim_role == "internet" and any("exim" in name for name in other_mtas(facts)):
        found.append("exim4 is set up as a mail server (dc_eximconfig_configtype = internet)")
    if ports and (facts.postfix is None or not facts.master_running):
        found += [
            f"another program listens on {listener.address} port 25"
            for listener in facts.listeners_on(25)
            # A neighbour's own, such as exim4's on loopback, goes with it.
            if not (listens(facts) and is_loopback(listener))
        ]
    return found


def _postfix(facts: Facts, postfix: PostfixFacts) -> list[str]:
    found: list[str] = []
    names = {"localhost", "localhost.localdomain", "localhost." + facts.fqdn.partition(".")[2]}
    names |= {facts.nodename.lower(), facts.fqdn.lower(), postfix["myhostname"].lower()}
    names |= {"$myhostname", "$mydomain", "localhost.$mydomain", "$myorigin", "/etc/mailname"}
    names |= {postfix["mydomain"].lower(), "localhost." + postfix["mydomain"].lower(), ""}
    destination = postfix["mydestination"].replace(",", " ").lower().split()
    foreign = [name for name in destination if name not in names]
    if foreign:
        found.append(f"Postfix is the destination of {', '.join(foreign)} (mydestination)")
    found += [
        f"Postfix has {name} = {postfix[name]}"
        for name in (*_DOMAINS, *_DELIVERY)
        if name in postfix.own and postfix[name] not in _PLAIN[name]
    ]
    for name, value, meaning in _SETTINGS:
        if postfix[name] == value:
            found.append(f"Postfix {meaning} ({name} = {value})")
    return found
