"""What must not be done to this host, each with its reason; nothing was touched."""

from __future__ import annotations

from dataclasses import replace

from sysmail import queue, takeover
from sysmail.commands.probe import port_owner
from sysmail.commands.situation import Situation
from sysmail.desired import Desired
from sysmail.errors import RefusedError
from sysmail.facts import Facts, parse
from sysmail.facts.collect import collect_forwards
from sysmail.facts.tool import others_can_write
from sysmail.host.port import Reader
from sysmail.neighbours import neighbour_of

__all__ = [
    "refuse_busy_port",
    "refuse_fatal_configuration",
    "refuse_open_command",
    "refuse_takeover",
]


def refuse_open_command(reader: Reader, situation: Situation) -> None:
    """RefusedError where the watch would run, as root, what somebody else can change."""
    path = others_can_write(reader, situation.policy.alert.command)
    if path:
        raise RefusedError(
            "alert-command-writable",
            f"alert.command runs as root, and others than root can write {path}",
            f"chown root {path} && chmod go-w {path}; or name another command",
        )


def refuse_takeover(reader: Reader, situation: Situation, *, adopt: bool) -> tuple[str, ...]:
    """RefusedError when the host is somebody's mail server, or mail waits in a neighbour's queue.

    Promise 8, and mail that another program accepted is never thrown away. Otherwise what
    is adopted, a sentence each, for the report.
    """
    facts = situation.facts
    adopted = _refuse_servers(reader, situation, adopt=adopt)
    _refuse_queue_elsewhere(reader, facts)
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
    return adopted


def _refuse_servers(reader: Reader, situation: Situation, *, adopt: bool) -> tuple[str, ...]:
    facts = situation.facts
    others = [name for name in takeover.other_mtas(facts) if not neighbour_of(name).replaceable]
    if others:
        raise RefusedError(
            "other-mta",
            f"another mail program is installed: {', '.join(others)}; sysmail does not "
            "know how to replace it without losing what waits in its queue, also with --adopt",
            f"look at its queue, then remove {others[0]} yourself and run sysmail again",
        )
    ports = situation.desired.port == 25
    in_force = situation.in_force
    if in_force is not None:
        found = takeover.since(
            facts,
            relay=in_force.route.get("name") == "relay",
            allowed={name for name, _ in situation.policy.postfix},
        )
    else:
        if ports:
            facts = replace(facts, forwards=collect_forwards(reader))
        found = takeover.findings(facts, ports=ports)
    if found and not adopt:
        raise RefusedError(
            "mail-server",
            "this host is a mail server already: " + "; ".join(found),
            _remedy(facts, ports=ports),
        )
    return (*(f"adopted: {clause}" for clause in found), *([KEPT] if found else []))


def _refuse_queue_elsewhere(reader: Reader, facts: Facts) -> None:
    """RefusedError where main.cf gives Postfix a queue of its own place, which --adopt allows not.

    sysmail's main.cf does not name it: what waits there, or comes back to it, nobody would see,
    and the owner's unit and mounts are made for it. It is moved by who set it up.
    """
    name = "queue_directory"
    if facts.postfix is None or name not in facts.postfix.own:
        return
    usual = parse.parameters(reader.ask(["postconf", "-d", name]).out).get(name, "")
    where = facts.postfix[name]
    if not usual or (reader.link(where) or where) == (reader.link(usual) or usual):
        return
    raise RefusedError(
        "queue-elsewhere",
        f"the queue of Postfix is {where} ({name} in main.cf), where sysmail would no longer look: "
        f"its own is {usual}; mail that waits there would stay unseen, also with --adopt",
        f"`postqueue -f` sends what can be sent; once `postqueue -p` shows nothing, `postfix stop`,"
        f" `postconf -X {name}`, take a PIDFile of yours below {where} out of its unit, and start "
        f"it again. To keep the disk, mount it at {usual}",
    )


KEPT = (
    "what is replaced is kept in the checkpoint: `sysmail rollback` or `remove` brings it back; "
    "mailboxes and other programs' ports are left as they are"
)


def _remedy(facts: Facts, *, ports: bool) -> str:
    """What --adopt can do here, and what it cannot."""
    stay = takeover.staying(facts) if ports else ()
    if not stay:
        return "leave it as it is, or give --adopt to replace it (everything is kept for rollback)"
    owner = stay[0].owner or "that program"
    return (
        f"leave it as it is: --adopt does not help, since {owner} stays on port 25. Where it is "
        "Mailu, name it under [mailu] in the policy; else stop it first"
    )


def refuse_busy_port(reader: Reader, situation: Situation) -> None:
    """RefusedError when another program holds the port that is needed, naming it."""
    port = situation.desired.port
    found = port_owner(reader, situation.facts, port)
    if found is not None:
        raise RefusedError(
            "port-25-taken" if port == 25 else "port-taken",
            f"{found[0]} listens on {found[1]} port {port}",
            "stop that program, or leave the mail of this host to it",
        )


def refuse_fatal_configuration(reader: Reader, facts: Facts, desired: Desired) -> None:
    """RefusedError when Postfix would accept the candidate, and mail would die of it."""
    if not desired.relay:
        return
    # A plan that changes nothing needs none of it, and the tool has to start fast.
    from sysmail.postfix.lint import candidate, files_read, lint

    settled = facts.postfix is not None and all(name in facts.packages for name in desired.packages)
    # Packages that are still to come bring files, types of tables and modules along.
    asked = files_read(candidate(desired.files, facts)) if settled else []
    missing = frozenset(path for path in asked if reader.link(path) is None)
    found = lint(candidate(desired.files, facts, settled=settled, missing=missing))
    if found:
        told = [f"{each.parameter}: {each.what} ({each.rule})" for each in found]
        remedies = list(dict.fromkeys(f"{each.parameter}: {each.remedy}" for each in found))
        raise RefusedError(
            "configuration-kills-mail",
            "Postfix would accept this configuration, and mail would be lost or stay: "
            + "; ".join(told),
            "; ".join(remedies) + " (in the policy, mostly its [postfix])",
        )
