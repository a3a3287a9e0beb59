"""A Debian 12 in memory: apt, systemd and Postfix as far as sysmail asks them for something.

What was measured on real hosts is imitated where a test may rely on it: installing Postfix
starts it, on every interface unless a main.cf is there; purging takes /etc/postfix along.
Mail programs exclude each other: installing one removes the other and keeps its configuration
and its spool; purging takes those too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

from sysmail.host.port import Caught, Completed, SmtpReply, SmtpSession
from sysmail.watch.units import PATHS, TIMER
from unit.fake_host import FakeHost
from unit.fake_journal import journalctl, lines_of_journal
from unit.fake_msmtpd import INODES as MSMTPD_INODES
from unit.fake_msmtpd import Handed, MsmtpdSession, Units

__all__ = ["FakeDebian"]

OS_RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
PID = 700
SOCKET = 9005
"""The inode of each of Postfix's sockets that are files."""
INODES = {"127.0.0.1": 9001, "::1": 9002, "0.0.0.0": 9003, "::": 9004}
SASL_PLAIN = "/usr/lib/x86_64-linux-gnu/sasl2/libplain.so.2"
EXIM_INODES = {"127.0.0.1": 9201, "::1": 9202}
HEX = {
    "127.0.0.1": "0100007F",
    "0.0.0.0": "00000000",
    "::": "0" * 32,
    "::1": "0" * 24 + "01000000",
}
FIB_TRIE = "Local:\n  |-- 127.0.0.1\n     /32 host LOCAL\n  |-- 192.0.2.7\n     /32 host LOCAL\n"
IF_INET6 = "00000000000000000000000000000001 01 80 10 80       lo\n"

DEFAULTS = {
    "mail_version": "3.7.11",
    "config_directory": "/etc/postfix",
    "queue_directory": "/var/spool/postfix",
    "inet_interfaces": "all",
    "inet_protocols": "all",
    "mydestination": "$myhostname, localhost.$mydomain, localhost",
    "mydomain": "example.org",
    "myhostname": "web1.example.org",
    "notify_classes": "resource, software",
    "relay_domains": "$mydestination",
    "virtual_alias_domains": "$virtual_alias_maps",
    "virtual_mailbox_domains": "$virtual_mailbox_maps",
    "virtual_transport": "virtual",
}
BROUGHT = {
    "postfix": ("postfix", "ssl-cert"),
    "msmtp": ("msmtp", "libgsasl18"),
    "msmtp-mta": ("msmtp", "libgsasl18", "msmtp-mta"),
}
VERSIONS = {"postfix": "3.7.11-0+deb12u1", "msmtp": "1.8.23-1", "msmtp-mta": "1.8.23-1"}
MTAS = ("postfix", "msmtp-mta", "exim4", "exim4-daemon-light", "nullmailer", "dma")
"""Packages that own ``sendmail``: each excludes the others (exim4 needs its daemon)."""
POSTFIX_ACCOUNT = "postfix:x:102:105::/var/spool/postfix:/usr/sbin/nologin\n"
POSTFIX_PROGRAMS = ("postconf", "postfix", "postqueue", "postsuper", "postcat", "sendmail")
_SPOOL = "/var/spool/postfix"
CONFFILES = {"/etc/rsyslog.d/postfix.conf": "# logs\n"}
"""Of Postfix's package, beside its folder."""
POSTFIX_FILES = ("dynamicmaps.cf", "master.cf", "postfix-files")


