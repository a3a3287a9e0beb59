"""TLS as a client: the certificate is verified for the server's name, as the relay does it."""

from __future__ import annotations

import re
import socket
import ssl
import time
from typing import Callable

from sysmail.errors import HostError

__all__ = ["encrypted"]


def encrypted(
    plain: socket.socket,
    peer: str,
    name: str,
    ca_file: str,
    lost: Callable[[OSError], HostError],
    remedy: str,
) -> ssl.SSLSocket:
    """The connection with TLS on it; every failure is a HostError with a stable code.

    ``name`` is what the certificate must carry, ``ca_file`` a file of trusted
    certificates (empty: the system's). ``lost`` says that the connection
    ended, ``remedy`` what to do where the server does not speak TLS.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise HostError(
            "ca-file-not-read",
            f"{ca_file} holds no certificates: {error.strerror or error}",
            "set ca_file in the policy to a file with the authority's certificate (PEM)",
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # From Python 3.13 on the default is stricter than Postfix's OpenSSL, and refuses many a
    # private authority (RFC 5280, key usage): this is to find what the relay will find.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        return context.wrap_socket(plain, server_hostname=name)
    except ssl.SSLCertVerificationError as error:
        raise _certificate_error(peer, name, error.verify_code, str(error)) from error
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
        raise lost(error) from error  # a server that restarts does this
    except ssl.SSLError as error:
        raise HostError(
            "not-tls",
            f"{peer} does not speak TLS as expected: {error.reason or error}",
            remedy,
        ) from error
    except OSError as error:
        raise lost(error) from error


def _certificate_error(peer: str, name: str, code: int, text: str) -> HostError:
    """The reasons of OpenSSL's X509_V_ERR_* (openssl-verification-options(1)) in our words."""
    if code in (9, 10):
        when = "is not valid yet" if code == 9 else "has expired"
        clock = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
        return HostError(
            "certificate-expired",
            f"the certificate of {peer} {when}; this host's clock says {clock} UTC",
            "if that is the time, renew the server's certificate; if not, set this host's clock",
        )
    if code in (62, 64):
        return HostError(
            "certificate-wrong-name",
            f"the certificate of {peer} is not for {name}",
            "use the name that the certificate carries as host in the policy",
        )
    return HostError(
        "certificate-not-trusted",
        f"the certificate of {peer} is not trusted: {re.sub(r' *[(]_ssl[.]c:[0-9]+[)]', '', text)}",
        "set ca_file in the policy to the authority that signed it",
    )
