"""The checks of deliverability: right, wrong, missing, unanswered; and what to publish."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Sequence
from dataclasses import replace
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmail.deliverability.blocklists import LISTS, blocklists, question
from sysmail.deliverability.dkim import Signing, dkim
from sysmail.deliverability.dkim_key import BadKeyError, read_key
from sysmail.deliverability.dmarc import aligned, dmarc
from sysmail.deliverability.dmarc_record import BadTagsError, read_dmarc, read_tags
from sysmail.deliverability.domains import Suffixes, organisational_by_walk
from sysmail.deliverability.names import Remembering, is_qualified
from sysmail.deliverability.opendkim import Signer, UnreadableError, settings, signers
from sysmail.deliverability.origin import Origin, Way, way
from sysmail.deliverability.records import pointer, txt
from sysmail.deliverability.reverse import reverse_dns
from sysmail.deliverability.spf_checks import spf, spf_helo
from sysmail.deliverability.ways import Attempt, Target, address, port_25
from sysmail.report import FAIL, PASS, UNKNOWN, Verdict
from unit.fake_dns import SERVFAIL, FakeDns

FOUR, SIX = ipaddress.ip_address("203.0.113.9"), ipaddress.ip_address("2001:db8::9")
PRIVATE = ipaddress.ip_address("10.0.0.5")
WAY4, WAY6 = Way("ipv4", FOUR, seen=FOUR), Way("ipv6", SIX, seen=SIX)
NO_WAY6 = Way("ipv6", why="this host has no route")
NAT = Way("ipv4", PRIVATE)
HELO = "web1.example.org"
ORIGIN = Origin((WAY4, WAY6), HELO, f"root@{HELO}", "ops@example.org")
OWNED = replace(ORIGIN, sender="no-reply@example.org", own_domain=False)
SUFFIXES = Suffixes("// a comment\n\norg\ncom\nuk\nco.uk\n*.ck\n!www.ck\nis.pri.ee\n")


def key(bits: int = 2048) -> str:
    """The base64 of an RSA public key of so many bits (not a strong one)."""
    modulus = (1 << (bits - 1)) | 1

    def part(tag: int, content: bytes) -> bytes:
        size = len(content)
        length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
        return bytes([tag]) + length + content

    number = part(2, b"\0" + modulus.to_bytes((bits + 7) // 8, "big"))
    inner = part(0x30, number + part(2, b"\x01\x00\x01"))
    algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
    return base64.b64encode(part(0x30, algorithm + part(3, b"\0" + inner))).decode()


KEY = key()


def good() -> FakeDns:
    """Everything as it should be for both senders."""
    dns = FakeDns(
        {
            HELO: {"A": str(FOUR), "AAAA": str(SIX), "TXT": "v=spf1 a -all"},
            "example.org": {
                "MX": "10 mx.example.org",
                "TXT": ["google-site-verification=x", "v=spf1 mx include:_spf.example.net ~all"],
            },
            "_spf.example.net": {"TXT": f"v=spf1 ip4:{FOUR} ip6:{SIX} -all"},
            "_dmarc.example.org": {"TXT": "v=DMARC1; p=reject; sp=quarantine"},
            "s1._domainkey.example.org": {"TXT": f"v=DKIM1; k=rsa; p={KEY}"},
            "2.0.0.127.zen.spamhaus.org": {"A": ["127.0.0.2", "127.0.0.4", "127.0.0.10"]},
            "2.0.0.127.bl.spamcop.net": {"A": "127.0.0.2"},
            "2.0.0.127.psbl.surriel.com": {"A": "127.0.0.2"},
        }
    )
    dns.pointer(str(FOUR), HELO)
    dns.pointer(str(SIX), HELO)
    return dns


# The way out.


def made(
    protocols: str = "all", kernel: str = "203.0.113.9", bind: str = "", given: str = ""
) -> Way:
    """A way by IPv4 on a host that has 203.0.113.9 and 203.0.113.10."""
    return way(
        "ipv4",
        protocols=protocols,
        kernel=kernel,
        bind=bind,
        bind_name="smtp_bind_address",
        given=ipaddress.ip_address(given) if given else None,
        own=("127.0.0.1", "203.0.113.9", "203.0.113.10"),
    )


def test_address_of_the_kernel_or_of_postfix() -> None:
    """Mail leaves from where routing says, or from smtp_bind_address."""
    assert str(made(kernel="9.9.9.9").seen) == "9.9.9.9"
    bound = made(bind="203.0.113.10")
    assert (str(bound.source), bound.bound) == ("203.0.113.10", "smtp_bind_address")
    assert "smtp_bind_address" in address(bound, ORIGIN).evidence


def test_bound_to_an_address_in_another_spelling() -> None:
    """Postfix takes an IPv6 address in upper case, in full and in brackets."""
    for spelling in ("2001:DB8::9", "[2001:db8:0:0:0:0:0:9]"):
        found = way(
            "ipv6",
            protocols="all",
            kernel="2001:db8::8",
            bind=spelling,
            bind_name="smtp_bind_address6",
            given=None,
            own=("::1", "2001:db8::8", "2001:db8::9"),
        )
        assert (str(found.source), found.trouble) == ("2001:db8::9", "")


def test_bound_to_an_address_that_is_not_there() -> None:
    """Postfix told to use an address that the host lacks is a failure."""
    verdict = address(made(bind="198.51.100.1"), ORIGIN)
    assert (verdict.status, "198.51.100.1" in verdict.evidence) == (FAIL, True)


@pytest.mark.parametrize(
    "private", ["10.0.0.5", "192.168.1.2", "172.16.0.1", "100.64.0.1", "169.254.1.1"]
)
def test_private_address_needs_the_operator(private: str) -> None:
    """Behind NAT nobody here knows the outside address, until --address says it."""
    verdict = address(made(kernel=private), ORIGIN)
    assert verdict.status == UNKNOWN
    assert "--address" in verdict.remedy
    told = made(kernel=private, given="203.0.113.9")
    assert str(told.seen) == "203.0.113.9"
    assert address(told, ORIGIN).status == PASS
    assert "203.0.113.9" in address(told, ORIGIN).evidence


def test_family_that_is_not_used() -> None:
    """A family without a route, or that Postfix leaves out, is no failure while the other works."""
    for unused in (made(kernel=""), made(protocols="ipv6")):
        assert unused.source is None
        assert address(unused, ORIGIN).status == PASS
    nothing = Origin((made(kernel=""), NO_WAY6), HELO, "root@x")
    assert {address(each, nothing).status for each in nothing.ways} == {FAIL}


def test_unused_family_passes_everywhere() -> None:
    """What has no use for a family passes with that as its evidence, and asks nothing."""
    dns = good()
    for verdict in (
        port_25(NO_WAY6, Target("example.org")),
        reverse_dns(dns, NO_WAY6, HELO),
        blocklists(dns, NO_WAY6),
    ):
        assert (verdict.status, "no route" in verdict.evidence) == (PASS, True)
    assert dns.asked == []


def attempts(*rows: tuple[str, str]) -> Target:
    return Target(
        "example.net", tuple(Attempt("mx.example.net", a, trouble) for a, trouble in rows)
    )


def test_port_25_by_family() -> None:
    """One exchanger that takes a connection is enough, of each family apart."""
    target = attempts(("192.0.2.1", "no answer in 5 s"), ("192.0.2.2", ""), ("2001:db8::1", "x"))
    assert port_25(WAY4, target).status == PASS
    assert port_25(WAY6, target).status == FAIL


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("no answer in 5 s", "dropped"),
        ("Connection refused", "rejected"),
        ("No route to host", "cannot be reached"),
    ],
)
def test_kinds_of_a_closed_port(trouble: str, said: str) -> None:
    """A firewall that drops and one that rejects look different, and are told so."""
    verdict = port_25(WAY6, attempts(("2001:db8::1", trouble)))
    assert (verdict.status, said in verdict.evidence) == (FAIL, True)
    assert 'inet_protocols = "ipv4"' in verdict.remedy
    assert "inet_protocols" not in port_25(WAY4, attempts(("192.0.2.1", trouble))).remedy


def test_nothing_to_try() -> None:
    """Without a domain, or an exchanger of the family, it is unknown."""
    assert port_25(WAY4, Target("")).status == UNKNOWN
    none = port_25(WAY6, attempts(("192.0.2.1", "")))
    assert (none.status, "IPv6" in none.evidence) == (UNKNOWN, True)
    down = port_25(WAY4, Target("example.net", why="MX of example.net: the resolver says SERVFAIL"))
    assert (down.status, "SERVFAIL" in down.evidence) == (UNKNOWN, True)


# Reverse DNS.


def test_confirmed_name() -> None:
    """An address with the HELO name that leads back to it passes, whatever the case."""
    for each in (WAY4, WAY6):
        assert reverse_dns(good(), each, HELO.upper()).status == PASS


def test_one_of_several_names_is_enough() -> None:
    """Of an address with two names one has to be the HELO name."""
    dns = good()
    dns.pointer(str(FOUR), *(f"a{n}.example.com" for n in range(20)), HELO)
    assert reverse_dns(dns, WAY4, HELO).status == PASS


def test_no_reverse_name() -> None:
    """Without a PTR the remedy is the exact one."""
    dns = good()
    dns.pointer(str(FOUR))
    verdict = reverse_dns(dns, WAY4, HELO)
    assert verdict.status == FAIL
    assert verdict.remedy.endswith("9.113.0.203.in-addr.arpa. IN PTR web1.example.org.")
    dns.pointer(str(SIX))
    nibbles = "9.0.0.0." + "0.0.0.0." * 5 + "8.b.d.0.1.0.0.2.ip6.arpa. IN PTR web1.example.org."
    assert reverse_dns(dns, WAY6, HELO).remedy.endswith(nibbles)


def test_other_reverse_name() -> None:
    """Another name than HELO fails; where it leads back, greeting with it is a remedy as well."""
    dns = good()
    dns.pointer(str(FOUR), "static.9.provider.example.net")
    verdict = reverse_dns(dns, WAY4, HELO)
    assert (verdict.status, "hostname" in verdict.remedy) == (FAIL, False)
    dns.set("static.9.provider.example.net", "A", str(FOUR))
    other = reverse_dns(dns, WAY4, HELO).remedy
    assert 'hostname = "static.9.provider.example.net"' in other
    assert "if you can publish SPF for it" in other


def test_name_that_does_not_lead_back() -> None:
    """A HELO name with another address, or none, fails with the A or AAAA record to publish."""
    dns = good()
    dns.set(HELO, "A", "203.0.113.77")
    verdict = reverse_dns(dns, WAY4, HELO)
    assert (verdict.status, "203.0.113.77" in verdict.evidence) == (FAIL, True)
    assert verdict.remedy == f"publish: {HELO}. IN A {FOUR}"
    dns.set(HELO, "AAAA")
    assert reverse_dns(dns, WAY6, HELO).remedy == f"publish: {HELO}. IN AAAA {SIX}"


def test_both_records_of_a_name_are_told_at_once() -> None:
    """Where neither the PTR nor the address of the HELO name is right, both heal it together."""
    for names in ((), ("static.9.provider.example.net",)):
        dns = good()
        dns.pointer(str(FOUR), *names)
        dns.set(HELO, "A", "203.0.113.77")
        verdict = reverse_dns(dns, WAY4, HELO)
        assert f"9.113.0.203.in-addr.arpa. IN PTR {HELO}." in verdict.remedy
        assert f"{HELO}. IN A {FOUR}" in verdict.remedy
        dns.pointer(str(FOUR), HELO)
        dns.set(HELO, "A", str(FOUR))
        assert reverse_dns(dns, WAY4, HELO).status == PASS


def test_unanswered_reverse_name() -> None:
    """Where nobody answers it is unknown, for the way back too."""
    dns = good()
    dns.pointer(str(FOUR), SERVFAIL)
    assert reverse_dns(dns, WAY4, HELO).status == UNKNOWN
    dns = good()
    dns.set(HELO, "A", SERVFAIL)
    assert reverse_dns(dns, WAY4, HELO).status == UNKNOWN
    assert reverse_dns(good(), NAT, HELO).status == UNKNOWN


@pytest.mark.parametrize(
    "name", ["web1", "web1.localdomain", "localhost", "a_b.example.org", "x.local", ""]
)
def test_name_that_is_not_public(name: str) -> None:
    """A HELO name that nobody can look up fails before DNS is asked."""
    assert not is_qualified(name)
    dns = good()
    assert reverse_dns(dns, WAY4, name).status == FAIL
    assert dns.asked == []


# SPF.


def test_spf_passes_for_every_address() -> None:
    """The verdict has a line for each address, with the term that decided."""
    verdict = spf(good(), OWNED)
    assert (verdict.status, verdict.check) == (PASS, "spf")
    assert verdict.evidence == (
        f"example.org: {FOUR} pass (include:_spf.example.net); "
        f"{SIX} pass (include:_spf.example.net)"
    )
    assert spf_helo(good(), OWNED).status == PASS


def test_spf_is_missing() -> None:
    """A host's own name gets a closed record; a domain that others may send for a softer one."""
    dns = good()
    dns.set(HELO, "TXT")
    record = f'{HELO}. IN TXT "v=spf1 ip4:{FOUR} ip6:{SIX} -all"'
    for check in (spf, spf_helo):
        verdict = check(dns, ORIGIN)
        assert (verdict.status, verdict.remedy) == (FAIL, f"publish: {record}")
    dns.set("example.org", "TXT")
    softer = f'publish: example.org. IN TXT "v=spf1 ip4:{FOUR} ip6:{SIX} mx ~all"'
    assert spf(dns, OWNED).remedy == softer
    called_alike = replace(OWNED, helo="example.org", own_domain=True)
    assert spf(dns, called_alike).remedy == softer
    dns.set("example.org", "MX")
    assert spf(dns, OWNED).remedy == softer.replace(" mx", "")


