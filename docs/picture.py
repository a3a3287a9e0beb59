"""Makes the picture of the fleet's page; needs Debian's chromium, pngquant and fonts-inter.

python3 docs/picture.py                  # writes docs/images/fleet-page.png
python3 docs/picture.py --html page.html # only the page, to look at in a browser
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))  # nothing of this is installed

from sysmail.fleet.page import HostRow, render  # noqa: E402
from sysmail.prove.proof import APPLY  # noqa: E402
from sysmail.report import PROMISES  # noqa: E402

PICTURE = ROOT / "docs" / "images" / "fleet-page.png"
WIDTH, HEIGHT = 1320, 1240

# The page asks for the system's own font; this is what the picture has for one.
FONTS = """<fontconfig>
<include>/etc/fonts/fonts.conf</include>
<selectfont><rejectfont><pattern>
<patelt name="family"><string>DejaVu Sans</string></patelt></pattern></rejectfont></selectfont>
<alias binding="strong"><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
</fontconfig>
"""

NOW = 1_767_949_440.0  # 9 January 2026, 09:04 UTC
MINUTE, HOUR = 60.0, 3600.0

Bad = Mapping[str, tuple[str, str, str]]
"""Promise -> status, evidence, remedy."""


def host(
    name: str,
    outcome: str = "ok",
    way: tuple[str, str] = ("relay", "mailu"),
    queue: tuple[int, Optional[float]] = (0, None),
    bad: Optional[Bad] = None,
    error: Optional[Mapping[str, str]] = None,
) -> HostRow:
    """A host that sysmail ran on; ``queue`` is the count and the age of the oldest message."""
    verdicts = []
    for promise in PROMISES:
        status, evidence, remedy = (bad or {}).get(promise, ("pass", "as the policy asks", ""))
        verdicts.append(
            {"check": promise, "status": status, "evidence": evidence, "remedy": remedy}
        )
    report: dict[str, Any] = {
        "version": 1,
        "command": "apply",
        "route": {"name": way[0], "next_hop": way[1], "reason": "the policy asks for it"},
        "verdicts": verdicts,
        "errors": [error] if error else [],
    }
    count, age = queue
    oldest = None if age is None else NOW - age
    return HostRow(name, outcome, report=report, queue={"count": count, "oldest": oldest})


DOWN = {
    "code": "port-closed",
    "message": "no connection to mail.example.org port 465: No route to host; "
    "mail waits in the queue",
    "remedy": "check that the server runs and that no firewall is in between",
}

SAMPLE = (
    host(
        "backup2.lab.example.org",
        "failed",
        queue=(212, 7 * HOUR),
        bad={
            "nothing-lost": (
                "fail",
                "2 damaged queue files in /var/spool/postfix/corrupt",
                "look at them with `postcat`; what can be read can be sent again by hand",
            ),
            "verified-next-hop": (
                "fail",
                "the next hop is down: no connection to mail.example.org port 465: "
                "No route to host",
                DOWN["remedy"],
            ),
        },
        error=DOWN,
    ),
    host(
        "web3.example.org",
        "failed",
        bad={
            "loopback-only": (
                "fail",
                "exim4 listens on ::1 port 25 beside Postfix",
                "stop that program: mail given to it does not reach the relay",
            ),
            "local-clients": (
                "fail",
                "a client on ::1 is refused: 550 relay not permitted",
                APPLY,
            ),
        },
    ),
    HostRow(
        "old-mail.example.org",
        "failed",
        report={
            "version": 1,
            "errors": [
                {
                    "code": "mail-server",
                    "message": "this host is a mail server already: /var/mail/anna holds mail; "
                    "Postfix is the destination of example.net (mydestination)",
                    "remedy": "leave it as it is, or give --adopt to replace it "
                    "(everything is kept for rollback)",
                }
            ],
        },
    ),
    HostRow(
        "edge-fra2.example.org",
        "unreachable",
        "Task failed: Failed to connect to the host via ssh: "
        "ssh: connect to host edge-fra2.example.org port 22: No route to host",
        "check that it is up and that the login works, then run the playbook again",
    ),
    host(
        "ci-runner4.example.org",
        way=("relay", "direct"),
        bad={
            "nothing-lost": (
                "unknown",
                "there is no mail log that can be read",
                "let syslog or journald collect the log of Postfix",
            )
        },
    ),
    host("backup1.lab.example.org", queue=(3, 26 * MINUTE)),
    host("db1.example.org", "changed", queue=(1, 40.0)),
    host("db2.example.org"),
    host("edge-fra1.example.org", way=("mailu", "")),
    host("monitor.example.org", way=("relay", "smarthost")),
    host("staging.example.org", "changed", way=("relay", "hold")),
    host("web1.example.org"),
    host("web2.example.org", "changed"),
    host("web10.example.org"),
)


def _run(program: str, *arguments: str, env: Optional[dict[str, str]] = None) -> None:
    path = shutil.which(program)
    if path is None:
        sys.exit(f"{program} is missing: install Debian's package of that name")
    subprocess.run((path, *arguments), check=True, capture_output=True, env=env)  # noqa: S603


def main() -> None:
    """Write the page, and unless told otherwise its picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--html", type=Path, help="write only the page, there")
    html: Optional[Path] = parser.parse_args().html
    text = render(SAMPLE, title="Outbound mail of the fleet", time=NOW)
    if html is not None:
        html.write_text(text, encoding="utf-8")
        return
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(text, encoding="utf-8")
        fonts = Path(folder) / "fonts.conf"
        fonts.write_text(FONTS)
        options = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--force-device-scale-factor=2",
            f"--user-data-dir={folder}/profile",
            f"--window-size={WIDTH},{HEIGHT}",
            f"--screenshot={PICTURE}",
        )
        fonts_of_ours = {**os.environ, "FONTCONFIG_FILE": str(fonts)}
        _run("chromium", *options, page.as_uri(), env=fonts_of_ours)
        _run("pngquant", "--force", "--strip", "--output", str(PICTURE), str(PICTURE))
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
