"""The DMARC record that is told counts when it is published, and keeps the owner's policy."""

from __future__ import annotations

import re
from typing import Optional

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sysmail.deliverability.dmarc import dmarc
from sysmail.deliverability.dmarc_record import BadTagsError, read_dmarc, read_tags
from sysmail.report import FAIL, PASS, Verdict
from unit.fake_dns import told
from unit.test_deliverability import ORIGIN, OWNED, SUFFIXES, good

POLICIES = ["none", "quarantine", "reject"]
SPF_OK = Verdict("spf", PASS, "fine")


def policy_told(*texts: str, above: Optional[str] = None) -> tuple[str, str]:
    """The record that is told where a domain has these, and the remedy; it heals."""
    dns = good()
    origin = OWNED if above is None else ORIGIN
    name = f"_dmarc.{origin.domain}"
    if above is not None:
        dns.set("_dmarc.example.org", "TXT", above)
    dns.set(name, "TXT", *texts)
    verdict = dmarc(dns, origin, SUFFIXES, SPF_OK, ())
    assert verdict.status == FAIL
    text = told(verdict.remedy)
    read_dmarc(text)
    assert f"{name}. IN TXT " in verdict.remedy
    dns.set(name, "TXT", text)
    assert dmarc(dns, origin, SUFFIXES, SPF_OK, ()).status == PASS
    return text, verdict.remedy


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        (["v=DMARC1; p=", "v=DMARC1; p=reject"], "v=DMARC1; p=reject"),
        (["v=DMARC1; p=reject", "v=DMARC1; p="], "v=DMARC1; p=reject"),
        (["v=DMARC1; p=none", "v=DMARC1; p=reject;x=y"], "v=DMARC1; p=reject;x=y"),
        (["v=DMARC1; p=reject; sp=none", "v=DMARC1; p=reject"], "v=DMARC1; p=reject"),
        (["v=DMARC1; p=none", "v=DMARC1; p=reject;; fo=1"], "v=DMARC1; p=reject; fo=1"),
        (["v=DMARC1; p=", "v=DMARC1; sp=none;; p=quarantine"], "v=DMARC1; p=quarantine; sp=none"),
    ],
)
def test_one_of_several_policies(texts: list[str], kept: str) -> None:
    """The one to keep is the strictest that can be read, whatever their order."""
    assert policy_told(*texts)[0] == kept


RUA = "rua=mailto:a@example.org"


@pytest.mark.parametrize(
    ("text", "better"),
    [
        (f"v=DMARC1; p=reject;; {RUA}", f"v=DMARC1; p=reject; {RUA}"),
        (f"v=DMARC1; p=reject; {RUA};; ", f"v=DMARC1; p=reject; {RUA}"),
        (f"v=DMARC1; p=reject; nonsense; {RUA}", f"v=DMARC1; p=reject; {RUA}"),
        ("v=DMARC1; p=reject, rua=x@example.org", "v=DMARC1; p=reject; rua=mailto:x@example.org"),
        (f"v=DMARC1 p=reject {RUA}", f"v=DMARC1; p=reject; {RUA}"),
        ("v=DMARC1; P=reject; ADKIM=s", "v=DMARC1; p=reject; adkim=s"),
        (f"v=dmarc1; p=quarantine; {RUA}", f"v=DMARC1; p=quarantine; {RUA}"),
        (f"p=reject; v=DMARC1; {RUA}", f"v=DMARC1; p=reject; {RUA}"),
        ("v=DMARC1; p=rejct; x=y z", "v=DMARC1; p=reject; x=y z"),
        ("v=DMARC1; p=none; p=reject", "v=DMARC1; p=reject"),
        ("v=DMARC1; p=reject; sp=odd; pct=50", "v=DMARC1; p=reject; pct=50"),
        ("v=DMARC1; p=reject;; pct=500; adkim=x; fo=1:s", "v=DMARC1; p=reject; fo=1:s"),
        (
            f"v=DMARC1; p=reject;; {RUA}, mailto:b@x.org!10m",
            f"v=DMARC1; p=reject; {RUA},mailto:b@x.org!10m",
        ),
    ],
)
def test_policy_is_mended(text: str, better: str) -> None:
    """The owner's policy and every valid tag stay; only what is broken changes."""
    assert policy_told(text)[0] == better


