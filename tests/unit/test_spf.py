"""SPF as RFC 7208 has it: its own examples, its limits, and records of strangers."""

from __future__ import annotations

import ipaddress
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sysmail.deliverability.spf import Client, Outcome, check_host
from sysmail.deliverability.spf_macro import expand
from sysmail.deliverability.spf_record import BadRecordError, is_spf, read_spf
from unit.fake_dns import SERVFAIL, FakeDns, Zone

# RFC 7208, appendix A.
EXAMPLE: Zone = {
    "example.com": {
        "MX": ["10 mail-a.example.com", "20 mail-b.example.com"],
        "A": ["192.0.2.10", "192.0.2.11"],
    },
    "amy.example.com": {"A": "192.0.2.65"},
    "bob.example.com": {"A": "192.0.2.66"},
    "mail-a.example.com": {"A": "192.0.2.129"},
    "mail-b.example.com": {"A": "192.0.2.130"},
    "example.org": {"MX": "10 mail-c.example.org"},
    "mail-c.example.org": {"A": "192.0.2.140"},
    "10.2.0.192.in-addr.arpa": {"PTR": "example.com"},
    "65.2.0.192.in-addr.arpa": {"PTR": "amy.example.com"},
    "140.2.0.192.in-addr.arpa": {"PTR": "mail-c.example.org"},
    "2.0.192.in-addr.arpa": {},
    "mary.mobile-users._spf.example.com": {"A": "127.0.0.2"},
    "joel.remote-users._spf.example.com": {"A": "127.0.0.2"},
    "15.15.168.192.joel._spf.example.com": {"A": "127.0.0.2"},
}


def check(
    record: str,
    address: str = "192.0.2.10",
    sender: str = "joe@example.com",
    helo: str = "mail.example.com",
    domain: str = "example.com",
    zone: Optional[Zone] = None,
) -> Outcome:
    """What a record at example.com gives, in the zones of the RFC and more."""
    dns = FakeDns({**EXAMPLE, **(zone or {})})
    if record:
        dns.set(domain, "TXT", record)
    return check_host(dns, Client(ipaddress.ip_address(address), sender, helo), domain)


@pytest.mark.parametrize(
    ("record", "address", "result"),
    [
        ("v=spf1 +all", "198.51.100.1", "pass"),
        ("v=spf1 a -all", "192.0.2.10", "pass"),
        ("v=spf1 a -all", "192.0.2.11", "pass"),
        ("v=spf1 a -all", "192.0.2.12", "fail"),
        ("v=spf1 a:example.org -all", "192.0.2.10", "fail"),
        ("v=spf1 mx -all", "192.0.2.129", "pass"),
        ("v=spf1 mx -all", "192.0.2.140", "fail"),
        ("v=spf1 mx:example.org -all", "192.0.2.140", "pass"),
        ("v=spf1 mx mx:example.org -all", "192.0.2.140", "pass"),
        ("v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.131", "pass"),
        ("v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.143", "pass"),
        ("v=spf1 mx/30 mx:example.org/30 -all", "192.0.2.144", "fail"),
        ("v=spf1 ptr -all", "192.0.2.65", "pass"),
        ("v=spf1 ptr -all", "192.0.2.10", "pass"),
        ("v=spf1 ptr -all", "192.0.2.140", "fail"),
        ("v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.65", "fail"),
        ("v=spf1 ip4:192.0.2.128/28 -all", "192.0.2.129", "pass"),
    ],
)
def test_simple_examples_of_the_rfc(record: str, address: str, result: str) -> None:
    """Appendix A.1 gives what the RFC says."""
    assert check(record, address).result == result


