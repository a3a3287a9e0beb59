"""A diff of somebody's own files shows no password, wherever one may stand, and keeps the rest."""

from __future__ import annotations

import pytest

from sysmail.describe import describe
from sysmail.desired import ManagedFile
from sysmail.discreet import discreet
from sysmail.host.port import FileState
from sysmail.plan import WriteFile

SECRET = "correct-horse"

HIDDEN = {
    "in a line": f"smtp_sasl_password_maps = static:me:{SECRET}\n",
    "below its name": f"smtp_sasl_password_maps =\n    static:me:{SECRET}\n",
    "after a comment": f"smtp_sasl_password_maps =\n# mine\n\n\tstatic:me:{SECRET}\n",
    "behind a table": f"smtp_sasl_password_maps = lmdb:/etc/a,\n  static:me:{SECRET}\n",
    "a table of its own": f"x_maps = inline:{{ {{mx.example.org = me:{SECRET}}},\n b=c }}\n",
    "of a directory": f"isp_bind_pw = {SECRET}\n",
    "of a database": f"mysql_password = {SECRET}\n",
    "in several words": f"isp_bind_pw = of three {SECRET}\n",
    "in an address": f"shop_hosts = postgresql://me:{SECRET}@db.example.org/mail\n",
    "in master.cf": f"relay unix - - y - - smtp\n  -o smtp_sasl_password_maps=static:me:{SECRET}\n",
    "in braces": f"relay unix - - y - - smtp\n -o {{ x_maps = static:me:{SECRET} }}\n",
    "put out of use": f"#isp_bind_pw = {SECRET}\n",
    "put out of use, below": f"#isp_bind_pw =\n#   {SECRET}\n",
    "not a table": f"smtp_sasl_password_maps = static:/{SECRET}\n",
    "of msmtp": f"account default\n  password {SECRET}\n",
    "said by a program": f'account default\n  passwordeval "echo {SECRET}"\n',
    "said by a shell": f"passwordeval printf %s {SECRET} | cat\n",
    "said by a program, out of use": f"#passwordeval echo {SECRET}\n",
    "noted": f"# password: {SECRET}\n",
    "noted with the login": f"# login user {SECRET}\n",
    "noted in a sentence": f"# The password at mx.example.org is {SECRET} since May.\n",
    "noted below": f"# Password of the smarthost:\n# {SECRET}\n",
    "noted below in words": f"# credentials\n#\n#   me {SECRET}\n",
    "noted behind a setting": f"# relayhost = [mx.example.org]  user me, {SECRET}\n",
}

SHOWN = [
    "smtp_sasl_password_maps = lmdb:/etc/postfix/sasl_passwd",
    "smtp_sasl_password_maps = hash:/etc/a, proxy:hash:${config_directory}/b",
    "smtp_sasl_password_maps = $default_database_type:/etc/postfix/sasl_passwd",
    "smtp_sasl_password_maps =",
    "virtual_alias_maps = inline:{ {root = owner@example.org} }",
    "local_recipient_maps = proxy:unix:passwd.byname $alias_maps",
    "mynetworks = 127.0.0.0/8,\n    [::1]/128",
    "# Debian specific: the origin of mail that is posted here.",
    "#relayhost = [mx.example.org]",
    "passwordeval cat /root/password",
    'passwordeval "cat /root/password"',
]


def _changed(text: str) -> str:
    """The diff of a step that writes something else over a file."""
    file = ManagedFile("/etc/postfix/main.cf", b"compatibility_level = 3.6\n")
    return describe(WriteFile(file, FileState("file", 0o644, 0, 0, text.encode()))).diff


@pytest.mark.parametrize("where", HIDDEN)
def test_a_password_is_not_shown(where: str) -> None:
    """Wherever it stands, it is not in the diff; that there is a value is said."""
    diff = _changed("mydestination =\n" + HIDDEN[where] + "inet_interfaces = all\n")
    assert SECRET not in diff
    assert "(not shown)" in diff
    assert "-mydestination =" in diff.splitlines()
    assert "-inet_interfaces = all" in diff.splitlines()


def test_a_password_that_was_kept_is_not_shown() -> None:
    """Nor where it is in the content that takes the place of the former one."""
    new = ManagedFile("/etc/postfix/main.cf", f"isp_bind_pw = {SECRET}\n".encode())
    diff = describe(WriteFile(new, None)).diff
    assert "+isp_bind_pw = (not shown)" in diff.splitlines()


@pytest.mark.parametrize("text", SHOWN)
def test_what_is_no_password_is_shown(text: str) -> None:
    """The name of a table, an empty value and prose stay as they are, line by line."""
    assert discreet(text + "\n") == text.splitlines()


def test_a_comment_of_sysmails_own_is_shown() -> None:
    """What is in the new content too is known; a person's word beside it is not."""
    ours = "# No mailboxes: mail for local users goes to admin.\nmydestination =\n"
    file = ManagedFile("/etc/postfix/main.cf", ours.encode())
    old = ours + "# user me\n# correct-horse\nbiff = no\n"
    diff = describe(WriteFile(file, FileState("file", 0o644, 0, 0, old.encode()))).diff
    assert diff.splitlines()[3:] == [
        " # No mailboxes: mail for local users goes to admin.",
        " mydestination =",
        "-# (not shown)",
        "-biff = no",
    ]
