"""remove and rollback: the host as it was found, and no mail lost on the way."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
from look import Look
from onhost import Ran, apply, differences, listeners, mailu_policy, packages, sendmail, sysmail

from lab import FreshHost, Host, Lab, Rule

ADMIN = ("--admin", "ops@example.org")
POSTFIX = "postfix.service postfix@-.service"
QUEUE = "var/spool/postfix/"  # files that come and go while Postfix runs


def _subjects(lab: Lab) -> list[str]:
    return [str(m.message["Subject"]) for m in lab.mx.messages()]


def _arrives(lab: Lab, host: Host, subject: str, to: str = "root") -> list[str]:
    sendmail(host, f"Subject: {subject}\n\n", to)
    return lab.mx.wait_for(lambda m: m.message["Subject"] == subject)[0].recipients


def _refused(ran: Ran) -> str:
    assert (ran.status, ran.codes) == (1, ["queue-not-empty"]), ran.out
    error = ran.report["errors"][0]
    return f"{error['message']} / {error['remedy']}"


def _waits(host: Host, queue: str, count: int = 1) -> None:
    host.run(
        f"for i in $(seq 150); do test $(postqueue -j | grep -c '\"{queue}\"') = {count} && "
        "exit 0; sleep 0.1; done; postqueue -p; exit 1"
    )


def test_bare_debian(lab: Lab, fresh_host: FreshHost) -> None:
    """Refused with count and reason while mail cannot leave; else it leaves, and all is as before.

    Deferred, held and damaged mail, with --force too; then a package of somebody else stays.
    """
    lab.mx.clear()
    host = fresh_host()
    look = Look.at(host)
    apply(host, *ADMIN)
    lab.mx.behave([Rule(reply="450 4.3.0 later", stage="rcpt")])
    for number in range(3):
        sendmail(host, f"Subject: waits {number}\n\n", "x@example.net")
    _waits(host, "deferred", 3)
    in_force = Look.at(host, POSTFIX)
    for command in ("remove", "rollback"):
        said = _refused(sysmail(host, command, "--force"))
        assert "3 messages wait in the queue and cannot leave" in said
        assert "450 4.3.0 later" in said
        assert "sysmail queue" in said
    in_force.assert_same(host, POSTFIX, QUEUE)
    sendmail(host, "Subject: held\n\n", "x@example.net")
    _waits(host, "deferred", 4)
    host.run("postsuper -h ALL")
    _waits(host, "hold", 4)
    assert "4 messages wait in the queue, 4 of them held" in _refused(sysmail(host, "remove"))
    host.run(
        "postsuper -H ALL && install -o postfix -m 600 /dev/null /var/spool/postfix/corrupt/4X"
    )
    assert "/var/spool/postfix/corrupt, damaged" in _refused(sysmail(host, "remove", "--force"))
    host.run("rm /var/spool/postfix/corrupt/4X")

    lab.mx.behave([])
    # As a power cut leaves it while dpkg configures the package: `systemctl disable` refuses it.
    host.run("truncate -s 0 /etc/init.d/postfix")
    # As a person types it, to see that it is said what is waited for.
    done = host.run(["/opt/sysmail/sysmail", "remove"])
    assert "messages wait in the queue: it leaves first" in done.stderr
    assert "the host is as it was found" in done.stdout
    assert sorted(_subjects(lab)) == ["held", "waits 0", "waits 1", "waits 2"]
    look.assert_same(host)
    assert sysmail(host, "rollback").codes == ["nothing-to-undo"]


FOLDERS = (
    "install -d -o www-data -g www-data -m 2755 /etc/postfix && "
    "install -d -m 0711 -g www-data /etc/postfix/empty && install -d -m 0700 /etc/postfix/ssl && "
    "echo KEY > /etc/postfix/ssl/key.pem && chmod 644 /etc/postfix/ssl/key.pem"
)
ELSEWHERE = (
    "install -d -m 0751 /srv/pf && echo '/^Old:/ REJECT' > /srv/pf/header_checks && "
    "install -d -m 0700 /srv/pf/ssl && ln -s /srv/pf /etc/postfix"
)
BROKEN = "/etc/systemd/system/postfix@-.service.d"


@pytest.mark.parametrize("prepare", [FOLDERS, ELSEWHERE], ids=["modes", "link"])
def test_folders_come_back(fresh_host: FreshHost, prepare: str) -> None:
    """Owner and mode, an empty one, a link elsewhere: after a removal, and a late failure."""
    host = fresh_host()
    host.run(prepare)
    behind = "find /srv -path /srv/apt -prune -o -printf '%p %y %m %u:%g %l\n' | sort"
    look, there = Look.at(host), host.run(behind).stdout
    host.run(f"mkdir {BROKEN}; printf '[Service]\nExecStartPre=/bin/false\n' > {BROKEN}/x.conf")
    failed = sysmail(host, "apply", *ADMIN)
    assert failed.status == 1, failed.out
    assert "the host is as it was before" in failed.report["errors"][0]["message"]
    host.run(f"rm -r {BROKEN}; systemctl daemon-reload")
    look.assert_same(host)
    assert host.run(behind).stdout == there
    sysmail(host, "apply", *ADMIN)  # not proven where Postfix's programs may not read the folder
    ran = sysmail(host, "remove")
    assert ran.status == 0, ran.out
    look.assert_same(host)
    assert host.run(behind).stdout == there


def test_packages_of_others_stay(fresh_host: FreshHost) -> None:
    """What a person installed meanwhile stays, with what it needs of ours, closed; that is said."""
    host = fresh_host()
    apply(host, *ADMIN)
    install = "DEBIAN_FRONTEND=noninteractive apt-get -qy --no-install-recommends install"
    host.run(f"{install} s-nail ssl-cert bsd-mailx")
    ran = sysmail(host, "remove")
    assert ran.status == 0, ran.out
    notes = "\n".join(ran.report["notes"])
    assert "postfix stays installed: bsd-mailx needs it" in notes
    assert "ssl-cert stays installed: somebody installed it by hand meanwhile" in notes
    there = host.run("dpkg-query -W -f '${db:Status-Abbrev}${Package}\\n'").stdout.split("\n")
    for name in ("s-nail", "ssl-cert", "bsd-mailx", "postfix"):
        assert f"ii {name}" in there, name
    assert "ii msmtp" not in there
    assert not [line for line in there if "exim4" in line]
    assert not any(line.endswith(":25") for line in listeners(host))
    refused = host.run("printf 'Subject: x\\n\\n' | /usr/sbin/sendmail root", check=False)
    assert refused.returncode != 0
    host.kill()
    host.boot()
    assert not any(line.endswith(":25") for line in listeners(host))


def test_programs_that_go_on_sending(lab: Lab, fresh_host: FreshHost) -> None:
    """Whatever sendmail took before and during a remove arrives; a refusal is an exit code."""
    lab.mx.clear()
    host = fresh_host(packages=["exim4"])
    host.run(
        "sed -i \"s/^dc_eximconfig_configtype=.*/dc_eximconfig_configtype='satellite'/;"
        "s/^dc_smarthost=.*/dc_smarthost='mx.lab.test'/\" /etc/exim4/update-exim4.conf.conf && "
        "update-exim4.conf && systemctl restart exim4"
    )
    apply(host, *ADMIN)
    script = (
        "i=0; while ! test -e /run/enough; do i=$((i+1)); "
        "printf 'Subject: s%s\\n\\n' $i | /usr/sbin/sendmail x@example.net 2>/dev/null && "
        "echo s$i; sleep 0.05; done"
    )
    sender = host.start(script)
    taken: list[str] = []
    reader = threading.Thread(target=lambda: taken.extend(sender.communicate()[0].split()))
    reader.start()
    lab.mx.wait_for(lambda m: m.message["Subject"] == "s5")
    ran = sysmail(host, "remove")
    host.run("touch /run/enough")
    reader.join()
    assert ran.status == 0, ran.out
    assert taken
    last = taken[-1]
    lab.mx.wait_for(lambda m: m.message["Subject"] == last)
    host.run("exim -qff; for i in $(seq 100); do test $(exim -bpc) = 0 && exit 0; sleep 0.1; done")
    assert set(taken) <= set(_subjects(lab))


def test_exim4_with_an_edited_configuration(lab: Lab, fresh_host: FreshHost) -> None:
    """An owner's answers, split files and aliases of exim4 are back, and it sends as before."""
    lab.mx.clear()
    host = fresh_host(packages=["exim4"])
    host.run(
        "sed -i \"s/^dc_eximconfig_configtype=.*/dc_eximconfig_configtype='smarthost'/;"
        "s/^dc_use_split_config=.*/dc_use_split_config='true'/;"
        "s/^dc_smarthost=.*/dc_smarthost='mx.lab.test'/\" /etc/exim4/update-exim4.conf.conf && "
        "echo 'IGNORE_SMTP_LINE_LENGTH_LIMIT = true' > /etc/exim4/conf.d/main/00_mine && "
        "chmod 600 /etc/exim4/conf.d/main/00_mine && echo 'root: o@example.net' >> /etc/aliases && "
        "echo 'alice: alice@example.org' >> /etc/email-addresses && "
        "apt-mark manual exim4-base && update-exim4.conf && systemctl restart exim4"
    )
    look = Look.at(host, "exim4.service exim4-base.timer")
    apply(host, *ADMIN)
    assert _arrives(lab, host, "by the relay") == ["ops@example.org"]
    assert sysmail(host, "remove").status == 0
    look.assert_same(host, "exim4.service exim4-base.timer")
    assert _arrives(lab, host, "as before") == ["o@example.net"]