def test_spf_of_a_name_that_does_not_exist() -> None:
    """NXDOMAIN is a failure, not unknown."""
    assert spf(FakeDns({}), OWNED).status == FAIL


@pytest.mark.parametrize("last", ["-all", "~all", "?all", "redirect=_none.example.net"])
def test_remedy_of_spf_heals(last: str) -> None:
    """The record that a remedy names, published, passes; only what is missing is added."""
    dns = good()
    dns.set("_none.example.net", "TXT", "v=spf1 -all")
    dns.set("example.org", "TXT", f"v=spf1 ip4:{FOUR} {last}")
    verdict = spf(dns, OWNED)
    record = f"v=spf1 ip6:{SIX} ip4:{FOUR} {last}"
    assert (verdict.status, verdict.remedy) == (
        FAIL,
        f'change the record to: example.org. IN TXT "{record}"',
    )
    dns.set("example.org", "TXT", record)
    assert spf(dns, OWNED).status == PASS


@pytest.mark.parametrize(
    "records",
    [
        ["v=spf1 mx -all", "v=spf1 a:web.example.org ~all"],
        ["v=spf1 " + "".join(f"include:i{n}.example.net " for n in range(11)) + "-all"],
        ["v=spf1 include:none.example.net -all"],
        ["v=spf1 ipv4:203.0.113.9 -all"],
    ],
)
def test_remedy_of_a_broken_record_heals(records: list[str]) -> None:
    """Several records, too many look-ups, an include of nothing, a misspelt term."""
    dns = good()
    for n in range(11):
        dns.set(f"i{n}.example.net", "TXT", "v=spf1 -all")
    dns.set("example.org", "TXT", *records)
    verdict = spf(dns, OWNED)
    assert (verdict.status, "permerror" in verdict.evidence) == (FAIL, True)
    quoted = verdict.remedy.rpartition(' IN TXT "')[2]
    dns.set("example.org", "TXT", quoted[:-1].replace('" "', ""))
    assert spf(dns, OWNED).status == PASS


