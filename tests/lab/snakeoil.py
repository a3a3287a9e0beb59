"""The certificate that Debian's ssl-cert makes for the name of the host it is installed on."""

from __future__ import annotations

from pathlib import Path

from .machine import call

CERTIFICATE = Path("etc/ssl/certs/ssl-cert-snakeoil.pem")
_KEY = Path("etc/ssl/private/ssl-cert-snakeoil.key")
_TEMPLATE = Path("usr/share/ssl-cert/ssleay.cnf")


def reissue(root: Path, fqdn: str) -> None:
    """Issue it anew for the host `fqdn`, with the key that is there."""
    folder = root / CERTIFICATE.parent
    for link in folder.glob("*.0"):
        if link.is_symlink() and link.readlink() == Path(CERTIFICATE.name):
            link.unlink()
    template = (root / _TEMPLATE).read_text()
    names = template.replace("@HostName@", fqdn).replace("@SubjectAltName@", f"DNS:{fqdn}")
    request = ["openssl", "req", "-config", "/dev/stdin", "-new", "-x509", "-sha256"]
    call([*request, "-days", "3650", "-key", root / _KEY, "-out", root / CERTIFICATE], input=names)
    digest = call(["openssl", "x509", "-noout", "-hash", "-in", root / CERTIFICATE]).strip()
    (folder / f"{digest}.0").symlink_to(CERTIFICATE.name)
