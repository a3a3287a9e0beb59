"""Postfix's configuration as it is now: what it says, and the programs that it names.

Where every file is as the policy asks, and the policy adds no parameter of its own, the rules that
apply held it up to say nothing new: the watch runs every few minutes and need not load them.
"""

from __future__ import annotations

from collections.abc import Iterator

from sysmail.prove.proof import Fault, Proof

__all__ = ["faults"]

MASTER_CF = "/etc/postfix/master.cf"
_TYPES = frozenset({"unix", "unix-dgram", "pass"})
_FOLDERS = ("private", "public")
"""Where master(8) binds the sockets of these types, in the queue directory: master(5)."""


def faults(proof: Proof) -> Iterator[Fault]:
    """What is wrong with main.cf, master.cf, the tables and programs that they name."""
    if proof.situation.facts.postfix is None or not proof.relay:
        return
    if proof.situation.policy.postfix or proof.changed("/etc/postfix/"):
        from sysmail.prove import linted

        yield from linted.faults(proof)
    state = proof.situation.files.get(MASTER_CF)
    lines = state.data.decode("utf-8", "replace").splitlines() if state is not None else []
    services = [line.split() for line in lines if line[:1].isalnum() and len(line.split()) > 7]
    yield from _programs(proof, services)
    if proof.situation.facts.master_running:
        yield from _sockets(proof, services)


def _sockets(proof: Proof, services: list[list[str]]) -> Iterator[Fault]:
    """The sockets of the services: master(8) binds them when it reads master.cf."""
    queue_directory = proof.parameter("queue_directory")
    if not queue_directory or proof.parameter("master_service_disable"):
        return
    lines = (proof.reader.read("/proc/net/unix") or b"").decode("utf-8", "replace").splitlines()
    bound = [line.split() for line in lines[1:]]
    held = {str(inode) for inode in proof.master_sockets}
    offered = {words[7] for words in bound if words[7:] and words[6] in held}
    offered &= {
        f"{x}/{name}" for x in _FOLDERS for name in proof.reader.names(f"{queue_directory}/{x}")
    }
    for name, kind, private, *_ in services:
        path = f"{_FOLDERS[private == 'n']}/{name}"
        if kind in _TYPES and path not in offered:
            yield Fault(
                "nothing-lost",
                "socket-missing",
                f"master.cf has the service {name}, and nobody listens on {queue_directory}/"
                f"{path}: Postfix runs without it, and mail that needs {name} waits",
                "`systemctl restart postfix`"
                if proof.situation.facts.systemd
                else "`postfix stop`, then `postfix start`",
            )
            return


def _programs(proof: Proof, services: list[list[str]]) -> Iterator[Fault]:
    """The programs that master.cf names, in daemon_directory."""
    folder = proof.parameter("daemon_directory")
    there = set(proof.reader.names(folder)) if folder else set()
    if not there:
        return
    named = {service[7] for service in services}
    for command in sorted(named - there)[:1]:
        yield Fault(
            "nothing-lost",
            "program-missing",
            f"master.cf names {command}, and there is no {folder}/{command}: mail that needs it "
            "stays",
            proof.again,
        )