def test_changes_of_a_policy_are_said() -> None:
    """What is left out, and a policy that has to be guessed, are named in the remedy."""
    _, remedy = policy_told("v=DMARC1; p=rejct; adkim=x; adkim=s; nonsense")
    assert all(word in remedy for word in ("p=rejct", "adkim=x", "nonsense"))
    text, remedy = policy_told("v=DMARC1; p=bogus; fo=1")
    assert text == "v=DMARC1; p=none; fo=1"
    assert "p=bogus" in remedy
    assert "the policy that you want" in remedy


def test_policy_below_one_that_is_stricter() -> None:
    """Of a subdomain whose policy cannot be read that of its owner stays."""
    assert policy_told("v=DMARC1; p=bogus", above="v=DMARC1; p=none; sp=reject")[0] == (
        "v=DMARC1; p=reject"
    )


def test_long_policies_stay_out_of_reports() -> None:
    """A huge record is not repeated; which one to keep is said."""
    long = f"v=DMARC1; p=reject; {RUA}" + ",mailto:b@example.org" * 300
    for texts in ([long, "v=DMARC1; p=none"], [long + ";; x=y"]):
        dns = good()
        dns.set("_dmarc.example.org", "TXT", *texts)
        verdict = dmarc(dns, OWNED, SUFFIXES, SPF_OK, ())
        assert (verdict.status, len(verdict.remedy) < 400) == (FAIL, True)
        assert "p=reject" in verdict.remedy


TAGS = [
    *("sp=reject", "sp=none", "adkim=s", "aspf=r", "fo=1:d", "pct=50", "ri=3600", "x=y"),
    *(RUA, "ruf=mailto:b@example.net!10m", "np=reject", "t=y", "psd=n"),
]
BAD_TAGS = ["", "nonsense", "sp=odd", "adkim=x", "pct=500", "=", "rua=", "p=maybe", "fo=9", "9=1"]
DMARC_RECORDS = st.builds(
    lambda start, policy, tags, by: start + by.join([policy, *tags]),
    st.sampled_from(["v=DMARC1; ", "v=DMARC1;", "v=DMARC1; ", "v=dmarc1; ", "v = DMARC1 ;"]),
    st.sampled_from([*(f"p={policy}" for policy in POLICIES), "p=", "P=reject", "p = REJECT", ""]),
    st.lists(st.sampled_from([*TAGS, *BAD_TAGS]), max_size=5),
    st.sampled_from([";", "; ", "; ", ";; "]),
)


def rank(text: str) -> tuple[int, int]:
    """How strict a record that can be read is, for the domain and below it."""
    policy = read_dmarc(text)
    return POLICIES.index(policy.policy), POLICIES.index(policy.below)


def is_policy(text: str) -> bool:
    """Whether receivers can read a policy."""
    try:
        read_dmarc(text)
    except BadTagsError:
        return False
    return re.match(r"v *= *DMARC1 *;", text) is not None


@given(st.lists(DMARC_RECORDS, min_size=1, max_size=3))
def test_any_dmarc_remedy_heals(texts: list[str]) -> None:
    """It parses, counts, is not weaker than one that can be read, and keeps its tags."""
    dns = good()
    dns.set("_dmarc.example.org", "TXT", *texts)
    verdict = dmarc(dns, OWNED, SUFFIXES, SPF_OK, ())
    assert verdict.status in (PASS, FAIL)
    assume(verdict.status == FAIL)
    text = told(verdict.remedy)
    new = read_tags(text)
    dns.set("_dmarc.example.org", "TXT", text)
    assert dmarc(dns, OWNED, SUFFIXES, SPF_OK, ()).status == PASS
    assert all(rank(text) >= rank(old) for old in texts if is_policy(old))
    if len(texts) == 1:
        names = [tag.partition("=")[0] for tag in texts[0].split(";")]
        for tag in texts[0].split(";"):
            name, _, value = tag.strip().partition("=")
            if tag.strip() in TAGS and names.count(tag.partition("=")[0]) == 1:
                assert new[name] == value
