"""Asks a host for its facts: each a question to a ``Reader`` and a pure parser."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Optional

from sysmail.distro import Distro, choose
from sysmail.facts import parse
from sysmail.facts.model import Facts, Listener, PostfixFacts, ServiceFacts, UnitFacts
from sysmail.facts.processes import pid_namespace
from sysmail.facts.tool import find_tool
from sysmail.host.port import Reader
from sysmail.msmtpd import LOOPBACK, UNIT_FILE, unit_name
from sysmail.neighbours import neighbour_of
from sysmail.watch.units import PATHS as WATCH_UNITS
from sysmail.watch.units import TIMER

__all__ = [
    "collect",
    "collect_forwards",
    "collect_listeners",
    "collect_neighbour_mail",
    "collect_postfix",
    "collect_units",
    "master_running",
]

MAIL_SPOOLS = ("/var/mail", "/var/spool/mail")
EXIM_MACROS = ("/etc/exim4/exim4.conf.localmacros", "/etc/exim4/conf.d/main/000_localmacros")
"""Where an owner puts macros for Debian's exim4, in one file or split (README.Debian)."""

SASL_MODULES = (
    "/usr/lib/sasl2",
    "/usr/lib64/sasl2",
    "/usr/lib/x86_64-linux-gnu/sasl2",
    "/usr/lib/aarch64-linux-gnu/sasl2",
    "/usr/lib/arm-linux-gnueabihf/sasl2",
)


def _text(reader: Reader, path: str) -> str:
    return (reader.read(path) or b"").decode("utf-8", "replace")


def collect(reader: Reader) -> Facts:
    """The facts of this host. Programs that are missing leave their fact empty."""
    release = parse.os_release(_text(reader, "/etc/os-release"))
    ids = [release.get("ID", "linux"), *release.get("ID_LIKE", "").split()]
    distro = choose(ids)
    systemd = "system" in reader.names("/run/systemd")
    ipv6 = parse.local_ipv6(_text(reader, "/proc/net/if_inet6"))
    nodename = reader.nodename()
    packages = _packages(reader, distro)
    postfix = collect_postfix(reader)
    service, msmtpd, watch = (
        _units(reader, distro, postfix) if systemd else (ServiceFacts(), {}, UnitFacts())
    )
    running = postfix is not None and master_running(reader, postfix)
    listeners = collect_listeners(reader)
    exim = _text(reader, "/etc/exim4/update-exim4.conf.conf")
    return Facts(
        os_name=parse.shown(release.get("PRETTY_NAME") or release.get("ID", ""))
        or "an unknown Linux",
        distro=distro,
        systemd=systemd,
        nodename=nodename,
        fqdn=_fqdn(reader, nodename),
        ipv6_loopback="::1" in ipv6,
        addresses=tuple(parse.local_ipv4(_text(reader, "/proc/net/fib_trie"))) + tuple(ipv6),
        listeners=_beside(reader, postfix, msmtpd, listeners)
        if postfix is not None and running
        else _with_owners(reader, listeners),
        packages=packages,
        candidates=_candidates(reader, distro) if postfix is None else {},
        sendmail=reader.link(reader.which("sendmail") or "") or "",
        postfix=postfix,
        service=service,
        master_running=running,
        sasl_plain=_sasl_plain(reader),
        log_socket=reader.link("/dev/log") is not None,
        mailboxes=_mailboxes(reader),
        msmtpd=msmtpd,
        neighbour_mail=collect_neighbour_mail(
            reader, [name for name in (distro.other_mtas if distro else ()) if name in packages]
        ),
        exim_role=parse.exim_role(exim),
        exim_settings=parse.exim_settings(exim),
        root_readers=parse.root_readers(_text(reader, "/etc/aliases")),
        exim_macros=parse.exim_macros("\n".join(_text(reader, path) for path in EXIM_MACROS)),
        exim_by_hand=reader.state("/etc/exim4/exim4.conf", content=False) is not None,
        old_main_cf=postfix is None and reader.state("/etc/postfix/main.cf") is not None,
        watch=watch,
        tool=find_tool(reader),
    )


def collect_listeners(reader: Reader) -> tuple[Listener, ...]:
    """Every listening TCP socket."""
    found: list[Listener] = []
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        found += parse.sockets(_text(reader, path))
    return tuple(found)


