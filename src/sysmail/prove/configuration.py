"""Postfix's configuration as it is now: what it says, and the programs that it names.

Where every file is as the policy asks, and the policy adds no parameter of its own, the rules that
apply held it up to say nothing new: the watch runs every few minutes and need not load them.
"""

from __future__ import annotations

from collections.abc import Iterator

from sysmail.prove.proof import Fault, Proof

__all__ = ["faults"]

MASTER_CF = "/etc/postfix/master.cf"
_SOCKETS = {"y": "private", "n": "public"}
"""The folder in the queue directory, by the column `private` of master(5)."""


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
    """The sockets of the services, which master(8) makes when it reads master.cf."""
    queue_directory = proof.parameter("queue_directory")
    if not queue_directory or proof.parameter("master_service_disable"):
        return
    there = {kind: proof.reader.names(f"{queue_directory}/{kind}") for kind in _SOCKETS.values()}
    for name, kind, private, *_ in services:
        folder = _SOCKETS["n" if private == "n" else "y"]
        if kind != "inet" and name not in there[folder]:
            yield Fault(
                "nothing-lost",
                "master-cf-not-read",
                f"master.cf has the service {name}, and there is no {queue_directory}/{folder}/"
                f"{name}: Postfix has not read that file, and mail that needs {name} waits",
                "`postfix reload`",
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
