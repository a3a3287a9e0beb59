"""A certificate authority that only the lab believes in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .machine import call


@dataclass(frozen=True)
class Certificate:
    """Paths on the machine, PEM: the certificate followed by its issuer, and its key."""

    chain: Path
    key: Path


class Ca:
    """The authority; `file` is its certificate, what a client must trust."""

    def __init__(self, folder: Path) -> None:
        """Make the authority's key and certificate in `folder`; quick."""
        self._folder = folder
        folder.mkdir(parents=True)
        self.file = folder / "ca.pem"
        self._key = folder / "ca.key"
        call(
            [
                *(
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                ),
                *("-nodes", "-days", "3650", "-subj", "/CN=sysmail lab CA"),
                *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
                *("-keyout", self._key, "-out", self.file),
            ]
        )

    def expired(self) -> Path:
        """The same authority's certificate, of the same key, as one that ended yesterday."""
        file = self._folder / "ca-expired.pem"
        renew = ("openssl", "x509", "-in", self.file, "-signkey", self._key, "-days", "-1")
        call([*renew, "-out", file])
        return file

    def issue(self, *names: str, days: int = 365, trusted: bool = True) -> Certificate:
        """A certificate for DNS names, valid from now for `days` (negative: already expired).

        Not `trusted` is self-signed: for tests of those who must refuse it.
        """
        stem = self._folder / f"{names[0]}{'' if trusted else '-untrusted'}{days}"
        key, chain = stem.with_name(f"{stem.name}.key"), stem.with_name(f"{stem.name}.pem")
        request = stem.with_name(f"{stem.name}.csr")
        signer = ("-CA", self.file, "-CAkey", self._key, "-CAcreateserial")
        call(
            [
                *("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt"),
                *("ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={names[0]}"),
                *("-addext", "basicConstraints=critical,CA:FALSE"),
                *("-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)),
                *("-keyout", key, "-out", request),
            ]
        )
        call(
            [
                *("openssl", "x509", "-req", "-in", request, "-days", str(days)),
                *("-copy_extensions", "copyall", "-out", chain),
                *(signer if trusted else ("-signkey", key)),
            ]
        )
        if trusted:
            chain.write_text(chain.read_text() + self.file.read_text())
        return Certificate(chain, key)
