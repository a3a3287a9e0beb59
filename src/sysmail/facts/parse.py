"""Pure parsers: from what a program or a file of the kernel says to plain data.

Each accepts any text: what cannot be read is left out, never an exception.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence

from sysmail.facts.model import Listener, ServiceFacts, UnitFacts

__all__ = [
    "candidate_versions",
    "exim_macros",
    "exim_role",
    "exim_settings",
    "fqdn_from_getent",
    "fqdn_from_hosts",
    "host_name",
    "inet_services",
    "local_ipv4",
    "local_ipv6",
    "map_types",
    "os_release",
    "packages",
    "parameters",
    "plain_address",
    "port_forwards",
    "root_readers",
    "services",
    "shown",
    "sockets",
    "unit",
    "unit_blocks",
]


def os_release(text: str) -> dict[str, str]:
    """os-release(5): shell-like assignments, quotes removed."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = re.match(r"\s*([A-Z][A-Z0-9_]*)=(.*)$", line)
        if match:
            value = match.group(2).strip()
            if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
                value = value[1:-1]
            found[match.group(1)] = re.sub(r"\\(.)", r"\1", value)
    return found


def shown(text: str) -> str:
    """What a program or a file calls something, fit for one line of a message."""
    return "".join(character for character in text[:80] if character.isprintable())


def packages(text: str, manager: str) -> dict[str, str]:
    """The installed packages and versions, as the package managers' queries print them."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        words = line.split()
        if manager == "apt":
            # "ii  postfix 3.7.11": desired action, then status. Half installed, unpacked and
            # waiting for triggers (H U F W t) is on the disk as well; n and c are not.
            if len(words) >= 3 and words[0][1:2] in set("iHUFWt"):
                found[words[1]] = words[2]
        elif manager == "apk":
            match = re.match(r"(\S+?)-(\d\S*)", words[0] if words else "")
            if match:
                found[match.group(1)] = match.group(2)
        elif len(words) >= 2:
            found[words[0]] = words[1]
    return found


def candidate_versions(text: str) -> dict[str, str]:
    """What would be installed: apt-cache policy, pacman -Si, dnf info and their like."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        header = re.match(r"([a-z0-9][a-z0-9+.-]*):\s*$", line)
        if header:
            name = header.group(1)
            continue
        match = re.match(r"\s*([A-Za-z]+)\s*:\s*(\S.*?)\s*$", line)
        if not match:
            continue
        key, value = match.group(1).lower(), match.group(2)
        if key == "name":
            name = value
        elif key in ("candidate", "version") and name and value != "(none)":
            found.setdefault(name, value)
    return found


