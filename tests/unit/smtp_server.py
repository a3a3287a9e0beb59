"""Real servers on loopback for tests: one that follows a table, and certificates for it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

Handler = Callable[[socket.socket], None]

_CONFIG = """
[ca]
default_ca = test
[test]
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}
unique_subject = no
default_md = sha256
policy = anything
copy_extensions = copy
x509_extensions = leaf
[anything]
commonName = supplied
[leaf]
basicConstraints = critical, CA:FALSE
[req]
distinguished_name = name
[name]
"""


@contextlib.contextmanager
def listening(handler: Handler) -> Iterator[int]:
    """A server whose every connection is given to ``handler``; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stopping = threading.Event()

        def serve() -> None:
            while not stopping.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(5)
                    handler(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port: int = server.getsockname()[1]
        try:
            yield port
        finally:
            stopping.set()
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def scripted(
    replies: Mapping[str, str],
    said: Optional[list[str]] = None,
    context: Optional[ssl.SSLContext] = None,
    tls: str = "none",
    greeting: str = "220 mail.example.org ESMTP",
) -> Handler:
    """A handler that answers each line by the longest beginning of it in ``replies``."""

    def handle(connection: socket.socket) -> None:
        if context is not None and tls == "implicit":
            connection = context.wrap_socket(connection, server_side=True)
        stream = connection.makefile("rwb")
        _send(stream, greeting)
        while True:
            line = stream.readline().decode("utf-8", "replace").rstrip("\r\n")
            if said is not None and line:
                said.append(line)
            if not line or line.upper() == "QUIT":
                _send(stream, "221 bye")
                return
            fitting = [start for start in replies if line.upper().startswith(start.upper())]
            _send(stream, replies[max(fitting, key=len)] if fitting else "250 ok")
            if context is not None and tls == "starttls" and line.upper() == "STARTTLS":
                connection = context.wrap_socket(connection, server_side=True)
                stream = connection.makefile("rwb")

    return handle


def _send(stream: object, text: str) -> None:
    stream.write("".join(f"{line}\r\n" for line in text.split("\n")).encode())  # type: ignore[attr-defined]
    stream.flush()  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Authority:
    """A certificate authority of the tests; ``file`` is what a client trusts."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    @classmethod
    def make(cls, folder: Path) -> Authority:
        """Make the authority's key and certificate."""
        folder.mkdir()
        (folder / "index").write_text("")
        (folder / "serial").write_text("01\n")
        (folder / "config").write_text(_CONFIG.format(folder=folder))
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", "3650", "-subj", "/CN=tests", "-keyout", folder / "ca.key"),
            *("-out", folder / "ca.pem"),
        )
        return cls(folder)

    def expired(self) -> Path:
        """The same authority's certificate, of the same key, as one that ended yesterday."""
        ended = self.folder / "ca-expired.pem"
        renew = ("x509", "-in", self.file, "-signkey", self.folder / "ca.key", "-days", "-1")
        _openssl(*renew, "-out", ended)
        return ended

    def context(
        self, *names: str, begins: str = "20200101000000Z", ends: str = "20491231000000Z"
    ) -> ssl.SSLContext:
        """A server's side of TLS with a certificate for these names, valid for this time."""
        stem = self.folder / f"{names[0]}-{begins}-{ends}"
        key, request, chain = (stem.with_name(stem.name + end) for end in (".key", ".csr", ".pem"))
        _openssl(
            *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={names[0]}", "-keyout", key, "-out", request),
            *("-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)),
        )
        _openssl(
            *("ca", "-batch", "-notext", "-config", self.folder / "config", "-in", request),
            *("-out", chain, "-cert", self.file, "-keyfile", self.folder / "ca.key"),
            *("-startdate", begins, "-enddate", ends),
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        return context


def _openssl(*words: object) -> None:
    subprocess.run(
        ["openssl", *map(str, words)], check=True, capture_output=True, stdin=subprocess.DEVNULL
    )