def test_several_domains() -> None:
    """Appendix A.2: an include passes, a redirect takes the place of the record."""
    both = {"example.org": {**EXAMPLE["example.org"], "TXT": "v=spf1 mx -all"}}
    included = check("v=spf1 a include:example.org -all", "192.0.2.140", zone=both)
    assert (included.result, included.why) == ("pass", "include:example.org")
    redirected = check("v=spf1 redirect=example.org", "192.0.2.140", zone=both)
    assert (redirected.result, redirected.why) == ("pass", "mx")
    assert check("v=spf1 redirect=example.org", "192.0.2.10", zone=both).result == "fail"


@pytest.mark.parametrize(
    ("record", "sender", "address", "result"),
    [
        ("v=spf1 mx exists:%{l}.mobile-users._spf.%{d} -all", "mary@example.com", "", "pass"),
        ("v=spf1 mx exists:%{l}.mobile-users._spf.%{d} -all", "joe@example.com", "", "fail"),
        ("v=spf1 exists:%{ir}.%{l}._spf.%{d} -all", "joel@example.com", "192.168.15.15", "pass"),
        ("v=spf1 exists:%{ir}.%{l}._spf.%{d} -all", "joel@example.com", "192.168.15.16", "fail"),
    ],
)
def test_examples_with_macros(record: str, sender: str, address: str, result: str) -> None:
    """Appendix A.4: who may send from where is in DNS, a name for each."""
    assert check(record, address or "198.51.100.1", sender).result == result


@pytest.mark.parametrize(
    ("macro", "expanded"),
    [
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        ("%{h}%%%-%_x.%{p}", "helo.example%%20 x.unknown"),
        ("%{S}", "strong-bad%40email.example.com"),
        ("%{d999999999}", "email.example.com"),
    ],
)
def test_macros_of_the_rfc(macro: str, expanded: str) -> None:
    """Section 7.4's examples, transformers and delimiters, and capital letters escape."""
    client = Client(
        ipaddress.ip_address("192.0.2.3"), "strong-bad@email.example.com", "helo.example"
    )
    assert expand(macro, client, "email.example.com", lambda: "unknown") == expanded


def test_macro_of_ipv6() -> None:
    """Section 7.4: an IPv6 address is written nibble by nibble."""
    client = Client(ipaddress.ip_address("2001:db8::cb01"), "a@example.com", "h")
    assert expand("%{ir}.%{v}._spf.%{d2}", client, "email.example.com", str) == (
        "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6._spf.example.com"
    )


def test_name_that_grows_too_long_loses_its_left() -> None:
    """Section 7.3: labels are dropped from the left until 253 characters are left."""
    client = Client(ipaddress.ip_address("192.0.2.3"), "l" * 60 + "@example.com", "h")
    text = expand("%{l}.%{l}.%{l}.%{l}.%{l}.%{d}", client, "example.com", str)
    assert len(text) <= 253
    assert text.endswith("l.example.com")


@pytest.mark.parametrize(
    ("record", "address", "result"),
    [
        ("V=SPF1 A -ALL", "192.0.2.10", "pass"),
        ("v=spf1 Ip4:192.0.2.10 -aLL", "192.0.2.10", "pass"),
        ("v=spf1   ip4:192.0.2.10   -all  ", "192.0.2.10", "pass"),
        ("v=spf1", "192.0.2.10", "neutral"),
        ("v=spf1 ?all", "192.0.2.10", "neutral"),
        ("v=spf1 ~all", "192.0.2.10", "softfail"),
        ("v=spf1 ip4:192.0.2.8/31 ~all", "192.0.2.10", "softfail"),
        ("v=spf1 ip4:0.0.0.0/0 -all", "192.0.2.10", "pass"),
        ("v=spf1 ip4:192.0.2.10 -all", "::ffff:192.0.2.10", "pass"),
        ("v=spf1 ip4:192.0.2.10 -all", "2001:db8::1", "fail"),
        ("v=spf1 ip6:2001:db8::/32 -all", "2001:db8::1", "pass"),
        ("v=spf1 ip6:2001:DB8:0:0::1 -all", "2001:db8::1", "pass"),
        ("v=spf1 ip6:2001:db8::/32 -all", "192.0.2.10", "fail"),
        ("v=spf1 a/24//64 -all", "192.0.2.200", "pass"),
        ("v=spf1 a//64 -all", "192.0.2.200", "fail"),
        ("v=spf1 -all exp=explain.%{d}", "192.0.2.10", "fail"),
        ("v=spf1 unknown-modifier=%{l}.x a -all", "192.0.2.10", "pass"),
        ("v=spf1 -all a", "192.0.2.10", "fail"),
        ("v=spf1 redirect=example.org a -all", "192.0.2.10", "pass"),
    ],
)
def test_records_that_are_understood(record: str, address: str, result: str) -> None:
    """Case, spaces, lengths, the order of terms, modifiers."""
    assert check(record, address).result == result


