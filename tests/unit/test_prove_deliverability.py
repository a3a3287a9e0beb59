"""``prove --deliverability`` as a command: what it collects, what it says, its exit codes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Optional

import pytest

from sysmail.cli.main import main
from sysmail.commands import apply, prove
from sysmail.commands.deliverability import DNS_SECONDS, Asked, asked
from sysmail.errors import HostError
from sysmail.host.port import Completed
from sysmail.report import FAIL, PASS, UNKNOWN, Report, Verdict
from unit.fake_debian import FakeDebian
from unit.fake_dns import SERVFAIL, FakeDns
from unit.fake_host import ScriptedSession
from unit.test_apply import ADMIN, silent, with_login

OUTSIDE4, OUTSIDE6 = "9.9.9.9", "2620:fe::9"
HELO = "web1.example.org"
MX4, MX6 = "149.112.112.112", "2620:fe::fe"
CHECKS = [
    *("address-ipv4", "port-25-ipv4", "reverse-dns-ipv4"),
    *("address-ipv6", "port-25-ipv6", "reverse-dns-ipv6"),
    *("spf", "spf-helo", "dkim", "dmarc", "blocklists-ipv4", "blocklists-ipv6"),
]


def welcome(policy: Optional[dict[str, str]] = None) -> tuple[FakeDebian, FakeDns]:
    """A host of which every record is right, and its DNS."""
    host = FakeDebian()
    apply.run(host, "", policy or ADMIN, silent)
    dns = FakeDns(
        {
            "example.com": {"MX": "10 mx.example.com"},
            "mx.example.com": {"A": MX4, "AAAA": MX6},
            HELO: {"A": OUTSIDE4, "AAAA": OUTSIDE6, "TXT": "v=spf1 a -all"},
            "example.org": {"TXT": "v=spf1 a:web1.example.org -all"},
            "_dmarc.example.org": {"TXT": "v=DMARC1; p=reject"},
            **{
                f"2.0.0.127.{zone}": {"A": "127.0.0.2"}
                for zone in ("zen.spamhaus.org", "bl.spamcop.net", "psbl.surriel.com")
            },
        }
    )
    dns.pointer(OUTSIDE4, HELO)
    dns.pointer(OUTSIDE6, HELO)
    host.dns = dns
    host.sources = {"ipv4": OUTSIDE4, "ipv6": OUTSIDE6}
    for address in (MX4, MX6):
        host.servers[address, 25] = lambda: ScriptedSession({})
    host.changes.clear()
    return host, dns


def proven(host: FakeDebian, wanted: Asked = Asked(), to: str = "") -> Report:  # noqa: B008
    """The report; with a next hop that takes no message ``to`` is only a domain to try."""
    return prove.run(host, "", {}, to, wanted)


def found(report: Report) -> dict[str, Verdict]:
    """The verdicts on deliverability by the rest of their names."""
    start = "deliverability:"
    return {v.check[len(start) :]: v for v in report.verdicts if v.check.startswith(start)}


def test_all_is_well() -> None:
    """Every check passes after the ten promises, exit 0, and nothing was changed."""
    host, _ = welcome()
    report = proven(host)
    assert list(found(report)) == CHECKS
    assert {name: v.evidence for name, v in found(report).items() if v.status != PASS} == {}
    assert (report.outcome, report.exit_code, len(report.verdicts)) == (
        "proven",
        0,
        10 + len(CHECKS),
    )
    assert host.changes == []


def test_not_asked_for() -> None:
    """Without the option nothing of it is looked at, and no dnspython is needed."""
    host, _ = welcome()
    host.dns = None
    report = prove.run(host, "", {})
    assert (report.exit_code, len(report.verdicts), host.connected) == (0, 10, [])


def test_a_failure_is_1_and_silence_3() -> None:
    """One record that is missing is exit 1; nobody who answers, exit 3."""
    host, dns = welcome()
    dns.set(HELO, "TXT", SERVFAIL)
    assert (proven(host).exit_code, proven(host).outcome) == (3, "unknown")
    dns.set(HELO, "TXT")
    report = proven(host)
    assert (report.exit_code, found(report)["spf"].status) == (1, FAIL)
    assert (
        f'{HELO}. IN TXT "v=spf1 ip4:{OUTSIDE4} ip6:{OUTSIDE6} -all"' in found(report)["spf"].remedy
    )


def test_sender_of_the_policy() -> None:
    """With a sender its domain counts for SPF and DMARC, and the host's name for HELO."""
    host, dns = welcome({**ADMIN, "sender": "no-reply@example.org"})
    dns.set("_dmarc.example.org", "TXT", "v=DMARC1; p=reject; sp=none")
    verdicts = found(proven(host))
    assert verdicts["spf"].evidence.startswith("example.org: ")
    assert verdicts["spf-helo"].evidence.startswith(f"{HELO}: ")
    assert "asks for reject" in verdicts["dmarc"].evidence


