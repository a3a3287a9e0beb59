"""Runs inside a host: one candidate in a Postfix of its own, linted, checked, started, given mail.

A request as JSON on standard input, an answer as JSON on standard output. The candidate is what
sysmail itself makes of the request's policy, with the request's changes.
"""

from __future__ import annotations

import json
import re
import smtplib
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, "/opt/sysmail/src")

from sysmail.desired import ManagedFile
from sysmail.facts import collect
from sysmail.host.machine import Machine
from sysmail.policy import Secret, parse
from sysmail.postfix.lint import candidate, files_read, lint
from sysmail.route import Decision
from sysmail.want import want

OWN = "/etc/postfix/sysmail"
PORT = 2525


def main() -> None:
    """Answer one request."""
    asked: dict[str, Any] = json.load(sys.stdin)
    root = Path(asked["root"])
    facts = collect(Machine())
    policy = parse(asked["policy"])
    hop = policy.smarthost
    decision = Decision("relay", "smarthost" if hop else "direct", "a test", hop)
    password = Secret(asked["password"]) if hop else None
    files = list(want(policy, facts, decision, password).files)
    laid = _lay_out(files, root, asked)
    missing = frozenset(p for p in files_read(candidate(laid, facts)) if not Path(p).exists())
    found = lint(candidate(laid, facts, missing=missing))
    config = str(root / "etc")
    check = _run("postfix", "-c", config, "check")
    started = _run("postfix", "-c", config, "start")
    answer = {
        "found": [vars(each) for each in found],
        "check": check,
        "start": started,
        "reply": _send(asked["send"], config) if asked["send"] else "",
    }
    json.dump(answer, sys.stdout)


def _lay_out(files: list[ManagedFile], root: Path, asked: dict[str, Any]) -> tuple[Any, ...]:
    """Write the candidate, and return it as the lint takes it."""
    inner = root / "etc/sysmail"
    inner.mkdir(parents=True)
    (root / "spool").mkdir()
    (root / "data").mkdir()
    subprocess.run(["chown", "postfix", root / "data"], check=True)
    laid: list[ManagedFile] = []
    for file in files:
        text = file.data.decode().replace(OWN + "/", f"{inner}/")
        path = file.path.replace(OWN, str(inner))
        if path == "/etc/postfix/main.cf":
            text = _main(text, root, asked)
        elif path == "/etc/postfix/master.cf":
            for pattern, replacement in asked["master"]:
                text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
                assert count, f"nothing in master.cf fits {pattern}"
        elif not path.startswith(str(inner)):
            continue
        laid.append(ManagedFile(path, text.encode(), file.mode))
    laid += [
        ManagedFile(f"{inner}/{name}", text.replace("@ROOT@", str(root)).encode())
        for name, text in asked["files"].items()
    ]
    for file in laid:
        text = file.data.decode()
        if file.path == "/etc/postfix/master.cf":
            # The same services, the listener on an unused port.
            text = re.sub(r"^smtp( +inet)", rf"{PORT}\1", text, count=1, flags=re.MULTILINE)
        place = Path(file.path.replace("/etc/postfix", f"{root}/etc"))
        place.write_text(text)
        place.chmod(file.mode)
    return tuple(laid)


def _main(text: str, root: Path, asked: dict[str, Any]) -> str:
    own = {
        "queue_directory": f"{root}/spool",
        "data_directory": f"{root}/data",
        "maillog_file": f"{root}/log",
        "syslog_name": "postfix-row",
    }
    changes = {k: v.replace("@ROOT@", str(root)) for k, v in {**own, **asked["main"]}.items()}
    gone = {*changes, *asked["drop"]}
    lines = [line for line in text.splitlines() if line.partition(" =")[0] not in gone]
    lines += [f"{name} = {value}" for name, value in changes.items()]
    return "\n".join([*lines, *asked["lines"]]) + "\n"


def _send(asked: dict[str, Any], config: str) -> str:
    """Hand one message in; the last reply, or why there is none."""
    message = asked["message"]
    if asked["via"] == "sendmail":
        argv = ["sendmail", "-C", config, "-f", asked["sender"], asked["to"]]
        return str(_run(*argv, text=message))
    try:
        with smtplib.SMTP(asked["address"], PORT, timeout=asked["timeout"]) as client:
            refused = client.sendmail(asked["sender"], [asked["to"]], message.encode())
            return f"250 accepted {refused}"
    except smtplib.SMTPRecipientsRefused as error:
        code, said = error.recipients[asked["to"]]
        return f"{code} {said.decode()}"
    except smtplib.SMTPResponseException as error:
        return f"{error.smtp_code} {error.smtp_error!r}"
    except (OSError, smtplib.SMTPException) as error:
        return f"no connection: {error}"


def _run(*argv: str, text: str = "") -> dict[str, Any]:
    done = subprocess.run(argv, input=text.encode(), capture_output=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).decode(errors="replace")
    return {"status": done.returncode, "said": said}


if __name__ == "__main__":
    main()
