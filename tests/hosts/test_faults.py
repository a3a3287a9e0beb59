"""Faults on booted hosts: each has a code, a sentence and a remedy, and the host is as before."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from onhost import SYSMAIL, Ran, apply, policy, queue, send_smtp, sysmail
from world import index, newer, repository, same, world

from lab import FreshHost, Host, Lab
from lab.machine import wait_until

ASKED = 'admin = "ops@example.org"\n'
OTHER = 'admin = "other@example.org"\n'
IPV4 = 'admin = "ops@example.org"\n[postfix]\ninet_protocols = "ipv4"\n'
JOURNAL = "/var/lib/sysmail/checkpoints/0001/journal.json"


@pytest.fixture(scope="module")
def relay(lab: Lab) -> Iterator[Host]:
    """A host on which a policy is in force; every test leaves it so."""
    host = lab.host("faults", packages=["postfix", "msmtp"])
    policy(host, ASKED)
    apply(host)
    yield host
    lab.remove(host)


@pytest.fixture(scope="module")
def bare(lab: Lab) -> Iterator[Host]:
    """A host without any mail program; every test leaves it so."""
    host = lab.host("barefaults")
    yield host
    lab.remove(host)


def told(ran: Ran, code: str, *words: str) -> None:
    """One error with this code, its sentence with these words, a remedy, and exit code 1."""
    assert (ran.status, ran.codes) == (1, [code]), ran.report
    error = ran.report["errors"][0]
    print(f"{code}\t{error['message']}\t{error['remedy']}")
    assert "\n" not in error["message"] + error["remedy"]
    assert error["remedy"]
    for word in words:
        assert re.search(word, error["message"]), error


def mail_works(host: Host) -> None:
    """A message is taken, and has left: what is compared later has no queue file in it."""
    assert send_smtp(host, "root").startswith("250")
    wait_until("the message has left", lambda: queue(host) == [], 60, 0.2)


def refused(host: Host, wanted: str, make: str, unmake: str, code: str, *words: str) -> None:
    """With a fault made by a command of the shell an apply is refused, and nothing changes.

    Mail works on, also while the fault lasts.
    """
    policy(host, wanted)
    before = world(host)
    try:
        host.run(make)
        told(sysmail(host, "apply"), code, *words)
        mail_works(host)
    finally:
        host.run(unmake)
        differs = same(before, host)
        policy(host, ASKED)
    assert differs == []


# FS_IOC_SETFLAGS of linux/fs.h: what chattr(1) does, which a small Debian lacks.
SET_FLAGS = (
    "import fcntl, os, struct, sys; f = os.open(sys.argv[1], os.O_RDONLY); "
    "fcntl.ioctl(f, 0x40086602, struct.pack('l', int(sys.argv[2])))"
)
FLAGS = f'python3 -c "{SET_FLAGS}" '
IMMUTABLE = 16
SMALL = "mkdir /run/kept && cp -a {0}/. /run/kept && mount -t tmpfs -o mode=755,{1} none {0}"
SMALL += " && cp -a /run/kept/. {0}"
FULL = SMALL + " && {{ cat /dev/zero > {0}/zero || true; }}"
UNMOUNT = "umount {0} && rm -rf /run/kept"
FAULTS: dict[str, tuple[str, str, str, str, str]] = {
    "/etc read-only": (
        "mount --bind /etc /etc && mount -o remount,ro,bind /etc", "umount /etc",
        "file-system-read-only", "/etc/postfix", "EROFS",
    ),
    "main.cf immutable": (
        f"{FLAGS} /etc/postfix/main.cf {IMMUTABLE}", f"{FLAGS} /etc/postfix/main.cf 0",
        "file-immutable", "/etc/postfix/main.cf", "EPERM",
    ),
    "the folder of main.cf immutable": (
        f"{FLAGS} /etc/postfix {IMMUTABLE}", f"{FLAGS} /etc/postfix 0",
        "file-immutable", "/etc/postfix ", "EPERM",
    ),
    "a file mounted on main.cf": (
        "cp -a /etc/postfix/main.cf /run/m && mount --bind /run/m /etc/postfix/main.cf",
        "umount /etc/postfix/main.cf && rm /run/m",
        "file-mounted", "/etc/postfix/main.cf", "EBUSY",
    ),
    "main.cf mounted read-only": (
        "mount --bind -o ro /etc/postfix/main.cf /etc/postfix/main.cf",
        "umount /etc/postfix/main.cf",
        "file-system-read-only", "/etc/postfix/main.cf", "EROFS",
    ),
    "no space for the journal": (
        FULL.format("/var/lib/sysmail", "size=1M"), UNMOUNT.format("/var/lib/sysmail"),
        "disk-full", "/var/lib/sysmail", "needed",
    ),
    "no inodes for the journal": (
        SMALL.format("/var/lib/sysmail", "nr_inodes=60") +
        " && { for i in $(seq 99); do touch /var/lib/sysmail/kept.$i || break; done; }",
        UNMOUNT.format("/var/lib/sysmail"),
        "no-inodes", "/var/lib/sysmail", "more files",
    ),
    "no space for the configuration": (
        FULL.format("/etc/postfix", "size=1M"), UNMOUNT.format("/etc/postfix"),
        "disk-full", "/etc/postfix", "needed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found_before_anything_is_touched(relay: Host, fault: str) -> None:
    """What would keep a file from being written is told with its path, and nothing changes."""
    make, unmake, code, path, why = FAULTS[fault]
    refused(relay, IPV4, make, unmake, code, path, why)


HOLD = (
    "import fcntl, os, sys, time; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); "
    "open('/run/holds', 'w').close(); time.sleep(600)"
)


def test_package_manager_locked(relay: Host) -> None:
    """Where somebody holds dpkg's lock, they are named, and nothing changes."""
    holder = relay.start(["python3", "-c", HOLD, "/var/lib/dpkg/lock-frontend"])
    try:
        relay.run("while [ ! -e /run/holds ]; do sleep 0.1; done")
        words = (r"python3 \(pid \d+\) holds /var/lib/dpkg/lock-frontend",)
        refused(relay, IPV4, "true", "true", "package-manager-busy", *words)
        told(sysmail(relay, "rollback"), "package-manager-busy", *words)
    finally:
        relay.run(["pkill", "-f", "run/holds"])
        relay.run("rm -f /run/holds")
        holder.wait(60)