def main_cf_values(text: str) -> dict[str, str]:
    """The parameters of a main.cf, as postconf(5) describes its format."""
    joined = re.sub(r"\n[ \t]+", " ", "\n".join(x for x in text.split("\n") if x[:1] != "#"))
    pairs = (line.partition("=") for line in joined.split("\n") if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


class FakeDebian(FakeHost):
    """A Debian host; ``postfix=True``: its package is installed, untouched and running."""

    def __init__(self, *, postfix: bool = False) -> None:
        super().__init__()
        self.packages = {"apt": "ii ", "ca-certificates": "ii ", "libsasl2-modules": "ii "}
        self.running: Optional[dict[str, str]] = None
        self.enabled = False
        self.starts = self.scratch_starts = True
        self.queue: list[dict[str, Any]] = []
        self.left: list[dict[str, Any]] = []
        self.handed: list[Handed] = []
        self.msmtpd = Units(self)
        self.timer: set[str] = set()
        self.exim_runs = self.exim_enabled = False
        self.automatic: set[str] = set()
        self.needs: dict[str, str] = {}
        self.removes_automatically = self.masked = False
        self.broken: set[str] = set()
        """Packages whose postinst fails."""
        self.log: list[str] = []
        self.logs = True
        """Whether somebody keeps what Postfix says."""
        self.forged: set[str] = set()
        """Lines of the log that some other user's program wrote."""
        self.exposed: list[str] = []
        self.scratch: dict[str, int] = {}
        self.put("/etc/os-release", OS_RELEASE)
        self.put("/etc/hosts", "127.0.0.1 localhost\n192.0.2.7 web1.example.org web1\n")
        self.put("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
        self.put_directory("/run/systemd/system")
        # Other units are always enabled there.
        self.put("/etc/systemd/system/multi-user.target.wants/cron.service", "")
        self.put_directory("/run/sysmail")
        for path in ("/var/mail", "/var/spool", "/usr/sbin", "/usr/bin", "/etc/rsyslog.d"):
            self.put_directory(path)
        self.put("/dev/log", "")
        self.put("/bin/page", "#!", 0o755)
        self.command = "/opt/sysmail/sysmail"
        self.put(self.command, "#!/usr/bin/env python3\n", 0o755)
        self.put(SASL_PLAIN, "")
        self.put("/etc/ssl/certs/ca-certificates.crt", "")
        self.dynamic["/proc/net/tcp"] = lambda: self._sockets("127.0.0.1", "0.0.0.0")
        self.dynamic["/proc/net/tcp6"] = lambda: self._sockets("::1", "::")
        self.dynamic["/proc/uptime"] = lambda: b"90.10 170.00\n"
        self.dynamic["/proc/net/unix"] = self._unix_sockets
        self.dynamic["/proc/net/fib_trie"] = FIB_TRIE.encode
        self.dynamic["/proc/net/if_inet6"] = IF_INET6.encode
        self.dynamic[f"/proc/{PID}/comm"] = lambda: b"master\n" if self.running else b""
        self.dynamic["/proc/701/comm"] = lambda: b"master\n" if self.scratch else b""
        for program, handler in self._programs().items():
            self.programs[program] = handler
        if postfix:
            for name in BROUGHT["postfix"]:
                self.packages[name] = "ii "
            self._unpack_postfix()
            self._configure_postfix()
            self._start()

    def clone(self) -> FakeDebian:
        """Another host that is in the same state, nothing recorded yet."""
        other = FakeDebian()
        if "postconf" in self.programs:
            other._unpack_postfix()
        if "msmtp" in self.programs:
            other.programs["msmtp"] = other._msmtp
        if "msmtp-mta" in self.packages and "postconf" not in self.programs:
            other.programs["sendmail"] = other._msmtp
        other.entries = dict(self.entries)
        other.dynamic.update({path: self.dynamic[path] for path in self._opened()})
        other.packages = dict(self.packages)
        other.running = None if self.running is None else dict(self.running)
        other.enabled, other.clock = self.enabled, self.clock
        other.sockets = {pid: set(inodes) for pid, inodes in self.sockets.items()}
        other.servers = dict(self.servers)
        other.queue, other.log = list(self.queue), list(self.log)
        other.left, other.handed = list(self.left), list(self.handed)
        other.msmtpd.copy_of(self.msmtpd)
        other.timer, other.command = set(self.timer), self.command
        other.exim_runs, other.exim_enabled = self.exim_runs, self.exim_enabled
        other.needs, other.removes_automatically = dict(self.needs), self.removes_automatically
        other.automatic, other.owners = set(self.automatic), dict(self.owners)
        other.broken, other.masked = set(self.broken), self.masked
        other.scratch, other.exposed = dict(self.scratch), list(self.exposed)
        return other

    def world(self) -> dict[str, Any]:
        """Everything that a rollback must put back; sysmail's own records apart."""
        own = "/var/lib/sysmail"
        return {
            "files": {k: v for k, v in self.tree().items() if not (k + "/").startswith(own + "/")},
            "packages": dict(self.packages),
            "running": self.running,
            "enabled": self.enabled,
            "queue": list(self.queue),
            "scratch": dict(self.scratch),
            "msmtpd": self.msmtpd.world(),
            "timer": sorted(self.timer),
            "exim": (self.exim_runs, self.exim_enabled),
            "automatic": sorted(self.automatic & set(self.packages)),
        }

    # Programs.

    def _programs(self) -> dict[str, Any]:
        return {
            "dpkg-query": self._dpkg_query,
            "apt-cache": self._apt_cache,
            "apt-get": self._apt_get,
            "apt-mark": self._apt_mark,
            "dpkg": self._dpkg,
            "systemctl": self._systemctl,
            "journalctl": self._journalctl,
            "getent": self._getent,
        }

    def _getent(self, argv: Sequence[str], _stdin: Optional[bytes]) -> Completed:
        known = list(argv) == ["getent", "passwd", "postfix"]
        return _said(argv, POSTFIX_ACCOUNT if known else "", 0 if known else 2)

    def _dpkg_query(self, argv: Sequence[str], _stdin: Optional[bytes]) -> Completed:
        if "${Conffiles}" in argv[3]:
            sums = {
                path: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
                for path, text in CONFFILES.items()
                if "postfix" in argv and "postfix" in self.packages
            }
            return _said(argv, "".join(f"\n {path} {md5}\n" for path, md5 in sums.items()))
        lines = [f"{s} {n} {VERSIONS.get(n, '1')}\n" for n, s in sorted(self.packages.items())]
        return _said(argv, "".join(lines))

    def _apt_cache(self, argv: Sequence[str], _stdin: Optional[bytes]) -> Completed:
        if argv[1] == "policy":
            found = [f"{n}:\n  Candidate: {VERSIONS.get(n, '1')}\n" for n in argv[2:]]
            return _said(argv, "".join(found))
        # As `depends --recurse` prints it, what nothing provides but by a name of its own too.
        names = [p for n in argv if n in BROUGHT for p in ("<default-mta>", *BROUGHT[n])]
        return _said(argv, "".join(f"{name}\n  Depends: other\n" for name in names))

    def somebody_installs(self, name: str, *along: str) -> None:
        """A person, or a program of theirs, does; what it needs comes ``along``."""
        self.packages.update(dict.fromkeys((name, *along), "ii "))
        self.automatic |= set(along)
        self.automatic.discard(name)
        self.needs.update(dict.fromkeys((name,), along[0]) if along else {})

    def somebody_breaks(self, name: str) -> None:
        """A person installs a package that cannot be set up."""
        self.packages[name] = "iF "
        self.broken.add(name)

    def _apt_mark(self, argv: Sequence[str], _stdin: Optional[bytes]) -> Completed:
        if argv[1] == "showauto":
            return _said(argv, "".join(f"{name}\n" for name in sorted(self.automatic)))
        self.automatic |= set(argv[2:])
        return _said(argv)

    def install_exim4(self, role: str = "local") -> None:
        """Debian's default: exim4 for this host alone, that nobody asked for."""
        self.packages.update({"exim4": "ii ", "exim4-daemon-light": "ii "})
        self.automatic.add("exim4-daemon-light")
        self.put("/etc/exim4/update-exim4.conf.conf", f"dc_eximconfig_configtype='{role}'\n")
        self.put_directory("/var/spool/exim4/input")
        self._unpack_exim4()
        self.exim_runs = self.exim_enabled = True
        self.owners.update(dict.fromkeys(EXIM_INODES.values(), "exim4 (pid 812)"))

    def _unpack_exim4(self) -> None:
        self.put("/usr/sbin/exim4", "#!", 0o755)
        self.put_link("/usr/sbin/sendmail", "/usr/sbin/exim4")
        self.programs["sendmail"] = lambda argv, _in: _said(argv)

    def _apt_get(self, argv: Sequence[str], _stdin: Optional[bytes]) -> Completed:
        if argv[1] == "-s" and "purge" in argv:
            return self._would_purge(argv)
        if argv[1] == "-s":
            names = argv[argv.index("autoremove") + 1 :]
            asked = [p for n in names for p in BROUGHT.get(n, (n,)) if p in self.packages]
            return _said(argv, "".join(f"Remv {name} [1]\n" for name in asked))
        verb = argv[1]
        options = {i + 1 for i, word in enumerate(argv) if word == "-o"}
        names = [w for i, w in enumerate(argv) if i > 1 and w[0] != "-" and i not in options]
        if verb == "install" and "--download-only" not in argv:
            wanted = list(dict.fromkeys(p for n in names for p in BROUGHT.get(n, (n,))))
            # Before anything is unpacked, as those of what goes.
            self.automatic |= {p for p in wanted if p not in self.packages}
            self.automatic -= set(names)
            self._remove_what_nobody_needs(argv)
            self._dpkg_install([p for p in wanted if self.packages.get(p) != "ii "])
        elif verb == "remove":
            self._remove_what_nobody_needs(argv)
            self._dpkg_remove(names)
        elif verb == "purge":
            self._remove_what_nobody_needs(argv)
            self.change("apt-get", "marks of what goes", *names)
            self.automatic -= set(names)  # before anything is removed (measured)
            if self._broken() - set(names):
                # Removed, then it sets up what is left, fails, and purges nothing (measured).
                self._dpkg_remove(names)
            else:
                self._dpkg_purge(names)
        if "--download-only" not in argv and self._broken():
            return self._fails(argv)
        return _said(argv, "".join(f"Setting up {name} ...\n" for name in names))

    def _broken(self) -> set[str]:
        return {name for name in self.broken if self.packages.get(name, "rc ") != "rc "}

    def _fails(self, argv: Sequence[str]) -> Completed:
        name = min(self._broken())
        why = f" installed {name} package post-installation script subprocess returned error"
        said = f"dpkg: error processing package {name} (--configure):\n{why}\n"
        return _said(argv, said, 1 if argv[0] == "dpkg" else 100)

    def _dpkg_remove(self, names: Sequence[str]) -> None:
        for name in [name for name in names if self.packages.get(name, "rc ") != "rc "]:
            self.change("dpkg", "remove", name)
            self._remove_files(name)
            self.packages[name] = "rc "

    def _dpkg_purge(self, names: Sequence[str]) -> None:
        for name in [name for name in names if name in self.packages]:
            self.change("dpkg", "purge", name)
            if self.packages.pop(name) != "rc ":
                self._remove_files(name)
            if name == "postfix":
                self._purge_postfix()

    def _remove_what_nobody_needs(self, argv: Sequence[str]) -> None:
        """apt.conf(5): what APT::Get::AutomaticRemove does where the host's owner has set it."""
        if self.removes_automatically and "APT::Get::AutomaticRemove=false" not in argv:
            needed = {need for user, need in self.needs.items() if user in self.packages}
            for name in self.automatic - needed - {p for b in BROUGHT.values() for p in b}:
                self.packages.pop(name, None)

    def _would_purge(self, argv: Sequence[str]) -> Completed:
        """``apt-get -s purge``: what needs a package goes with it."""
        names = set(argv[argv.index("purge") + 1 :])
        names |= {user for user, needed in self.needs.items() if needed in names}
        there = sorted(name for name in names if name in self.packages)
        return _said(argv, "".join(f"Purg {name} [1]\n" for name in there))

    def _dpkg_install(self, names: list[str]) -> None:
        if set(names) & set(MTAS):
            family = {name[:5] for name in names}
            for other in [p for p in MTAS if p[:5] not in family]:
                if self.packages.get(other, "rc ") != "rc ":
                    self.change("dpkg", "remove", other)
                    self._remove_files(other)
                    self.packages[other] = "rc "
        known = {name for name in names if name in self.packages}
        for name in names:
            self.change("dpkg", "unpack", name)
            self.packages[name] = "iU "
            if name == "postfix":
                self._unpack_postfix()
            elif name in ("msmtp", "msmtp-mta"):
                self._unpack_msmtp(name)
            elif name == "exim4-daemon-light":
                self._unpack_exim4()
            elif name == "libsasl2-modules":
                self.put(SASL_PLAIN, "")
        for name in names:
            self._dpkg_configure(name, new=name not in known)

    def _dpkg_configure(self, name: str, *, new: bool) -> None:
        self.change("dpkg", "configure", name)
        self.packages[name] = "iF " if name in self.broken else "ii "
        if name in self.broken:
            return
        if name == "postfix":
            self._configure_postfix(new=new)
            self.change("dpkg", "start", name)
            self._start()
        elif name == "exim4-daemon-light":
            # Measured: its scripts do not take an owner's answers from the file.
            self.put("/etc/exim4/update-exim4.conf.conf", "dc_eximconfig_configtype='none'\n")
            self.exim_runs = self.exim_enabled = True

    def _dpkg(self, argv: Sequence[str], _stdin: Optional[bytes]) -> Completed:
        """``dpkg --configure -a``: what was unpacked is set up; ``--purge``: of these alone."""
        if argv[1] == "--purge":
            self._dpkg_purge(argv[2:])
        elif argv[1] == "--remove":
            self._dpkg_remove(argv[2:])
        elif argv[1] == "--configure":
            for name in [n for n, state in self.packages.items() if state in ("iU ", "iF ")]:
                self._dpkg_configure(name, new=False)
            return self._fails(argv) if self._broken() else _said(argv)
        return _said(argv)

    def _unpack_msmtp(self, name: str) -> None:
        self.programs["msmtp"] = self._msmtp
        self.put("/usr/bin/msmtp", "#!", 0o755)
        if name == "msmtp-mta":
            self.put("/usr/bin/msmtpd", "#!", 0o755)
            self.put_link("/usr/sbin/sendmail", "/usr/bin/msmtp")
            self.programs["sendmail"] = self._msmtp

    def _remove_files(self, name: str) -> None:
        """A package's programs go; its configuration and its spool stay."""
        if name == "postfix":
            self._stop()
            for program in POSTFIX_PROGRAMS:
                self.programs.pop(program, None)
                self.take(f"/usr/sbin/{program}")
            self.dynamic.pop("/var/spool/postfix/pid/master.pid", None)
            self._open_sockets("")
        elif name == "exim4-daemon-light":
            self.exim_runs = False
            self.take("/usr/sbin/exim4")
            self.take("/usr/sbin/sendmail")
        elif name == "msmtp-mta":
            self.take("/usr/bin/msmtpd")
            if "postconf" not in self.programs:
                self.take("/usr/sbin/sendmail")
                self.programs.pop("sendmail", None)
        elif name == "msmtp":
            self.take("/usr/bin/msmtp")
            self.programs.pop("msmtp", None)

    def _unpack_postfix(self) -> None:
        handlers = {
            "postconf": self._postconf,
            "postfix": self._postfix,
            "postqueue": self._postqueue,
            "sendmail": self._sendmail,
        }
        for name in POSTFIX_PROGRAMS:
            self.programs[name] = handlers.get(name, lambda argv, _in: _said(argv))
            # What Postfix's own sendmail has in it, and others have not.
            self.put(f"/usr/sbin/{name}", "#! postdrop", 0o755)
        self.put_directory("/var/spool/postfix")
        self.dynamic["/var/spool/postfix/pid/master.pid"] = lambda: (
            f"{PID}\n".encode() if self.running is not None else b""
        )
        for path, text in CONFFILES.items():
            if path not in self.entries:
                self.put(path, text)
        for name in POSTFIX_FILES:
            if self._at(f"/etc/postfix/{name}") not in self.entries:
                self.put(f"/etc/postfix/{name}", f"# the package's {name}\n")

    def _configure_postfix(self, *, new: bool = True) -> None:
        if self._at("/etc/postfix/main.cf") not in self.entries:
            self.put("/etc/postfix/main.cf", "inet_interfaces = all\nmyorigin = /etc/mailname\n")
        for path in ("/etc/aliases", "/etc/mailname"):
            if path not in self.entries:
                self.put(path, "postmaster: root\n")
        # A package that comes back finds its unit as an administrator left it.
        self.enabled = self.enabled or new

    def _purge_postfix(self) -> None:
        self.enabled = False
        self.take("/etc/postfix")
        self.take("/var/spool/postfix")
        for path in CONFFILES:
            self.take(path)
        self.queue.clear()

    # Postfix and its service.

    def _start(self) -> bool:
        if not self.starts or self._refused("/etc/postfix"):
            self.log.append("Nov 22 10:00:00 web1 postfix/master[9]: fatal: bad configuration")
            self.running = None
            return False
        if self.exim_runs or any(self.msmtpd.port(a) == 25 for a in self.msmtpd.running):
            self.log.append("Nov 22 10:00:00 web1 postfix/master[9]: fatal: bind: Address in use")
            self.running = None
            return False
        self.running = main_cf_values(self.text("/etc/postfix/main.cf"))
        self._open_sockets(self.text("/etc/postfix/master.cf"))
        self.sockets[PID] = {SOCKET, *(INODES[address] for address in self._listening())}
        if {"0.0.0.0", "::"} & set(self._listening()):
            self.exposed.append(self.changes[-1].what[0] if self.changes else "at first")
        return True

    def _open_sockets(self, master_cf: str) -> None:
        """The sockets of the services in the master.cf that was read, and no others."""
        for path in self._opened():
            del self.dynamic[path]
        for line in master_cf.splitlines():
            words = line.split()
            if line[:1].isalnum() and len(words) > 7 and words[1] != "inet":
                folder = "public" if words[2] == "n" else "private"
                self.dynamic[f"{_SPOOL}/{folder}/{words[0]}"] = bytes

    def _opened(self) -> list[str]:
        folders = (f"{_SPOOL}/public/", f"{_SPOOL}/private/")
        return [path for path in self.dynamic if path.startswith(folders)]

    def _unix_sockets(self) -> bytes:
        names = [path[len(_SPOOL) + 1 :] for path in self._opened() if self.running is not None]
        lines = [f"0: 2 0 10000 1 1 {SOCKET} {name}" for name in names]
        return "\n".join(["Num RefCount Protocol Flags Type St Inode Path", *lines]).encode()

    def _refused(self, config: str) -> str:
        """Why no Postfix starts with the files of a directory."""
        for path in (f"{config}/main.cf", f"{config}/master.cf"):
            if self._at(path) not in self.entries:
                return f"open {path}: No such file or directory"
        text = self.text(f"{config}/main.cf")
        odd = [x for x in text.split("\n") if x.strip() and x[0] not in "# \t" and "=" not in x]
        return f"{config}/main.cf: missing '=' after attribute name: \"{odd[0]}\"" if odd else ""

    def _stop(self) -> None:
        self.running = None
        self.sockets.pop(PID, None)

    def _listening(self) -> tuple[str, ...]:
        if self.running is None:
            return ()
        inner = self.running.get("inet_interfaces", "all") == "loopback-only"
        ipv6 = self.running.get("inet_protocols", "all") == "all"
        four, six = ("127.0.0.1", "::1") if inner else ("0.0.0.0", "::")
        return (four, six) if ipv6 else (four,)

    def is_taken(self, address: str, port: int) -> bool:
        """Whether Postfix, or what a test put there, listens on an address."""
        everywhere = "::" if ":" in address else "0.0.0.0"
        ours = port == 25 and bool({address, everywhere} & set(self._listening()))
        return ours or (address, port) in self.servers or (self.exim_runs and port == 25)

    def _sockets(self, *addresses: str) -> bytes:
        lines = ["  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt"]
        found = [(a, 25, INODES[a]) for a in addresses if a in self._listening()]
        found += [
            (a, self.msmtpd.port(a), MSMTPD_INODES[a])
            for a in addresses
            if a in self.msmtpd.running
        ]
        found += [(a, 25, EXIM_INODES[a]) for a in addresses if self.exim_runs and a in EXIM_INODES]
        lines += [
            f"   0: {HEX[a]}:{port:04X} {HEX[a]}:0000 0A 00000000:00000000 00:00000000 00000000"
            f"     0        0 {inode} 1 0000000000000000 100 0 0 10 0"
            for a, port, inode in found
        ]
        return ("\n".join(lines) + "\n").encode()

    def _systemctl(self, argv: Sequence[str], _stdin: Optional[bytes]) -> Completed:
        verb = argv[1]
        if verb == "show":
            return _said(argv, "\n".join(self._unit(name) for name in argv[4:]))
        if verb == "daemon-reload":
            self.msmtpd.reload()
        names = [name for name in argv[2:] if name.startswith("sysmail-msmtpd@")]
        if names:
            trouble = self.msmtpd.act(verb, names)
            return _said(argv, "", 0 if trouble is None else 1, trouble or "")
        if TIMER in argv:
            return self._systemctl_timer(argv)
        if "exim4.service" in argv:
            return self._systemctl_exim4(argv)
        if self.packages.get("postfix", "rc ") == "rc " or self._hinders(verb):
            what = "masked" if self.masked else "not loaded"
            return _said(argv, "", 5, f"Failed: Unit postfix.service is {what}.")
        if verb in ("enable", "disable"):
            self.enabled = verb == "enable"
        elif verb == "stop":
            self._stop()
        elif verb in ("start", "restart") or (verb == "reload" and self.running is not None):
            self._start()
        return _said(argv)

    def _hinders(self, verb: str) -> bool:
        return self.masked and verb in ("enable", "start", "restart", "reload")

    def _systemctl_timer(self, argv: Sequence[str]) -> Completed:
        """The timer of the watch, whose units have to be there for it to start."""
        verb = argv[1]
        if verb in ("enable", "restart") and not all(path in self.entries for path in PATHS):
            return _said(argv, "", 1, f"Failed to {verb} unit: Unit {TIMER} not found.")
        if verb == "enable":
            self.put_directory("/etc/systemd/system/timers.target.wants")
        did = {"enable": "enabled", "disable": "enabled", "restart": "active", "stop": "active"}
        if verb in ("enable", "restart"):
            self.timer.add(did[verb])
        else:
            self.timer.discard(did[verb])
        return _said(argv)

    def _systemctl_exim4(self, argv: Sequence[str]) -> Completed:
        if argv[1] in ("enable", "disable"):
            self.exim_enabled = argv[1] == "enable"
        elif argv[1] in ("start", "restart", "stop"):
            self.exim_runs = argv[1] != "stop"
        return _said(argv)

    def _unit(self, name: str) -> str:
        """A block of ``systemctl show``."""
        ours = self.msmtpd.show(name)
        if ours is not None:
            return ours
        if name == TIMER:
            return (
                f"Id={name}\nLoadState={'loaded' if PATHS[1] in self.entries else 'not-found'}\n"
                f"ActiveState={'active' if 'active' in self.timer else 'inactive'}\n"
                f"UnitFileState={'enabled' if 'enabled' in self.timer else 'disabled'}\n"
            )
        if not name.startswith("postfix"):
            there = name == "exim4.service" and "/usr/sbin/exim4" in self.entries
            return (
                f"Id={name}\nLoadState={'loaded' if there else 'not-found'}\n"
                f"ActiveState={'active' if there and self.exim_runs else 'inactive'}\n"
                f"UnitFileState={'enabled' if there and self.exim_enabled else ''}\n"
            )
        there = self.packages.get("postfix", "rc ") != "rc "
        state = "active" if self.running is not None else "inactive"
        kind = "forking" if "@" in name else "oneshot"
        if self.masked and "@" not in name:
            return (
                f"Type={kind}\nId={name}\nLoadState=masked\nActiveState={state}\n"
                "UnitFileState=masked\n"
            )
        return (
            f"Type={kind}\nId={name}\nLoadState={'loaded' if there else 'not-found'}\n"
            f"ActiveState={state}\n"
            f"UnitFileState={'enabled' if self.enabled and there else 'disabled'}\n"
        )

    def _journalctl(self, argv: Sequence[str], _stdin: Optional[bytes]) -> Completed:
        if "+" in argv:  # the last line of all: smtpd(8) logs each dialogue
            now = int(self.clock * 1e6)
            last = {"__REALTIME_TIMESTAMP": str(now), "__MONOTONIC_TIMESTAMP": str(90_000_000)}
            kept = self.running is not None and self.logs
            return _said(argv, json.dumps(last) if kept else "")
        if "json" in argv:
            return journalctl(argv, self.log, self.clock)
        found = lines_of_journal(argv, self.log, self.forged, self.clock)
        return _said(argv, "".join(line + "\n" for line in found), 0 if found else 1)

    def _postconf(self, argv: Sequence[str], _stdin: Optional[bytes]) -> Completed:
        if "-M" in argv:
            why = self._refused(argv[argv.index("-c") + 1] if "-c" in argv else "/etc/postfix")
            return _said(argv, "", 1 if why else 0, f"postconf: fatal: {why}\n" if why else "")
        if "-m" in argv:
            return _said(argv, "pipemap\nregexp\ntexthash\nunix\n")
        values = {} if "-n" in argv else dict(DEFAULTS)
        if "-d" not in argv:
            config = argv[argv.index("-c") + 1] if "-c" in argv else "/etc/postfix"
            if self._at(f"{config}/main.cf") not in self.entries:
                return _said(argv, "", 1, f"postconf: fatal: open {config}/main.cf\n")
            values.update(main_cf_values(self.text(f"{config}/main.cf")))
        return _said(argv, "".join(f"{k} = {v}\n" for k, v in sorted(values.items())))

    def _postfix(self, argv: Sequence[str], _stdin: Optional[bytes]) -> Completed:
        if argv[1] == "-c":
            return self._other_postfix(argv)
        return _said(argv, "", 0 if self.running is not None else 1)

    def _other_postfix(self, argv: Sequence[str]) -> Completed:
        """An instance of its own, as in ``postfix -c /run/sysmail/scratch/etc start``."""
        config, verb = argv[2], argv[3]
        pid_file = f"{config.rpartition('/')[0]}/spool/pid/master.pid"
        if verb == "check":
            return _said(argv, "", 1 if self._refused(config) else 0)
        if verb == "start":
            port = re.search(r"^([0-9]+) +inet", self.text(f"{config}/master.cf"), re.MULTILINE)
            if not self.scratch_starts or port is None:
                return _said(argv, "", 1, "postfix: fatal: bad configuration")
            self.scratch[config] = int(port.group(1))
            self.put(pid_file, "701\n", 0o600)
        elif self.scratch.pop(config, None) is None:
            return _said(argv, "", 1, "the Postfix mail system is not running")
        else:
            self.take(pid_file)
        return _said(argv)

    def _next_hop_answers(self) -> bool:
        """Whether the running Postfix gets its mail rid."""
        if self.running is None:
            return False
        hop = re.match(r"\[(.*)\]:([0-9]+)$", self.running.get("relayhost", ""))
        if self.running.get("smtp_sasl_auth_enable") == "yes" and SASL_PLAIN not in self.entries:
            return False
        if self.running.get("default_transport", "").startswith("retry:"):
            return False
        return hop is None or (hop.group(1), int(hop.group(2))) in self.servers

    def _postqueue(self, argv: Sequence[str], _stdin: Optional[bytes]) -> Completed:
        if "-f" in argv and self._next_hop_answers():
            self.left += [entry for entry in self.queue if entry["queue_name"] != "hold"]
            self.queue = [entry for entry in self.queue if entry["queue_name"] == "hold"]
        lines = "".join(json.dumps(entry) + "\n" for entry in self.queue)
        return _said(argv, lines if "-j" in argv else "")

    def _sendmail(self, argv: Sequence[str], stdin: Optional[bytes]) -> Completed:
        self.deliver(argv[argv.index("-f") + 1] if "-f" in argv else "root", stdin or b"")
        return _said(argv)

    def _msmtp(self, argv: Sequence[str], stdin: Optional[bytes]) -> Completed:
        """msmtp(1): on its own, or called as sendmail; --serverinfo asks the server of a file."""
        if "--serverinfo" in argv:
            text = self.text(argv[argv.index("-C") + 1])
            found = re.search(r"^host (\S+)\nport ([0-9]+)$", text, re.MULTILINE)
            if found is None or (found.group(1), int(found.group(2))) not in self.servers:
                return _said(argv, "", 69, "msmtp: cannot connect: Connection refused\n")
            return _said(argv, "SMTP server at mail.example.org\n")
        if self.running is not None:
            return self._sendmail(argv, stdin)
        up = bool(self.msmtpd.running)
        return _said(argv, "", 0 if up else 69, "" if up else "msmtp: cannot connect\n")

    def _may_relay(self, client: str) -> bool:
        return client.startswith("127.") or client == "::1"

    def deliver(self, sender: str, message: bytes) -> bool:
        """What the running Postfix does with a message: to the catcher if it is for it."""
        config = (self.running or {}).get("sender_dependent_default_transport_maps", "")
        for catcher in self.catchers:
            if catcher.open and f"{sender} = smtp:[127.0.0.1]:{catcher.port}" in config:
                received = b"Received: by web1 (Postfix)\n\tid 4TRYTRYTRY; now\n"
                caught = Caught(
                    sender, ("admin@sysmail-try.invalid",), received + message, self.clock
                )
                catcher.caught.append(caught)
                return True
        return False

    def server(self, address: str, port: int, source: str) -> Optional[Callable[[], SmtpSession]]:
        """The relay where it listens, else what a test put there."""
        real = "127.0.0.1" if address == "localhost" else address
        if port in self.scratch.values() and real in ("127.0.0.1", "::1"):
            return lambda: _Relay(self, source or real)
        if port == 25 and {real, "0.0.0.0"} & set(self._listening()):
            return lambda: _Relay(self, source or real)
        if port and self.msmtpd.port(real) == port and source in ("", "127.0.0.1", "::1"):
            return lambda: MsmtpdSession(self.handed, f"{real}:{port}")
        return super().server(address, port, source)


class _Relay:
    """The running Postfix over SMTP."""

    def __init__(self, host: FakeDebian, client: str) -> None:
        self._host, self._client = host, client
        self._sender = ""
        self.peer, self.tls = f"{client}:25", ""
        self.greeting = SmtpReply(220, "web1.example.org ESMTP")

    def command(self, line: str) -> SmtpReply:
        config: Mapping[str, str] = self._host.running or {}
        if line.startswith("MAIL FROM:"):
            self._sender = line[len("MAIL FROM:<") : -1]
        if line.startswith("RCPT TO:"):
            if not self._host._may_relay(self._client):
                return SmtpReply(554, "5.7.1 Client host rejected: Access denied")
            local = line in ("RCPT TO:<root@localhost>", "RCPT TO:<postmaster>")
            if local and "refuse" in config.get("smtpd_recipient_restrictions", ""):
                return SmtpReply(554, "5.1.1 mail for local users has no destination")
        return SmtpReply(250, "2.1.0 Ok")

    def data(self, message: bytes) -> SmtpReply:
        self._host.deliver(self._sender, message)
        return SmtpReply(250, "2.0.0 Ok: queued as 4TRYTRYTRY")

    def close(self) -> None:
        self._sender = ""


def _said(argv: Sequence[str], out: str = "", status: int = 0, err: str = "") -> Completed:
    return Completed(tuple(argv), status, out, err)
