"""Running sysmail on a booted host, and looking at the host from outside."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from by_products import BY_PRODUCTS, CACHES

from lab import Host, Lab

SYSMAIL = "/opt/sysmail/sysmail"
POLICY = "/etc/sysmail/policy.toml"

# Locks of a running Postfix, and what the lab's own shell leaves.
_RUNTIME = ("root/.", "etc/pacman.d/gnupg", "var/spool/postfix/pid/")
# Folders that qmgr makes when it first needs them; a message in one of them is a path of its own.
_QUEUE_FOLDER = re.compile(r"var/spool/postfix/(defer|deferred)/[0-9A-F]")


@dataclass(frozen=True)
class Ran:
    """A command of sysmail that ended: its report as data, and what it printed."""

    status: int
    report: Mapping[str, Any]
    out: str
    err: str

    @property
    def outcome(self) -> str:
        return str(self.report["outcome"])

    @property
    def codes(self) -> list[str]:
        return [error["code"] for error in self.report["errors"]]

    def verdict(self, check: str) -> Mapping[str, str]:
        found: list[Mapping[str, str]] = [v for v in self.report["verdicts"] if v["check"] == check]
        assert found, f"no verdict on {check}: {self.out}"
        return found[0]

    def failed(self) -> dict[str, str]:
        """The checks that do not pass, with their evidence."""
        return {v["check"]: v["evidence"] for v in self.report["verdicts"] if v["status"] != "pass"}


def sysmail(host: Host, *words: str, user: str | None = None) -> Ran:
    """Run sysmail with --json; a traceback fails the test whatever it is about."""
    done = host.run([SYSMAIL, "--json", *words], check=False, user=user, timeout=300)
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    try:
        report = json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"not JSON: {done.stdout!r} {done.stderr!r}") from None
    return Ran(done.returncode, report, done.stdout, done.stderr)


def apply(host: Host, *words: str) -> Ran:
    """Apply, and expect it to be in force and proven."""
    ran = sysmail(host, "apply", *words)
    assert ran.status == 0, f"{ran.outcome}: {ran.report['errors']} {ran.failed()}"
    return ran


def policy(host: Host, text: str) -> None:
    """Write the host's policy file: in TOML, or as JSON for a Python that cannot read TOML."""
    path = host.root / POLICY.lstrip("/")
    if host.base == "debian11":
        path, text = path.with_suffix(".json"), json.dumps(tomllib.loads(text))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)


def snapshot(host: Host) -> dict[str, str]:
    """Every path under /etc and the places of mail with type, mode, owner and content's hash."""
    script = r"""
    cd / && find etc usr/local var/spool var/mail root -xdev \( -type d -o -type l -o -type f \) \
        -printf '%p\t%y\t%m\t%u:%g\t%l\n' | sort
    find etc usr/local root -xdev -type f -exec sha256sum {} + | sort -k2
    """
    lines = host.run(script).stdout.splitlines()
    found: dict[str, str] = {}
    for line in lines:
        if "\t" in line:
            path, _, rest = line.partition("\t")
            found[path] = rest
        else:
            digest, _, path = line.partition("  ")
            found[path] = found.get(path, "") + " " + digest
    return {
        path: state
        for path, state in found.items()
        if path not in BY_PRODUCTS
        and not path.startswith(tuple(CACHES))
        and not path.startswith(_RUNTIME)
        and not _QUEUE_FOLDER.fullmatch(path)
    }


def queued(host: Host) -> dict[str, str]:
    """The local parts of the recipients in the queue, and which queue each is in."""
    said = host.run("postqueue -j 2>/dev/null", check=False).stdout
    rows = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return {
        recipient["address"].partition("@")[0]: row["queue_name"]
        for row in rows
        for recipient in row["recipients"]
    }


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """What differs between two snapshots, a line each."""
    return [
        f"{path}: {before.get(path, 'absent')} -> {after.get(path, 'absent')}"
        for path in sorted(set(before) | set(after))
        if before.get(path) != after.get(path)
    ]