def test_pacman_locked(fresh_host: FreshHost) -> None:
    """Pacman's lock is a file: it is named, and nothing changes."""
    host = fresh_host("arch")
    policy(host, ASKED)
    host.run(": > /var/lib/pacman/db.lck")
    before = world(host)
    told(sysmail(host, "apply"), "package-manager-busy", "/var/lib/pacman/db.lck")
    assert same(before, host) == []
    host.run("rm /var/lib/pacman/db.lck")
    apply(host)


def test_two_applies_at_once(relay: Host) -> None:
    """While one apply is under way, however long, the second says who has the lock."""
    policy(relay, IPV4)
    first = relay.start([SYSMAIL, "--json", "apply"])
    relay.run("while ! grep -q apply /run/sysmail/lock; do sleep 0.05; done")
    pid = re.findall(r"\d+", relay.run("cat /run/sysmail/lock").stdout)[0]
    relay.run(f"kill -STOP {pid}")
    try:
        told(sysmail(relay, "apply"), "locked", rf"sysmail apply \(pid {pid}\)")
    finally:
        relay.run(f"kill -CONT {pid}")
        os.killpg(first.pid, signal.SIGCONT)  # nsenter(1) stops with what it started
    out, err = first.communicate(timeout=200)
    assert first.returncode == 0, out + err
    policy(relay, ASKED)
    assert sysmail(relay, "rollback").status == 0
    assert sysmail(relay, "plan").status == 0


DROP_IN = "/run/systemd/system/postfix@-.service.d/broken.conf"


