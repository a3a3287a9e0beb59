"""msmtp's files: their exact text, and the submit script run by a real shell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any, Optional

import pytest
from hypothesis import assume, given, settings

from sysmail.desired import Desired
from sysmail.errors import PolicyError, SysmailError
from sysmail.facts.model import Facts
from sysmail.msmtp import DIRECTORY, MSMTPRC, PASSWORD
from sysmail.policy import Policy, parse
from sysmail.route import Seen
from unit.cases import cases, text
from unit.make import FACTS, POLICIES, SEEN, facts, facts_of_case, wanted
from unit.make import PASSWORD as SECRET

SUBMIT = f"{DIRECTORY}/submit"
SENDER = "no-reply@example.org"
LOGIN = {"host": "mail.example.org", "username": SENDER, "password_file": "/etc/sysmail/password"}
ADMIN = "ops@example.com"
SH = shutil.which("dash") or "/bin/sh"
STUB = '#!/bin/sh\nfor word in "$@"; do printf "%s\\n" "$word"; done >"$OUT"\n'


@pytest.mark.parametrize(("_folder", "case"), cases("msmtp"))
def test_files_of_cases(_folder: str, case: dict[str, Any]) -> None:
    """A policy on a host gives exactly these files, and no others but the submit script."""
    policy = parse(case["policy"])
    _, desired = wanted(policy, facts_of_case(case["host"]), Seen(**case.get("seen", {})))
    found = {file.path: file for file in desired.files}
    assert set(found) == {*case["files"], *case["also"]}
    for path, lines in case["files"].items():
        assert found[path].data.decode() == text(lines), path
    assert {path: f"{file.mode:04o}" for path, file in found.items()} == case["modes"]
    assert sorted(desired.packages) == sorted(case["packages"])
    assert desired.port == case.get("port", 25)


# The script.


def script(policy: Optional[dict[str, Any]] = None, about: Optional[Facts] = None) -> str:
    asked = {"admin": ADMIN, "mailu": LOGIN} if policy is None else policy
    _, desired = wanted(parse(asked), about or facts())
    return _file(desired, SUBMIT)


def _file(desired: Desired, path: str) -> str:
    return next(file.data.decode() for file in desired.files if file.path == path)


def submit(
    folder: Path, source: str, *recipients: str, sender: str = "root"
) -> tuple[int, list[str], str]:
    """Run it as msmtpd does: the exit status, what msmtp was called with, and what was said."""
    bin_, out = folder / "bin", folder / "out"
    bin_.mkdir(exist_ok=True)
    (bin_ / "msmtp").write_text(STUB)
    (bin_ / "msmtp").chmod(0o755)
    (folder / "submit").write_text(source)
    out.unlink(missing_ok=True)
    done = subprocess.run(
        [SH, str(folder / "submit"), sender, "--", *recipients],
        env={"PATH": f"{bin_}:/usr/bin:/bin:/usr/sbin:/sbin", "OUT": str(out)},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
        cwd=folder,
    )
    return done.returncode, out.read_text().split("\n")[:-1] if out.exists() else [], done.stderr


def to(words: list[str]) -> list[str]:
    """The recipients that msmtp was given, after its options."""
    assert words[:2] == ["-C", f"{DIRECTORY}/msmtprc"]
    assert (words[2], words[4]) == ("-f", "--")
    return words[5:]


@pytest.mark.parametrize(
    ("recipient", "local"),
    [
        ("root", True),
        ("ROOT", True),
        ("nosuchuser", True),
        ("www-data", True),
        ("root@localhost", True),
        ("Root@LocalHost", True),
        ("nosuchuser@localhost", True),
        ("root@localhost.localdomain", True),
        ("x@ip6-localhost", True),
        ("root@web1.example.org", True),
        ("ROOT@WEB1.Example.ORG", True),
        ("root@web1", True),
        ("root+cron@web1.example.org", True),
        ("postmaster@web1.example.org", True),
        ("PostMaster@web1", True),
        ("mailer-daemon@web1.example.org", True),
        ("nosuchuser@web1.example.org", False),
        ("nosuchuser+root@web1.example.org", False),
        ("nosuchuser@web1", False),
        ("root@example.org", False),
        ("root@web1.example.org.evil.test", False),
        ("root@notweb1.example.org", False),
        ("root@localhost.example.com", False),
        ("postmaster@example.org", False),
        ("somebody@example.com", False),
        ("*@example.com", False),
        ("-f@example.com", False),
        ("a b@example.com", False),
        ("$(touch hit)@example.com", False),
        ("`touch hit`@example.com", False),
        ("';touch hit;'@example.com", False),
    ],
)
def test_local_recipients_become_admin(tmp_path: Path, recipient: str, local: bool) -> None:
    """Bare names, localhost's and this host's accounts are admin; anybody else stays as he is."""
    status, words, said = submit(tmp_path, script(), recipient)
    assert (status, said) == (0, "")
    assert to(words) == [ADMIN if local else recipient]
    assert words[3] == SENDER
    assert not (tmp_path / "hit").exists()


@pytest.mark.parametrize(
    "recipient",
    ["root@localhost.", "root@[127.0.0.1]", "x@[IPv6:::1]", "postmaster+x@web1.example.org"],
)
def test_what_is_local_to_the_relay_is_local_here(tmp_path: Path, recipient: str) -> None:
    """The same addresses are this host's on both routes (sysmail.postfix.names)."""
    assert to(submit(tmp_path, script(), recipient)[1]) == [ADMIN]


