"""What may differ on a host that was put back: the whole list, published in docs/remove.md.

Each is something that a package manager or a package leaves behind, or makes anew, whoever
installs and removes packages. Accounts are never restored from a copy: somebody may have
added one meanwhile.
"""

from __future__ import annotations

# Paths without the leading slash -> why they differ.
BY_PRODUCTS = {
    **dict.fromkeys(
        ("etc/passwd", "etc/group", "etc/shadow", "etc/gshadow", "etc/subuid", "etc/subgid"),
        "the accounts that packages made; Debian's and Arch's packages never remove them",
    ),
    **dict.fromkeys(
        ("etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-"),
        "the backups that the tools for accounts make of the former",
    ),
    "etc/.pwd.lock": "the lock of the tools for accounts",
    "etc/ld.so.cache": "the cache of shared libraries, made anew whenever some come or go",
    "etc/mtab": "a link that shows what is mounted now",
    "etc/resolv.conf": "written by the host's network, not by packages",
}

# Everything whose path begins so -> why it differs.
CACHES = {
    **dict.fromkeys(
        ("etc/group.", "etc/gshadow.", "etc/passwd.", "etc/shadow."),
        "the locks of the tools for accounts, where one was killed; the next one takes them over",
    ),
    "var/spool/exim4/db/": "exim's hints about servers it talked to; its package removes them",
}