def test_service_does_not_start(relay: Host) -> None:
    """A unit that does not start fails the apply, and the host goes on with its mail all the same.

    The same unit hinders the way back: Postfix is then started without it.
    """
    policy(relay, IPV4)
    before = world(relay)
    relay.run(
        f"mkdir -p $(dirname {DROP_IN}) && printf '[Service]\\nExecStartPre=/bin/false\\n' "
        f"> {DROP_IN} && systemctl daemon-reload"
    )
    try:
        told(sysmail(relay, "apply"), "service-not-started", "the host is as it was before")
        mail_works(relay)
        # Where it runs instead; gone with the next restart.
        assert [line for line in same(before, relay) if ".scope transient" not in line] == []
    finally:
        relay.run(f"rm -r $(dirname {DROP_IN}); systemctl daemon-reload")
    apply(relay)
    policy(relay, ASKED)
    assert sysmail(relay, "rollback").status == 0
    assert sysmail(relay, "prove").status == 0


def _journal(change: Callable[[dict[str, object]], object]) -> Callable[[Host], None]:
    def damage(host: Host) -> None:
        path = host.root / JOURNAL.lstrip("/")
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))

    return damage


def _shell(command: str) -> Callable[[Host], None]:
    def damage(host: Host) -> None:
        host.run(command)

    return damage


DAMAGES: dict[str, Callable[[Host], None]] = {
    "truncated": _shell(f"truncate -s 100 {JOURNAL}"),
    "empty": _shell(f": > {JOURNAL}"),
    "no JSON": _shell(f"echo garbage > {JOURNAL}"),
    "gone": _shell(f"rm {JOURNAL}"),
    "a folder": _shell(f"rm {JOURNAL}; mkdir {JOURNAL}"),
    "no number": _journal(lambda data: data.pop("number")),
    "unknown state": _journal(lambda data: data.update(state="doen")),
    "files without paths": _journal(lambda data: data.update(files=[{}])),
    "a route of numbers": _journal(lambda data: data.update(route={"name": 1})),
}


def test_journal_damaged(relay: Host) -> None:
    """A damaged journal is told by every command that needs it, and nothing is carried out."""
    before = world(relay)
    relay.run("rm -rf /run/kept; cp -a /var/lib/sysmail /run/kept")
    for name, damage in DAMAGES.items():
        damage(relay)
        for words in (("apply",), ("rollback", "--force"), ("status",)):
            print(name)
            told(sysmail(relay, *words), "journal-damaged", "checkpoints/0001")
        assert "000" in relay.run("ls /var/lib/sysmail/checkpoints/0001").stdout
        relay.run("rm -rf /var/lib/sysmail && cp -a /run/kept /var/lib/sysmail")
    relay.run("rm -r /run/kept")
    assert same(before, relay) == []


def test_backup_damaged(relay: Host) -> None:
    """A former content that is missing or altered stops the way back before anything changes."""
    relay.run("rm -rf /run/kept; cp -a /var/lib/sysmail /run/kept")
    before = world(relay)
    for damage in ("rm {}", "echo x >> {}", "rm {0}; mkdir {0}"):
        backup = relay.run("ls /var/lib/sysmail/checkpoints/0001/0* | head -1").stdout.strip()
        relay.run(damage.format(backup))
        for command in ("rollback", "remove"):
            told(sysmail(relay, command, "--force"), "journal-damaged", backup)
        relay.run("rm -rf /var/lib/sysmail && cp -a /run/kept /var/lib/sysmail")
    relay.run("rm -r /run/kept")
    assert same(before, relay) == []


def test_clock_set_back(relay: Host) -> None:
    """A checkpoint of the future, and a host in the past, change and go back as ever."""
    _journal(lambda data: data.update(time=4e9, losses_since=4e9))(relay)
    assert sysmail(relay, "prove").status == 0
    policy(relay, IPV4)
    apply(relay)
    assert sysmail(relay, "rollback").status == 0
    relay.run("apt-get -qy install faketime", timeout=200)
    past = relay.run(["faketime", "2001-01-01", SYSMAIL, "--json", "apply"], check=False)
    assert past.returncode == 0, past.stdout + past.stderr
    back = relay.run(["faketime", "2000-01-01", SYSMAIL, "--json", "rollback"], check=False)
    assert back.returncode == 0, back.stdout + back.stderr
    policy(relay, ASKED)
    assert sysmail(relay, "plan").status == 0
    mail_works(relay)