@pytest.mark.parametrize(
    ("recipients", "found"),
    [
        (["root", "daemon", "root@localhost"], [ADMIN]),
        (["root", "a@example.com", "daemon"], [ADMIN, "a@example.com"]),
        (["a@example.com", "root", "b@example.com"], ["a@example.com", ADMIN, "b@example.com"]),
        (["b@example.com", "a@example.com"], ["b@example.com", "a@example.com"]),
        (["a b@example.com", "*@example.com"], ["a b@example.com", "*@example.com"]),
    ],
)
def test_admin_is_told_once(tmp_path: Path, recipients: list[str], found: list[str]) -> None:
    """Several local recipients are one copy for admin; the others keep their order and words."""
    assert to(submit(tmp_path, script(), *recipients)[1]) == found


@pytest.mark.parametrize("recipients", [["root"], ["a@example.com", "root@localhost"]])
def test_without_admin_local_mail_is_refused(tmp_path: Path, recipients: list[str]) -> None:
    """Without admin, mail for a local user is refused with EX_NOUSER and the reason."""
    source = script({"mailu": LOGIN})
    status, words, said = submit(tmp_path, source, *recipients)
    assert (status, words) == (67, [])
    assert "set admin in the policy" in said
    assert submit(tmp_path, source, "a@example.com")[0] == 0


def test_null_sender_stays_null(tmp_path: Path) -> None:
    """msmtpd's word for the null sender is given on; every other sender becomes the owned one."""
    assert submit(tmp_path, script(), "root", sender="MAILER-DAEMON")[1][3] == "MAILER-DAEMON"
    for sender in ("root", "root@localhost", "", "a@example.com", "mailer-daemon", "$(id)"):
        assert submit(tmp_path, script(), "root", sender=sender)[1][3] == SENDER


ODD = ["o'b@example.com", "a`touch_hit`b@example.com", "a$HOME@example.com", "a$(id)@example.com"]
ODD += ["a{b}@example.com", "#a@example.com", "a!b@example.com", "a&b@example.com", "*@example.com"]
ODD += ['"a b"@example.com', '"a\\"b"@example.com', "a|b@example.com", "-a@example.com", "~@x.org"]


def test_some_odd_addresses_are_accepted() -> None:
    """The policy takes some of the odd addresses, so that the next test is not empty."""
    assert sum(_is_accepted(address) for address in ODD) > 5


def _is_accepted(address: str) -> bool:
    try:
        parse({"admin": address, "sender": address})
    except PolicyError:
        return False
    return True


@pytest.mark.parametrize("address", [address for address in ODD if _is_accepted(address)])
def test_odd_admin_and_sender_stay_as_they_are(tmp_path: Path, address: str) -> None:
    """An admin and a sender with characters that mean something to a shell are words to it."""
    source = script({"admin": address, "sender": address, "mailu": LOGIN})
    _, words, said = submit(tmp_path, source, "root")
    assert (words[3], to(words), said) == (address, [address], "")
    assert not list(tmp_path.glob("*hit*"))


def test_host_without_a_valid_name(tmp_path: Path) -> None:
    """A host whose names cannot be in an address still knows its bare names."""
    source = script(about=facts(fqdn="", nodename="Öd ;name"))
    assert to(submit(tmp_path, source, "root", "x@example.com")[1]) == [ADMIN, "x@example.com"]


@pytest.mark.parametrize("local", ["0", "--help"])
def test_what_getent_takes_for_more_than_a_name(tmp_path: Path, local: str) -> None:
    """A number is no account, and an option of getent(1) is none either."""
    recipient = f"{local}@web1.example.org"
    assert to(submit(tmp_path, script(), recipient)[1]) == [recipient]


@settings(max_examples=20)
@given(policy=POLICIES, about=FACTS, seen=SEEN)
def test_any_files_are_whole(policy: Policy, about: Facts, seen: Seen) -> None:
    """On the route mailu the script is one that a shell can read, and no line is broken."""
    try:
        decision, desired = wanted(policy, about, seen)
    except SysmailError:
        assume(False)  # noqa: FBT003
        raise
    relay_file = next(file for file in desired.files if file.path == MSMTPRC)
    assert f"port {desired.port}\n" in relay_file.data.decode()
    assert relay_file.mode == 0o644
    if decision.route != "mailu":
        assert {SUBMIT, PASSWORD} <= set(desired.absent)
        return
    checked = subprocess.run([SH, "-n"], input=_file(desired, SUBMIT).encode(), check=False)
    assert checked.returncode == 0
    rc = _file(desired, f"{DIRECTORY}/msmtprc")
    known = set(
        """# defaults syslog timeout set_from_header set_date_header account host port domain from
        tls tls_starttls tls_certcheck tls_trust_file auth user passwordeval""".split()
    )
    assert {line.split()[0] for line in rc.splitlines() if line} <= known
    holding = [file for file in desired.files if SECRET.reveal().encode() in file.data]
    hop = policy.mailu
    assert hop is not None
    assert [file.path for file in holding] == ([PASSWORD] if hop.username else [])
    for file in holding:
        assert (file.mode, file.uid, file.gid, file.secret) == (0o600, 0, 0, True)
        assert file.data == SECRET.reveal().encode() + b"\n"
