"""journalctl(1) over lines of a log, as far as sysmail asks it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Optional

from sysmail import logline
from sysmail.host.port import Completed

__all__ = ["journalctl", "lines_of_journal"]

POSTFIX_UID = 102


def journalctl(
    argv: Sequence[str],
    lines: Sequence[str],
    now: float,
    uid: int = 0,
    uids: Optional[Mapping[str, int]] = None,
) -> Completed:
    """What ``journalctl -o json`` prints of these lines, the newest first.

    They are of processes of ``uid``, those that hold a text of ``uids`` of that one.
    """
    given = dict(zip(argv, argv[1:]))
    since, until = float(given.get("--since", "@0")[1:]), float(given.get("--until", "@9e9")[1:])
    pid = next((word[5:] for word in argv if word.startswith("_PID=")), "")
    user = next((word[5:] for word in argv if word.startswith("_UID=")), "")
    rows: list[dict[str, Any]] = []
    for turn, line in enumerate(lines):
        whose = next((known for part, known in (uids or {}).items() if part in line), uid)
        row = _entry(turn, line, whose, now)
        # postsuper(1) runs in the unit of who called it, not in Postfix's.
        tag = row["SYSLOG_IDENTIFIER"]
        postfix = tag.startswith("postfix") and tag != "postfix/postsuper"
        if (
            postfix == ("-u" in argv)
            and tag == given.get("-t", tag)
            and pid in ("", row["SYSLOG_PID"])
            and user in ("", row["_UID"])
            and since <= int(row["__REALTIME_TIMESTAMP"]) / 1e6 <= until
            and not any(word.startswith("MESSAGE_ID=") for word in argv)
            and re.search(given.get("-g", ""), row["MESSAGE"])
        ):
            rows.insert(0, row)
    out = "".join(json.dumps(row) + "\n" for row in rows)
    return Completed(tuple(argv), 0 if rows else 1, out, "")


def lines_of_journal(
    argv: Sequence[str], lines: Sequence[str], forged: Collection[str], now: float
) -> list[str]:
    """What ``journalctl -o short`` or ``-o cat`` prints of these lines, the oldest first.

    ``forged`` are those that no process of Postfix's own user wrote.
    """
    given = dict(zip(argv, argv[1:]))
    tags = {word for option, word in zip(argv, argv[1:]) if option == "-t"}
    since = int(float(given.get("--since", "@0")[1:]))
    found: list[str] = []
    for line in lines:
        parsed = logline.parse(line, now)
        tag = parsed.program if parsed is not None else ""
        text = line if "cat" not in argv else line.partition("]: ")[2]
        if (
            (not tags or tag in tags)
            and (f"_UID={POSTFIX_UID}" not in argv or line not in forged)
            and ("cat" not in argv or parsed is None or parsed.time >= since)
            and re.search(given.get("-g", ""), text)
        ):
            found.append(text)
    return found


def _entry(turn: int, line: str, uid: int, now: float) -> dict[str, Any]:
    parsed = logline.parse(line, now)
    assert parsed is not None
    return {
        "__CURSOR": f"s=1;i={turn + 1:x};b=2",
        "__REALTIME_TIMESTAMP": str(round(parsed.time * 1e6)),
        "SYSLOG_IDENTIFIER": parsed.program,
        "SYSLOG_PID": str(parsed.pid),
        "_UID": str(uid),
        "MESSAGE": f"{parsed.queue_id}: {parsed.text}" if parsed.queue_id else parsed.text,
    }
