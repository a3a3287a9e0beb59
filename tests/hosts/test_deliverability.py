"""`prove --deliverability` on a booted host: DNS that is right, wrong, missing and hostile."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dns
import pytest
from onhost import Ran, apply, differences, policy, snapshot, sysmail

from lab import Host, Lab
from lab.machine import call, end_process
from lab.network import Node, inside

NAME = "deliver.lab.test"
TESTS = Path(__file__).resolve().parents[1]
LISTS = ("zen.spamhaus.org", "bl.spamcop.net", "psbl.surriel.com")
SPF = "v=spf1 a -all"
START = "deliverability:"
PUBLIC = "public.test"
ODD = ("9.9.9.10", "2620:fe::10")
ADDRESSES = ("149.112.112.112", "2620:fe::fe")


@pytest.fixture(scope="module")
def host(lab: Lab) -> Iterator[Host]:
    """A relay to the recipients' own exchangers, welcome everywhere: every record is right."""
    made = lab.host("deliver", packages=["postfix", "msmtp"])
    try:
        policy(made, f'admin = "ops@{PUBLIC}"\n')
        _public(lab.mx.node, made, ADDRESSES)
        lab.dns.add(PUBLIC, "MX", f"mx.{PUBLIC}")
        for address in ADDRESSES:
            lab.dns.add(f"mx.{PUBLIC}", "ADDRESS", address)
        apply(made)
        lab.dns.add(NAME, "TXT", SPF)
        lab.dns.add("_dmarc.lab.test", "TXT", "v=DMARC1; p=reject")
        for zone in LISTS:
            lab.dns.add(f"2.0.0.127.{zone}", "A", "127.0.0.2")
        yield made
    finally:
        _private_again(lab.mx.node, ADDRESSES)
        for name in (
            PUBLIC,
            f"mx.{PUBLIC}",
            NAME,
            "_dmarc.lab.test",
            *(f"2.0.0.127.{zone}" for zone in LISTS),
        ):
            lab.dns.remove(name)
        lab.remove(made)


def _public(node: Node, host: Host, addresses: tuple[str, str]) -> None:
    """Give a node public addresses, and the host routes to them: the lab has no way out."""
    for address, via in zip(addresses, (node.address, node.address6), strict=True):
        whole = f"{address}/{128 if ':' in address else 32}"
        call(["ip", "-n", node.netns, "address", "add", whole, "dev", "lo"])
        host.run(["ip", "route", "replace", whole, "via", via])


def _private_again(node: Node, addresses: tuple[str, str]) -> None:
    for address in addresses:
        whole = f"{address}/{128 if ':' in address else 32}"
        call(["ip", "-n", node.netns, "address", "delete", whole, "dev", "lo"])


@pytest.fixture(scope="module")
def with_library(host: Host) -> None:
    """The host has dnspython where its distribution's package puts it."""
    there = host.root / "usr/lib/python3/dist-packages/dns"
    shutil.copytree(Path(dns.__file__).parent, there, ignore=shutil.ignore_patterns("__pycache__"))


@pytest.fixture
def node(lab: Lab) -> Iterator[Node]:
    """A node of the lab's network for one test."""
    made = lab._network.add("odd")
    try:
        yield made
    finally:
        lab._network.remove(made)


def proven(host: Host, *words: str, outside: bool = True) -> Ran:
    """The report; the host's private addresses are said to be the outside ones."""
    told = ["--address", host.address, "--address", host.address6] if outside else []
    return sysmail(host, "prove", "--deliverability", *told, *words)


def statuses(ran: Ran) -> dict[str, str]:
    """The verdicts on deliverability that are no pass, by the rest of their names."""
    rows = [v for v in ran.report["verdicts"] if v["check"].startswith(START)]
    return {v["check"][len(START) :]: v["status"] for v in rows if v["status"] != "pass"}


def test_without_dnspython(host: Host) -> None:
    """A host without the library is told how to get it, and proves its promises as ever."""
    ran = proven(host)
    assert (ran.status, ran.codes) == (1, ["dnspython-missing"])
    assert sysmail(host, "prove").status == 0


