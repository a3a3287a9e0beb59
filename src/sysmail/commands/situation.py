"""A host and what is wanted of it, looked at once: what every command starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from sysmail import queue
from sysmail.apply.checkpoint import Checkpoint, Store
from sysmail.apply.edits import edits
from sysmail.commands.policy_source import (
    Given,
    installed_password,
    load_password,
    load_policy,
)
from sysmail.commands.probe import port_owner, talk, way_out
from sysmail.desired import Desired
from sysmail.errors import HostError, NotPermittedError
from sysmail.facts import Facts, collect
from sysmail.host.port import FileState, Reader
from sysmail.plan import DownloadPackages, Retire, Step, drain, plan
from sysmail.policy import Policy, Secret, dump
from sysmail.postfix.names import my_hostname
from sysmail.route import OUTAGE_SECONDS, OWN_PORT, Decision, Seen, decide, needs_mailu
from sysmail.want import effective, want

__all__ = [
    "Situation",
    "file_states",
    "look",
    "probe_next_hop",
    "probe_way_out",
    "require_root",
]


@dataclass(frozen=True)
class Situation:
    """Facts, policy, decision, desired state and the steps in between.

    ``policy`` has the sender filled in that this decision implies; ``asked`` is
    what was asked for, as plain data. ``waiting`` is the queue of a Postfix that
    would have to go, None where it cannot be listed. ``trouble`` is what talking to Mailu ran
    into where the decision depended on it; ``probed``: it did. ``down_for`` are
    the seconds that a Mailu in use has not answered for. ``relay_asked``: the relay was asked for.
    ``edited`` are the paths that somebody changed since the last apply, and how.
    ``checkpoints`` are all there are, read once: a host may have hundreds.
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
    down_for: float = 0.0
    relay_asked: bool = False
    edited: Mapping[str, str] = field(default_factory=dict)
    checkpoints: tuple[Checkpoint, ...] = ()

    @property
    def passwords(self) -> dict[str, str]:
        """The secrets that the policy brings along itself, by table."""
        return _passwords(self.policy)

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


def look(
    reader: Reader,
    given: Given,
    flags: Mapping[str, Optional[object]],
    *,
    relay: bool = False,
    ask: bool = True,
    checkpoints: Optional[Sequence[Checkpoint]] = None,
) -> Situation:
    """Look at the host. Errors as the parts raise them; nothing is changed.

    ``relay``: the relay is asked for. That lasts until a policy names a route.
    Without ``ask`` nobody is asked who may be slow: the route is the one in force, and the
    password the one that is installed. ``checkpoints``: where they were read already.
    """
    store = Store(reader)
    known = tuple(store.load() if checkpoints is None else checkpoints)
    done = [checkpoint for checkpoint in known if checkpoint.state == "done"]
    in_force = done[-1] if done else None
    last = in_force.policy if in_force is not None else None
    kept = store.passwords(in_force) if in_force is not None else {}
    relay = relay or (in_force is not None and in_force.relay_asked)
    policy, source = load_policy(reader, given, flags, last, kept=kept, relay=relay)
    asked, passwords = dump(policy), _passwords(policy)
    relay = relay and policy.route == "relay"
    same = last == asked and kept == passwords
    same = same and in_force is not None and in_force.relay_asked == relay
    facts = collect(reader)
    probed = needs_mailu(policy)
    used = in_force is not None and in_force.route.get("name") == "mailu"
    trouble: Optional[HostError] = None
    password: Optional[Secret] = None
    if probed and ask:
        trouble, password = _ask_mailu(reader, policy, facts, used=used)
    elif probed and not used:
        trouble = HostError("not-asked", "it is not in use", "run `sysmail prove`, which asks")
    seen = _seen(reader, policy, facts, in_force, trouble)
    decision = decide(policy, facts, seen)
    if not (probed and ask) or decision.hop is not policy.mailu:
        probed, trouble = False, None
        load = load_password if ask else installed_password
        password = load(reader, decision.hop)
    desired = want(policy, facts, decision, password)
    files = file_states(reader, desired)
    steps = plan(desired, facts, files, same_policy=same)
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
        down_for=seen.down_for,
        relay_asked=relay,
        edited=edits(reader, done, files),
        checkpoints=known,
    )


def _passwords(policy: Policy) -> dict[str, str]:
    """The secrets that the policy brings along itself, by table: passwords, and a webhook."""
    hops = {"mailu": policy.mailu, "smarthost": policy.smarthost}
    found = {
        name: hop.password.reveal()
        for name, hop in hops.items()
        if hop is not None and hop.password is not None
    }
    return {**found, "alert": policy.alert.webhook} if policy.alert.webhook else found


def _ask_mailu(
    reader: Reader, policy: Policy, facts: Facts, *, used: bool
) -> tuple[Optional[HostError], Optional[Secret]]:
    hop = policy.mailu
    password = load_password(reader, hop)
    decision = Decision("mailu", "", "", hop)
    asked = effective(policy, decision)
    sender = asked.sender or f"root@{my_hostname(asked, facts)}"
    # One that says "not now" to every message is not one to leave a queue for.
    patient = used or policy.route == "mailu"
    return talk(reader, asked, facts, decision, sender, password, patient=patient), password


def _seen(
    reader: Reader,
    policy: Policy,
    facts: Facts,
    in_force: Optional[Checkpoint],
    trouble: Optional[HostError],
) -> Seen:
    found = port_owner(reader, facts) if policy.mailu is not None else None
    owner = found[0] if found is not None else ""
    said = trouble.message if trouble is not None else ""
    if in_force is None:
        return Seen(said, owner=owner)
    owned = in_force.route.get("port") == str(OWN_PORT)
    if in_force.policy.get("mailu") != dump(policy).get("mailu"):
        return Seen(said, owner=owner, owned=owned)
    down_for = _down_for(reader, in_force, policy) if trouble is not None else 0.0
    return Seen(said, in_force.route.get("name", ""), down_for, owner, owned)


def _down_for(reader: Reader, in_force: Checkpoint, policy: Policy) -> float:
    """Seconds since an apply first found Mailu down, as far as it was down all the time.

    Two applies that are far apart say nothing of the time between them, and neither does a log
    that cannot be read; a message that Mailu took meanwhile says that it was up.
    """
    now = reader.now()
    since, seen = in_force.mailu_down_since, in_force.mailu_down_seen
    if not since or now - seen > OUTAGE_SECONDS * 2:
        return 0.0
    from sysmail import submissions  # the relay has none

    host = policy.mailu.host if policy.mailu is not None else ""
    handed = submissions.since(reader, since, host)
    if handed is None or any(each.accepted for each in handed):
        return 0.0
    return now - since


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


def probe_next_hop(reader: Reader, situation: Situation) -> Optional[HostError]:
    """Talk to the next hop the whole way; None when it answers, or when there is none."""
    if situation.probed:
        return situation.trouble
    if situation.decision.hop is None or situation.decision.next_hop == "hold":
        return None
    return talk(
        reader,
        situation.policy,
        situation.facts,
        situation.decision,
        situation.sender,
        situation.password,
    )


def probe_way_out(reader: Reader, situation: Situation) -> Optional[HostError]:
    """As ``probe_next_hop``; and without one, whether mail for admin can leave directly.

    Not asked by an apply: a server of somebody else's decides nothing there.
    """
    if situation.decision.next_hop == "direct" and situation.desired.relay:
        return way_out(reader, situation.policy)
    return probe_next_hop(reader, situation)