def _with_owners(reader: Reader, listeners: tuple[Listener, ...]) -> tuple[Listener, ...]:
    """Those on port 25 with the programs that hold them: to find one takes a look at all."""
    return tuple(_with_owner(reader, each) if each.port == 25 else each for each in listeners)


def _beside(
    reader: Reader,
    postfix: PostfixFacts,
    msmtpd: Mapping[str, UnitFacts],
    listeners: tuple[Listener, ...],
) -> tuple[Listener, ...]:
    """Those on port 25 that are not of the Postfix that runs are marked, with their programs.

    A container's port may be published on one address of the host, beside loopback.
    """
    foreign = _foreign(reader, postfix, msmtpd, listeners)
    if foreign:  # or Postfix was started anew between the two looks
        foreign &= _foreign(reader, postfix, msmtpd, collect_listeners(reader))
    return tuple(
        replace(_with_owner(reader, each), beside=True) if each.inode in foreign else each
        for each in listeners
    )


def _foreign(
    reader: Reader,
    postfix: PostfixFacts,
    msmtpd: Mapping[str, UnitFacts],
    listeners: tuple[Listener, ...],
) -> set[int]:
    ours = reader.socket_inodes(int(_master_pid(reader, postfix) or 0))
    if not ours:
        return set()  # it ended meanwhile, or may not be looked at
    for unit in msmtpd.values():
        ours = ours | (reader.socket_inodes(unit.pid) if unit.pid else set())
    return {each.inode for each in listeners if each.port == 25} - ours


def _with_owner(reader: Reader, listener: Listener) -> Listener:
    owner = reader.socket_owner(listener.inode)
    pid = re.search(r"\(pid (\d+)\)$", owner)
    theirs = pid_namespace(reader, pid.group(1)) if pid else ""
    contained = theirs not in ("", pid_namespace(reader, "self"))
    return replace(listener, owner=owner, contained=contained)


def collect_forwards(reader: Reader) -> tuple[str, ...]:
    """Where the packet filter passes port 25 on to, as it does for a container's published port.

    iptables-save(8) would load the kernel's NAT where it is not in use: it is asked only where
    it is, or where it is a part of nftables.
    """
    said = ""
    if reader.which("nft"):
        said += reader.ask(["nft", "list", "ruleset"], timeout=10).out + "\n"
    tool = reader.which("iptables-save")
    if tool and (
        "nat" in _text(reader, "/proc/net/ip_tables_names").split() or _is_nft(reader, tool)
    ):
        said += reader.ask(["iptables-save", "-t", "nat"], timeout=10).out
    return parse.port_forwards(said)


def _is_nft(reader: Reader, tool: str) -> bool:
    return "nft" in (reader.link(tool) or "").rpartition("/")[2]


def collect_postfix(reader: Reader) -> Optional[PostfixFacts]:
    """What postconf(1) says of the installed Postfix; None where there is none."""
    if reader.which("postconf") is None:
        return None
    said = reader.ask(["postconf"])
    parameters = parse.parameters(said.out)
    if "mail_version" not in parameters:
        # No usable main.cf: the defaults that are built in still tell the version.
        parameters = parse.parameters(reader.ask(["postconf", "-d"]).out)
    folder = parameters.get("config_directory", "/etc/postfix")
    return PostfixFacts(
        version=parse.shown(parameters.get("mail_version", "")),
        parameters=parameters,
        complaint=said.err.strip(),
        own=frozenset(parse.parameters(_text(reader, folder + "/main.cf"))),
        map_types=parse.map_types(reader.ask(["postconf", "-m"]).out),
        services=parse.inet_services(_text(reader, folder + "/master.cf")),
    )


def _packages(reader: Reader, distro: Optional[Distro]) -> dict[str, str]:
    if distro is None:
        return {}
    return parse.packages(reader.ask(distro.query).out, distro.name)


def _candidates(reader: Reader, distro: Optional[Distro]) -> dict[str, str]:
    if distro is None:
        return {}
    return parse.candidate_versions(reader.ask([*distro.candidate, *distro.postfix]).out)