def test_spf_unanswered_or_unknown() -> None:
    """Nobody answers, or nobody knows the address: unknown; a certain failure beside it fails."""
    dns = good()
    dns.set("_spf.example.net", "TXT", SERVFAIL)
    assert spf(dns, OWNED).status == UNKNOWN
    hidden = replace(OWNED, ways=(NAT, WAY6))
    verdict = spf(good(), hidden)
    assert (verdict.status, "--address" in verdict.remedy) == (UNKNOWN, True)
    dns = good()
    dns.set("example.org", "TXT", "v=spf1 -all")
    assert spf(dns, hidden).status == FAIL


def test_long_records_stay_out_of_reports() -> None:
    """A huge record is not repeated; what to add to it is said."""
    dns = good()
    dns.set("example.org", "TXT", "v=spf1 " + "ip4:198.51.100.1 " * 3000 + "-all")
    verdict = spf(dns, OWNED)
    assert verdict.status == FAIL
    assert len(verdict.remedy) < 200
    assert f"ip4:{FOUR} ip6:{SIX}" in verdict.remedy


def test_records_as_a_zone_file_has_them() -> None:
    """Long texts are several strings; quotes, backslashes and odd bytes are escaped."""
    assert txt("a.example", "x" * 256) == f'a.example. IN TXT "{"x" * 255}" "x"'
    assert txt("a.example", 'q" \\ \xff\n') == 'a.example. IN TXT "q\\" \\\\ \\255\\010"'
    assert pointer(FOUR, "a.example") == "9.113.0.203.in-addr.arpa. IN PTR a.example."


