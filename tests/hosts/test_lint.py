"""What Postfix accepts and what kills mail: each row is seen to do so, then the lint finds it.

A row is the configuration that sysmail itself makes, with as little changed as shows the fault, in
a real Postfix of its own on a booted host. docs/lint.md is the table of all of this.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from onhost import apply, policy, snapshot, sysmail

from lab import Host, Lab, Rule
from lab.machine import LabError, wait_until

DIRECT = {"admin": "ops@example.org"}
UTF8 = "Subject: f\u00fcr dich\n\nt\n"
SASL = "/usr/lib/x86_64-linux-gnu/sasl2"
GONE = Rule(recipient="gone@|loop@", reply="550 5.1.1 no such user")
NO_ALIASES = {"virtual_alias_maps": "", "transport_maps": "", "myorigin": "example.org"}
STOCK_CLASSES = {"notify_classes": "resource, software"}

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Send:
    """A message that is handed in."""

    to: str = "x@example.net"
    sender: str = "app@example.com"
    address: str = "127.0.0.1"
    via: str = "smtp"
    message: str = "Subject: row\n\nt\n"
    timeout: float = 20


@dataclass(frozen=True)
class Row:
    """One fault: what is changed, what is seen of it, and what the lint says.

    ``log`` (as often as ``times``) and ``reply`` are regular expressions that have to be seen;
    ``never`` must not be in the log by then. ``check`` is the exit status of `postfix check`: 0
    for what it lets pass.
    """

    rule: str
    main: Mapping[str, str] = field(default_factory=dict)
    login: bool = False
    drop: Sequence[str] = ()
    lines: Sequence[str] = ()
    master: Sequence[tuple[str, str]] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    send: Send | None = Send()
    log: str = ""
    times: int = 1
    never: str = ""
    reply: str = ""
    check: int = 0


ROWS = {
    # How programs of the host get in.
    "inet_protocols empty": Row(
        "no-protocol", {"inet_protocols": ""}, reply="no connection",
    ),
    "inet_protocols = ipv5": Row(
        "protocol-not-known", {"inet_protocols": "ipv5"}, reply="no connection", check=1,
    ),
    "inet_protocols = ipv6": Row(
        "no-ipv4", {"inet_protocols": "ipv6"}, reply="no connection",
    ),
    "mynetworks of IPv4 alone": Row(
        "clients-refused", {"mynetworks": "127.0.0.0/8", "smtpd_client_restrictions": ""},
        send=Send(address="::1"), reply="^554 .*denied",
    ),
    "mynetworks of IPv6 alone": Row(
        "clients-refused", {"mynetworks": "[::1]/128", "smtpd_client_restrictions": ""},
        reply="^554 .*denied",
    ),
    "mynetworks with bits behind its mask": Row(
        "network-not-readable", {"mynetworks": "127.0.0.1/8 [::1]/128"}, reply="^4[25]1|^554",
    ),
    "smtpd_relay_restrictions without a reject": Row(
        "no-final-reject", {"smtpd_relay_restrictions": "permit_mynetworks"},
        send=Send(timeout=4),
        reply="no connection|^421|closed", log="fatal: in parameter smtpd_relay_restrictions",
    ),
    "smtputf8 and a server without it": Row(
        "smtputf8", {"smtputf8_enable": "yes"}, login=True,
        send=Send(via="sendmail", message=UTF8), log="status=bounced .*SMTPUTF8 is required",
    ),
    # Mail for local users, and notices.
    "local_transport = error": Row(
        "local-mail-destroyed",
        {**NO_ALIASES, **STOCK_CLASSES, "mydestination": "here.test", "myorigin": "here.test"},
        send=Send(to="root", sender="root", via="sendmail"),
        log="sender non-delivery notification(?s:.*)status=bounced .local delivery disabled",
        never="postmaster",
    ),
    "aliases without mydestination": Row(
        "aliases-do-nothing", NO_ALIASES, send=Send(to="root", via="sendmail"),
        log="to=<root@example.org>.*status=sent",
    ),
    "virtual_alias_domains by default": Row(
        "domains-taken-over", {"virtual_alias_maps": "regexp:@ROOT@/etc/sysmail/all"},
        drop=["virtual_alias_domains"], files={"all": "/./ ops@example.org\n"},
        log="status=bounced .User unknown in virtual alias table",
    ),
    "sender_canonical_maps for everybody": Row(
        "null-sender-rewritten",
        {"sender_canonical_maps": "regexp:@ROOT@/etc/sysmail/all", "smtp_generic_maps": ""},
        files={"all": "/.*/ loop@example.net\n"}, send=Send(to="gone@example.net"),
        log="status=bounced", times=20,
    ),
    "sender_canonical_maps by static": Row(
        "null-sender-rewritten",
        {"sender_canonical_maps": "static:loop@example.net", "smtp_generic_maps": ""},
        send=Send(to="gone@example.net"), log="status=bounced", times=20,
    ),
    "notify_classes by default": Row(
        "nobody-is-told", STOCK_CLASSES, send=Send(to="gone@example.net", sender=""),
        log="status=bounced(?s:.*)removed", never="postmaster|notification",
    ),
    "notify_classes with an unknown word": Row(
        "notices-not-readable", {"notify_classes": "bounces"}, reply="^250",
        send=Send(to="gone@example.net"), never="sender non-delivery notification",
        log=r"/bounce\[\d+\]: fatal: unknown notify_classes value",
    ),
    "maximal_queue_lifetime of a second": Row(
        "lifetime-too-short",
        {"maximal_queue_lifetime": "1s", "bounce_queue_lifetime": "1s", "queue_run_delay": "1s",
         "minimal_backoff_time": "1s", "maximal_backoff_time": "1s",
         "relayhost": "[127.0.0.1]:9"},
        log="status=expired(?s:.*)discarded",
    ),
    "maximal_backoff_time by default": Row(
        "tried-too-seldom", {"relayhost": "[127.0.0.1]:9"},
        drop=["minimal_backoff_time", "maximal_backoff_time", "queue_run_delay"],
        log="status=deferred",
    ),
    "message_size_limit without room for notices": Row(
        "no-room-for-notices", {"message_size_limit": "17000"},
        master=[(r"^  -o message_size_limit=.*\n", "")],
        send=Send(to="gone@example.net", sender="",
                  message="Subject: big\n\n" + ("x" * 70 + "\n") * 215),
        log="status=deferred .bounce failed",
    ),
    # How mail leaves.
    "default_transport = error": Row(
        "mail-does-not-leave", {"default_transport": "error:not here"}, reply="^5.*not here",
    ),
    "relayhost without brackets": Row(
        "relayhost-brackets", {"relayhost": "lab.test"}, log="relay=mx.lab.test.*status=sent",
    ),
    "relayhost is not the key of the password": Row(
        "password-key", login=True,
        files={"sasl_password": "smarthost.lab.test:465 somebody:word\n"},
        log="status=(bounced|deferred) .*denied",
    ),
    "a login without a password map": Row(
        "no-password-map", {"smtp_sasl_password_maps": ""}, login=True,
        log="fatal: specify a password table",
    ),
    "a login with TLS level may": Row(
        "login-not-protected",
        {"smtp_tls_security_level": "may", "smtp_tls_wrappermode": "no",
         "relayhost": "[127.0.0.1]:2587"},
        login=True, files={"sasl_password": "[127.0.0.1]:2587 somebody:a-marked-password\n"},
        log="status=sent .*AUTH PLAIN AHNvbWVib2R5AGEtbWFya2VkLXBhc3N3b3Jk in the open",
    ),
    "a login with TLS level encrypt": Row(
        "login-not-protected",
        {"smtp_tls_security_level": "encrypt", "smtp_tls_CAfile": "",
         "smtp_tls_connection_reuse": "no"},
        login=True, log="Untrusted TLS connection established(?s:.*)status=sent",
    ),
    "secure without authorities": Row(
        "no-authorities", {"smtp_tls_CAfile": ""}, login=True,
        log="status=deferred .*(not trusted|not verified)",
    ),
    "secure with a CA file that is not there": Row(
        "no-authorities", {"smtp_tls_CAfile": "/nowhere/ca.pem"}, login=True,
        log="status=deferred .*",
    ),
    "an unknown TLS level": Row(
        "tls-level-not-known", {"smtp_tls_security_level": "bogus"}, login=True,
        log='fatal: Invalid TLS level "bogus"(?s:.*)throttling',
    ),
    "wrappermode with level may": Row(
        "wrappermode-level", {"smtp_tls_security_level": "may"}, login=True,
        log="status=deferred",
    ),
    "wrappermode on 587": Row(
        "wrappermode-port", {"relayhost": "[smarthost.lab.test]:587"}, login=True,
        files={"sasl_password": "[smarthost.lab.test]:587 no-reply@example.org:word\n"},
        log="status=deferred",
    ),
    "no wrappermode on 465": Row(
        "wrappermode-port", {"smtp_tls_wrappermode": "no", "smtp_helo_timeout": "2s"}, login=True,
        log="status=deferred",
    ),
    "noplaintext": Row(
        "no-mechanism",
        {"smtp_sasl_security_options": "noplaintext, noanonymous"}, login=True,
        drop=["smtp_sasl_tls_security_options"],
        log="status=deferred .*no mechanism available",
    ),
    "an unknown word among the SASL options": Row(
        "sasl-options-not-readable", {"smtp_sasl_tls_security_options": "noanonimous"}, login=True,
        log="fatal: SASL per-connection initialization failed(?s:.*)throttling",
    ),
    "connection reuse without tlsproxy": Row(
        "reuse-without-tlsproxy", login=True, master=[(r"^tlsproxy .*\n", "")],
        log="status=deferred .*handshake fail",
    ),
    "SASL without modules": Row(
        "sasl-modules-missing", login=True, log="status=deferred .*no mechanism available",
    ),
    # What this build does not know or have.
    "a misspelt parameter": Row(
        "unknown-parameter", {"relay_host": "[127.0.0.1]:9"}, drop=["relayhost"],
        log="relay=mx.lab.test.*status=sent",
    ),
    "a name in a value that is no parameter": Row(
        "unknown-reference", {"relayhost": "$my_relay"}, log="relay=mx.lab.test.*status=sent",
    ),
    "a parameter twice": Row(
        "set-twice", {"relayhost": "[127.0.0.1]:9"}, lines=["relayhost ="],
        log="relay=mx.lab.test.*status=sent",
    ),
    "a value that names itself": Row(
        "value-names-itself", {"mail_name": "$mail_name"}, reply="no connection", check=1,
    ),
    "a line without =": Row(
        "line-not-readable", lines=["relayhost [127.0.0.1]"], reply="no connection", check=1,
    ),
    "a time that is none": Row(
        "value-not-readable", {"smtp_helo_timeout": "soon"}, log="fatal: .*smtp_helo_timeout",
    ),
    "a type of map that is not in this build": Row(
        "map-type-not-there", {"smtp_generic_maps": "lmdb:/etc/postfix/generic"},
        log="unsupported dictionary type: lmdb(?s:.*)throttling",
    ),
    "a map without its file": Row(
        "map-file-missing", {"smtp_generic_maps": "regexp:/nowhere/generic"},
        log="open /nowhere/generic: No such file(?s:.*)throttling",
    ),
    "a database without its file": Row(
        "map-file-missing", {"smtp_generic_maps": "hash:/nowhere/generic"},
        log="/nowhere/generic.db: No such file(?s:.*)throttling",
    ),
    # master.cf.
    "a chroot without resolv.conf": Row(
        "chroot-without-files", master=[(r"^(smtp +unix +- +- +)n", r"\1y")],
        log="status=deferred .*(Name service error|Host or domain name not found)",
    ),
    "a service that is not there": Row(
        "service-missing", master=[(r"^smtp +unix .*\n", "")],
        log="status=deferred .*mail transport unavailable",
    ),
    "a transport that is no service": Row(
        "transport-missing", {"default_transport": "smpt"},
        log="status=deferred .*mail transport unavailable",
    ),
    "compatibility_level = 0": Row(
        "compatibility-level", {"compatibility_level": "0"}, drop=["append_dot_mydomain"],
        log="using backwards-compatible default setting",
    ),
    "inet_interfaces = all": Row("listens-outside", {"inet_interfaces": "all"}, send=None),
}  # fmt: skip


@pytest.fixture(scope="module")
def host(lab: Lab) -> Iterator[Host]:
    """One host for all rows: Postfix is installed, and what a login needs."""
    made = lab.host(f"lint{next(_numbers)}", packages=["postfix", "msmtp"])
    try:
        made.run(
            "systemctl stop postfix; apt-get -q update && apt-get -qy install libsasl2-modules"
        )
        (made.root / "etc/ssl/lab-ca.pem").write_bytes(lab.smarthost.ca_file.read_bytes())
        made.start(["python3", "-c", OPEN_SERVER])
        yield made
    finally:
        lab.remove(made)


# Offers a login without TLS, and tells in its answer what it was sent.
OPEN_SERVER = """
import socketserver
class Session(socketserver.StreamRequestHandler):
    def handle(self):
        def say(text): self.wfile.write(text.encode() + b"\\r\\n")
        told, data = "nothing", False
        say("220 open ESMTP")
        for line in self.rfile:
            line = line.decode().strip()
            if data:
                if line == ".":
                    data = False
                    say("250 2.0.0 " + told + " in the open")
            elif line.startswith("EHLO"):
                say("250-open"); say("250 AUTH PLAIN")
            elif line.startswith("AUTH"):
                told = line; say("235 2.7.0 ok")
            elif line == "DATA":
                data = True; say("354 go on")
            elif line == "QUIT":
                say("221 bye"); return
            else:
                say("250 2.0.0 ok")
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("127.0.0.1", 2587), Session).serve_forever()
"""


def _policy(lab: Lab, *, login: bool) -> dict[str, Any]:
    if not login:
        return DIRECT
    server = {
        "host": lab.smarthost.host,
        "username": lab.smarthost.username,
        "password_file": "/etc/sysmail/password",
        "ca_file": "/etc/ssl/lab-ca.pem",
    }
    return {**DIRECT, "sender": lab.smarthost.username, "smarthost": server}


def _ask(lab: Lab, host: Host, row: Row, root: str) -> dict[str, Any]:
    send = None if row.send is None else vars(row.send)
    asked = {
        "root": root, "policy": _policy(lab, login=row.login), "send": send,
        "password": lab.smarthost.password if row.login else "", "main": dict(row.main),
        "drop": list(row.drop), "lines": list(row.lines), "master": list(row.master),
        "files": dict(row.files),
    }  # fmt: skip
    done = host.run(["python3", "/opt/sysmail/tests/hosts/lint_row.py"], input=json.dumps(asked))
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _log(host: Host, root: str) -> str:
    path = host.root / root.lstrip("/") / "log"
    return path.read_text(errors="replace") if path.exists() else ""


def _stop(host: Host, root: str) -> None:
    host.run(["postfix", "-c", f"{root}/etc", "abort"], check=False)
    shutil.rmtree(host.root / root.lstrip("/"))


@pytest.fixture
def root(host: Host) -> Iterator[str]:
    """A folder for one instance, which is stopped and gone afterwards."""
    found = f"/var/lib/row{next(_numbers)}"
    yield found
    _stop(host, found)


@pytest.mark.parametrize("login", [False, True])
def test_our_own_works_and_passes(lab: Lab, host: Host, root: str, *, login: bool) -> None:
    """What every row starts from delivers mail, and the lint has nothing to say of it."""
    answer = _ask(lab, host, Row("", login=login), root)
    assert answer["found"] == []
    assert answer["check"] == {"status": 0, "said": ""}
    wait_until("mail is sent", lambda: "status=sent" in _log(host, root), timeout=60)


@pytest.fixture
def behaviour(request: pytest.FixtureRequest, lab: Lab, host: Host) -> Iterator[None]:
    """What the world around a row is like."""
    lab.mx.behave([GONE])
    hidden = f"{SASL}.away"
    if "SASL without modules" in request.node.name:
        host.run(["mv", SASL, hidden])
    yield
    host.run(f"test ! -e {hidden} || mv {hidden} {SASL}")
    lab.mx.behave([])


@pytest.mark.usefixtures("behaviour")
@pytest.mark.parametrize("name", ROWS)
def test_row(lab: Lab, host: Host, root: str, name: str) -> None:
    """Postfix accepts it, mail dies of it, and the lint says so."""
    row = ROWS[name]
    answer = _ask(lab, host, row, root)
    print(name, "|", answer["check"], "|", answer["reply"])
    if row.log:
        seen = re.compile(row.log)
        try:
            wait_until(
                f"{row.times} times {row.log}",
                lambda: len(seen.findall(_log(host, root))) >= row.times,
                timeout=40,
                step=0.1,
            )
        except LabError as error:
            raise AssertionError(f"{error}: {answer}\n{_log(host, root)[-6000:]}") from None
    if row.never:
        assert not re.search(row.never, _log(host, root).replace("postfix-row", ""))
    if row.reply:
        assert re.search(row.reply, answer["reply"]), f"{answer}\n{_log(host, root)}"
    assert (answer["check"]["status"] != 0) == (row.check != 0), answer["check"]
    rules = [each["rule"] for each in answer["found"]]
    assert row.rule in rules, answer["found"]
    for each in answer["found"]:
        assert all(each.values()), each


def test_open_to_the_network(lab: Lab, host: Host, root: str) -> None:
    """With inet_interfaces = all the listener is on every address."""
    _ask(lab, host, ROWS["inet_interfaces = all"], root)
    assert "0.0.0.0:2525" in host.run(["ss", "-Hltn"]).stdout


def test_a_backlog_waits_for_more_than_an_hour(lab: Lab, host: Host, root: str) -> None:
    """With Postfix's own back-off, mail that waits for long is tried after an hour."""
    _ask(lab, host, ROWS["maximal_backoff_time by default"], root)
    wait_until("it waits", lambda: "status=deferred" in _log(host, root), timeout=40)
    found = host.run(["postconf", "-c", f"{root}/etc", "-hx", "maximal_backoff_time"]).stdout
    assert found.strip() == "4000s"


