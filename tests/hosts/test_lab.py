"""The lab keeps what it promises: everything the other host tests stand on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import FreshHost, Host, Lab, LabError, Rule
from lab.disk import loops
from lab.network import NETNS_FOLDER
from lab.preinstalled import DOMAIN, SHORT

pytestmark = pytest.mark.hosts

TESTS = Path(__file__).resolve().parents[1]
# Python has an SMTP client, so any host can be one without a package.
SEND = """
import json, smtplib, ssl, sys
wish = json.load(sys.stdin)
context = ssl.create_default_context(cafile=wish.get("ca"))
where = (wish["host"], wish["port"])
kind = smtplib.SMTP_SSL if wish["port"] == 465 else smtplib.SMTP
more = {"context": context} if wish["port"] == 465 else {}
with kind(*where, timeout=20, **more) as client:
    if wish["port"] == 587 or wish.get("tls"):
        client.starttls(context=context)
    if wish.get("login"):
        client.login(*wish["login"])
    text = f"Subject: {wish['subject']}\\n\\nhello\\n"
    client.sendmail(wish.get("sender", "a@example.org"), [wish["to"]], text)
"""

LISTEN = """
import socket
listener = socket.create_server(("::", 2525), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    listener.accept()[0].close()
"""


def send(host: Host, /, **wish: object) -> subprocess.CompletedProcess[str]:
    """Send a message from a host; the exit status tells whether it was accepted."""
    return host.run(["python3", "-c", SEND], input=json.dumps(wish), check=False)


@pytest.fixture(scope="module")
def web(lab: Lab) -> Host:
    """A Debian host that tests share who leave nothing behind in it."""
    return lab.host("web")


def test_host_is_booted_and_has_the_checkout(web: Host) -> None:
    """systemd is process 1 and content, and the checkout is there, read-only."""
    assert web.run("systemctl is-system-running").stdout.strip() == "running"
    assert web.run("ps -p 1 -o comm=").stdout.strip() == "systemd"
    assert web.run("hostname -f").stdout.strip() == "web.lab.test"
    assert web.run("test -d /opt/sysmail/tests/lab && touch /opt/sysmail/x", check=False).returncode
    assert web.root.joinpath("etc/hostname").read_text() == "web\n"


def test_run_passes_on_what_it_is_given(web: Host) -> None:
    """User, input, environment, exit status, and time limit of a command are as asked."""
    assert web.run("id -un; pwd; echo $HOME", user="alice").stdout == "alice\n/\n/home/alice\n"
    assert web.run(["cat"], input="grüße\n").stdout == "grüße\n"
    assert web.run("echo $A", env={"A": "b c"}).stdout == "b c\n"
    assert web.run("exit 3", check=False).returncode == 3
    with pytest.raises(LabError, match="exit 3"):
        web.run("exit 3")
    with pytest.raises(LabError, match="not done after"):
        web.run("sleep 60", timeout=0.3)
    assert "PYTEST" not in web.run("env").stdout


def test_run_does_not_wait_for_what_a_command_leaves_behind(web: Host) -> None:
    """A daemon that keeps its output open does not hold its starter up."""
    web.run("sleep 600 &")
    web.run(["pkill", "-xf", "sleep 600"])  # fails where none runs any more


def test_start_runs_in_the_background(web: Host) -> None:
    """A started command can be talked to and ends when told."""
    process = web.start(["cat"])
    said, _ = process.communicate("hello", timeout=10)
    assert (said, process.returncode) == ("hello", 0)


def test_names_resolve_both_ways(lab: Lab, web: Host) -> None:
    """Every host is in DNS forward and reverse; unknown names do not exist, and are said not to."""
    other = lab.host("other", fqdn="mail.example.com", boot=False)
    ask = "import socket,sys; print(socket.gethostbyaddr(sys.argv[1])[0])"
    assert web.run("getent ahostsv4 mail.example.com").stdout.startswith(other.address)
    assert web.run("getent ahostsv6 mail.example.com").stdout.startswith(other.address6)
    for address in (other.address, other.address6):
        assert web.run(["python3", "-c", ask, address]).stdout.strip() == "mail.example.com"
    unknown = (
        "import socket\n"
        "try: socket.getaddrinfo('nowhere.invalid', 25)\n"
        "except socket.gaierror as error: print(error.errno == socket.EAI_NONAME)"
    )
    # A server that does not answer would be EAI_AGAIN.
    assert web.run(["python3", "-c", unknown]).stdout == "True\n"
    lab.remove(other)
    assert web.run("getent hosts mail.example.com", check=False).returncode == 2


def test_dns_records_are_added_at_run_time(lab: Lab, web: Host) -> None:
    """A, PTR, MX and TXT can be added and removed while hosts run."""
    lab.dns.add("new.example.com", "A", "10.77.9.9")
    lab.dns.add("10.77.9.9", "PTR", "back.example.com")
    lab.dns.add("new.example.com", "TXT", "v=spf1 -all")
    lab.dns.add("new.example.com", "MX", "mx.lab.test")
    assert web.run("getent hosts new.example.com").stdout.split()[0] == "10.77.9.9"
    assert "back.example.com" in web.run("getent hosts 10.77.9.9").stdout
    lab.dns.remove("new.example.com")
    assert web.run("getent hosts new.example.com", check=False).returncode == 2


def test_localhost_is_ipv6_first(web: Host) -> None:
    """The trap of Debian's stock /etc/hosts is there."""
    first = web.run("getent ahosts localhost").stdout.split()[0]
    assert first == "::1"


def test_host_without_ipv6(lab: Lab, fresh_host: FreshHost) -> None:
    """Its kernel has no IPv6 address at all, not even on loopback."""
    host = fresh_host(ipv6=False)
    assert (host.address6, host.link_local) == ("", "")
    assert host.run("ip -6 addr").stdout == ""
    assert host.run(f"ping -c1 -W2 {lab.mx.address}").returncode == 0


def test_nothing_leaves_the_lab(web: Host) -> None:
    """There is no way out of the network."""
    assert "default" not in web.run("ip route; ip -6 route").stdout


def test_knocker_sees_an_open_port_and_no_closed_one(lab: Lab, web: Host) -> None:
    """At all three addresses, again and again."""
    with lab.knock(web, ports=[2525]) as knocker:
        time.sleep(1)
        closed = knocker.stop()
    assert closed.successes == 0
    assert all(tally.attempts > 10 for tally in closed.tallies), str(closed)
    server = web.start(["python3", "-c", LISTEN])
    web.run("until ss -Hltn | grep -q :2525; do sleep 0.05; done", timeout=10)
    knocker = lab.knock(web, ports=[2525])
    knocker.start()
    time.sleep(1)
    opened = knocker.stop()
    web.run("pkill -f '[c]reate_server'")
    server.communicate(timeout=10)
    assert len(opened.tallies) == 3
    assert all(tally.successes > 5 for tally in opened.tallies), str(opened)


def test_cut_and_join(lab: Lab, web: Host) -> None:
    """A cable that is pulled is an outage, and put back it is over."""
    ping = f"ping -c1 -W1 {lab.mx.address} && ping -c1 -W1 {lab.mx.node.address6}"
    web.run(ping)
    for thing in (web, lab.mx):
        lab.cut(thing)
        assert web.run(ping, check=False).returncode != 0
        lab.join(thing)
        web.run(f"for i in 1 2 3 4 5; do {ping} && exit 0; sleep 0.2; done; exit 1")


def test_kill_and_boot_keep_files(fresh_host: FreshHost) -> None:
    """A kill ends everything at once; the files are there at the next boot, /run is not."""
    host = fresh_host()
    host.run("echo kept >/root/file; touch /run/gone")
    long = host.start("sleep 100")
    host.kill()
    assert not host.running
    long.communicate(timeout=5)
    with pytest.raises(LabError, match="not running"):
        host.run("true")
    host.boot()
    assert host.run("cat /root/file; ls /run/gone", check=False).stdout == "kept\n"
    host.stop()
    assert not host.running
    host.boot()
    host.run("systemctl is-system-running")


def test_two_hosts_do_not_share_services(fresh_host: FreshHost) -> None:
    """What one host's systemd stops goes on in another host."""
    one, two = fresh_host(), fresh_host()
    for host in (one, two):
        host.run("systemd-run --unit=long sleep 100")
    one.run("systemctl stop long")
    assert one.run("pgrep -c sleep", check=False).stdout.strip() == "0"
    assert two.run("systemctl is-active long").stdout.strip() == "active"


def test_mx_receives_over_both_families_and_tls(lab: Lab, web: Host) -> None:
    """What arrives can be read, with envelope, peer and whether TLS was used."""
    lab.mx.clear()
    for number, (target, tls) in enumerate(
        [(lab.mx.address, False), (lab.mx.node.address6, False), ("mx.lab.test", True)]
    ):
        wish: dict[str, object] = {
            "host": target,
            "port": 25,
            "to": "b@example.org",
            "ca": None,
            "subject": f"n{number}",
        }
        if tls:
            (web.root / "root/ca.pem").write_bytes(lab.ca.file.read_bytes())
            wish.update(tls=True, ca="/root/ca.pem")
        done = send(web, **wish)
        assert done.returncode == 0, done.stderr
    first, second, third = lab.mx.wait_for(lambda mail: mail.sender == "a@example.org", count=3)
    assert (first.message["Subject"], first.recipients) == ("n0", ["b@example.org"])
    assert (first.peer, first.tls, third.tls) == (web.address, False, True)
    assert second.peer == web.address6
    with pytest.raises(AssertionError, match="subject 'n0'"):
        lab.mx.wait_for(lambda mail: mail.sender == "x", timeout=0.1)
    lab.mx.clear()
    assert lab.mx.messages() == []


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
def test_mx_answers_by_rules(lab: Lab, web: Host, stage: str) -> None:
    """A matching message gets the reply, as often as said; others are accepted."""
    lab.mx.clear()
    rule = Rule(reply="450 4.2.0 try later", sender="^slow@", stage=stage, times=1)  # type: ignore[arg-type]
    lab.mx.behave([rule])
    wish = {"host": "mx.lab.test", "port": 25, "to": "b@example.org", "subject": stage}
    assert send(web, **wish).returncode == 0
    refused = send(web, sender="slow@example.org", **wish)
    assert "4.2.0 try later" in refused.stderr
    assert send(web, sender="slow@example.org", **wish).returncode == 0
    lab.mx.behave([])
    assert len(lab.mx.messages()) == 2


@pytest.mark.parametrize("port", [465, 587])
def test_smarthost_relays_only_with_a_login(lab: Lab, web: Host, port: int) -> None:
    """Over TLS that is verified against the lab's CA; without a login or with a wrong one, no."""
    lab.mx.clear()
    smarthost = lab.smarthost
    smarthost.strict(on=False)  # other tests' one may have been
    wish: dict[str, object] = {"host": smarthost.host, "port": port, "to": "c@example.net"}
    login = [smarthost.username, smarthost.password]
    unknown = send(web, subject="untrusted", login=login, **wish)
    assert "certificate verify failed" in unknown.stderr
    (web.root / "root/ca.pem").write_bytes(smarthost.ca_file.read_bytes())
    wish["ca"] = "/root/ca.pem"
    assert "Access denied" in send(web, subject="nobody", **wish).stderr
    assert "535" in send(web, subject="wrong", login=[login[0], "wrong"], **wish).stderr
    done = send(web, subject="good", login=login, **wish)
    assert done.returncode == 0, done.stderr
    (mail,) = lab.mx.wait_for(lambda _: True, timeout=30)
    assert mail.message["Subject"] == "good"
    assert mail.peer in (smarthost.address, smarthost.machine.address6)


def test_smarthost_can_be_as_strict_as_mailu(lab: Lab, web: Host) -> None:
    """The sender must then be the login's own, or null; refuse_logins makes passwords wrong."""
    smarthost = lab.smarthost
    (web.root / "root/ca.pem").write_bytes(smarthost.ca_file.read_bytes())
    login = [smarthost.username, smarthost.password]
    wish: dict[str, object] = {"host": smarthost.host, "port": 465, "to": "c@example.net"}
    wish |= {"ca": "/root/ca.pem", "login": login, "subject": "strict"}
    smarthost.strict(on=True)
    try:
        assert "not owned by user" in send(web, sender="root@web.lab.test", **wish).stderr
        for sender in (smarthost.username, ""):
            assert send(web, sender=sender, **wish).returncode == 0
        smarthost.refuse_logins(on=True)
        assert "535" in send(web, sender="", **wish).stderr
    finally:
        smarthost.strict(on=False)
        smarthost.refuse_logins(on=False)
    assert send(web, sender="root@web.lab.test", **wish).returncode == 0


@pytest.mark.parametrize("fault", ["untrusted", "expired", "misnamed"])
def test_smarthost_can_show_a_bad_certificate(lab: Lab, web: Host, fault: str) -> None:
    """Clients that verify refuse it."""
    smarthost = lab.smarthost
    name = "other.lab.test" if fault == "misnamed" else smarthost.host
    days = -1 if fault == "expired" else 30
    (web.root / "root/ca.pem").write_bytes(smarthost.ca_file.read_bytes())
    smarthost.present(lab.ca.issue(name, days=days, trusted=fault != "untrusted"))
    try:
        wish = {"host": smarthost.host, "port": 465, "to": "c@example.net", "ca": "/root/ca.pem"}
        refused = send(web, subject="bad", **wish)
    finally:
        smarthost.own_certificate()
    assert "certificate verify failed" in refused.stderr


def test_debian_installs_offline(fresh_host: FreshHost) -> None:
    """apt is the real one, its repository is in the host, and what it starts runs."""
    host = fresh_host()
    assert host.run("command -v sendmail postfix msmtp", check=False).stdout == ""
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    host.run("apt-get -q update", env=environment)
    host.run("apt-get -qy install postfix postfix-lmdb msmtp", env=environment)
    assert "postfix" in host.run("dpkg-query -W -f '${Package} ' postfix msmtp").stdout
    assert host.run("systemctl is-active postfix@-").stdout.strip() == "active"
    assert "lmdb" in host.run("postconf -m").stdout
    # The others exclude it, and can be had as well.
    host.run("apt-get -qy install exim4", env=environment)
    host.run("apt-get -qy install msmtp-mta", env=environment)
    host.run("apt-get -qy install nullmailer", env=environment)
    host.run("apt-get -qy install dma", env=environment)


@pytest.mark.parametrize("fqdn", ["one.lab.test", "mail.example.com"])
def test_packages_are_there_before_the_boot(fresh_host: FreshHost, fqdn: str) -> None:
    """Preinstalled Postfix knows the host's name, no other, and runs when the host is up."""
    host = fresh_host(packages=["postfix"], fqdn=fqdn)
    assert host.run("postconf -h myhostname").stdout.strip() == fqdn
    assert host.run("cat /etc/mailname").stdout.strip() == fqdn
    domain = fqdn.partition(".")[2]
    names = f"$myhostname, {fqdn}, localhost.{domain}, , localhost"
    assert host.run("postconf -h mydestination").stdout.strip() == names
    subject = "openssl x509 -noout -subject -in /etc/ssl/certs/ssl-cert-snakeoil.pem"
    assert host.run(subject).stdout.strip() == f"subject=CN = {fqdn}"
    assert host.run("postalias -q postmaster /etc/aliases").stdout.strip() == "root"
    assert host.run(f"grep -rlE '{SHORT}|{DOMAIN}' /etc /var", check=False).stdout == ""
    assert host.run("systemctl is-active postfix@-").stdout.strip() == "active"


def test_syncs_reach_the_disk_of_a_durable_host_only(fresh_host: FreshHost) -> None:
    """Other hosts do not wait for the machine's disk; folders are renamed as on a real one."""
    for durable in (True, False):
        host = fresh_host(durable=durable)
        mounts = host.run("cat /proc/mounts").stdout.splitlines()
        disk = next(line for line in mounts if line.split()[1] == "/")
        assert ("volatile" in disk) is not durable  # newer kernels write fsync=volatile
        host.run(["python3", "-c", "import os; os.rename('/etc/ssh', '/etc/ssh2'); os.sync()"])


def test_a_power_cut_loses_what_was_not_synced(lab: Lab) -> None:
    """A file that was synced is there after the cut, one that was only written is not."""
    script = """
import os
def write(path, sync):
    with open(path, "w") as file:
        file.write("content")
        if sync:
            file.flush()
            os.fsync(file.fileno())
os.makedirs("/srv/power")
write("/srv/power/synced", True)
write("/srv/power/written", False)
"""
    host = lab.host("power", own_disk=True)
    try:
        host.run(["python3", "-c", script])
        host.cut_power()
        assert not host.running
        with pytest.raises(LabError, match="not running"):
            host.run("true")
        host.boot()
        assert host.run("cat /srv/power/synced").stdout == "content"
        # Another sync of some process may have taken the name along, never the content.
        assert host.run("cat /srv/power/written", check=False).stdout == ""
        assert [image for image in loops() if lab.id in image]
    finally:
        lab.remove(host)
    assert not [image for image in loops() if lab.id in image]


def test_arch_is_a_pacman_host(fresh_host: FreshHost) -> None:
    """pacman installs, conflicts and removes as on Arch, and Debian's tools are not there."""
    host = fresh_host("arch")
    assert "ID=arch" in host.run("cat /etc/os-release").stdout
    assert host.run("command -v apt-get dpkg dpkg-query apt", check=False).stdout == ""
    listed = host.run("pacman -Qq")
    assert (listed.stdout, listed.stderr) == ("base\npacman\n", "")
    host.run("pacman -Sy --noconfirm postfix msmtp")
    assert host.run("systemctl is-enabled postfix", check=False).stdout.strip() == "disabled"
    assert ":25 " not in host.run("ss -Hltn").stdout
    host.run("postfix check && systemctl start postfix")
    assert "0.0.0.0:25 " in host.run("ss -Hltn").stdout
    assert host.run("postconf -n inet_interfaces mynetworks relayhost").stdout == ""
    assert host.run("stat -c '%G %a' /usr/bin/postdrop").stdout == "postdrop 2755\n"
    host.run("printf 'Subject: x\n\n' | sendmail alice@example.org", user="alice")
    refused = host.run("pacman -S --noconfirm msmtp-mta", check=False)
    assert "smtp-forwarder" in refused.stdout
    assert refused.returncode != 0
    host.run("systemctl stop postfix && pacman -Rns --noconfirm postfix msmtp")
    assert host.run("pacman -Qq").stdout == "base\npacman\n"
    host.run("pacman -S --noconfirm msmtp-mta && test -x /usr/bin/sendmail")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_of_a_lab_stays(number: signal.Signals) -> None:
    """Ended in whatever way, a lab's namespaces, mounts and processes go; killed, by clean."""
    script = (
        # Whoever starts tests in the background has SIGINT ignored in all that they start.
        "import signal, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from lab import Lab\n"
        "with Lab() as lab:\n lab.host('x')\n print(lab.id, flush=True)\n time.sleep(99)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    lab = process.stdout.readline().strip()
    assert traces(lab)
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    if number == signal.SIGKILL:
        subprocess.run([sys.executable, "-m", "lab", "clean"], cwd=TESTS, check=True)
    assert traces(lab) == []


def traces(lab: str) -> list[str]:
    """Namespaces, mounts and processes with the lab's id in their names."""
    found = [path.name for path in NETNS_FOLDER.glob(f"{lab}-*")]
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if lab in line]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += [process.parent.name] if lab.encode() in process.read_bytes() else []
    return found
