"""The SPF record that is told passes when it is published, and takes nothing away unsaid."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sysmail.deliverability.spf_checks import spf
from sysmail.deliverability.spf_record import BadRecordError, is_spf, read_spf
from sysmail.report import FAIL, PASS
from unit.fake_dns import FakeDns, told
from unit.test_deliverability import FOUR, OWNED, SIX, good

DOMAIN = OWNED.domain


def zone(*records: str) -> FakeDns:
    """A DNS in which a domain has these TXT records, and their includes and redirects work."""
    dns = good()
    dns.set(DOMAIN, "TXT", *records)
    dns.set("_hard.example.net", "TXT", "v=spf1 ip4:198.51.100.1 -all")
    dns.set("_soft.example.net", "TXT", "v=spf1 ip4:198.51.100.2 ~all")
    return dns


def published(*records: str) -> tuple[str, str]:
    """What is told where a domain has these records, as a text and as a remedy; it heals."""
    dns = zone(*records)
    verdict = spf(dns, OWNED)
    assert verdict.status == FAIL
    text = told(verdict.remedy)
    read_spf(text)
    dns.set(DOMAIN, "TXT", text)
    assert spf(dns, OWNED).status == PASS
    return text, verdict.remedy


MINE = f"ip4:{FOUR} ip6:{SIX}"


@pytest.mark.parametrize(
    ("records", "rest"),
    [
        (["v=spf1 +all", "v=spf1 a -all"], "a -all"),
        (["v=spf1 a ~all", "v=spf1 mx ?all"], "a mx ~all"),
        (["v=spf1 a", "v=spf1 mx"], "a mx ~all"),
        (["v=spf1 redirect=_soft.example.net", "v=spf1 a"], "a redirect=_soft.example.net"),
        (
            ["v=spf1 redirect=_soft.example.net", "v=spf1 redirect=_hard.example.net"],
            "include:_soft.example.net include:_hard.example.net -all",
        ),
        (
            ["v=spf1 redirect=_hard.example.net", "v=spf1 mx ~all"],
            "include:_hard.example.net mx -all",
        ),
        (["v=spf1 redirect=%{d2}.x.org", "v=spf1 +all"], "include:%{d2}.x.org ~all"),
        (
            ["v=spf1 a -all exp=x.example.org", "v=spf1 mx ~all exp=y.example.org"],
            "a mx -all exp=x.example.org",
        ),
        (
            ["v=spf1 include:_soft.example.net ~all", "v=spf1 ip:1.2.3.4 -all"],
            "include:_soft.example.net -all",
        ),
        (["v=spf1 a,mx -all"], "a mx -all"),
        (["v=spf1 include:_soft.example.net ipv4:1.2.3.4 -all"], "include:_soft.example.net -all"),
        (["v=spf1 a -all mx ip:1.2.3.4"], "a -all"),
        (
            ["v=spf1 redirect=_hard.example.net redirect=_soft.example.net"],
            "redirect=_hard.example.net",
        ),
        (["v=spf1\ta mx -all"], "a mx -all"),
        ([" v=spf1 a mx -all"], "a mx -all"),
        (["v=spf1;a;mx;-all"], "a mx -all"),
    ],
)
def test_records_are_put_together(records: list[str], rest: str) -> None:
    """Valid senders of all, what is broken left out, one of each modifier, the strictest all."""
    assert published(*records)[0] == f"v=spf1 {MINE} {rest}"


def test_what_is_left_out_is_said() -> None:
    """A term that receivers do not understand, and a modifier that there is twice, are named."""
    _, remedy = published("v=spf1 ip:203.0.113.7 a ~all exp=x.a.org", "v=spf1 mx ~all exp=y.a.org")
    assert "ip:203.0.113.7" in remedy
    assert "exp=y.a.org" in remedy


def test_record_that_stays_broken_for_others() -> None:
    """Where the host passes and others get an error the remedy says so."""
    eleven = " ".join(f"include:i{n}.example.net" for n in range(11))
    dns = zone(f"v=spf1 {eleven} -all")
    for n in range(11):
        dns.set(f"i{n}.example.net", "TXT", "v=spf1 -all")
    assert "more than 10 look-ups" in spf(dns, OWNED).remedy
    _, remedy = published("v=spf1 redirect=_a.example.org", "v=spf1 redirect=_b.example.org")
    assert "_a.example.org leads to no SPF record" in remedy


def test_records_too_long_to_repeat() -> None:
    """Of several long records, or a broken one, none is told; what has to be in it is."""
    long = "ip4:198.51.100.1 " * 100 + " ".join(f"ip4:198.51.100.{n}" for n in range(150))
    for records in (["v=spf1 a -all", f"v=spf1 {long} -all"], [f"v=spf1 {long} ip:x -all"]):
        remedy = spf(zone(*records), OWNED).remedy
        assert " IN TXT " not in remedy
        assert MINE in remedy
        assert "one record" in remedy
        assert ("ip:x" in remedy) == ("ip:x" in records[-1])


def test_domain_with_many_exchangers() -> None:
    """A first record passes where `mx` is more than receivers look up."""
    dns = good()
    dns.set(DOMAIN, "TXT")
    dns.set(DOMAIN, "MX", *(f"10 m{n}.example.org" for n in range(11)))
    verdict = spf(dns, OWNED)
    dns.set(DOMAIN, "TXT", told(verdict.remedy))
    assert spf(dns, OWNED).status == PASS


SENDERS = [
    *("a", "mx", "include:_hard.example.net", "include:_soft.example.net", "a:web.example.org"),
    *(
        "ip4:198.51.100.0/24",
        "ip6:2001:db8:1::/48",
        "-ip4:198.51.100.9",
        "?exists:%{i}.example.org",
    ),
]
DAMAGED = ["ip:203.0.113.7", "ipv4:1.2.3.4", "a:", "include", "redirect=", "-al", "mx/33", "exp=x"]
ENDINGS = [
    *("", "-all", "~all", "?all", "+all", "all"),
    *("redirect=_hard.example.net", "redirect=_soft.example.net"),
]
STRICTNESS = {"pass": 0, "neutral": 1, "softfail": 2, "fail": 3}
SPF_RECORDS = st.builds(
    lambda start, terms, last, more: start + " ".join(filter(None, [*terms, last, more])),
    st.sampled_from(["v=spf1 ", "v=spf1 ", "v=spf1 ", "V=SPF1  ", "v=spf1\t"]),
    st.lists(st.sampled_from([*SENDERS, *DAMAGED]), max_size=5),
    st.sampled_from(ENDINGS),
    st.sampled_from(["", "", "exp=a.example.org", "exp=b.example.org", "x=y", "redirect=a.b.org"]),
)


def ending(text: str) -> str:
    """What a record that can be read gives to everybody else."""
    record = read_spf(text)
    if "_hard." in record.redirect:
        default = "fail"
    else:
        default = "softfail" if "_soft." in record.redirect else "neutral"
    return next((m.result for m in record.mechanisms if m.name == "all"), default)


def readable(text: str) -> bool:
    """Whether receivers can read a record of SPF."""
    try:
        read_spf(text)
    except BadRecordError:
        return False
    return is_spf(text)


@given(st.lists(SPF_RECORDS, min_size=1, max_size=3))
def test_any_spf_remedy_heals(records: list[str]) -> None:
    """It parses, passes, is not weaker than a record that can be read, and keeps its senders."""
    dns = zone(*records)
    verdict = spf(dns, OWNED)
    assume(verdict.status == FAIL)
    text = told(verdict.remedy)
    new = read_spf(text)
    dns.set(DOMAIN, "TXT", text)
    assert spf(dns, OWNED).status == PASS
    valid = [record for record in records if readable(record)]
    assert all(STRICTNESS[ending(text)] >= STRICTNESS[ending(record)] for record in valid)
    senders = {mechanism.text for mechanism in new.mechanisms}
    for record in map(read_spf, valid):
        names = [mechanism.name for mechanism in record.mechanisms]
        before = record.mechanisms[: [*names, "all"].index("all")]
        assert {mechanism.text for mechanism in before} <= senders
        if record.redirect and "all" not in names:
            assert record.redirect in (new.redirect, *(m.domain for m in new.mechanisms))
    if any(is_spf(record) for record in records):
        records = [record for record in records if is_spf(record)]
    for bad in DAMAGED:
        if any(bad in record.split() for record in records):
            assert repr(bad) in verdict.remedy or " more)" in verdict.remedy