# DMARC.

SPF_OK = Verdict("spf", PASS, "fine")
SPF_BAD = Verdict("spf", FAIL, "not fine", "publish: X")
SPF_UNKNOWN = Verdict("spf", UNKNOWN, "who knows", "retry")


def judged(
    dns: FakeDns,
    origin: Origin = OWNED,
    by_spf: Verdict = SPF_OK,
    signed: Sequence[str] = (),
    suffixes: Optional[Suffixes] = SUFFIXES,
) -> Verdict:
    return dmarc(dns, origin, suffixes, by_spf, signed)


@pytest.mark.parametrize("suffixes", [SUFFIXES, None])
def test_policy_of_the_domain_or_of_its_owner(suffixes: Optional[Suffixes]) -> None:
    """The domain's own record counts with p, else its owner's with sp: by list and by walk."""
    assert "asks for reject" in judged(good(), suffixes=suffixes).evidence
    below = judged(good(), ORIGIN, suffixes=suffixes)
    assert (below.status, "_dmarc.example.org asks for quarantine" in below.evidence) == (
        PASS,
        True,
    )


def test_no_policy() -> None:
    """Without a record it fails, and reports go to admin where that is the same owner's."""
    dns = good()
    dns.set("_dmarc.example.org", "TXT")
    record = '_dmarc.example.org. IN TXT "v=DMARC1; p=none; rua=mailto:ops@example.org"'
    for origin in (ORIGIN, OWNED):
        verdict = judged(dns, origin)
        assert (verdict.status, verdict.remedy) == (FAIL, f"publish: {record}")
    other = judged(dns, replace(OWNED, admin="ops@example.com"))
    assert other.remedy == 'publish: _dmarc.example.org. IN TXT "v=DMARC1; p=none"'
    assert judged(dns, replace(OWNED, admin="")).status == FAIL


