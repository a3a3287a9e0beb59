"""A host and what is wanted of it, looked at once: what every command starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from sysmail import nexthop, queue, takeover
from sysmail.apply.checkpoint import Checkpoint, Store
from sysmail.commands.policy_source import load_password, load_policy
from sysmail.desired import Desired
from sysmail.errors import HostError, NotPermittedError, RefusedError
from sysmail.facts import Facts, collect
from sysmail.host.port import FileState, Reader
from sysmail.neighbours import neighbour_of
from sysmail.plan import DownloadPackages, Retire, Step, drain, plan
from sysmail.policy import Policy, Secret, dump
from sysmail.postfix.names import my_hostname
from sysmail.route import OWN_PORT, Decision, Seen, decide, needs_mailu
from sysmail.want import effective, want

__all__ = [
    "Situation",
    "file_states",
    "look",
    "probe_next_hop",
    "refuse_busy_port",
    "refuse_takeover",
    "require_root",
]


@dataclass(frozen=True)
class Situation:
    """Facts, policy, decision, desired state and the steps in between.

    ``policy`` has the sender filled in that this decision implies; ``asked`` is
    what was asked for, as plain data. ``waiting`` is the queue of a Postfix that
    would have to go, None where it cannot be listed. ``trouble`` is what talking to Mailu ran
    into where the decision depended on it; ``probed``: it did.
    """

    facts: Facts
    policy: Policy
    asked: Mapping[str, object]
    source: str
    decision: Decision
    password: Optional[Secret]
    desired: Desired
    files: Mapping[str, Optional[FileState]]
    steps: list[Step]
    in_force: Optional[Checkpoint]
    waiting: Optional[tuple[queue.Message, ...]] = ()
    trouble: Optional[HostError] = None
    probed: bool = False

    @property
    def sender(self) -> str:
        """The envelope sender that local mail has at the next hop."""
        return self.policy.sender or f"root@{my_hostname(self.policy, self.facts)}"


def require_root(reader: Reader) -> None:
    """NotPermittedError (77) for anybody else."""
    if reader.euid() != 0:
        raise NotPermittedError(
            "not-root",
            "sysmail must run as root: it reads and writes the host's mail set-up",
            "run it with sudo",
        )


def look(reader: Reader, policy_path: str, flags: Mapping[str, Optional[object]]) -> Situation:
    """Look at the host. Errors as the parts raise them; nothing is changed."""
    in_force = Store(reader).in_force()
    last = in_force.policy if in_force is not None else None
    policy, source = load_policy(reader, policy_path, flags, last)
    asked = dump(policy)
    facts = collect(reader)
    probed = needs_mailu(policy)
    trouble, password = _ask_mailu(reader, policy, facts) if probed else (None, None)
    seen = _seen(reader, policy, facts, in_force, trouble)
    decision = decide(policy, facts, seen)
    if not probed or decision.hop is not policy.mailu:
        probed, trouble = False, None
        password = load_password(reader, decision.hop)
    desired = want(policy, facts, decision, password)
    files = file_states(reader, desired)
    steps = plan(desired, facts, files, same_policy=last == asked)
    waiting: Optional[tuple[queue.Message, ...]] = ()
    if facts.postfix is not None and not desired.relay:
        found = queue.waiting(reader)
        waiting = None if found is None else tuple(found)
    if not desired.relay and steps:
        first = steps[:1] if isinstance(steps[0], DownloadPackages) else []
        way_out = _retire(reader, policy, facts, decision, password, len(waiting or ()))
        steps = [*first, *way_out, *steps[len(first) :]]
    return Situation(
        facts=facts,
        policy=effective(policy, decision),
        asked=asked,
        source=source,
        decision=decision,
        password=password,
        desired=desired,
        files=files,
        steps=steps,
        in_force=in_force,
        waiting=waiting,
        trouble=trouble,
        probed=probed,
    )


def _ask_mailu(
    reader: Reader, policy: Policy, facts: Facts
) -> tuple[Optional[HostError], Optional[Secret]]:
    hop = policy.mailu
    password = load_password(reader, hop)
    decision = Decision("mailu", "", "", hop)
    asked = effective(policy, decision)
    sender = asked.sender or f"root@{my_hostname(asked, facts)}"
    return _talk(reader, asked, facts, decision, sender, password), password


def _seen(
    reader: Reader,
    policy: Policy,
    facts: Facts,
    in_force: Optional[Checkpoint],
    trouble: Optional[HostError],
) -> Seen:
    found = _port_owner(reader, facts) if policy.mailu is not None else None
    owner = found[0] if found is not None else ""
    same = in_force is not None and in_force.policy.get("mailu") == dump(policy).get("mailu")
    said = trouble.message if trouble is not None else ""
    if in_force is None or not same:
        return Seen(said, owner=owner)
    since = in_force.mailu_down_since
    return Seen(
        said,
        in_force.route.get("name", ""),
        reader.now() - since if since else 0.0,
        owner,
        owned=in_force.route.get("port") == str(OWN_PORT),
    )


def _port_owner(reader: Reader, facts: Facts, port: int = 25) -> Optional[tuple[str, str]]:
    """A program on a port that stays, and its address: not Postfix, nor ours, nor replaced."""
    if facts.master_running:
        return None
    mine: set[int] = set()
    for unit in facts.msmtpd.values():
        mine |= reader.socket_inodes(unit.pid) if unit.pid else set()
    for listener in facts.listeners_on(port):
        goes = takeover.listens(facts) and takeover.is_loopback(listener)
        if listener.inode not in mine and not goes:
            owner = reader.socket_owner(listener.inode) or "another program"
            return owner, listener.address
    return None


def _retire(
    reader: Reader,
    policy: Policy,
    facts: Facts,
    decision: Decision,
    password: Optional[Secret],
    waiting: int,
) -> list[Step]:
    """The steps that let the queue of a relay leave through Mailu before Postfix goes."""
    if facts.postfix is None:
        return []
    if not waiting:
        return [Retire(0)]
    way = Decision("relay", "mailu", "the queue leaves before Postfix goes", decision.hop)
    relay = want(policy, facts, way, password)
    return drain(relay, facts, file_states(reader, relay), waiting)


def file_states(reader: Reader, desired: Desired) -> dict[str, Optional[FileState]]:
    """What is now at every path that the desired state is about."""
    paths = [file.path for file in desired.files] + list(desired.absent)
    return {path: reader.state(path) for path in paths}


def refuse_takeover(reader: Reader, situation: Situation, *, adopt: bool) -> None:
    """RefusedError when the host is somebody's mail server, or mail waits in a neighbour's queue.

    Promise 8, and mail that another program accepted is never thrown away.
    """
    facts = situation.facts
    if situation.in_force is None:
        _refuse_servers(situation, adopt=adopt)
    for package, count in facts.neighbour_mail.items():
        if count and package in situation.desired.replaced:
            noun = "message waits" if count == 1 else "messages wait"
            raise RefusedError(
                "neighbour-mail-waits",
                f"{count} {noun} in the queue of {package}, which would be replaced",
                neighbour_of(package).drain + "; then run sysmail again",
            )
    if situation.waiting is None:
        queue.listed(reader)  # raises, and says so
    if situation.in_force is None and situation.waiting:
        count = len(situation.waiting)
        reason = queue.by_reason(list(situation.waiting))[0][0]
        if not situation.desired.relay:
            noun = "message waits" if count == 1 else "messages wait"
            raise RefusedError(
                "neighbour-mail-waits",
                f"{count} {noun} in the queue of a Postfix that sysmail did not set up, and "
                f"would have to leave before msmtp takes its place: {reason}",
                "`postqueue -f` sends what can be sent, `postqueue -p` shows what stays, and "
                "`postsuper -d ID` removes a message; then run sysmail again",
            )


def _refuse_servers(situation: Situation, *, adopt: bool) -> None:
    facts = situation.facts
    others = [name for name in takeover.other_mtas(facts) if not neighbour_of(name).replaceable]
    if others:
        raise RefusedError(
            "other-mta",
            f"another mail program is installed: {', '.join(others)}; sysmail does not know how "
            "to replace it without losing what waits in its queue",
            f"look at its queue, then remove {others[0]} yourself and run sysmail again",
        )
    found = takeover.findings(facts, ports=situation.desired.port == 25)
    if found and not adopt:
        raise RefusedError(
            "mail-server",
            "this host is a mail server already: " + "; ".join(found),
            "leave it as it is, or give --adopt to replace it (everything is kept for rollback)",
        )


def refuse_busy_port(reader: Reader, situation: Situation) -> None:
    """RefusedError when another program holds the port that is needed, naming it."""
    port = situation.desired.port
    found = _port_owner(reader, situation.facts, port)
    if found is not None:
        raise RefusedError(
            "port-25-taken" if port == 25 else "port-taken",
            f"{found[0]} listens on {found[1]} port {port}",
            "stop that program, or leave the mail of this host to it",
        )


def probe_next_hop(reader: Reader, situation: Situation) -> Optional[HostError]:
    """Talk to the next hop the whole way; None when it answers, or when there is none."""
    if situation.probed:
        return situation.trouble
    if situation.decision.hop is None or situation.decision.next_hop == "hold":
        return None
    return _talk(
        reader,
        situation.policy,
        situation.facts,
        situation.decision,
        situation.sender,
        situation.password,
    )


def _talk(
    reader: Reader,
    policy: Policy,
    facts: Facts,
    decision: Decision,
    sender: str,
    password: Optional[Secret],
) -> Optional[HostError]:
    hop = decision.hop
    if hop is None:
        return None
    ours = decision.route == "relay" or _port_owner(reader, facts) is None
    if hop.port == 25 and ours and _is_this_host(reader, facts, hop.host):
        return HostError(
            "next-hop-is-self",
            f"the next hop {hop.host} port 25 is this relay itself",
            "name another server as host in the policy",
        )
    ca_file = facts.distro.ca_file if facts.distro is not None else ""
    state = reader.state(reader.link(hop.ca_file) or hop.ca_file) if hop.ca_file else None
    if decision.route == "mailu" and state is not None and not state.mode & 0o004:
        return HostError(
            "ca-file-not-readable",
            f"{hop.ca_file} can be read by root alone, and msmtpd runs as a user of its own",
            f"chmod 644 {hop.ca_file}: certificates are no secret",
        )
    try:
        nexthop.check_next_hop(reader, policy, hop, sender, password, ca_file)
    except HostError as error:
        return error
    return None


def _is_this_host(reader: Reader, facts: Facts, host: str) -> bool:
    """Whether a name or an address is one of this host's own."""
    if host.startswith("127.") or host in ("localhost", "::1", *facts.addresses):
        return True
    said = reader.ask(["getent", "ahosts", host], timeout=10).out
    found = {line.split()[0] for line in said.splitlines() if line.strip()}
    return bool(found) and all(
        address.startswith("127.") or address == "::1" or address in facts.addresses
        for address in found
    )