def packages(host: Host) -> list[str]:
    """The installed packages with their versions."""
    tool = (
        "pacman -Q 2>/dev/null || true"
        if (host.root / "usr/bin/pacman").exists()
        else ("dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\\n' | grep '^ii'")
    )
    return sorted(host.run(tool).stdout.splitlines())


def listeners(host: Host) -> list[str]:
    """The listening TCP sockets."""
    return sorted(
        line.split()[3] for line in host.run(["ss", "-Hltn"]).stdout.splitlines() if line.strip()
    )


def units(host: Host) -> list[str]:
    """The unit files and whether they are enabled."""
    said = host.run("systemctl list-unit-files --no-legend --no-pager | awk '{print $1, $2}'")
    return sorted(said.stdout.splitlines())


def sendmail(host: Host, message: str, *words: str, user: str | None = None) -> None:
    """Hand a message to the host's sendmail, as a program of the host."""
    host.run(["/usr/sbin/sendmail", "-i", *words], input=message, user=user)


def send_smtp(
    host: Host,
    recipient: str,
    message: str = "Subject: t\n\nt\n",
    sender: str = "app@example.com",
    address: str = "localhost",
    source: str = "",
) -> str:
    """Send over SMTP from inside the host with Python's own client; the last reply as text."""
    script = """
import smtplib, sys
recipient, sender, address, source = sys.argv[1:5]
try:
    with smtplib.SMTP(address, 25, timeout=20,
                      source_address=(source, 0) if source else None) as client:
        refused = client.sendmail(sender, [recipient], sys.stdin.read().encode())
        print("250 accepted", refused)
except smtplib.SMTPRecipientsRefused as error:
    print(*error.recipients[recipient])
except smtplib.SMTPResponseException as error:
    print(error.smtp_code, error.smtp_error.decode())
except OSError as error:
    print("no connection:", error)
"""
    done: subprocess.CompletedProcess[str] = host.run(
        ["python3", "-c", script, recipient, sender, address, source], input=message
    )
    return done.stdout.strip()


def queue(host: Host) -> list[Mapping[str, Any]]:
    """What waits, as `sysmail queue list` says it."""
    found: list[Mapping[str, Any]] = sysmail(host, "queue", "list").report["messages"]
    return found


def spool_files(host: Host) -> list[str]:
    """Every file under a mail spool."""
    found: list[str] = []
    for spool in ("var/mail", "var/spool/mail"):
        path = Path(host.root / spool)
        if path.is_dir() and not path.is_symlink():
            found += [str(p) for p in path.rglob("*")]
    return found + [str(p) for p in host.root.glob("home/*/Mail*")]


def mailu_policy(lab: Lab, host: Host, top: str = "", table: str = "", password: str = "") -> None:
    """Write a policy for the lab's Mailu, its CA and the password; ``top`` and ``table`` are added.

    ``table`` lines stand in [mailu], and take the place of lines with the same key.
    """
    folder = host.root / "etc/sysmail"
    folder.mkdir(exist_ok=True)
    shutil.copy(lab.mailu.ca_file, folder / "ca.pem")
    secret = folder / "password"
    secret.write_text((password or lab.mailu.password) + "\n")
    secret.chmod(0o600)
    keys = {
        "host": f'"{lab.mailu.host}"',
        "username": f'"{lab.mailu.username}"',
        "password_file": '"/etc/sysmail/password"',
        "ca_file": '"/etc/sysmail/ca.pem"',
    }
    keys |= dict(line.split(" = ", 1) for line in table.splitlines() if line)
    lines = ['admin = "ops@example.org"'] if "admin" not in top else []
    lines += [top, "[queue]", 'retry_every = "10s"', "[mailu]"]
    lines += [f"{key} = {value}" for key, value in keys.items() if value != "none"]
    policy(host, "\n".join(lines) + "\n")
