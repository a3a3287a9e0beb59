"""The configuration that is in force, looked at as a candidate is before it is written.

`postfix check` passes most of what kills mail (docs/lint.md). Here the files that Postfix reads
now go through the same rules, and each parameter that somebody set otherwise than the policy asks
breaks the promise that it carries (policy/postfix_protected.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from sysmail.desired import ManagedFile
from sysmail.facts.parse import plain_address
from sysmail.policy.postfix_extras import RULES, protection
from sysmail.postfix.lint import Candidate, Finding, candidate, files_read, lint
from sysmail.postfix.lint.build import indexed_tables
from sysmail.prove.proof import APPLY, Fault, Proof

__all__ = ["faults"]


_LONGEST = 60

# Where the parameter alone does not say whose promise it is.
_PROMISES = {
    "aliases-do-nothing": "no-mailboxes",
    "domains-taken-over": "no-mailboxes",
    "local-mail-destroyed": "no-mailboxes",
    "protocol-not-known": "loopback-only",
    "no-protocol": "loopback-only",
    "no-ipv6": "loopback-only",
    "no-ipv4": "loopback-only",
    "mail-does-not-leave": "nothing-lost",
    "transport-missing": "nothing-lost",
}
# By these mail leaves; the other transports are for what is local.
_LEAVING = ("default_transport", "relay_transport")


def faults(proof: Proof) -> Iterator[Fault]:
    """What is wrong with main.cf, master.cf and the tables that they name, as they are now."""
    live, asked = _live(proof), _asked(proof)
    # What stands in files that are as asked is the policy's own.
    ours = not proof.changed("/etc/postfix/")
    for finding in lint(live):
        yield _fault(finding, live, ours=ours)
    yield from _otherwise(proof, live, asked)
    yield from _indexes(proof, live)
    yield from _bound(proof, live)


def _live(proof: Proof) -> Candidate:
    """The files as they are; one that is gone is not among them."""
    files = tuple(
        ManagedFile(file.path, state.data)
        for file in proof.situation.desired.files
        for state in (proof.situation.files.get(file.path),)
        if state is not None and state.kind == "file"
    )
    facts = proof.situation.facts
    found = candidate(files, facts)
    missing = frozenset(path for path in files_read(found) if proof.reader.link(path) is None)
    return candidate(files, facts, missing=missing)


def _asked(proof: Proof) -> Candidate:
    return candidate(proof.situation.desired.files, proof.situation.facts)


def _fault(finding: Finding, live: Candidate, *, ours: bool) -> Fault:
    carried = protection(finding.parameter)
    promise = _PROMISES.get(finding.rule) or (carried.promise if carried else "nothing-lost")
    remedy = f"{finding.parameter}: {finding.remedy}" if ours else APPLY
    where = finding.parameter
    if where in live.main:
        where = f"{where} = {_shown(live.main[where])}"
    return Fault(promise, finding.rule, f"{where}: {finding.what} ({finding.rule})", remedy)


def _otherwise(proof: Proof, live: Candidate, asked: Candidate) -> Iterator[Fault]:
    """Parameters that sysmail sets itself, or refuses, and that are not as the policy asks.

    Where the policy changed since it was applied nobody set anything otherwise.
    """
    in_force = proof.situation.in_force
    if in_force is None or in_force.policy != proof.situation.asked:
        return
    values = {("", name): value for name, value in live.main.items()}
    wanted = {("", name): value for name, value in asked.main.items()}
    for found, given in ((values, live), (wanted, asked)):
        for service in given.services:
            found.update({(service.name, key): value for key, value in service.options.items()})
    for key in sorted({*values, *wanted}):
        service_, name = key
        carried = protection(name) or next((rule for each, rule in RULES if each == name), None)
        if carried is None or _words(values.get(key)) == _words(wanted.get(key)):
            continue
        yield Fault(
            "nothing-lost" if name in _LEAVING else carried.promise,
            "parameter-changed",
            f"{_where(service_)} {_said(name, values.get(key))}, and the policy asks for "
            f"{_said(name, wanted.get(key))}: {carried.why}",
            APPLY,
        )


def _where(service: str) -> str:
    return f"master.cf gives the service {service}" if service else "main.cf has"


def _words(value: object) -> list[str]:
    return ["", *value.split()] if isinstance(value, str) else []


def _said(name: str, value: object) -> str:
    return f"no {name}" if not isinstance(value, str) else f"{name} = {_shown(value)}"


def _shown(value: str) -> str:
    """A value for a report: a password may stand in a table that is written out (inline:)."""
    if "inline:" in value or "static:" in value:
        return "(not shown)"
    return value if len(value) <= _LONGEST else value[:_LONGEST] + "..."


def _indexes(proof: Proof, live: Candidate) -> Iterator[Fault]:
    """A table's index that is older than its text: what somebody wrote is not in force."""
    for table, path in indexed_tables(live):
        text = proof.reader.state(table.name, content=False)
        index = proof.reader.state(path, content=False)
        if text is not None and index is not None and text.mtime > index.mtime:
            yield Fault(
                "nothing-lost",
                "index-outdated",
                f"{path} is older than {table.name}: what was changed there is not in force",
                f"`postmap {table.kind}:{table.name}`",
            )


def _bound(proof: Proof, live: Candidate) -> Iterator[Fault]:
    """An address that mail is to leave from, and that went with a network card or a provider."""
    own = {plain_address(address) for address in proof.situation.facts.addresses}
    for name in ("smtp_bind_address", "smtp_bind_address6"):
        value = live[name].strip()
        if value and plain_address(value) not in own:
            yield Fault(
                "nothing-lost",
                "address-not-there",
                f"{name} = {value}, which is no address of this host: Postfix cannot send from it",
                APPLY if name not in _asked(proof).main else f"remove {name} from the policy",
            )