@pytest.mark.parametrize(
    "texts",
    [
        ["v=DMARC1; p=none", "v=DMARC1; p=reject"],
        ["v=DMARC1"],
        ["v=DMARC1; p=maybe"],
        ["v=DMARC1; p=none; p=none"],
        ["v=DMARC1; nonsense"],
        ["v=dmarc1; p=none"],
        ["p=none; v=DMARC1"],
    ],
)
def test_policy_that_counts_as_none(texts: list[str]) -> None:
    """Two records, or one that is not understood, is no policy; a good one is named."""
    dns = good()
    dns.set("_dmarc.example.org", "TXT", *texts)
    verdict = judged(dns)
    assert verdict.status == FAIL
    quoted = verdict.remedy.rpartition(' IN TXT "')[2][:-1]
    dns.set("_dmarc.example.org", "TXT", quoted)
    assert judged(dns).status == PASS


def test_two_policies_are_told() -> None:
    """Of two records the stricter is the one to keep, and the verdict says that there are two."""
    dns = good()
    dns.set("_dmarc.example.org", "TXT", "v=DMARC1; p=none", "v=DMARC1; p=reject")
    verdict = judged(dns)
    assert "has 2 DMARC records" in verdict.evidence
    record = '_dmarc.example.org. IN TXT "v=DMARC1; p=reject"'
    assert verdict.remedy == f"keep one, the strictest, and remove the rest: {record}"


def test_policy_is_lenient_where_the_rfc_is() -> None:
    """Unknown tags, odd spaces, and rua in place of a valid p."""
    assert read_dmarc("v=DMARC1 ; P=x; p = REJECT ;x=y;").policy == "reject"
    assert read_dmarc("v=DMARC1; rua=mailto:a@example.org").policy == "none"
    odd = read_dmarc("v=DMARC1; p=reject; sp=odd; rua=mailto:a@example.org")
    assert (odd.policy, odd.below) == ("none", "none")
    strict = read_dmarc("v=DMARC1; p=none; aspf=s; adkim=S; psd=N")
    assert (strict.strict_spf, strict.strict_dkim, strict.below, strict.psd) == (
        True,
        True,
        "none",
        "n",
    )


def test_alignment_by_dkim() -> None:
    """Without SPF a key of the same owner carries; strict, only one of the same name."""
    assert judged(good(), by_spf=SPF_BAD).status == FAIL
    assert "publish: X" in judged(good(), by_spf=SPF_BAD).remedy
    assert judged(good(), by_spf=SPF_UNKNOWN).status == UNKNOWN
    assert judged(good(), by_spf=SPF_BAD, signed=["example.org"]).status == PASS
    assert judged(good(), by_spf=SPF_BAD, signed=["mail.example.org"]).status == PASS
    assert judged(good(), by_spf=SPF_BAD, signed=["example.com"]).status == FAIL
    dns = good()
    dns.set("_dmarc.example.org", "TXT", "v=DMARC1; p=reject; adkim=s")
    assert judged(dns, by_spf=SPF_BAD, signed=["mail.example.org"]).status == FAIL
    assert judged(dns, by_spf=SPF_BAD, signed=["mail.example.org", "example.org"]).status == PASS


def test_names_are_aligned() -> None:
    """Equal names always are; others when relaxed and of one owner."""
    same = {"owner": "example.org", "ours": "example.org"}
    assert aligned("A.example.org.", "a.example.org", strict=True, **same)
    assert aligned("a.example.org", "b.example.org", strict=False, **same)
    assert not aligned("a.example.org", "b.example.org", strict=True, **same)
    assert not aligned("badexample.org", "example.org", strict=False, **same)


def test_policy_unanswered() -> None:
    """Nobody answers for the domain or its owner: unknown."""
    dns = good()
    dns.set("_dmarc.example.org", "TXT", SERVFAIL)
    assert judged(dns).status == UNKNOWN
    assert judged(dns, ORIGIN).status == UNKNOWN


