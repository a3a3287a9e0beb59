"""The desired state of a host, put together from the parts. Pure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Optional

from sysmail import msmtp, postfix
from sysmail.desired import Desired
from sysmail.distro import Distro
from sysmail.errors import RefusedError
from sysmail.facts.model import Facts
from sysmail.policy import Policy, Secret
from sysmail.postfix.main_cf import protocols
from sysmail.route import Decision
from sysmail.takeover import other_mtas
from sysmail.watch import units

__all__ = ["check_postfix", "effective", "postfix_version", "want"]


def postfix_version(facts: Facts) -> str:
    """The installed version, or the one that would be installed; empty when neither is known."""
    if facts.postfix is not None:
        return facts.postfix.version
    for name in facts.distro.postfix if facts.distro else ():
        match = re.match(
            r"(?:[0-9]+:)?([0-9]{1,3}\.[0-9]{1,3}(?:\.[0-9]{1,3})?)", facts.candidates.get(name, "")
        )
        if match:
            return match.group(1)
    return ""


def check_postfix(facts: Facts) -> None:
    """RefusedError when the Postfix that is there cannot do what the relay needs."""
    version = postfix_version(facts)
    found = re.match(r"([0-9]{1,3})\.([0-9]{1,3})", version)
    least = postfix.MINIMUM_VERSION
    if found and (int(found.group(1)), int(found.group(2))) < least:
        raise RefusedError(
            "postfix-too-old",
            f"Postfix {version} is too old: the relay needs {least[0]}.{least[1]} or newer",
            "upgrade the distribution, or install a newer Postfix from its backports",
        )
    # Without a main.cf postconf(1) tells nothing: what is lacking then shows at the trial.
    if facts.postfix is not None and facts.postfix.map_types:
        needed = {"regexp", "unix", "pipemap", "texthash"}
        lacking = sorted(needed - set(facts.postfix.map_types))
        if lacking:
            raise RefusedError(
                "postfix-lacks-maps",
                f"this build of Postfix lacks the table types {', '.join(lacking)} (postconf -m)",
                "install the distribution's own build of Postfix",
            )


def effective(policy: Policy, decision: Decision) -> Policy:
    """The policy with the sender that Mailu accepts: by default the login, a full address there."""
    hop = decision.hop
    if policy.sender or hop is None or decision.hop_key != "mailu" or "@" not in hop.username:
        return policy
    return replace(policy, sender=hop.username)


def want(
    policy: Policy, facts: Facts, decision: Decision, password: Optional[Secret] = None
) -> Desired:
    """What this host should have. RefusedError where the distribution is not known."""
    distro = facts.distro
    if distro is None:
        raise RefusedError(
            "unknown-distribution",
            f"{facts.os_name} is not a distribution that sysmail knows",
            "sysmail knows Debian, Ubuntu and Arch, and from their documentation Fedora and its "
            "kin, openSUSE and Alpine",
        )
    policy = effective(policy, decision)
    if decision.route == "mailu":
        return _watched(_mailu(policy, facts, distro, decision, password), policy, facts)
    check_postfix(facts)
    hop = decision.hop
    packages: list[str] = [*distro.postfix, *distro.msmtp]
    if hop is not None and hop.username:
        packages += distro.sasl
    if hop is not None and hop.tls != "none" and not hop.ca_file:
        packages += distro.certificates
    files, absent = postfix.desired_files(policy, facts, decision, postfix_version(facts), password)
    desired = Desired(
        packages=tuple(packages),
        files=(*files, msmtp.relay_file()),
        absent=(*absent, *msmtp.mailu_paths()),
        listen=_listen(policy, facts),
        needs_sasl=bool(hop is not None and hop.username),
        replaced=other_mtas(facts),
    )
    return _watched(desired, policy, facts)


def _watched(desired: Desired, policy: Policy, facts: Facts) -> Desired:
    """The same with the watch's timer, where somebody is to be told and systemd can run it."""
    if not policy.alert.is_set or not facts.systemd:
        return replace(desired, absent=(*desired.absent, *units.PATHS))
    files = (*desired.files, *units.unit_files(facts.tool))
    return replace(desired, files=files, watch=True)


def _mailu(
    policy: Policy, facts: Facts, distro: Distro, decision: Decision, password: Optional[Secret]
) -> Desired:
    """The route ``mailu``: msmtp is sendmail, and msmtpd listens where a relay would."""
    hop = decision.hop
    if hop is None:
        raise ValueError("the route mailu has a server")
    packages = [*distro.submission]
    if hop.tls != "none" and not hop.ca_file:
        packages += distro.certificates
    files = list(msmtp.mailu_files(policy, facts, decision, hop, password))
    if distro.starts_on_install and (facts.postfix is not None or facts.old_main_cf):
        # Whoever installs Postfix again finds it closed to the network.
        files.append(postfix.skeleton())
    absent = postfix.own_paths(facts)
    if password is None:
        absent = (*absent, msmtp.PASSWORD)
    replaced = [name for name in other_mtas(facts) if name not in distro.submission]
    replaced += [name for name in distro.postfix if name in facts.packages]
    return Desired(
        packages=tuple(packages),
        files=tuple(files),
        absent=absent,
        listen=_listen(policy, facts),
        relay=False,
        port=decision.port,
        replaced=tuple(replaced),
    )


def _listen(policy: Policy, facts: Facts) -> tuple[str, ...]:
    if facts.ipv6_loopback and protocols(policy, facts) == "all":
        return ("127.0.0.1", "::1")
    return ("127.0.0.1",)