def test_during_an_upgrade_of_postfix(relay: Host, tmp_path: Path) -> None:
    """While apt upgrades Postfix, apply waits, then says who is at work; afterwards it works."""
    policy(relay, IPV4)
    # Once: debconf starts a maintainer script anew.
    wait = (
        "[ -e /run/upgraded ] || { : > /run/upgrading; "
        "while [ -e /run/upgrading ]; do sleep 0.1; done; : > /run/upgraded; }"
    )
    with repository(relay) as folder:
        newer(folder, "postfix", "postinst", wait, tmp_path)
        index(relay, folder)
        argv = ["apt-get", "-qy", "install", "-o", "Dpkg::Options::=--force-confold", "postfix"]
        upgrade = relay.start(argv, env={"DEBIAN_FRONTEND": "noninteractive"})
        try:
            relay.run("while [ ! -e /run/upgrading ]; do sleep 0.1; done", timeout=200)
            told(sysmail(relay, "apply"), "package-manager-busy", r"apt-get \(pid \d+\) holds")
        finally:
            relay.run("rm -f /run/upgrading")
        out, err = upgrade.communicate(timeout=200)
        assert upgrade.returncode == 0, out + err
    assert "+newer1" in relay.run("dpkg-query -W postfix").stdout
    apply(relay)
    policy(relay, ASKED)
    assert sysmail(relay, "rollback").status == 0
    assert sysmail(relay, "prove").status == 0


def test_package_lacking(bare: Host) -> None:
    """A repository without Postfix is told with the package manager's words."""
    before = world(bare)
    with repository(bare) as folder:
        for deb in folder.glob("postfix_*.deb"):
            deb.unlink()
        index(bare, folder)
        ran = sysmail(bare, "apply", "--admin", "ops@example.org")
    told(ran, "packages-not-installed", "postfix", "the host is as it was before")
    assert same(before, bare) == []


@pytest.mark.parametrize("script", ["preinst", "postinst"])
def test_package_fails_half_way(bare: Host, tmp_path: Path, script: str) -> None:
    """A package whose maintainer script fails is taken away again, whole."""
    before = world(bare)
    with repository(bare) as folder:
        newer(folder, "postfix", script, "echo no such luck >&2; exit 7", tmp_path)
        index(bare, folder)
        ran = sysmail(bare, "apply", "--admin", "ops@example.org")
    told(ran, "packages-not-installed", "the host is as it was before")
    assert same(before, bare) == []


BROKEN = """
mkdir -p /run/broken/DEBIAN && cd /run/broken/DEBIAN
printf 'Package: brokenpkg\\nVersion: 1\\nArchitecture: all\\n' > control
printf 'Maintainer: x <x@example.org>\\nDescription: cannot be set up\\n' >> control
printf '#!/bin/sh\\nexit 1\\n' > postinst && chmod 755 postinst
dpkg-deb --build /run/broken /run/broken.deb && ! dpkg -i /run/broken.deb
"""
MENDED = "dpkg --purge brokenpkg && rm -rf /run/broken /run/broken.deb"