@pytest.mark.parametrize(
    "record",
    [
        *("v=spf1 ip4 -all", "v=spf1 ip4: -all", "v=spf1 ip4:1.2.3 -all", "v=spf1 ip4:1.2.3.4/33"),
        *("v=spf1 ip4:1.2.3.4/", "v=spf1 ip4:1.2.3.4/08", "v=spf1 ip4:1.2.3.4//24"),
        *("v=spf1 ip4:2001:db8::1", "v=spf1 ip6:1.2.3.4", "v=spf1 ip6:2001:db8::/129"),
        *("v=spf1 ip6:fe80::1%eth0", "v=spf1 ip6:::g", "v=spf1 ip4:1.2.3.4/1000000"),
        *(
            "v=spf1 a:",
            "v=spf1 a/33",
            "v=spf1 a//129",
            "v=spf1 a/-1",
            "v=spf1 a/24/64",
            "v=spf1 a/",
        ),
        *("v=spf1 a:museum", "v=spf1 a:example.123", "v=spf1 a:example.-x", "v=spf1 a:example.x-"),
        *("v=spf1 a:example..", "v=spf1 mx:", "v=spf1 include", "v=spf1 include:", "v=spf1 exists"),
        *("v=spf1 all:x", "v=spf1 all/8", "v=spf1 allx", "v=spf1 moo", "v=spf1 -", "v=spf1 !all"),
        *("v=spf1 --all", "v=spf1 a\tmx", "v=spf1 a,mx", "v=spf1 ptr/24", "v=spf1 ptr:"),
        *("v=spf1 exists:%{x}.a.com", "v=spf1 exists:%{d", "v=spf1 exists:%d.a.com"),
        *("v=spf1 exists:%{d0}.a.com", "v=spf1 exists:%{c}.a.com", "v=spf1 exists:%{d-9}.a.com"),
        *("v=spf1 redirect=", "v=spf1 redirect=a.com redirect=b.com", "v=spf1 exp=a.com exp=b.com"),
        *("v=spf1 redirect:a.com", "v=spf1 moo=%{x}", "v=spf1 =a", "v=spf1 include=a.com/24 a:/24"),
        *("v=spf1 a:ex\xe4mple.com -all", "v=spf1 \x00", "v=spf1 a\x7f"),
    ],
)
def test_records_that_are_not(record: str) -> None:
    """A mistake anywhere makes the whole record a permanent error, also behind what matches."""
    assert check(record).result == "permerror"
    assert check(record.replace("v=spf1", "v=spf1 +all")).result == "permerror"


@pytest.mark.parametrize("text", ["v=spf10", "v=spf1\t-all", "v=spf", "spf1 -all", " v=spf1", ""])
def test_other_records_are_none_of_spf(text: str) -> None:
    """What does not begin with the version and a space is another record."""
    assert not is_spf(text)
    assert check(text).result == "none"


def test_several_records_are_an_error() -> None:
    """Section 4.5: two records are a permanent error, whatever they say."""
    dns = FakeDns({"example.com": {"TXT": ["v=spf1 +all", "v=spf1 a", "something else"]}})
    client = Client(ipaddress.ip_address("192.0.2.1"), "a@example.com", "h")
    found = check_host(dns, client, "example.com")
    assert (found.result, "2 SPF records" in found.why) == ("permerror", True)


