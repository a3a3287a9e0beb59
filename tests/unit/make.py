"""Makes facts and policies for tests: by hand with changes, or generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from sysmail.desired import Desired
from sysmail.distro import DISTROS
from sysmail.errors import PolicyError
from sysmail.facts.model import Facts, Listener, PostfixFacts, ServiceFacts, UnitFacts
from sysmail.policy import Policy, Secret, parse
from sysmail.route import NOTHING_SEEN, Decision, Seen, decide
from sysmail.want import want

ROWS = {row.name: row for row in DISTROS}
MAP_TYPES = ("pipemap", "regexp", "texthash", "unix")
PASSWORD = Secret("correct horse battery staple")


def postfix(version: str = "3.7.11", **parameters: str) -> PostfixFacts:
    """An installed Postfix."""
    return PostfixFacts(version, {"mail_version": version, **parameters}, map_types=MAP_TYPES)


def facts(**changes: Any) -> Facts:
    """A bare Debian called web1.example.org, with changes."""
    plain = Facts(
        os_name="Debian GNU/Linux 12 (bookworm)",
        distro=ROWS["apt"],
        systemd=True,
        nodename="web1",
        fqdn="web1.example.org",
        ipv6_loopback=True,
        addresses=("127.0.0.1", "192.0.2.7", "::1"),
        listeners=(),
        packages={},
        candidates={"postfix": "3.7.11-0+deb12u1"},
    )
    return replace(plain, **changes)


def facts_of_case(host: Mapping[str, Any]) -> Facts:
    """The facts that a JSON case names: those of ``Facts``, a distribution and Postfix by name."""
    changes = dict(host)
    if "distro" in changes:
        changes["distro"] = ROWS[changes["distro"]]
    if "postfix" in changes:
        changes["postfix"] = postfix(changes["postfix"])
    if "service" in changes:
        changes["service"] = ServiceFacts(**changes["service"])
    if "msmtpd" in changes:
        changes["msmtpd"] = {a: UnitFacts(**unit) for a, unit in changes["msmtpd"].items()}
    if "packages" in changes:
        changes["packages"] = dict.fromkeys(changes["packages"], "1")
    listeners = changes.pop("listen", [])
    changes["listeners"] = tuple(Listener(address, 25, 1) for address in listeners)
    return facts(**changes)


def as_asked(desired: Desired, before: Facts) -> Facts:
    """The facts of a host on which all of this was done."""
    packages = {**before.packages, **dict.fromkeys(desired.packages, "1")}
    packages = {name: v for name, v in packages.items() if name not in desired.replaced}
    if not desired.relay:
        return replace(
            before,
            packages=packages,
            postfix=None,
            service=ServiceFacts(),
            master_running=False,
            msmtpd={a: UnitFacts(active=True, enabled=True, pid=800) for a in desired.listen},
            listeners=tuple(Listener(address, desired.port, 1) for address in desired.listen),
            old_main_cf=before.postfix is not None or before.old_main_cf,
            watch=UnitFacts(active=desired.watch, enabled=desired.watch),
        )
    return replace(
        before,
        packages=packages,
        msmtpd={},
        watch=UnitFacts(active=desired.watch, enabled=desired.watch),
        postfix=before.postfix or postfix(),
        service=ServiceFacts(exists=True, active=True, enabled=True),
        master_running=True,
        listeners=tuple(Listener(address, 25, 1) for address in desired.listen),
    )


def wanted(policy: Policy, about: Facts, seen: Seen = NOTHING_SEEN) -> tuple[Decision, Desired]:
    """The decision and the desired state, as the commands put them together."""
    decision = decide(policy, about, seen)
    login = decision.hop is not None and bool(decision.hop.username)
    return decision, want(policy, about, decision, PASSWORD if login else None)


def relayed(policy: Policy) -> Policy:
    """The same policy, where the relay is asked for: Postfix whatever Mailu answers."""
    return replace(policy, route="relay")


_LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
NAMES = st.lists(_LABEL, min_size=2, max_size=3).map(lambda labels: ".".join([*labels, "example"]))
ADDRESSES = st.builds(
    "{}@{}".format,
    st.text("abcXYZ01.+_-/{}#=", min_size=1, max_size=8)
    .filter(lambda local: ".." not in local and not (local[0] + local[-1]).count("."))
    .map(lambda local: "x" + local),
    NAMES,
)


@st.composite
def _hops(draw: st.DrawFn) -> dict[str, Any]:
    hop: dict[str, Any] = {"host": draw(NAMES), "tls": draw(st.sampled_from(TLS))}
    if hop["tls"] != "none" and draw(st.booleans()):
        hop["username"] = draw(ADDRESSES)
        hop["password_file"] = "/etc/sysmail/password"
    if hop["tls"] != "none" and draw(st.booleans()):
        hop["ca_file"] = "/etc/ssl/private.pem"
    return hop


@st.composite
def _policies(draw: st.DrawFn) -> Policy:
    data: dict[str, Any] = {}
    for name, values in _VALUES.items():
        if draw(st.booleans()):
            data[name] = draw(values)
    hops = {name: draw(_hops()) for name in ("mailu", "smarthost") if draw(st.booleans())}
    if draw(st.booleans()):
        data["next_hop"] = draw(st.sampled_from(["direct", "hold", *hops]))
    try:
        return parse({**data, **hops})
    except PolicyError:
        # What the policy's own tests are about, such as two parameters that do not go together.
        return parse(hops)


TLS = ("implicit", "starttls", "none")
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "admin": ADDRESSES,
    "hostname": NAMES,
    "sender": ADDRESSES,
    "route": st.sampled_from(["auto", "relay", "mailu"]),
    "alert": st.sampled_from([{}, {"command": "/bin/page"}]),
    "queue": st.sampled_from([{"lifetime": "2h"}, {"warn_after": 0}, {"retry_every": "5m"}]),
    "limits": st.sampled_from([{"message_size": "20kB"}, {"message_size": "1GB"}]),
    "postfix": st.dictionaries(
        st.sampled_from(["mail_name", "header_size_limit", "inet_protocols", "hopcount_limit"]),
        st.sampled_from(["ipv4", "100000", "a b  c", "$mail_version"]),
        max_size=2,
    ),
}
POLICIES = _policies()

# Hosts on which the relay can be had.
FACTS = st.builds(
    facts,
    distro=st.sampled_from(DISTROS),
    systemd=st.booleans(),
    nodename=st.one_of(NAMES, st.text(min_size=1, max_size=8), st.just("localhost")),
    fqdn=st.one_of(st.just(""), NAMES),
    ipv6_loopback=st.booleans(),
    listeners=st.lists(
        st.builds(
            Listener, st.sampled_from(["127.0.0.1", "::1", "0.0.0.0"]), st.just(25), st.just(1)
        )
    ).map(tuple),
    packages=st.dictionaries(
        st.sampled_from(["postfix", "msmtp", "msmtp-mta", "exim4", "dma"]), st.just("1")
    ),
    candidates=st.dictionaries(
        st.just("postfix"), st.sampled_from(["3.7.11-0+deb12u1", "2:3.5.25", "odd"])
    ),
    postfix=st.one_of(st.none(), st.sampled_from(["3.4.23", "3.10.1", "", "4"]).map(postfix)),
    service=st.builds(ServiceFacts, st.booleans(), st.booleans(), st.booleans()),
    master_running=st.booleans(),
    log_socket=st.booleans(),
    msmtpd=st.dictionaries(
        st.sampled_from(["127.0.0.1", "::1"]),
        st.builds(UnitFacts, st.booleans(), st.booleans(), st.integers(0, 2)),
    ),
    old_main_cf=st.booleans(),
    watch=st.builds(UnitFacts, st.booleans(), st.booleans()),
    tool=st.sampled_from(
        ["/opt/sysmail/sysmail", "/usr/bin/python3 -I /var/lib/sysmail/recover.pyz"]
    ),
)

SEEN = st.builds(
    Seen,
    trouble=st.sampled_from(["", "no connection to m.example port 465"]),
    in_force=st.sampled_from(["", "mailu", "relay"]),
    down_for=st.sampled_from([0.0, 59.0, 60.0, 3599.0, 3600.0, 1e6]),
    owner=st.sampled_from(["", "docker-proxy (pid 9)"]),
)

# Any host, those too that are refused.
ANY_FACTS = st.builds(
    replace,
    FACTS,
    distro=st.sampled_from([None, *DISTROS]),
    postfix=st.sampled_from(
        [None, postfix("3.3.0"), postfix("3.7.11"), PostfixFacts("3.7.11", {})]
    ),
    candidates=st.sampled_from([{}, {"postfix": "3.2.1"}, {"postfix": "3.7.11"}]),
)