def test_arch_with_msmtp_mta(lab: Lab, fresh_host: FreshHost) -> None:
    """With pacman too: the queue leaves, msmtp-mta is back, and a package of a person's stays."""
    lab.mx.clear()
    host = fresh_host("arch", packages=["msmtp-mta"])
    (host.root / "etc/msmtprc").write_text(
        "account default\nhost mx.lab.test\nfrom owner@example.com\nauth off\n"
    )
    host.run("pacman -S --noconfirm s-nail")
    look = Look.at(host)
    apply(host, *ADMIN)
    lab.mx.behave([Rule(reply="450 4.3.0 later", stage="rcpt")])
    sendmail(host, "Subject: waits\n\n", "x@example.net")
    _waits(host, "deferred")
    assert "450 4.3.0 later" in _refused(sysmail(host, "remove"))
    lab.mx.behave([])
    assert sysmail(host, "remove").status == 0
    assert _subjects(lab) == ["waits"]
    look.assert_same(host)
    assert _arrives(lab, host, "as before", "x@example.net") == ["x@example.net"]


@pytest.mark.parametrize("base", ["debian", "arch"])
def test_rollback_step_by_step(lab: Lab, fresh_host: FreshHost, base: str) -> None:
    """Three applies, three rollbacks: each time the host is as it was then, its queue included."""
    lab.mx.clear()
    host = fresh_host(base)
    looks = [Look.at(host, POSTFIX)]
    (host.root / "root/.smarthost.toml").write_text(
        'admin = "two@example.org"\n[smarthost]\nhost = "mx.lab.test"\nport = 25\ntls = "none"\n'
    )
    steps = (
        ("--admin", "one@example.org"),
        ("--admin", "two@example.org"),
        ("--policy", "/root/.smarthost.toml"),
    )
    for words in steps:
        apply(host, *words)
        looks.append(Look.at(host, POSTFIX))
    lab.mx.behave([Rule(reply="450 4.3.0 later", stage="rcpt")])
    sendmail(host, "Subject: held back\n\n", "root")
    _waits(host, "deferred")
    lab.mx.behave([])

    ran = sysmail(host, "rollback")
    assert ran.status == 0, ran.out
    assert ran.report["route"]["next_hop"] == "direct"
    assert "in force now: the policy of apply 2" in ran.report["notes"][-1]
    found = lab.mx.wait_for(lambda m: m.message["Subject"] == "held back")
    assert found[0].recipients == ["two@example.org"]
    _waits(host, "deferred", 0)
    looks[2].assert_same(host, POSTFIX, QUEUE)
    assert sysmail(host, "prove").status == 0
    assert _arrives(lab, host, "second") == ["two@example.org"]

    ran = sysmail(host, "rollback")
    assert "in force now: the policy of apply 1" in ran.report["notes"][-1]
    looks[1].assert_same(host, POSTFIX, QUEUE)
    assert sysmail(host, "prove").status == 0
    assert _arrives(lab, host, "first") == ["one@example.org"]

    lab.mx.behave([Rule(reply="450 4.3.0 later", stage="rcpt")])
    sendmail(host, "Subject: last\n\n", "root")
    _waits(host, "deferred")
    lab.mx.behave([])
    ran = sysmail(host, "rollback")
    assert ran.status == 0, ran.out
    assert "nothing of sysmail is in force" in ran.report["notes"][-1]
    assert re.search("last", " ".join(_subjects(lab)))
    looks[0].assert_same(host, POSTFIX)
    assert sysmail(host, "rollback").codes == ["nothing-to-undo"]


