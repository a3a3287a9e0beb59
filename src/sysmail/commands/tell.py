"""Tells somebody by a way that is not mail: a web server, or a command."""

from __future__ import annotations

import json

from sysmail.errors import HostError
from sysmail.facts.tool import others_can_write
from sysmail.host.port import Writer
from sysmail.policy import Policy
from sysmail.watch.model import Alert
from sysmail.watch.shapes import as_document, post

__all__ = ["tell"]

WEBHOOK_SECONDS = 15.0
COMMAND_SECONDS = 30.0


def tell(
    writer: Writer, alert: Alert, policy: Policy, channels: tuple[str, ...], host: str
) -> dict[str, str]:
    """Deliver the alert to each channel; why not, for each that it did not reach.

    No word of the command and nothing of the webhook but its host is in a reason.
    """
    failures: dict[str, str] = {}
    if "webhook" in channels:
        request = post(alert, host, policy)
        try:
            writer.post(
                request.url,
                request.body,
                request.headers,
                ca_file=policy.alert.ca_file,
                timeout=WEBHOOK_SECONDS,
            )
        except HostError as error:
            failures["webhook"] = error.message
    if "command" in channels:
        writable = others_can_write(writer, policy.alert.command)
        if writable:
            failures["command"] = f"alert.command was not run: others can write {writable}"
    if "command" in channels and "command" not in failures:
        document = json.dumps(as_document(alert, host), ensure_ascii=False) + "\n"
        done = writer.run(
            policy.alert.command,
            stdin=document.encode("utf-8", "replace"),
            timeout=COMMAND_SECONDS,
        )
        if done.status != 0:
            failures["command"] = f"alert.command {_ended(done.status)}"
    return failures


def _ended(status: int) -> str:
    if status == 124:
        return f"did not end in {COMMAND_SECONDS:g} s"
    if status in (126, 127):
        return "could not be run"
    return f"ended with status {status}"