@pytest.mark.usefixtures("with_library")
def test_everything_is_right(host: Host) -> None:
    """Exit 0, both families apart, and nothing on the host was changed."""
    before = snapshot(host)
    ran = proven(host)
    assert (ran.status, statuses(ran)) == (0, {}), ran.failed()
    assert host.address in ran.verdict(f"{START}reverse-dns-ipv4")["evidence"]
    assert host.address6 in ran.verdict(f"{START}reverse-dns-ipv6")["evidence"]
    for family in ("ipv4", "ipv6"):
        assert f"mx.{PUBLIC}" in ran.verdict(f"{START}port-25-{family}")["evidence"]
    assert differences(before, snapshot(host)) == []


@pytest.mark.usefixtures("with_library")
def test_private_address(host: Host) -> None:
    """The addresses of the lab are private: without --address nobody knows the outside ones."""
    ran = proven(host, outside=False)
    assert ran.status == 3
    assert {"address-ipv4", "address-ipv6", "spf", "blocklists-ipv4"} <= set(statuses(ran))
    assert set(statuses(ran).values()) == {"unknown"}


@pytest.mark.usefixtures("with_library")
def test_wrong_and_missing_records(lab: Lab, host: Host) -> None:
    """Each is found by its check, and what the remedies say, published, heals all of it."""
    lab.dns.remove("_dmarc.lab.test")
    lab.dns.remove(NAME)
    lab.dns.add(NAME, "TXT", "v=spf1 ip4:192.0.2.1 -all")
    lab.dns.add(host.address, "PTR", "static.provider.test")
    ran = proven(host)
    assert ran.status == 1
    families = [f"reverse-dns-{family}" for family in ("ipv4", "ipv6")]
    assert statuses(ran) == dict.fromkeys([*families, "spf", "spf-helo", "dmarc"], "fail")
    lab.dns.remove(NAME)
    lab.dns.remove(host.address)
    published: set[str] = set()
    try:
        published |= _publish(lab, ran)
        missing = proven(host)
        assert statuses(missing) == dict.fromkeys(families, "fail"), missing.failed()
        published |= _publish(lab, missing)
        healed = proven(host)
        assert (healed.status, statuses(healed)) == (0, {}), healed.failed()
    finally:
        for name in (NAME, host.address, *published):
            lab.dns.remove(name)
        for address in (host.address, host.address6):
            lab.dns.add(NAME, "ADDRESS", address)
        lab.dns.add(NAME, "TXT", SPF)
        lab.dns.add("_dmarc.lab.test", "TXT", "v=DMARC1; p=reject")


def _publish(lab: Lab, ran: Ran) -> set[str]:
    """Put the records of all remedies into the lab's DNS, each once; return their names."""
    remedies = " ; ".join(v["remedy"] for v in ran.report["verdicts"])
    found = re.findall(r'(\S+)\. IN (TXT|A|AAAA|PTR) (".*?"|\S+)', remedies)
    assert found
    for name, kind, value in dict.fromkeys(found):
        lab.dns.add(name, kind, value.strip('"').removesuffix("."))
    return {name for name, _, _ in found}


@pytest.mark.usefixtures("with_library")
def test_blocklists(lab: Lab, host: Host) -> None:
    """A listing fails; an error of the list, and a list that does not answer here, are unknown."""
    asked = f"{'.'.join(reversed(host.address.split('.')))}.zen.spamhaus.org"
    for code, status in (("127.0.0.4", "fail"), ("127.255.255.254", "unknown")):
        lab.dns.add(asked, "A", code)
        assert statuses(proven(host)) == {"blocklists-ipv4": status}
        lab.dns.remove(asked)
    lab.dns.remove("2.0.0.127.zen.spamhaus.org")
    both = dict.fromkeys(["blocklists-ipv4", "blocklists-ipv6"], "unknown")
    assert statuses(proven(host)) == both
    lab.dns.add("2.0.0.127.zen.spamhaus.org", "A", "127.0.0.2")