@pytest.mark.parametrize("domain", ["", "localhost", "a..example.com", "x" * 64 + ".com", "."])
def test_domain_that_cannot_be(domain: str) -> None:
    """Section 4.3: no record is asked for at a name that cannot exist."""
    assert check("", domain=domain).result == "none"


def chain(length: int) -> Zone:
    """Includes one after the other, and a last record that matches."""
    zone = {
        f"i{n}.example.com": {"TXT": f"v=spf1 include:i{n + 1}.example.com"} for n in range(length)
    }
    return {**zone, f"i{length}.example.com": {"TXT": "v=spf1 ip4:192.0.2.10"}}


@pytest.mark.parametrize(("length", "result"), [(9, "pass"), (10, "permerror")])
def test_ten_look_ups_and_no_more(length: int, result: str) -> None:
    """Section 4.6.4: the eleventh term that asks DNS is a permanent error."""
    found = check("v=spf1 include:i0.example.com -all", zone=chain(length))
    assert found.result == result
    assert found.lookups == length + 1


def test_loops_end() -> None:
    """A record that includes itself, or redirects to itself, ends at the limit."""
    assert check("v=spf1 include:example.com -all").result == "permerror"
    assert check("v=spf1 redirect=example.com").result == "permerror"
    assert "more than 10" in check("v=spf1 redirect=example.com").why


def test_two_look_ups_may_find_nothing() -> None:
    """Section 4.6.4: the third term that finds nothing is a permanent error."""
    none = "a:n1.example.com mx:n2.example.com"
    assert check(f"v=spf1 {none} a -all").result == "pass"
    assert check(f"v=spf1 {none} exists:n3.example.com a -all").result == "permerror"
    assert check(f"v=spf1 {none} a:amy.example.com a:bob.example.com a -all").result == "pass"


def test_ten_exchangers_and_no_more() -> None:
    """Section 4.6.4: a domain with eleven MX records is a permanent error."""
    names = [f"{n} m{n}.example.com" for n in range(11)]
    zone: Zone = {"many.example.com": {"MX": names}, "m9.example.com": {"A": "192.0.2.10"}}
    assert check("v=spf1 mx:many.example.com -all", zone=zone).result == "permerror"
    fewer: Zone = {**zone, "many.example.com": {"MX": names[:10]}}
    assert check("v=spf1 mx:many.example.com -all", zone=fewer).result == "pass"


def test_ten_names_of_an_address_are_looked_at() -> None:
    """Section 5.5: of an address with many names the first ten count."""
    zone: Zone = {
        "9.2.0.192.in-addr.arpa": {"PTR": [f"n{n}.example.com" for n in range(20)]},
        **{f"n{n}.example.com": {"A": "192.0.2.9" if n == 15 else "192.0.2.1"} for n in range(20)},
    }
    assert check("v=spf1 ptr -all", "192.0.2.9", zone=zone).result == "fail"


def test_forged_name_of_an_address() -> None:
    """Section 5.5: a PTR that does not lead back is nobody's name."""
    zone: Zone = {"7.100.51.198.in-addr.arpa": {"PTR": "amy.example.com"}}
    assert check("v=spf1 ptr -all", "198.51.100.7", zone=zone).result == "fail"
    assert (
        check("v=spf1 exists:%{p}.x.example.com -all", "198.51.100.7", zone=zone).result == "fail"
    )


