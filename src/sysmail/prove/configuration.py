"""Postfix's configuration as it is now: what it says, and the programs that it names.

Where every file is as the policy asks, and the policy adds no parameter of its own, the rules that
apply held it up to say nothing new: the watch runs every few minutes and need not load them.
"""

from __future__ import annotations

from collections.abc import Iterator

from sysmail.prove.proof import Fault, Proof

__all__ = ["faults"]

MASTER_CF = "/etc/postfix/master.cf"


def faults(proof: Proof) -> Iterator[Fault]:
    """What is wrong with main.cf, master.cf, the tables and programs that they name."""
    if proof.situation.facts.postfix is None or not proof.relay:
        return
    if proof.situation.policy.postfix or proof.changed("/etc/postfix/"):
        from sysmail.prove import linted

        yield from linted.faults(proof)
    yield from _programs(proof)


def _programs(proof: Proof) -> Iterator[Fault]:
    """The programs that master.cf names, in daemon_directory."""
    state = proof.situation.files.get(MASTER_CF)
    folder = proof.parameter("daemon_directory")
    there = set(proof.reader.names(folder)) if folder else set()
    if state is None or not there:
        return
    lines = state.data.decode("utf-8", "replace").splitlines()
    named = {line.split()[7] for line in lines if line[:1].isalnum() and len(line.split()) > 7}
    for command in sorted(named - there)[:1]:
        yield Fault(
            "nothing-lost",
            "program-missing",
            f"master.cf names {command}, and there is no {folder}/{command}: mail that needs it "
            "stays",
            proof.again,
        )