@pytest.mark.usefixtures("with_library")
def test_port_25_is_closed(lab: Lab, host: Host, node: Node) -> None:
    """A way that drops is told from one that rejects, IPv4 and IPv6 apart; --to says whose."""
    call(["ip", "-n", node.netns, "route", "add", "blackhole", f"{host.address}/32"])
    closed4, closed6 = ODD
    _public(node, host, ODD)
    lab.dns.add("dropped.test", "MX", "mx.dropped.test")
    lab.dns.add("mx.dropped.test", "A", closed4)
    lab.dns.add("mx.dropped.test", "AAAA", closed6)
    lab.dns.add("half.test", "MX", "mx.half.test")
    lab.dns.add("mx.half.test", "A", ADDRESSES[0])
    lab.dns.add("mx.half.test", "AAAA", closed6)
    try:
        for admin, closed in (
            ("ops@dropped.test", ["port-25-ipv4", "port-25-ipv6"]),
            ("ops@half.test", ["port-25-ipv6"]),
        ):
            ran = proven(host, "--admin", admin)
            assert statuses(ran) == dict.fromkeys(closed, "fail"), ran.failed()
            said = {name: ran.verdict(START + name)["evidence"] for name in closed}
            assert "rejected" in said["port-25-ipv6"]
            assert "dropped" in said.get("port-25-ipv4", "dropped")
    finally:
        for name in ("dropped.test", "mx.dropped.test", "half.test", "mx.half.test"):
            lab.dns.remove(name)


@pytest.mark.usefixtures("with_library")
def test_private_exchanger(host: Host) -> None:
    """One in the host's own network takes connections, and is no proof that port 25 leaves it."""
    ran = proven(host, "--admin", "ops@example.org")
    assert statuses(ran) == dict.fromkeys(["port-25-ipv4", "port-25-ipv6"], "unknown")
    assert "private address" in ran.verdict(f"{START}port-25-ipv4")["evidence"]


@pytest.mark.usefixtures("with_library")
def test_other_next_hops(host: Host) -> None:
    """With mail on hold the check says that it is for direct, and is no failure."""
    ran = proven(host, "--next-hop", "hold")
    assert statuses(ran) == {}
    assert "next hop direct" in ran.verdict(f"{START}next-hop")["evidence"]


@pytest.fixture
def hostile(host: Host, node: Node) -> Iterator[None]:
    """The host's resolver is one that answers as a label of the name tells it to.

    It knows no exchanger, so the host gets a default route: the way out is found by that.
    """
    server = subprocess.Popen(
        inside(node.netns, sys.executable, "-m", "unit.odd_dns", node.address, "53"),
        cwd=TESTS,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    resolv = host.root / "etc/resolv.conf"
    before = resolv.read_text()
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        resolv.write_text(f"nameserver {node.address}\n")
        for family, gateway in (("-4", node.address), ("-6", node.address6)):
            _default_route(host, family, "add", gateway)
        yield
    finally:
        resolv.write_text(before)
        for family, gateway in (("-4", node.address), ("-6", node.address6)):
            _default_route(host, family, "del", gateway)
        end_process(server)


def _default_route(host: Host, family: str, action: str, gateway: str) -> None:
    words = [family, "-n", host.node.netns, "route", action, "default", "via", gateway]
    call(["ip", *words])


@pytest.mark.usefixtures("with_library", "hostile")
def test_hostile_answers(host: Host) -> None:
    """Silence, errors and rubbish are unknown; loops, bytes and huge records fail; no traceback."""
    for label, allowed in {
        "truncated": "pass",
        "slow": "pass unknown",
        "silent": "unknown",
        "servfail": "unknown",
        "loop": "unknown",
        "includes": "fail",
        "huge": "fail",
        "bytes": "fail",
        "nowhere": "fail",
    }.items():
        ran = proven(host, "--sender", f"x@{label}.odd.test")
        verdict = ran.verdict(f"{START}spf")
        assert verdict["status"] in allowed.split(), (label, verdict)
        assert len(verdict["evidence"]) < 1000
        assert ran.verdict(f"{START}reverse-dns-ipv4")["status"] == "fail"
        assert ran.verdict(f"{START}blocklists-ipv4")["status"] == "unknown"