def test_rollback_to_mailu_keeps_what_a_removal_left(lab: Lab, fresh_host: FreshHost) -> None:
    """A Postfix of which only the configuration was there is that again, and not purged."""
    host = fresh_host(packages=["postfix", "msmtp"])
    host.run(
        "echo '# mine' >> /etc/postfix/master.cf && DEBIAN_FRONTEND=noninteractive "
        "apt-get -qy remove postfix"
    )
    mailu_policy(lab, host)
    apply(host)
    look = Look.at(host)
    assert "rc " in host.run("dpkg-query -W -f '${db:Status-Abbrev}' postfix").stdout
    apply(host, "--route", "relay")
    assert sysmail(host, "rollback").status == 0
    assert "rc " in host.run("dpkg-query -W -f '${db:Status-Abbrev}' postfix").stdout
    changed = differences(look.files, Look.at(host).files)
    assert not changed, "\n".join(changed)


KILLED = """\
import os, signal, sys
sys.path.insert(0, "/root")
from killed import descendants, machine, main
run = machine.Machine.run
def cut(self, argv, **named):
    tell = named.get("on_line")
    def told(line):
        if line.startswith("Setting up postfix"):
            for pid in descendants(os.getpid()):
                os.kill(pid, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        tell(line)
    return run(self, argv, **{**named, **({"on_line": told} if tell else {})})
machine.Machine.run = cut
sys.exit(main.main(["--json", "apply", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("needs_ours", [False, True])
def test_packages_of_others_stay_after_a_kill(fresh_host: FreshHost, needs_ours: bool) -> None:
    """Killed with its apt-get in the first install: what comes before the recovery is not ours."""
    host = fresh_host()
    before = set(packages(host))
    source = Path(__file__).with_name("killed.py").read_text()
    (host.root / "root/killed.py").write_text(source)
    (host.root / "root/cut.py").write_text(KILLED)
    killed = host.run(["python3", "/root/cut.py", *ADMIN], check=False)
    assert killed.returncode in (-9, 137), killed.stdout
    theirs = "bsd-mailx" if needs_ours else "s-nail"
    # What apt-get tells a person to do first.
    host.run("dpkg --configure -a --force-confold")
    host.run(f"DEBIAN_FRONTEND=noninteractive apt-get -qy install {theirs}")
    came = set(packages(host))
    told = sysmail(host, "status").report["notes"]
    assert any("has been undone" in note for note in told), told
    now = set(packages(host))
    assert before <= now <= came
    there = {line.split()[1] for line in now}
    assert theirs in there
    assert "msmtp" not in there
    assert ("postfix" in there) == needs_ours
    assert any("postfix stays installed" in note for note in told) == needs_ours, told
    assert not any(line.endswith(":25") for line in listeners(host))
    if not needs_ours:
        host.run(f"apt-get -qy purge {theirs} && apt-get -qy autoremove")
        assert set(packages(host)) == before, "nothing that came with ours stayed for nobody"
