"""Whether a host is already somebody's mail server. Pure.

A distribution's untouched default is not one: it has no domains of its own,
no mailboxes in use and no clients from outside.
"""

from __future__ import annotations

from sysmail.facts.model import Facts, PostfixFacts

__all__ = ["findings", "other_mtas"]

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


def findings(facts: Facts) -> list[str]:
    """What shows that this host is a mail server, one clause each; empty when nothing does."""
    found = [
        f"{path} holds mail"
        for path in facts.mailboxes
        if path.rpartition("/")[2] not in _NOBODYS_MAILBOXES
    ]
    if facts.postfix is not None:
        found += _postfix(facts, facts.postfix)
    if facts.postfix is None or not facts.master_running:
        found += [
            f"another program listens on {listener.address} port 25"
            for listener in facts.listeners_on(25)
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
