"""Posting to a web server: taken or not, verified, never redirected, and never telling the URL."""

from __future__ import annotations

import contextlib
import http.server
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sysmail.errors import HostError
from sysmail.host.machine import Machine

SECRET = "s3cretT0ken"
HEADERS = {"Content-Type": "application/json", "Title": "web1: mail is in trouble"}


class Hook(http.server.BaseHTTPRequestHandler):
    """Answers as its server was told, and keeps what it got."""

    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.got.append((self.path, dict(self.headers), body))
        time.sleep(server.slow)
        self.send_response(server.code)
        if server.location:
            self.send_header("Location", server.location)
        self.end_headers()
        with contextlib.suppress(OSError):  # the client may have gone
            self.wfile.write(b"no such token: " + SECRET.encode())

    do_GET = do_POST  # noqa: N815 - the name is http.server's

    def log_message(self, *_words: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def server(code: int = 200, location: str = "", slow: float = 0.0) -> Iterator[Any]:
    """A web server on loopback."""
    made: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    made.got, made.code, made.location, made.slow = [], code, location, slow
    made.url = f"http://127.0.0.1:{made.server_port}/hook/{SECRET}?auth={SECRET}"
    thread = threading.Thread(target=made.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


def refusal(url: str, ca_file: str = "", timeout: float = 10.0) -> str:
    """Why it was not taken; the URL must not be in it."""
    with pytest.raises(HostError) as caught:
        Machine().post(url, b"{}", HEADERS, ca_file=ca_file, timeout=timeout)
    assert caught.value.code == "webhook-failed"
    assert SECRET not in caught.value.message + caught.value.remedy
    assert "://" in caught.value.message
    return caught.value.message


def test_taken() -> None:
    """What is posted arrives as it is, with its headers, at the whole address."""
    with server() as hook:
        Machine().post(hook.url, b'{"a": 1}', HEADERS, ca_file="", timeout=10)
        ((path, headers, body),) = hook.got
    assert path == f"/hook/{SECRET}?auth={SECRET}"
    assert body == b'{"a": 1}'
    assert headers["Title"] == HEADERS["Title"]
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("code", [400, 401, 404, 429, 500])
def test_not_taken(code: int) -> None:
    """Any answer but 2xx is a failure, told by its number."""
    with server(code) as hook:
        assert str(code) in refusal(hook.url)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(code: int) -> None:
    """Neither to another server nor to one without TLS."""
    with server() as other, server(code, location=other.url) as hook:
        assert "no redirect" in refusal(hook.url)
        assert other.got == []


def test_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is not told of the alert."""
    with server() as proxy, server() as hook:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
        Machine().post(hook.url, b"{}", HEADERS, ca_file="", timeout=10)
        assert (len(proxy.got), len(hook.got)) == (0, 1)


def test_nobody_answers() -> None:
    """A closed port, a name that does not exist, and a server that takes too long."""
    with server() as gone:
        closed = gone.url
    assert "refused" in refusal(closed)
    refusal(f"https://nothing.invalid/{SECRET}")
    with server(slow=1.0) as hook:
        said = refusal(hook.url, timeout=0.2)
        assert "no answer in 0.2 s" in said or "timed out" in said.lower()


def test_a_missing_authority_file() -> None:
    """A ca_file that is not there is said."""
    assert "No such file" in refusal(f"https://127.0.0.1:1/{SECRET}", "/nonexistent/ca.pem")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_certificates(tmp_path: Path) -> None:
    """A certificate is verified, for its name too, by the authority that the policy names."""
    for name in ("localhost", "other.example"):
        key = ["-keyout", tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.pem"]
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
                *("ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
                *("-addext", f"subjectAltName=DNS:{name}", *map(str, key)),
            ],
            check=True,
            capture_output=True,
        )
    for name, taken in (("localhost", True), ("other.example", False)):
        with server() as hook:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
            hook.socket = context.wrap_socket(hook.socket, server_side=True)
            url = f"https://localhost:{hook.server_port}/{SECRET}"
            ca_file = str(tmp_path / f"{name}.pem")
            if taken:
                Machine().post(url, b"{}", HEADERS, ca_file=ca_file, timeout=10)
                assert "cannot be trusted" in refusal(url)
            else:
                assert "cannot be trusted" in refusal(url, ca_file)
            assert len(hook.got) == taken
