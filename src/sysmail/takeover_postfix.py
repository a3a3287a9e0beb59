"""What shows that a Postfix serves others than its own host. Pure.

Only what main.cf and master.cf say themselves is looked at, and what Debian, Arch
and the others write there unasked is left out, so that an untouched Postfix is nobody's
mail server. Debian writes ``inet_interfaces = all`` for its choice "Internet Site": there
it says nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from sysmail.facts.model import Facts, PostfixFacts
from sysmail.postfix.maps import DIRECTORY
from sysmail.takeover_names import foreign_names

__all__ = ["became_server", "postfix_findings"]

# Parameters that only somebody with mail for others sets, and the values that mean nothing.
_PLAIN: dict[str, tuple[str, ...]] = {
    "virtual_mailbox_domains": ("", "$virtual_mailbox_maps"),
    "virtual_mailbox_maps": ("",),
    "virtual_alias_domains": ("", "$virtual_alias_maps"),
    "relay_domains": ("", "$mydestination"),
    "home_mailbox": ("",),
    "mailbox_transport": ("",),
    "mailbox_transport_maps": ("",),
    "fallback_transport": ("",),
    "fallback_transport_maps": ("",),
    # With a slash at its end each mailbox is a folder.
    "mail_spool_directory": ("", "/var/mail", "/var/spool/mail"),
    "virtual_transport": ("", "virtual"),
    "content_filter": ("",),
    "smtpd_proxy_filter": ("",),
    "smtpd_milters": ("",),
    "non_smtpd_milters": ("",),
    "proxy_interfaces": ("",),
    "multi_instance_directories": ("",),
}
# Only who takes mail of strangers has a use for these.
_STRANGERS = re.compile(r"\b(reject_rbl_client|reject_rhsbl_\w+|check_policy_service)\b")
_RESTRICTIONS = re.compile(r"smtpd_\w+_restrictions$")
_SETTINGS = (
    ("smtpd_sasl_auth_enable", "yes", "lets users log in"),
    ("smtpd_tls_auth_only", "yes", "lets users log in"),
    ("mynetworks_style", "subnet", "takes mail of its whole subnet"),
    ("mynetworks_style", "class", "takes mail of its whole network"),
)
_LOOPBACK = (
    ipaddress.ip_network("127.0.0.0/8"),
    ipaddress.ip_network("::ffff:127.0.0.0/104"),
    ipaddress.ip_network("::1/128"),
)
# inline:{ {key = value} key=value }, the former where a value has a blank or a comma in it.
_INLINE = re.compile(r"inline:\{((?:[^{}]|\{[^{}]*\})*)\}[\s,]*")
_ENTRY = re.compile(r"\{[^{}]*\}|[^\s,{}]+")
_OF_A_NAME = re.compile(r"\{?\s*[A-Za-z0-9_+-]+\s*=")
# Debian's package writes this one where procmail is installed.
_PROCMAIL = re.compile(r"""((/usr/bin/)?procmail( -a "?\$EXTENSION"?)?)?""")
_ON_LOOPBACK = re.compile(r"(127\.[0-9.]+|\[?::1\]?|localhost)$")


def postfix_findings(facts: Facts, postfix: PostfixFacts, allowed: Collection[str]) -> list[str]:
    """One clause for each sign; ``allowed`` are parameters that the policy sets itself."""
    own = postfix.own - set(allowed)
    return [*_serves(facts, postfix, own), *_listens(facts, postfix, own)]


def became_server(facts: Facts, postfix: PostfixFacts, allowed: Collection[str]) -> list[str]:
    """The same for a Postfix that sysmail set up: what its owner has made a server since.

    It serves others, and others can reach it. One without the other is an edit, which is
    shown and kept: a relay for loopback alone takes nobody's mail.
    """
    own = postfix.own - set(allowed)
    found = _serves(facts, postfix, own)
    if not found or not _is_open(postfix):
        return []
    where = postfix["inet_interfaces"]
    listens = _listens(facts, postfix, own)
    if where == "all" and not any("(inet_interfaces)" in clause for clause in listens):
        listens.insert(0, "Postfix listens on all (inet_interfaces)")
    return [*found, *listens]


def _is_open(postfix: PostfixFacts) -> bool:
    """Whether it is set up to listen beyond loopback."""
    inside = ("loopback-only", "127.0.0.1", "[::1]", "::1", "localhost")
    if any(word not in inside for word in _words(postfix["inet_interfaces"])):
        return True
    hosts = (service.partition(" ")[0].rpartition(":")[0] for service in postfix.services)
    return any(host and not _ON_LOOPBACK.match(host) for host in hosts)


def _serves(facts: Facts, postfix: PostfixFacts, own: Collection[str]) -> list[str]:
    found: list[str] = []
    foreign = _foreign_destinations(facts, postfix)
    if foreign:
        found.append(f"Postfix is the destination of {', '.join(foreign)} (mydestination)")
    found += [
        f"Postfix has {name} = {postfix[name]}"
        for name, plain in _PLAIN.items()
        if name in own and postfix[name] not in plain
    ]
    for name, value, meaning in _SETTINGS:
        if name in own and postfix[name] == value:
            found.append(f"Postfix {meaning} ({name} = {value})")
    judges = [n for n in sorted(own) if _RESTRICTIONS.match(n) and _STRANGERS.search(postfix[n])]
    if judges:
        found.append(f"Postfix judges the mail of strangers ({', '.join(judges)})")
    if "virtual_alias_maps" in own and _may_hold_domains(postfix):
        found.append(f"Postfix has virtual_alias_maps = {postfix['virtual_alias_maps']}")
    return found + _delivery(postfix, own) + _networks(facts, postfix, own)


def _foreign_destinations(facts: Facts, postfix: PostfixFacts) -> list[str]:
    """Domains in mydestination that are no name of this host's."""
    names = {"$myhostname", "localhost.$mydomain", "$myorigin", "/etc/mailname", ""}
    words = _words(postfix["mydestination"].lower())
    return foreign_names(facts, [w for w in words if w not in names], postfix["myhostname"])