def parameters(text: str) -> dict[str, str]:
    """postconf(1): ``name = value`` a line."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        first = name[:1]  # without re: there are a thousand lines, and a look at them each time
        if equals and first.isascii() and (first.isalnum() or first == "_"):
            found[name.strip()] = value.strip()
    return found


def map_types(text: str) -> tuple[str, ...]:
    """``postconf -m``: a lookup table type a line."""
    return tuple(sorted(word for word in text.split() if re.match(r"[a-z0-9_]+$", word)))


def plain_address(text: str) -> str:
    """An IP address as it is written everywhere here (RFC 5952), without a zone or brackets.

    What is none stays as it is.
    """
    bare = text.strip().strip("[]").partition("%")[0]
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        return text


def _address(text: str) -> str:
    """An address of /proc/net/tcp: 32-bit words in the byte order of the machine."""
    words = [text[i : i + 8] for i in range(0, len(text), 8)]
    raw = b"".join(bytes.fromhex(word)[::-1] for word in words)
    found = ipaddress.ip_address(raw)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def sockets(text: str) -> list[Listener]:
    """/proc/net/tcp and tcp6: the listening ones (state 0A)."""
    found: list[Listener] = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) < 10 or words[3] != "0A":
            continue
        try:
            address, _, port = words[1].partition(":")
            found.append(Listener(_address(address), int(port, 16), int(words[9])))
        except ValueError:
            continue
    return found


def local_ipv6(text: str) -> list[str]:
    """/proc/net/if_inet6: every address, link-local ones with their interface."""
    found: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 6 or not re.match(r"[0-9a-fA-F]{32}$", words[0]):
            continue
        address = ipaddress.ip_address(bytes.fromhex(words[0]))
        scope = f"%{words[5]}" if address.is_link_local else ""
        found.append(str(address) + scope)
    return found


def local_ipv4(text: str) -> list[str]:
    """/proc/net/fib_trie: the addresses whose route is of type LOCAL."""
    found: list[str] = []
    last = ""
    for line in text.splitlines():
        match = re.search(r"\|--\s+(\d+\.\d+\.\d+\.\d+)", line)
        if match:
            last = match.group(1)
        elif "/32 host LOCAL" in line and last and last not in found:
            found.append(last)
    return found


def fqdn_from_hosts(text: str, nodename: str) -> str:
    """hosts(5): the first name with a dot on the first line that names the host; else empty."""
    for line in text.splitlines():
        names = line.partition("#")[0].split()[1:]
        if nodename.lower() in (name.lower() for name in names):
            found = next(filter(None, map(_full_name, names)), "")
            if found:
                return found
    return ""


def fqdn_from_getent(text: str) -> str:
    """``getent hosts NAME``: the canonical name, if it has a dot."""
    for line in text.splitlines():
        for name in line.split()[1:2]:
            if _full_name(name):
                return _full_name(name)
    return ""


def _full_name(name: str) -> str:
    """A host's name with a domain, in lower case; empty for what is none, or is every host's."""
    found = host_name(name)
    return found if "." in found and not found.startswith("localhost") else ""


def host_name(text: str) -> str:
    """A name in lower case without dots around it; empty for what cannot be one.

    It is written into configuration files, and neither the kernel nor hosts(5) looks at what a
    name holds. An underscore is no letter of a host name and is met nevertheless.
    """
    name = text.strip(".").lower()
    valid = re.fullmatch("[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?", name)
    return name if valid and ".." not in name else ""


def unit_blocks(text: str) -> list[dict[str, str]]:
    """``systemctl show`` of several units: blocks of Key=Value, in the order they were asked."""
    blocks = [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in re.split(r"\n\s*\n", text.strip())
    ]
    return [block for block in blocks if block]


def unit(block: Mapping[str, str]) -> UnitFacts:
    """One block of ``systemctl show``."""
    pid = block.get("MainPID", "0")
    return UnitFacts(
        active=block.get("ActiveState") in ("active", "activating"),
        enabled=block.get("UnitFileState") in ("enabled", "enabled-runtime"),
        pid=int(pid) if re.fullmatch("[0-9]{1,10}", pid) else 0,
    )


def exim_role(text: str) -> str:
    """update-exim4.conf(8): what Debian's exim4 is set up as, such as local or internet."""
    match = re.search(r"^dc_eximconfig_configtype='?(\w+)'?", text, re.MULTILINE)
    return match.group(1) if match else ""


def exim_settings(text: str) -> dict[str, str]:
    """update-exim4.conf.conf: assignments of the shell, quotes removed."""
    return dict(re.findall(r"^(dc_\w+)=['\"]?(.*?)['\"]?\s*$", text, re.MULTILINE))


def exim_macros(text: str) -> tuple[str, ...]:
    """The macros that an owner gives exim's configuration (``NAME = value``), by name."""
    return tuple(
        dict.fromkeys(re.findall(r"^[ \t]*([A-Z][A-Za-z0-9_]*)[ \t]*=", text, re.MULTILINE))
    )


def root_readers(text: str) -> tuple[str, ...]:
    """aliases(5): the accounts of this host that root's mail goes to, also by another alias."""
    lines = re.findall(r"^([\w.-]+)[ \t]*:[ \t]*(.*)$", text, re.MULTILINE)
    aliases = {name.lower(): words.lower().split(",") for name, words in lines}
    found: list[str] = []
    wanted = list(aliases.get("root", []))
    while wanted:
        name = wanted.pop(0).strip().lstrip("\\")
        if re.fullmatch(r"[\w.-]+", name) and name not in (*found, "root"):
            found.append(name)
            wanted += aliases.get(name, [])
    return tuple(sorted(found))


