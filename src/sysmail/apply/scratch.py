"""Tries a configuration in a Postfix of its own before it replaces the live one.

`postfix check` passes most broken configurations (docs/promises.md), so the candidate
is started with directories of its own on an unused loopback port, spoken to
over SMTP as local programs will, and torn down. The live one goes on.
"""

from __future__ import annotations

import re

from sysmail.apply.greeting import wait_for_greeting
from sysmail.apply.restartable import require
from sysmail.desired import Desired
from sysmail.errors import HostError, StepError
from sysmail.facts import processes
from sysmail.facts.model import Facts
from sysmail.host.port import Writer
from sysmail.postfix.maps import DIRECTORY

__all__ = ["ROOT", "take_away", "try_candidate"]

RECIPIENT = "probe@sysmail-probe.invalid"
ROOT = "/run/sysmail/scratch"
END_SECONDS = 5.0
_PARAMETER = re.compile(r"^([A-Za-z0-9_]+) =.*\n", re.MULTILINE)
# smtpd(8) says 452 where less than 1.5 times the largest message is free. /run is a tenth of the
# memory: on a small host it never has that, and no message is sent here.
_ROOM = re.compile(r"^(message_size_limit|queue_minfree) = [0-9]+$", re.MULTILINE)


def try_candidate(writer: Writer, facts: Facts, desired: Desired) -> None:
    """StepError with Postfix's own words when the candidate does not work; it leaves nothing."""
    root = ROOT
    take_away(writer)
    try:
        port = writer.free_port()
        config = _lay_out(writer, facts, desired, root, port)
        _check_words(writer, config)
        _start(writer, config, root)
        _speak(writer, port, root, ipv6="::1" in desired.listen)
    finally:
        take_away(writer)


def take_away(writer: Writer) -> None:
    """Stop and remove the scratch instance, also what a cut-off trial left running."""
    if writer.state(ROOT, content=False) is None:
        return
    for word in ("stop", "abort"):
        pid = (
            (writer.read(f"{ROOT}/spool/pid/master.pid") or b"").decode("ascii", "replace").strip()
        )
        if pid.isdigit() and writer.read(f"/proc/{pid}/comm") == b"master\n":
            writer.run(["postfix", "-c", f"{ROOT}/etc", word])
    _end_all(writer)
    writer.rmtree(ROOT)


def _end_all(writer: Writer) -> None:
    """End what else is of the scratch instance.

    postfix(1) outlives a sysmail that was killed, goes on to start a master, and
    makes directories anew that are gone.
    """
    deadline = writer.elapsed() + END_SECONDS
    while True:
        found = [pid for pid in processes.own(writer) if _is_of_it(writer, pid)]
        if not found or writer.elapsed() > deadline:
            return
        writer.run(["sh", "-c", f"kill -KILL {' '.join(found)}"])
        writer.sleep(0.02)


def _is_of_it(writer: Writer, pid: str) -> bool:
    try:
        return f"MAIL_CONFIG={ROOT}/etc\0".encode() in (writer.read(f"/proc/{pid}/environ") or b"")
    except HostError:
        return False  # it has just ended


def _lay_out(writer: Writer, facts: Facts, desired: Desired, root: str, port: int) -> str:
    owner = _owner(writer, facts)
    config = f"{root}/etc"
    writer.mkdir(f"{config}/sysmail", 0o755)
    writer.mkdir(f"{root}/spool", 0o755)
    writer.mkdir(f"{root}/data", 0o700, *owner)
    own = {
        "queue_directory": f"{root}/spool",
        "data_directory": f"{root}/data",
        "syslog_name": "postfix-sysmail-scratch",
        "maillog_file": f"{root}/log",
        "maillog_file_prefixes": "/run, /var",
    }
    for file in desired.files:
        name = file.path.rpartition("/")[2]
        text = file.data.decode()
        if file.path == "/etc/postfix/main.cf":
            text = text.replace(DIRECTORY + "/", f"{config}/sysmail/")
            text = _PARAMETER.sub(lambda m: "" if m.group(1) in own else m.group(0), text)
            text = _ROOM.sub(r"\1 = 1024", text)
            text += "".join(f"{key} = {value}\n" for key, value in own.items())
            writer.write(f"{config}/main.cf", text.encode(), 0o644)
        elif file.path == "/etc/postfix/master.cf":
            # The same services, the listener on an unused port.
            text = re.sub(r"^smtp( +inet)", rf"{port}\1", text, count=1, flags=re.MULTILINE)
            writer.write(f"{config}/master.cf", text.encode(), 0o644)
        elif file.path.startswith(DIRECTORY + "/"):
            writer.write(f"{config}/sysmail/{name}", file.data, file.mode)
    return config


def _owner(writer: Writer, facts: Facts) -> tuple[int, int]:
    """The user and group that Postfix runs as, from the directory that it owns."""
    directory = facts.postfix["data_directory"] if facts.postfix is not None else ""
    state = writer.state(directory or "/var/lib/postfix", content=False)
    return (state.uid, state.gid) if state is not None else (0, 0)


def _check_words(writer: Writer, config: str) -> None:
    """postconf(1) prints a warning for a parameter that nothing reads, and exits 0."""
    said = writer.ask(["postconf", "-c", config, "-n"])
    master = writer.ask(["postconf", "-c", config, "-M"])
    for line in (said.err + master.err).splitlines():
        match = re.match(r"\S*postconf: (?:warning|fatal): (.*)", line)
        if match:
            words = match.group(1).replace(config, "/etc/postfix")
            raise StepError(
                "configuration-not-accepted",
                f"Postfix does not accept the configuration: {words}",
                "look at [postfix] in the policy",
            )


def _start(writer: Writer, config: str, root: str) -> None:
    done = writer.run(["postfix", "-c", config, "start"], timeout=60)
    if done.status != 0:
        raise _failed(writer, root, done.err)


def _speak(writer: Writer, port: int, root: str, *, ipv6: bool) -> None:
    for address in ["127.0.0.1", "::1"] if ipv6 else ["127.0.0.1"]:
        try:
            session = wait_for_greeting(writer, address, port)
            try:
                for command in ("EHLO sysmail", "MAIL FROM:<>", f"RCPT TO:<{RECIPIENT}>"):
                    reply = session.command(command)
                    if reply.code != 250:
                        raise _failed(writer, root, f"{command}: {reply.code} {reply.text}")
            finally:
                session.close()
        except HostError as error:
            raise _failed(writer, root, error.message) from error


def _failed(writer: Writer, root: str, said: str) -> StepError:
    require(writer, root, "Postfix could not be tried there")  # not the configuration's fault
    log = (writer.read(f"{root}/log") or b"").decode("utf-8", "replace")
    words = ""
    for line in log.splitlines():
        match = re.search(r"(?:fatal|panic|error): (.*)", line)
        if match:
            words = match.group(1)
            break
    words = words or said.strip() or "no reason was given"
    return StepError(
        "configuration-not-working",
        f"Postfix does not work with the configuration: {words}",
        "look at [postfix] in the policy",
    )
