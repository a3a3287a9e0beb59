"""/etc/hosts as a fresh Debian has it."""

from __future__ import annotations


def stock_hosts_file(fqdn: str) -> str:
    """What Debian's installer writes to /etc/hosts; `localhost` is ::1 first for most programs."""
    names = fqdn if "." not in fqdn else f"{fqdn} {fqdn.partition('.')[0]}"
    return (
        f"127.0.0.1\tlocalhost\n127.0.1.1\t{names}\n\n"
        "# The following lines are desirable for IPv6 capable hosts\n"
        "::1     localhost ip6-localhost ip6-loopback\n"
        "ff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"
    )