def inet_services(text: str) -> tuple[str, ...]:
    """master(5): the services that listen on the network, each with its program."""
    found: list[str] = []
    for line in text.splitlines():
        words = line.split()
        # Blank lines, comments and the options of a service begin with something else.
        if len(words) >= 8 and line[:1] not in ("#", " ", "\t") and words[1] == "inet":
            found.append(f"{words[0]} {words[7]}")
    return tuple(found)


_TO = re.compile(
    r"(?:--to-destination |\bdnat (?:ip6? )?to |--to-ports |\bredirect to )(\S+)"
    r'|xt target "(DNAT)"'
)


# iptables(8) and nft(8): the ports that a rule is for; a map says the target of each.
_PORTS = re.compile(
    r"(?P<not>! )?--dports? (?P<list>\S+)"
    r"|\b(?:tcp|th) dport (?P<map>map )?(?P<set>\{[^}]*\}|@\S+|\S+)"
)
_NOT_TCP = re.compile(r"-p udp\b|\b(?:l4proto|protocol|nexthdr) udp\b")
_NAMED = re.compile(r"^\s*(?:set|map) (\S+) \{[^{}]*?\belements = \{([^{}]*)\}", re.MULTILINE)


def port_forwards(text: str, port: int = 25, name: str = "smtp") -> tuple[str, ...]:
    """iptables-save(8) or ``nft list ruleset``: where rules pass a port of TCP on to.

    A rule that hands the port to a chain which passes on all it gets is not followed.
    """
    whole = re.sub(r",[ \t]*\n\s*", ", ", text)  # nft breaks long sets
    named = dict(_NAMED.findall(whole))
    found: list[str] = []
    for line in whole.splitlines():
        found += [where for where in _targets(line, named, port, name) if where not in found]
    return tuple(found)


def _targets(line: str, named: Mapping[str, str], port: int, name: str) -> list[str]:
    rule = _PORTS.search(line)
    if rule is None or rule["not"] or line.lstrip().startswith("#") or _NOT_TCP.search(line):
        return []
    ports = rule["list"] or rule["set"]
    ports = named.get(ports[1:], "") if ports.startswith("@") else ports.strip("{}")
    pairs = [word.strip().partition(" : ") for word in ports.split(",")]
    hits = [value for key, _, value in pairs if _covers(key, port, name)]
    if rule["map"]:
        return [value.strip().replace(" . ", ":") for value in hits]
    target = _TO.search(line)
    return [target.group(1) or "another address"] if hits and target is not None else []


def _covers(key: str, port: int, name: str) -> bool:
    """Whether a port, a range of ports or a key that is put together has this one."""
    for part in key.split(" . "):
        ends = re.fullmatch(r"([0-9]{1,5})[-:]([0-9]{1,5})", part.strip())
        if part.strip() in (str(port), name):
            return True
        if ends and int(ends.group(1)) <= port <= int(ends.group(2)):
            return True
    return False


def services(blocks: Sequence[Mapping[str, str]]) -> ServiceFacts:
    """The units of Postfix, the main unit first."""
    if not blocks:
        return ServiceFacts()
    main = blocks[0]
    failed = tuple(b.get("Id", "?") for b in blocks if b.get("ActiveState") == "failed")
    return ServiceFacts(
        exists=main.get("LoadState") == "loaded",
        active=main.get("ActiveState") == "active",
        enabled=main.get("UnitFileState") in ("enabled", "enabled-runtime"),
        failed=failed,
        # A folder is named after it.
        forking=tuple(
            block["Id"]
            for block in blocks
            if block.get("Type") == "forking"
            and re.fullmatch(r"[A-Za-z0-9:_.@-]{1,200}\.service", block.get("Id", ""))
        ),
    )
