"""Bad input on a booted host: a clear error, exit code 64, and nothing is touched."""

from __future__ import annotations

import pytest
from onhost import SYSMAIL, policy, snapshot, sysmail

from lab import Host, Lab


@pytest.fixture(scope="module")
def bare(lab: Lab) -> Host:
    return lab.host("badinput")


BAD_POLICIES = {
    "unknown key": ('admn = "ops@example.org"', "policy-unknown-key", "admin"),
    "wrong type": ("admin = 5", "policy-wrong-type", "admin"),
    "no address": ('admin = "ops"', "policy-bad-value", "admin"),
    "two at signs": ('admin = "a@b@example.org"', "policy-bad-value", "admin"),
    "no host name": ('hostname = "-bad-.example"', "policy-bad-value", "hostname"),
    "newline": ('admin = "ops@example.org\\nx"', "policy-control-character", "admin"),
    "nul": ('hostname = "a\\u0000b.example"', "policy-control-character", "hostname"),
    "no toml": ("admin = ", "policy-syntax", "line 1"),
    "open relay": ('[postfix]\nmynetworks = "0.0.0.0/0"', "policy-postfix-parameter", "mynetworks"),
    "public": ('[postfix]\ninet_interfaces = "all"', "policy-postfix-parameter", "inet_interfaces"),
    "mailboxes": (
        '[postfix]\nlocal_transport = "local"', "policy-postfix-parameter", "local_transport",
    ),
    "login in the clear": (
        '[smarthost]\nhost = "mail.example.org"\ntls = "none"\nusername = "u@example.org"\n'
        'password_file = "/etc/p"', "policy-conflict", "tls",
    ),
    "no smarthost": ('next_hop = "smarthost"', "policy-conflict", "smarthost"),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(BAD_POLICIES))
def test_bad_policy(bare: Host, case: str) -> None:
    """A policy that cannot be used is told with the key and what to do, and nothing is touched."""
    text, code, names = BAD_POLICIES[case]
    policy(bare, text + "\n")
    before = snapshot(bare)
    for command in ("plan", "apply", "prove"):
        ran = sysmail(bare, command)
        assert (ran.status, ran.codes) == (64, [code]), ran.report
        error = ran.report["errors"][0]
        assert names in error["message"] + error["remedy"]
        assert error["remedy"]
    assert snapshot(bare) == before


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        ("chmod 666 {path}", "policy-file-writable"),
        ("chgrp 1000 {path}; chmod 664 {path}", "policy-file-writable"),
        ("chown alice {path}", "policy-file-writable"),
        ("rm {path}; mkdir {path}", "policy-not-read"),
        ("printf '\\377\\376' > {path}", "policy-syntax"),
    ],
)
def test_bad_policy_file(bare: Host, prepare: str, code: str) -> None:
    """A policy file that others can write, or that is none, is not carried out."""
    bare.run("rm -rf /etc/sysmail/policy.toml")
    policy(bare, 'admin = "ops@example.org"\n')
    bare.run(prepare.format(path="/etc/sysmail/policy.toml"))
    before = snapshot(bare)
    ran = sysmail(bare, "apply")
    assert (ran.status, ran.codes) == (64, [code]), ran.report
    assert snapshot(bare) == before
    bare.run("rm -rf /etc/sysmail/policy.toml")


def test_bad_usage(bare: Host) -> None:
    """What the command line cannot mean is told with exit code 64."""
    bare.run("rm -rf /etc/sysmail")
    for words in (["aply"], ["apply", "--amdin", "x"], [], ["queue", "explode"], ["queue", "show"]):
        done = bare.run([SYSMAIL, *words], check=False)
        assert done.returncode in {64, 1} if words[:1] == ["queue"] else done.returncode == 64
        assert "Traceback" not in done.stderr
    ran = sysmail(bare, "--policy", "/nowhere.toml", "apply")
    assert (ran.status, ran.codes) == (64, ["policy-not-found"])


def test_a_parameter_that_this_postfix_does_not_know(lab: Lab) -> None:
    """A misspelt extra parameter is found before the live configuration is touched."""
    host = lab.host("misspelt", packages=["postfix", "msmtp"])
    policy(host, 'admin = "ops@example.org"\n[postfix]\nsmtp_conect_timeout = "5s"\n')
    before = snapshot(host)
    ran = sysmail(host, "apply")
    assert (ran.status, ran.codes) == (1, ["configuration-kills-mail"]), ran.report
    assert "smtp_conect_timeout" in ran.report["errors"][0]["message"]
    assert snapshot(host) == before
    lab.remove(host)