def test_without_ipv6(lab: Lab) -> None:
    """Where IPv6 is off, ::1 among the interfaces is fatal, and the lint tells both spellings."""
    bare = lab.host(f"lint{next(_numbers)}", packages=["postfix", "msmtp"], ipv6=False)
    try:
        bare.run("systemctl stop postfix")
        row = Row("interface-not-there", {"inet_interfaces": "127.0.0.1, [::1]"})
        answer = _ask(lab, bare, row, "/var/lib/interfaces")
        assert "no connection" in answer["reply"], answer
        assert row.rule in [each["rule"] for each in answer["found"]]
        bare.run(["postfix", "-c", "/var/lib/interfaces/etc", "abort"], check=False)
        answer = _ask(lab, bare, Row("", {"inet_protocols": "all"}), "/var/lib/protocols")
        assert [each["rule"] for each in answer["found"]] == ["no-ipv6"]
        answer = _ask(lab, bare, Row("", send=None), "/var/lib/plain")
        assert answer["found"] == []
    finally:
        lab.remove(bare)


EXTRAS = {
    "a misspelt name": ('smtp_conect_timeout = "20s"', "unknown-parameter"),
    "a time that is none": ('smtp_helo_timeout = "soon"', "value-not-readable"),
    "a file that is not there": ('smtp_header_checks = "regexp:/nowhere/x"', "map-file-missing"),
    "a type that is not there": ('smtp_header_checks = "lmdb:/etc/x"', "map-type-not-there"),
    "a value that names itself": ('mail_name = "$mail_name"', "value-names-itself"),
}


@pytest.mark.parametrize("extra", EXTRAS)
def test_apply_refuses_and_touches_nothing(host: Host, extra: str) -> None:
    """An extra parameter that the policy allows and the lint does not: refused, with a remedy."""
    line, rule = EXTRAS[extra]
    policy(host, f'admin = "ops@example.org"\n[postfix]\n{line}\n')
    before = snapshot(host)
    for command in ("plan", "apply"):
        ran = sysmail(host, command)
        assert (ran.status, ran.codes) == (1, ["configuration-kills-mail"]), ran.out
        assert f"({rule})" in ran.report["errors"][0]["message"]
        assert ran.report["errors"][0]["remedy"].startswith(line.split(" = ")[0])
    assert snapshot(host) == before


def test_apply_goes_through_without_it(host: Host) -> None:
    """The same host with a harmless extra is converged: it was the lint that refused."""
    policy(host, 'admin = "ops@example.org"\n[postfix]\nsmtp_connect_timeout = "20s"\n')
    apply(host)