@pytest.mark.parametrize(
    ("record", "zone"),
    [
        ("", {"example.com": {"TXT": SERVFAIL}}),
        ("v=spf1 a:down.example.com -all", {"down.example.com": {"A": SERVFAIL}}),
        ("v=spf1 mx:down.example.com -all", {"down.example.com": {"MX": SERVFAIL}}),
        ("v=spf1 include:down.example.com -all", {"down.example.com": {"TXT": SERVFAIL}}),
        ("v=spf1 redirect=down.example.com", {"down.example.com": {"TXT": SERVFAIL}}),
        ("v=spf1 exists:down.example.com -all", {"down.example.com": {"A": SERVFAIL}}),
    ],
)
def test_no_answer_is_temporary(record: str, zone: Zone) -> None:
    """Section 2.6.6: where nobody answers nothing is decided."""
    found = check(record, zone=zone)
    assert found.result == "temperror"
    assert "SERVFAIL" in found.why


def test_no_answer_behind_a_match_does_not_matter() -> None:
    """Terms are looked at in their order, and the first that matches ends it."""
    zone: Zone = {"down.example.com": {"A": SERVFAIL}}
    assert check("v=spf1 a a:down.example.com -all", zone=zone).result == "pass"


def test_name_of_an_address_that_nobody_answers_for() -> None:
    """Section 5.5: an error while asking for PTR is no match, and no error."""
    zone: Zone = {"10.2.0.192.in-addr.arpa": {"PTR": SERVFAIL}}
    assert check("v=spf1 ptr -all", zone=zone).result == "fail"


@pytest.mark.parametrize(
    ("inner", "result"),
    [
        ("v=spf1 +all", "pass"),
        ("v=spf1 -all", "softfail"),
        ("v=spf1 ~all", "softfail"),
        ("v=spf1 ?all", "softfail"),
        ("", "permerror"),
        ("v=spf1 moo", "permerror"),
    ],
)
def test_what_an_include_gives(inner: str, result: str) -> None:
    """The table of section 5.2: only a pass inside matches, and no record inside is an error."""
    zone: Zone = {"in.example.com": {"TXT": inner or "something"}}
    assert check("v=spf1 include:in.example.com ~all", zone=zone).result == result


def test_redirect_to_nowhere() -> None:
    """Section 6.1: a redirect to a domain without a record is a permanent error."""
    assert check("v=spf1 redirect=amy.example.com").result == "permerror"


def test_exchanger_that_is_none() -> None:
    """An empty MX (RFC 7505) names no host."""
    zone: Zone = {"none.example.com": {"MX": "0 ."}}
    assert check("v=spf1 mx:none.example.com -all", zone=zone).result == "fail"


def test_exists_asks_for_ipv4_always() -> None:
    """Section 5.7: exists looks for an A record also for an IPv6 client."""
    found = check("v=spf1 exists:amy.example.com -all", "2001:db8::1")
    assert found.result == "pass"


PIECES = [*"v=spf1 aimx:.-+~?/%{}lsdirph019\\\x00\xff\t", " include:", " ip4:", " redirect=", "%{"]
ODD = st.lists(st.sampled_from(PIECES), max_size=80).map("".join)


@given(st.one_of(ODD.map("v=spf1 ".__add__), st.text(max_size=300), ODD))
def test_any_text_gives_a_result(text: str) -> None:
    """Whatever a record holds, the outcome is one of the RFC's seven results."""
    found = check(text, zone={"a.a": {"TXT": text, "A": text, "MX": text}})
    results = {"pass", "fail", "softfail", "neutral", "none", "temperror", "permerror"}
    assert found.result in results
    assert found.lookups <= 11


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    """Bytes of a TXT record are a record, or are refused with words."""
    wrong = "nothing"
    try:
        read_spf("v=spf1 " + raw.decode("latin-1"))
    except BadRecordError as error:
        wrong = str(error)
    assert wrong


@pytest.mark.parametrize(
    "text",
    [
        "a" * 60_000 + "!",
        "a:" + "a." * 30_000 + "!",
        "/" * 60_000,
        "%{d}" * 15_000 + "!",
        "ip4:1.2.3.4 " * 5_000,
    ],
)
def test_huge_records_take_no_time(text: str) -> None:
    """A record as large as DNS allows is refused or read without repeated searching."""
    assert check("v=spf1 " + text).result in {"permerror", "neutral"}