def test_behind_nat() -> None:
    """A private address makes its checks unknown, until --address says the outside one."""
    host, _ = welcome()
    host.sources = {"ipv4": "192.168.1.5"}
    report = proven(host)
    assert report.exit_code == 3
    unsure = {name for name, v in found(report).items() if v.status == UNKNOWN}
    assert unsure == {
        *("address-ipv4", "reverse-dns-ipv4", "spf", "spf-helo", "dmarc", "blocklists-ipv4"),
    }
    told = proven(host, asked([OUTSIDE4], []))
    assert (told.exit_code, told.outcome) == (0, "proven")


def test_what_postfix_is_told() -> None:
    """HELO name, address and family come from the effective parameters, references filled in."""
    host, dns = welcome()
    main_cf = host.text("/etc/postfix/main.cf")
    more = "smtp_helo_name = mx.$mydomain\nmydomain = ${my}\nmy = example.org\n"
    host.put("/etc/postfix/main.cf", f"{main_cf}{more}smtp_bind_address = 192.0.2.7\n")
    host._start()
    dns.set("mx.example.org", "A", "203.0.113.5")
    report = proven(host, asked(["203.0.113.5"], []))
    verdicts = found(report)
    assert "192.0.2.7 (smtp_bind_address)" in verdicts["address-ipv4"].evidence
    assert "5.113.0.203.in-addr.arpa. IN PTR mx.example.org." in verdicts["reverse-dns-ipv4"].remedy
    assert (MX4, 25, "192.0.2.7") in host.connected
    host.put(
        "/etc/postfix/main.cf", main_cf.replace("inet_protocols = all", "inet_protocols = ipv4")
    )
    host._start()
    assert "inet_protocols" in found(proven(host))["address-ipv6"].evidence


def test_parameters_that_refer_to_themselves() -> None:
    """A circle of parameters ends."""
    host, _ = welcome()
    main_cf = host.text("/etc/postfix/main.cf")
    host.put("/etc/postfix/main.cf", f"{main_cf}smtp_helo_name = $a\na = $b\nb = $a\n")
    host._start()
    assert found(proven(host))["reverse-dns-ipv4"].status == FAIL


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_closed_port_by_family(family: str) -> None:
    """A firewall that closes port 25 for one family is found for that one."""
    host, _ = welcome()
    address = MX4 if family == "ipv4" else MX6
    del host.servers[address, 25]
    host.troubles[address] = "no answer in 5 s"
    verdicts = found(proven(host))
    closed = verdicts[f"port-25-{family}"]
    assert (closed.status, "dropped" in closed.evidence) == (FAIL, True)
    assert [n for n, v in verdicts.items() if v.status != PASS] == [f"port-25-{family}"]