@pytest.mark.parametrize(
    ("domain", "owner"),
    [
        ("example.org", "example.org"),
        ("a.b.example.org", "example.org"),
        ("a.example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("a.b.c.ck", "b.c.ck"),
        ("a.www.ck", "www.ck"),
        ("a.b.unknown", "b.unknown"),
        ("x.y.is.pri.ee", "y.is.pri.ee"),
        ("alone", "alone"),
    ],
)
def test_public_suffix_list(domain: str, owner: str) -> None:
    """Rules, wildcards and exceptions of the list; an unknown top is one label."""
    assert SUFFIXES.organisational(domain) == owner


def test_walk_up_the_tree() -> None:
    """RFC 9989, 4.10: the highest record, unless one says that it is or is not a suffix."""
    domain = "a.b.example.org"
    rows: list[tuple[str, Optional[str]]] = [(domain, None), ("example.org", None)]
    assert organisational_by_walk(domain, rows) == "example.org"
    assert organisational_by_walk(domain, []) == domain
    assert organisational_by_walk(domain, [*rows, ("org", "y")]) == "example.org"
    assert organisational_by_walk(domain, [("b.example.org", "n"), *rows]) == "b.example.org"


# DKIM.

SIGNER = Signer("example.org", "s1", "/etc/dkim/s1.private")
SIGNING = Signing(
    "inet:localhost:8891", "inet:localhost:8891", (SIGNER,), ((SIGNER.key_file, KEY),)
)


def test_nothing_signs() -> None:
    """Without a milter there is nothing to look up."""
    dns = good()
    assert dkim(dns, OWNED, Signing())[0].status == PASS
    assert dns.asked == []


def test_key_is_that_of_the_signer() -> None:
    """A key in DNS that fits the private one passes, and its domain is good for DMARC."""
    verdict, domains = dkim(good(), OWNED, SIGNING)
    assert (verdict.status, domains) == (PASS, ("example.org",))
    assert "2048 bits, that of the private key here" in verdict.evidence
    unproven, _ = dkim(good(), OWNED, replace(SIGNING, public=()))
    assert "not compared" in unproven.evidence


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["v=DKIM1; k=rsa; p="],
        ["v=DKIM1; k=rsa; p=!!!"],
        ["v=DKIM1; k=rsa; p=AAAA"],
        ["v=DKIM1; k=dsa; p=" + KEY],
        ["v=DKIM2; p=" + KEY],
        ["k=rsa; v=DKIM1; p=" + KEY],
        ["v=DKIM1; s=tlsrpt; p=" + KEY],
        ["v=DKIM1; h=sha1; p=" + KEY],
        ["v=DKIM1; p=" + key(768)],
        ["v=DKIM1; p=" + key(1024)],
        ["v=DKIM1; p=" + KEY[:-20]],
        ["v=DKIM1; k=ed25519; p=" + KEY],
        ["v=DKIM1; p=" + KEY, "v=DKIM1; p=" + key(4096)],
        ["v=DKIM1; k=rsa"],
        ["p"],
    ],
)
def test_bad_keys(texts: list[str]) -> None:
    """Missing, revoked, not a key, too short, somebody else's, two: the right one is named."""
    dns = good()
    dns.set("s1._domainkey.example.org", "TXT", *texts)
    verdict, domains = dkim(dns, OWNED, SIGNING)
    assert (verdict.status, domains) == (FAIL, ())
    whole = verdict.remedy.replace('" "', "")
    assert f's1._domainkey.example.org. IN TXT "v=DKIM1; k=rsa; p={KEY}"' in whole
    there = sum("p=" in text or "DKIM" in text for text in texts)
    words = ("publish: ", "publish in its place: ", "publish in place of the 2: ")
    assert whole.startswith(words[there])


def test_keys_that_are_good() -> None:
    """Spaces in the base64, no version, a short key with a hint, a test, ed25519."""
    assert read_key(f" p = {KEY[:40]} {KEY[40:]} ; n=a note").bits == 2048
    assert read_key(f"v=DKIM1;t=y:s;s=email;h=sha1:sha256;p={KEY}").testing
    ed = base64.b64encode(bytes(32)).decode()
    assert read_key(f"v=DKIM1; k=ed25519; p={ed}").kind == "ed25519"
    dns = good()
    dns.set("s1._domainkey.example.org", "TXT", f"v=DKIM1; t=y; p={key(1024)}")
    verdict, _ = dkim(dns, OWNED, replace(SIGNING, public=()))
    assert (verdict.status, "2048 are advised" in verdict.evidence) == (PASS, True)
    assert "t=y" in verdict.evidence


def test_short_key() -> None:
    """RFC 8301: below 1024 bits no receiver takes a signature."""
    assert read_key(f"p={key(1024)}").bits == 1024
    with pytest.raises(BadKeyError, match="1023 bits are too short"):
        read_key(f"p={key(1023)}")


def test_keys_unanswered_or_unknown() -> None:
    """Nobody answers, or nobody knows the selector: unknown, with the option that tells it."""
    dns = good()
    dns.set("s1._domainkey.example.org", "TXT", SERVFAIL)
    assert dkim(dns, OWNED, SIGNING)[0].status == UNKNOWN
    blind = Signing("inet:localhost:11332", "", (), (), "it is not OpenDKIM")
    verdict, _ = dkim(good(), OWNED, blind)
    assert (verdict.status, "--dkim-selector" in verdict.remedy) == (UNKNOWN, True)