def _fqdn(reader: Reader, nodename: str) -> str:
    """The name without asking DNS where that can be avoided: a dead resolver costs seconds."""
    own = parse.host_name(nodename)
    if "." in own:
        return own
    known = parse.fqdn_from_hosts(_text(reader, "/etc/hosts"), nodename)
    return known or parse.fqdn_from_getent(reader.ask(["getent", "hosts", nodename], timeout=5).out)


def _units(
    reader: Reader, distro: Optional[Distro], postfix: Optional[PostfixFacts]
) -> tuple[ServiceFacts, Mapping[str, UnitFacts], UnitFacts]:
    """The units of Postfix, those of sysmail's own msmtpd, and its timer, in one question."""
    names = list(distro.units if distro else ("postfix.service",)) if postfix is not None else []
    ours = LOOPBACK if reader.state(UNIT_FILE, content=False) is not None else ()
    timer = [TIMER] if reader.state(WATCH_UNITS[1], content=False) is not None else []
    if not names and not ours and not timer:
        return ServiceFacts(), {}, UnitFacts()
    blocks = collect_units(reader, [*names, *(unit_name(address) for address in ours), *timer])
    service = parse.services(blocks[: len(names)])
    watch = parse.unit(blocks[-1]) if timer and blocks else UnitFacts()
    return (
        service,
        {address: parse.unit(block) for address, block in zip(ours, blocks[len(names) :])},
        watch,
    )


def collect_units(reader: Reader, names: Sequence[str]) -> list[dict[str, str]]:
    """What systemd says of units, in the order they were asked; for parse.unit and parse.services.

    One that does not exist has the LoadState not-found.
    """
    wanted = "Id,Type,LoadState,ActiveState,UnitFileState,MainPID"
    return parse.unit_blocks(reader.ask(["systemctl", "show", "-p", wanted, *names]).out)


def collect_neighbour_mail(reader: Reader, packages: Iterable[str]) -> dict[str, int]:
    """How many messages wait in the queues of other mail programs, by package."""
    found: dict[str, int] = {}
    for package in packages:
        neighbour = neighbour_of(package)
        found[package] = sum(
            1
            for folder in neighbour.queue
            for name in _names_below(reader, folder)
            if re.fullmatch(neighbour.message, name)
        )
    return found


def _names_below(reader: Reader, folder: str) -> list[str]:
    """The names of files in a directory and in those right below it."""
    found: list[str] = []
    for name in reader.names(folder):
        state = reader.state(f"{folder}/{name}", content=False)
        if state is not None and state.kind == "directory":
            found += reader.names(f"{folder}/{name}")
        else:
            found.append(name)
    return found


def master_running(reader: Reader, postfix: PostfixFacts) -> bool:
    """Whether the process that the pid file of master(8) names is the master of this Postfix.

    The file outlives a master that was killed, and its number may be another process's by now:
    one of the same name is one of root's that works in this very queue directory.
    """
    queue, pid = postfix["queue_directory"], _master_pid(reader, postfix)
    if not pid or _text(reader, f"/proc/{pid}/comm").strip() != "master":
        return False
    process = reader.state(f"/proc/{pid}", content=False)
    if process is not None and process.uid != 0:
        return False
    works_in = reader.link(f"/proc/{pid}/cwd")
    return works_in is None or works_in == (reader.link(queue) or queue)


def _master_pid(reader: Reader, postfix: PostfixFacts) -> str:
    pid = _text(reader, postfix["queue_directory"] + "/pid/master.pid").strip()
    return pid if pid.isdigit() else ""


def _sasl_plain(reader: Reader) -> bool:
    """Whether Cyrus SASL can log in with PLAIN; without it all mail defers (docs/promises.md)."""
    return any(
        name.startswith("libplain.so") for path in SASL_MODULES for name in reader.names(path)
    )


def _mailboxes(reader: Reader) -> tuple[str, ...]:
    """The names of mailboxes that hold something."""
    found: list[str] = []
    for spool in MAIL_SPOOLS:
        if reader.link(spool) != spool:
            continue  # /var/spool/mail is a link to /var/mail on most distributions
        for name in reader.names(spool):
            state = reader.state(f"{spool}/{name}", content=False)
            if state is not None and (state.kind == "directory" or state.size):
                found.append(f"{spool}/{name}")
    return tuple(found)