def test_whose_exchanger_is_tried() -> None:
    """The domain of --to, else admin's, else nobody's; at most three of a family."""
    host, dns = welcome()
    dns.set("example.net", "MX", "5 a.example.net", "10 b.example.net")
    for name, start in (("a.example.net", 10), ("b.example.net", 20)):
        dns.set(name, "A", *(f"9.9.9.{start + n}" for n in range(4)))
    from sysmail.commands.deliverability import prove_deliverability
    from sysmail.commands.situation import look

    situation = look(host, "", {})
    host.connected.clear()
    prove_deliverability(host, situation, Asked(), "someone@example.net")
    assert [row[0] for row in host.connected] == ["9.9.9.10", "9.9.9.11", "9.9.9.12"]
    nobody, dns = welcome({"admin": ""})
    verdicts = found(proven(nobody))
    assert verdicts["port-25-ipv4"].status == UNKNOWN
    assert "--to" in verdicts["port-25-ipv4"].remedy


@pytest.mark.parametrize(
    ("ipv4", "ipv6", "said"),
    [
        ("192.0.2.7", "::1", "is this host itself"),
        ("10.1.2.3", "fd00::3", "is a private address"),
        ("100.64.0.9", "::ffff:10.1.2.3", "is a private address"),
        ("127.0.0.1", "fe80::1", ""),
        ("224.0.0.5", "ff02::1", "is a private address"),
    ],
)
def test_an_exchanger_that_proves_nothing(ipv4: str, ipv6: str, said: str) -> None:
    """One at home or in a private network answers, and is no proof that port 25 leaves it."""
    host, dns = welcome()
    dns.set("mx.example.com", "A", ipv4)
    dns.set("mx.example.com", "AAAA", ipv6)
    for address in (ipv4, ipv6):
        host.servers[address, 25] = lambda: ScriptedSession({})
    host.connected.clear()
    verdicts = found(proven(host))
    for family in ("ipv4", "ipv6"):
        verdict = verdicts[f"port-25-{family}"]
        assert (verdict.status, said in verdict.evidence) == (UNKNOWN, True), verdict
    assert not [row for row in host.connected if row[0] in (ipv4, ipv6) and row[1] == 25], "asked"


@pytest.mark.parametrize(
    ("record", "said"),
    [(SERVFAIL, "SERVFAIL"), ("0 .", "takes no mail"), ("10 none.example.com", "no exchanger")],
)
def test_exchangers_that_are_not_known(record: str, said: str) -> None:
    """No answer, an empty MX, a name without an address: unknown, and why."""
    host, dns = welcome()
    dns.set("example.com", "MX", record)
    verdict = found(proven(host))["port-25-ipv4"]
    assert (verdict.status, said in verdict.evidence) == (UNKNOWN, True)


def test_domain_without_mx() -> None:
    """A domain without MX takes mail at its address (RFC 5321, 5.1)."""
    host, dns = welcome()
    dns.set("example.com", "MX")
    dns.set("example.com", "A", MX4)
    assert found(proven(host))["port-25-ipv4"].status == PASS


def test_opendkim_on_the_host(tmp_path: Path) -> None:
    """The selector is OpenDKIM's, and the key in DNS has to be that of its private key."""
    private = tmp_path / "s1.private"
    made = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"]
    subprocess.run([*made, "-out", private], check=True, capture_output=True)
    host, dns = welcome()

    def openssl(argv: Any, _stdin: Any) -> Completed:
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)

    host.programs["openssl"] = openssl
    config = f"Domain web1.example.org\nSelector s1\nKeyFile {private}\nMode sv\n"
    host.put("/etc/opendkim.conf", config)
    milters = "smtpd_milters = inet:localhost:8891\nnon_smtpd_milters = $smtpd_milters\n"
    host.put("/etc/postfix/main.cf", host.text("/etc/postfix/main.cf") + milters)
    host._start()
    missing = found(proven(host))["dkim"]
    name = "s1._domainkey.web1.example.org"
    assert (missing.status, missing.remedy.startswith(f"publish: {name}. IN TXT")) == (FAIL, True)
    dns.set(name, "TXT", missing.remedy.split('"', 1)[1][:-1].replace('" "', ""))
    good = found(proven(host))
    assert (good["dkim"].status, "private key here" in good["dkim"].evidence) == (PASS, True)
    assert f"DKIM signs as {HELO}" in good["dmarc"].evidence
    host.programs.pop("openssl")
    assert "not compared" in found(proven(host))["dkim"].evidence


