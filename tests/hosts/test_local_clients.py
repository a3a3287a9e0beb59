"""Promise 2 on a booted host: both loopback families may relay, nobody else may."""

from __future__ import annotations

import pytest
from onhost import apply, send_smtp, sysmail

from lab import FreshHost, Host, Lab


@pytest.fixture(scope="module")
def relay(lab: Lab) -> Host:
    host = lab.host("clients", packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    return host


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost", "127.0.0.2"])
def test_loopback_may_relay(lab: Lab, relay: Host, address: str) -> None:
    """A client on any loopback address hands over mail for anybody, and it arrives."""
    if address == "127.0.0.2":
        # Only its source address is unusual: the relay listens on 127.0.0.1.
        said = send_smtp(relay, "x@example.net", f"Subject: from {address}\n\n",
                         address="127.0.0.1", source=address)  # fmt: skip
    else:
        said = send_smtp(relay, "x@example.net", f"Subject: from {address}\n\n", address=address)
    assert said.startswith("250"), said
    lab.mx.wait_for(lambda m: m.message["Subject"] == f"from {address}")


def test_other_addresses_of_the_host_may_not(relay: Host) -> None:
    """A client with another address of the host is refused, and those addresses do not listen."""
    for own in (relay.address, relay.address6):
        loopback = "::1" if ":" in own else "127.0.0.1"
        said = send_smtp(relay, "x@example.net", address=loopback, source=own)
        assert said.startswith("554"), f"{own}: {said}"
        assert "no connection" in send_smtp(relay, "x@example.net", address=own)


def test_spellings_of_relaying_are_no_way_in(relay: Host) -> None:
    """Source routes, the percent hack and bang paths do not make an outsider a local client."""
    for recipient in ("@localhost:x@example.net", "x%example.net@localhost", "example.net!x"):
        said = send_smtp(relay, recipient, address="127.0.0.1", source=relay.address)
        assert said.startswith(("554", "501")), f"{recipient}: {said}"


@pytest.mark.parametrize(
    "break_it",
    [
        "postconf -e 'mynetworks = 127.0.0.0/8'",
        "postconf -e 'mynetworks = 127.0.0.0/8 [::1]/128 10.0.0.0/8 [fd00::]/8'",
        "postconf -e 'smtpd_relay_restrictions = permit_mynetworks'",
    ],
)
def test_broken_on_purpose(fresh_host: FreshHost, break_it: str) -> None:
    """prove finds who may not and should, who may and should not, and a dead smtpd."""
    host = fresh_host(packages=["postfix", "msmtp"])
    apply(host, "--admin", "ops@example.org")
    if "10.0.0.0" in break_it:
        break_it += (
            " 'smtpd_client_restrictions =' 'smtpd_relay_restrictions = permit_mynetworks, reject'"
        )
    host.run(f"{break_it} && systemctl restart postfix")
    ran = sysmail(host, "prove")
    assert ran.status == 1
    assert ran.verdict("local-clients")["status"] in {"fail", "unknown"}, ran.failed()
    apply(host)
    assert sysmail(host, "prove").status == 0