def test_signer_without_a_key_for_the_sender() -> None:
    """An OpenDKIM that signs nothing of this sender is a failure."""
    assert dkim(good(), OWNED, replace(SIGNING, signers=()))[0].status == FAIL


def test_mail_of_sendmail_is_signed_too() -> None:
    """A milter for SMTP alone leaves cron's mail unsigned."""
    verdict, domains = dkim(good(), OWNED, replace(SIGNING, local=""))
    assert (verdict.status, domains) == (FAIL, ("example.org",))
    assert 'non_smtpd_milters = "inet:localhost:8891"' in verdict.remedy


FILES = {
    "/etc/dkim/keys": "# keys\nk1 example.org:s1:/etc/dkim/s1.private\nk2 %:s2:/k\nbad x\n",
    "/etc/dkim/signing": "*@example.org k1\n*@*.example.org k2\n",
    "/etc/dkim/plain": "example.org k1\n.example.net k2\n",
    "/etc/dkim/domains": "example.com\nexample.org\n",
}


@pytest.mark.parametrize(
    ("config", "sender", "found"),
    [
        (
            "Domain example.org\nSelector s1\nKeyFile /k # x",
            "a@example.org",
            [("example.org", "s1")],
        ),
        ("Domain example.com,example.org\nSelector s1", "a@example.org", [("example.org", "s1")]),
        ("domain /etc/dkim/domains\nSelector s1", "a@example.org", [("example.org", "s1")]),
        ("Domain example.org\nSelector s1", "a@web.example.org", []),
        (
            "Domain example.org\nSelector s1\nSubDomains yes",
            "a@w.example.org",
            [("example.org", "s1")],
        ),
        ("Mode v\nDomain example.org\nSelector s1", "a@example.org", []),
        (
            "KeyTable /etc/dkim/keys\nSigningTable refile:/etc/dkim/signing",
            "a@example.org",
            [("example.org", "s1")],
        ),
        (
            "KeyTable /etc/dkim/keys\nSigningTable refile:/etc/dkim/signing",
            "a@w.example.org",
            [("w.example.org", "s2")],
        ),
        (
            "KeyTable file:/etc/dkim/keys\nSigningTable file:/etc/dkim/plain",
            "a@w.example.net",
            [("w.example.net", "s2")],
        ),
        ("KeyTable /etc/dkim/keys\nSigningTable /etc/dkim/plain", "a@example.com", []),
        ("KeyTable csl:example.org=example.org:s9:/k", "a@example.org", [("example.org", "s9")]),
        ("", "a@example.org", []),
    ],
)
def test_what_opendkim_signs_with(config: str, sender: str, found: list[tuple[str, str]]) -> None:
    """Single keys and tables, patterns and plain rows, a key for any domain."""
    said = signers(settings(config), sender, FILES.get)
    assert [(each.domain, each.selector) for each in said] == found


@pytest.mark.parametrize("config", ["KeyTable ldap://x/", "KeyTable /no/such/file", "Domain dsn:x"])
def test_opendkim_that_cannot_be_read(config: str) -> None:
    """A data set in a database, or a file that is not there, is told."""
    with pytest.raises(UnreadableError):
        signers(settings(config), "a@example.org", FILES.get)


@pytest.mark.parametrize(
    ("value", "count"),
    [("no", 1), ("No", 1), ("false", 1), ("0", 1), ("yes", 2), ("True", 2), ("1", 2), ("Y", 2)],
)
def test_switches_of_opendkim(value: str, count: int) -> None:
    """Of a switch the first letter counts (opendkim.conf(5)), and no is no."""
    tables = (
        "KeyTable csl:k1=example.org:s1:/k1,k2=example.org:s2:/k2\n"
        "SigningTable csl:example.org=k1,example.org=k2\n"
    )
    said = signers(
        settings(f"{tables}MultipleSignatures {value}"), "a@example.org", lambda _path: None
    )
    assert len(said) == count
    below = f"Domain example.org\nSelector s1\nSubDomains {value}"
    assert len(signers(settings(below), "a@web.example.org", lambda _path: None)) == count - 1


# Blocklists.

ZEN = question(FOUR, "zen.spamhaus.org")


def test_questions_to_lists() -> None:
    """Bytes in reverse, and nibbles for IPv6."""
    assert ZEN == "9.113.0.203.zen.spamhaus.org"
    assert question(SIX, "x") == "9.0.0.0." + "0.0.0.0." * 5 + "8.b.d.0.1.0.0.2.x"