def test_signer_that_is_not_opendkim() -> None:
    """Of another milter the selector has to be said."""
    host, _ = welcome()
    milters = "smtpd_milters = inet:localhost:11332\nnon_smtpd_milters = inet:localhost:11332\n"
    host.put("/etc/postfix/main.cf", host.text("/etc/postfix/main.cf") + milters)
    host._start()
    assert found(proven(host))["dkim"].status == UNKNOWN
    told = found(proven(host, asked([], ["mail"])))["dkim"]
    assert (told.status, "mail._domainkey.web1.example.org" in told.evidence) == (FAIL, True)


def test_suffixes_of_the_host() -> None:
    """Where the host has the public suffix list, that says who owns a name."""
    host, dns = welcome()
    host.put("/usr/share/publicsuffix/public_suffix_list.dat", "org\nexample.org\n")
    verdict = found(proven(host))["dmarc"]
    assert (verdict.status, f"_dmarc.{HELO}. IN TXT" in verdict.remedy) == (FAIL, True)
    assert ("_dmarc.example.org", "TXT") not in dns.asked


def test_next_hop_is_a_server() -> None:
    """With a smarthost, or with mail on hold, it says that this is for direct, and passes."""
    host = with_login(FakeDebian())
    apply.run(host, "", {}, silent)
    host.dns = None
    report = proven(host)
    verdict = found(report)["next-hop"]
    assert (report.exit_code, verdict.status, len(found(report))) == (0, PASS, 1)
    assert "mail.example.org" in verdict.evidence
    assert "SPF" in verdict.evidence
    held, _ = welcome({**ADMIN, "next_hop": "hold"})
    held.dns = None
    assert "held" in found(proven(held))["next-hop"].evidence


def test_without_dnspython() -> None:
    """The error has a code, and comes before anything is sent."""
    host, _ = welcome()
    host.dns = None
    with pytest.raises(HostError) as caught:
        proven(host, to="someone@example.com")
    assert caught.value.code == "dnspython-missing"
    assert host.changes == []


@pytest.mark.parametrize(
    "argv",
    [
        ["prove", "--address", "9.9.9.9"],
        ["prove", "--dkim-selector", "s1"],
        ["prove", "--deliverability", "--address", "web1.example.org"],
        ["prove", "--deliverability", "--address", "9.9.9.9/32"],
        ["prove", "--deliverability", "--address", "9.9.9.9", "--address", "9.9.9.8"],
        ["prove", "--deliverability", "--dkim-selector", "s1._domainkey..example.org."],
        ["prove", "--deliverability", "--dkim-selector", ""],
        ["plan", "--deliverability"],
    ],
)
def test_bad_options(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    """Options that make no sense are exit 64 with one error."""
    host, _ = welcome()
    assert main(["--json", *argv], host) == 64
    assert len(json.loads(capsys.readouterr().out)["errors"]) == 1


def test_as_a_person_sees_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The verdicts stand below the promises, which are still counted apart."""
    host, dns = welcome()
    argv = ["prove", "--deliverability", "--address", OUTSIDE4, "--address", OUTSIDE6]
    assert main(argv, host) == 0
    out = capsys.readouterr().out
    assert "pass    deliverability:spf " in out
    assert out.splitlines()[-1] == "10 of 10 promises proven"
    dns.set("_dmarc.example.org", "TXT", "v=DMARC1; p=none\x1b[2J\npass  all  is well")
    dns.set(HELO, "TXT", "v=spf1 \x1b[2J\npass    deliverability:x  forged")
    assert main(argv, host) == 1
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out
    assert out.splitlines()[-1] == "a check failed, 10 of 10 promises proven"
    assert not [line for line in out.splitlines() if line.startswith("pass    deliverability:x")]


def test_time_for_dns_is_limited() -> None:
    """Slow servers cannot make a proof take more than a minute of questions."""
    assert 0 < DNS_SECONDS <= 60
