"""Promise 3: nothing is written to a local mailbox; mail for local users goes to admin."""

from __future__ import annotations

import re
from typing import Optional

from sysmail.msmtp import DIRECTORY as MSMTP_DIRECTORY
from sysmail.msmtp import MSMTPRC
from sysmail.postfix.maps import NO_ADMIN
from sysmail.prove.proof import APPLY, Proof
from sysmail.report import FAIL, PASS, UNKNOWN, Verdict

__all__ = ["check"]

NAME = "no-mailboxes"

_EMPTY = ("mydestination", "alias_maps", "virtual_mailbox_domains", "virtual_alias_domains")
_WRITERS = re.compile(
    rb"^\S+[ \t]+unix[ \t].*[ \t](local|virtual|lmtp|pipe|spawn)([ \t]|$)", re.MULTILINE
)
# `From root@example.org Mon Jan  1 00:00:00 2024`, some with a zone before the year
_SEPARATOR = re.compile(
    rb"From .*(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (\w{3} [ \d]\d \d\d:\d\d:\d\d)(?: [-+\w]+)? (\d{4})\b"
)


def check(proof: Proof) -> Verdict:
    """Looks at the effective parameters and services, the mail spool, the queue, and asks SMTP."""
    situation = proof.situation
    if not proof.relay:
        return _msmtp(proof)
    if not situation.facts.master_running:
        return Verdict(NAME, FAIL, "Postfix does not run", APPLY)
    wrong = _wrong_configuration(proof)
    if wrong:
        return Verdict(NAME, FAIL, wrong, APPLY)
    written = _written_mailbox(proof, "this Postfix")
    if written is not None:
        return written
    if proof.waiting is None:
        return Verdict(NAME, UNKNOWN, "the queue cannot be listed", "run `postqueue -j` to see why")
    stuck = [m for m in proof.waiting if any(NO_ADMIN in r.reason for r in m.recipients)]
    if stuck:
        return Verdict(
            NAME,
            FAIL,
            f"{_messages(len(stuck))} for local users wait: {NO_ADMIN}",
            "set admin in the policy and run `sysmail apply`; the waiting mail then goes there",
        )
    return _ask(proof)


def _msmtp(proof: Proof) -> Verdict:
    """Nothing delivers locally here; a file of ours decides about local recipients."""
    written = _written_mailbox(proof, "msmtp")
    if written is not None:
        return written
    wrong = proof.changed(MSMTP_DIRECTORY, MSMTPRC)
    if wrong:
        return Verdict(NAME, FAIL, f"{wrong} is not as the policy asks", APPLY)
    admin = proof.situation.policy.admin
    where = f"goes to {admin}" if admin else "is refused, as there is no admin"
    return Verdict(
        NAME, PASS, f"no Postfix runs, and msmtp has no mailboxes; mail for root {where}"
    )


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"


def _wrong_configuration(proof: Proof) -> Optional[str]:
    for name in _EMPTY:
        if proof.parameter(name):
            return f"Postfix has {name} = {proof.parameter(name)}"
    if proof.parameter("local_transport") != "error:local delivery disabled":
        return f"Postfix has local_transport = {proof.parameter('local_transport')}"
    master = proof.reader.read(proof.parameter("config_directory") + "/master.cf") or b""
    found = _WRITERS.search(master)
    if found:
        return f"master.cf has a service that delivers: {found.group(1).decode()}"
    return None


def _written_mailbox(proof: Proof, ours: str) -> Optional[Verdict]:
    """What is wrong with a mailbox that was written since; ``ours`` is the program that did not."""
    since = proof.situation.in_force.time if proof.situation.in_force is not None else None
    for path in proof.situation.facts.mailboxes:
        state = proof.reader.state(path, content=False)
        if state is None or since is None or state.mtime <= since + 1:
            continue
        latest = _latest_delivery(proof, path) if state.kind == "file" else None
        if latest is None or latest >= int(since):
            return Verdict(
                NAME,
                FAIL,
                f"{path} was written after sysmail took over",
                f"find out which program writes mailboxes on this host: it is not {ours}; then "
                f"read and move away {path}",
            )
    return None


def _latest_delivery(proof: Proof, path: str) -> Optional[float]:
    """When the last message of a mailbox came, in seconds since the epoch; None if not known.

    Who reads old mail in it, or deletes some, writes the file too. Each message begins with a line
    `From SENDER DATE`, which whoever delivers writes, in local time (RFC 4155, appendix A).
    """
    from sysmail.logline import moment  # nearly no host has such a mailbox

    # A text may have such a line as well, so one without a date is passed over.
    for found in proof.reader.search_back(path, [b"From "]):
        date = _SEPARATOR.match(found.line)
        if date is None:
            continue
        day, year = date[1].decode(), date[2].decode()
        when = moment(f"{day[:6]} {year} {day[7:]} ", proof.reader.now())
        if when is not None:
            return when
    return None


def _ask(proof: Proof) -> Verdict:
    """Mail for root over SMTP: accepted for admin, or refused with the reason. Nothing is sent."""
    session = proof.reader.smtp(proof.situation.desired.listen[0], 25)
    try:
        session.command("EHLO sysmail-prove")
        session.command("MAIL FROM:<>")
        replies = [session.command(f"RCPT TO:<{who}>") for who in ("root@localhost", "postmaster")]
    finally:
        session.close()
    admin = proof.situation.policy.admin
    taken = [reply.code == 250 for reply in replies]
    if admin and all(taken):
        return Verdict(NAME, PASS, f"nothing delivers locally; mail for root goes to {admin}")
    if not admin and not any(taken):
        return Verdict(
            NAME, PASS, "nothing delivers locally; without admin, mail for root is refused"
        )
    answer = next(r for r, ok in zip(replies, taken) if ok != bool(admin))
    return Verdict(NAME, FAIL, f"mail for root is answered {answer.code} {answer.text}", APPLY)