def test_not_listed() -> None:
    """All lists answer, and none has the address."""
    verdict = blocklists(good(), WAY4)
    assert (verdict.status, [each.zone in verdict.evidence for each in LISTS]) == (PASS, [True] * 3)
    assert blocklists(good(), WAY6).evidence == f"{SIX}: not on zen.spamhaus.org"


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("127.0.0.2", FAIL, "SBL"),
        ("127.0.0.3", FAIL, "CSS"),
        ("127.0.0.4", FAIL, "XBL"),
        ("127.0.0.11", FAIL, "PBL"),
        ("127.255.255.252", UNKNOWN, "misspelt"),
        ("127.255.255.254", UNKNOWN, "open to the public"),
        ("127.255.255.255", UNKNOWN, "asks too much"),
        ("127.255.255.250", UNKNOWN, "error"),
        ("127.0.0.99", UNKNOWN, "nothing known"),
        ("203.0.113.200", UNKNOWN, "nothing known"),
        (SERVFAIL, UNKNOWN, "SERVFAIL"),
    ],
)
def test_what_a_list_answers(code: str, status: str, said: str) -> None:
    """Listings by their meaning; errors, parked zones and silence are none."""
    dns = good()
    dns.set(ZEN, "A", code)
    verdict = blocklists(dns, WAY4)
    assert (verdict.status, said in verdict.evidence) == (status, True)


def test_list_that_does_not_answer_here() -> None:
    """A resolver for which even a list's test address is not listed proves nothing."""
    dns = good()
    dns.set("2.0.0.127.zen.spamhaus.org", "A")
    verdict = blocklists(dns, WAY4)
    assert (verdict.status, "does not answer here" in verdict.evidence) == (UNKNOWN, True)


def test_list_that_has_everybody() -> None:
    """A list that was given up and says yes to every question lists nobody."""
    dns = good()
    dns.set("1.0.0.127.bl.spamcop.net", "A", "127.0.0.2")
    dns.set(question(FOUR, "bl.spamcop.net"), "A", "127.0.0.2")
    verdict = blocklists(dns, WAY4)
    assert (verdict.status, "every address" in verdict.evidence) == (UNKNOWN, True)


def test_address_that_is_not_known_is_on_no_list() -> None:
    """Behind NAT nothing is asked: the private address says nothing."""
    dns = good()
    assert blocklists(dns, NAT).status == UNKNOWN
    assert dns.asked == []


# Anything.


def test_nothing_is_asked_twice() -> None:
    """The checks share their answers."""
    dns = good()
    remembering = Remembering(dns)
    for _ in range(2):
        spf(remembering, OWNED)
        reverse_dns(remembering, WAY4, HELO)
    assert len(dns.asked) == len(set(dns.asked))


ANY = st.one_of(
    st.text(max_size=120),
    st.binary(max_size=120).map(lambda raw: raw.decode("latin-1")),
    st.sampled_from(["v=spf1 ", "v=DMARC1; ", "v=DKIM1; p=", "v=DMARC1; p=reject; rua="]).flatmap(
        lambda start: st.text(max_size=60).map(start.__add__)
    ),
    st.sampled_from(
        [SERVFAIL, "127.0.0.2", "10 a.example", "0 .", "", ".", "a" * 64, "::1", "\\000"]
    ),
)


@given(st.lists(ANY, max_size=4))
def test_any_answer_gives_verdicts(values: list[str]) -> None:
    """Whatever DNS says to every question, each check gives a verdict with words."""

    class Anything(FakeDns):
        def lookup(self, name: str, kind: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
            self.zone = {name.lower().rstrip("."): {kind: values}}
            return super().lookup(name, kind)

    dns = Anything({})
    verdicts = [
        *(reverse_dns(dns, each, HELO) for each in (WAY4, WAY6)),
        *(blocklists(dns, each) for each in (WAY4, WAY6)),
        *(spf(dns, OWNED), spf_helo(dns, OWNED)),
        *(judged(dns), judged(dns, suffixes=None)),
        dkim(dns, OWNED, SIGNING)[0],
    ]
    assert all(verdict.evidence for verdict in verdicts)
    assert all(len(verdict.evidence) + len(verdict.remedy) < 8000 for verdict in verdicts)


@given(st.text(max_size=200))
def test_any_text_is_tags_or_refused(text: str) -> None:
    """Tag lists, keys, OpenDKIM's files and the suffix list take any text."""
    for read, wrong in (
        (read_tags, BadTagsError),
        (read_dmarc, BadTagsError),
        (read_key, BadKeyError),
    ):
        try:
            assert read(text) is not None
        except wrong as error:
            assert isinstance(error, wrong)  # noqa: PT017 - either is well
    assert Suffixes(text).organisational("a.example.org")
    try:
        found = signers(settings(text), "a@example.org", lambda _path: text)
    except UnreadableError:
        found = []
    assert isinstance(found, list)