def _may_hold_domains(postfix: PostfixFacts) -> bool:
    """By default the keys of the table also say which domains are virtual (postconf(5)).

    A table in main.cf itself of nothing but names (``root``) is of a host that only sends.
    """
    tables = postfix["virtual_alias_maps"].strip()
    while tables and postfix["virtual_alias_domains"] != "":
        inline = _INLINE.match(tables)
        entries = _ENTRY.findall(inline.group(1)) if inline is not None else []
        if inline is None or not all(_OF_A_NAME.match(entry) for entry in entries):
            return True  # what cannot be looked into may hold anything
        tables = tables[inline.end() :]
    return False


def _delivery(postfix: PostfixFacts, own: Collection[str]) -> list[str]:
    """Programs and lists that mail for local users is handed to."""
    found: list[str] = []
    command = postfix["mailbox_command"]
    if "mailbox_command" in own and not _PROCMAIL.fullmatch(command):
        found.append(f"Postfix has mailbox_command = {command}")
    transport = postfix["local_transport"]
    if "local_transport" in own and not re.match(r"(local|error|retry)(:|$)|$", transport):
        found.append(f"Postfix has local_transport = {transport}")
    routes = postfix["transport_maps"]
    # A null client, which is the destination of nothing, only says which way its mail goes.
    if "transport_maps" in own and routes and postfix["mydestination"] and DIRECTORY not in routes:
        found.append(f"Postfix has transport_maps = {routes}")
    tables = postfix["alias_maps"].replace(",", " ").split() if "alias_maps" in own else []
    lists = [t for t in tables if not re.search(r"(/aliases|^nis:mail\.aliases|^\$.*)$", t)]
    # A list manager's table is called aliases too, and lies elsewhere.
    lists += [t for t in tables if re.search(r":/(var|usr|srv|opt|home)/.*/aliases$", t)]
    if lists:
        found.append(f"Postfix hands mail to lists or programs (alias_maps = {', '.join(lists)})")
    return found


def _networks(facts: Facts, postfix: PostfixFacts, own: Collection[str]) -> list[str]:
    """Who else may send through it."""
    words = _words(postfix["mynetworks"]) if "mynetworks" in own else []
    nets = [word for word in words if not _is_this_host(facts, word)]
    return [f"Postfix takes mail of {', '.join(nets)} (mynetworks)"] if nets else []


def _listens(facts: Facts, postfix: PostfixFacts, own: Collection[str]) -> list[str]:
    """Where it listens because somebody said so."""
    found: list[str] = []
    if "inet_interfaces" in own:
        where = [w for w in _words(postfix["inet_interfaces"]) if not _is_default(facts, w)]
        if where:
            found.append(f"Postfix listens on {', '.join(where)} (inet_interfaces)")
    services = [service for service in postfix.services if not _is_stock(service)]
    if services:
        found.append(f"Postfix offers {', '.join(services)} (master.cf)")
    return found


def _words(value: str) -> list[str]:
    return value.replace(",", " ").split()


def _is_this_host(facts: Facts, word: str) -> bool:
    """Whether an entry of mynetworks is loopback, or an address of this host alone.

    What cannot be read as a network is a table, and tables are written for others.
    """
    text = re.sub(r"^!?\[(.*)\](/\d+)?$", r"\1\2", word).lstrip("!")
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    if any(network.version == own.version and network.subnet_of(own) for own in _LOOPBACK):  # type: ignore[arg-type]
        return True
    return network.num_addresses == 1 and str(network.network_address) in facts.addresses


def _is_default(facts: Facts, word: str) -> bool:
    if word == "all":
        return facts.distro is not None and facts.distro.starts_on_install  # Debian's own answer
    return word == "loopback-only" or _ON_LOOPBACK.match(word) is not None


def _is_stock(service: str) -> bool:
    """One smtpd on port 25 is what every distribution's master.cf has, and nothing else."""
    name, _, program = service.partition(" ")
    host, _, port = name.rpartition(":")
    return (
        port in ("smtp", "25")
        and program == "smtpd"
        and (not host or bool(_ON_LOOPBACK.match(host)))
    )
