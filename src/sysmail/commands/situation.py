"""A host and what is wanted of it, looked at once: what every command starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from sysmail import nexthop, takeover
from sysmail.apply.checkpoint import Checkpoint, Store
from sysmail.commands.policy_source import load_password, load_policy
from sysmail.desired import Desired
from sysmail.errors import HostError, NotPermittedError, RefusedError
from sysmail.facts import Facts, collect
from sysmail.host.port import FileState, Reader
from sysmail.plan import Step, plan
from sysmail.policy import Policy, Secret, dump
from sysmail.postfix.names import my_hostname
from sysmail.route import Decision, decide
from sysmail.want import want

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
    """Facts, policy, decision, desired state and the steps in between."""

    facts: Facts
    policy: Policy
    source: str
    decision: Decision
    password: Optional[Secret]
    desired: Desired
    files: Mapping[str, Optional[FileState]]
    steps: list[Step]
    in_force: Optional[Checkpoint]

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
    store = Store(reader)
    in_force = store.in_force()
    last = in_force.policy if in_force is not None else None
    policy, source = load_policy(reader, policy_path, flags, last)
    facts = collect(reader)
    decision = decide(policy, facts)
    password = load_password(reader, decision.hop)
    desired = want(policy, facts, decision, password)
    files = file_states(reader, desired)
    same = last == dump(policy)
    return Situation(
        facts=facts,
        policy=policy,
        source=source,
        decision=decision,
        password=password,
        desired=desired,
        files=files,
        steps=plan(desired, facts, files, same_policy=same),
        in_force=in_force,
    )


def file_states(reader: Reader, desired: Desired) -> dict[str, Optional[FileState]]:
    """What is now at every path that the desired state is about."""
    paths = [file.path for file in desired.files] + list(desired.absent)
    return {path: reader.state(path) for path in paths}


def refuse_takeover(situation: Situation, *, adopt: bool) -> None:
    """RefusedError when the host is somebody's mail server already (promise 8)."""
    facts = situation.facts
    if situation.in_force is not None:
        return
    others = takeover.other_mtas(facts)
    if others:
        raise RefusedError(
            "other-mta",
            f"another mail program is installed: {', '.join(others)}; replacing it could lose "
            "what waits in its queue",
            f"look at its queue, then remove {others[0]} yourself and run sysmail again",
        )
    found = takeover.findings(facts)
    if found and not adopt:
        raise RefusedError(
            "mail-server",
            "this host is a mail server already: " + "; ".join(found),
            "leave it as it is, or give --adopt to replace it (everything is kept for rollback)",
        )


def refuse_busy_port(reader: Reader, situation: Situation) -> None:
    """RefusedError when another program holds port 25, naming it."""
    if situation.facts.master_running:
        return
    for listener in situation.facts.listeners_on(25):
        owner = reader.socket_owner(listener.inode) or "another program"
        raise RefusedError(
            "port-25-taken",
            f"{owner} listens on {listener.address} port 25",
            "stop that program, or leave the mail of this host to it",
        )


def probe_next_hop(reader: Reader, situation: Situation) -> Optional[HostError]:
    """Talk to the next hop the whole way; None when it answers, or when there is none."""
    hop = situation.decision.hop
    if hop is None or situation.decision.next_hop == "hold":
        return None
    if hop.port == 25 and hop.host in ("localhost", "127.0.0.1", "::1", *situation.facts.addresses):
        return HostError(
            "next-hop-is-self",
            f"the next hop {hop.host} port 25 is this relay itself",
            "name another server as host in the policy",
        )
    distro = situation.facts.distro
    try:
        nexthop.check_next_hop(
            reader,
            situation.policy,
            hop,
            situation.sender,
            situation.password,
            distro.ca_file if distro is not None else "",
        )
    except HostError as error:
        return error
    return None