def test_package_of_others_that_cannot_be_set_up(bare: Host) -> None:
    """apt fails for it whatever it is asked for: named before anything changes.

    Where it breaks in between, here while what was cut off waits to be undone, all of ours goes.
    """
    before = world(bare)
    try:
        bare.run(BROKEN)
        broken = world(bare)
        ran = sysmail(bare, "apply", "--admin", "ops@example.org")
        told(ran, "packages-half-installed", "brokenpkg", "nothing was changed")
        assert same(broken, bare) == []
        bare.run(MENDED)
        apply(bare, "--admin", "ops@example.org")
        bare.run(BROKEN)
        for command in ("rollback", "remove"):
            told(sysmail(bare, command), "packages-half-installed", "brokenpkg")
        mail_works(bare)
        bare.run(MENDED)
        assert sysmail(bare, "remove").status == 0
        assert same(before, bare) == []

        running = bare.start([SYSMAIL, "--json", "apply", "--admin", "ops@example.org"])
        bare.run("while [ ! -e /usr/sbin/postconf ]; do sleep 0.02; done", timeout=100)
        pid = re.findall(r"\d+", bare.run("cat /run/sysmail/lock").stdout)[0]
        bare.run(f"kill -KILL {pid}")
        running.communicate(timeout=300)
        bare.run("while pgrep -x 'apt-get|dpkg' > /dev/null; do sleep 0.1; done", timeout=300)
        bare.run(BROKEN)
        ran = sysmail(bare, "recover")
        assert ran.status == 0, ran.report
        assert any("brokenpkg" in note for note in ran.report["notes"]), ran.report
        assert same(broken, bare) == []
    finally:
        bare.run(MENDED, check=False)
    assert same(before, bare) == []


def test_unit_of_postfix_masked(bare: Host, relay: Host) -> None:
    """Told before a package comes, or Postfix is stopped, with what lets it start."""
    mask, unmask = "systemctl mask postfix", "systemctl unmask postfix"
    refused(relay, IPV4, mask, unmask, "service-masked", r"postfix\.service is masked")
    before = world(bare)
    bare.run(mask)
    masked = world(bare)
    ran = sysmail(bare, "apply", "--admin", "ops@example.org")
    told(ran, "service-masked", r"postfix\.service is masked", "nothing was changed")
    assert same(masked, bare) == []
    bare.run(unmask)
    assert same(before, bare) == []


def test_package_damaged(bare: Host) -> None:
    """A package that was cut short is told, and what was installed with it goes again."""
    before = world(bare)
    with repository(bare) as folder:
        index(bare, folder)
        deb = next(folder.glob("postfix_*.deb"))
        deb.write_bytes(deb.read_bytes()[:100_000])
        ran = sysmail(bare, "apply", "--admin", "ops@example.org")
    told(ran, "packages-not-installed", "the host is as it was before")
    assert same(before, bare) == []


def test_port_25_taken(bare: Host) -> None:
    """The program that holds port 25 is told with its name and process id."""
    script = "import socket,time; s=socket.create_server(('127.0.0.1',25)); time.sleep(600)"
    server = bare.start(["python3", "-c", script])
    try:
        bare.run("while ! ss -Hltn | grep -q :25; do sleep 0.1; done")
        pid = re.findall(r"pid=(\d+)", bare.run("ss -Hltnp 'sport = 25'").stdout)[0]
        before = world(bare)
        ran = sysmail(bare, "apply", "--admin", "ops@example.org", "--adopt")
        told(ran, "port-25-taken", rf"python3 \(pid {pid}\) listens on 127\.0\.0\.1 port 25")
        assert same(before, bare) == []
    finally:
        bare.run(["pkill", "-f", "create_server"])
        server.wait(60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "kill"])
def test_interrupted_while_packages_are_installed(bare: Host, number: int) -> None:
    """Ctrl-C while dpkg is at work: it is waited for, and what it did is undone."""
    before = world(bare)
    running = bare.start([SYSMAIL, "--json", "apply", "--admin", "ops@example.org"])
    bare.run("while ! pgrep -x dpkg > /dev/null; do sleep 0.02; done", timeout=100)
    pid = re.findall(r"\d+", bare.run("cat /run/sysmail/lock").stdout)[0]
    bare.run(f"kill -{int(number)} {pid}")
    out, err = running.communicate(timeout=300)
    report = json.loads(out)
    assert (running.returncode, [e["code"] for e in report["errors"]]) == (1, ["interrupted"]), err
    assert same(before, bare) == []
    assert bare.run("pgrep -x dpkg", check=False).stdout == ""
