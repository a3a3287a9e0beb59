"""TLS as a client: the certificate is verified for the server's name, as the relay does it."""

from __future__ import annotations

import re
import socket
import ssl
import time
from typing import Any, Callable, Optional

from sysmail.errors import HostError

__all__ = ["encrypted"]

_EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED (openssl-verification-options(1))."""


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
        raise (
            _authority_expired(context, ca_file, error.verify_code)
            or _certificate_error(peer, name, error.verify_code, str(error))
        ) from error
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


def _authority_expired(context: ssl.SSLContext, ca_file: str, code: int) -> Optional[HostError]:
    """Code 10 does not say whose certificate has expired: the server's, or an authority's.

    It is the authority's where none in the file is valid any more: OpenSSL looks at a chain from
    its authority down, and ends at the first that has expired. In a file with valid ones too (a
    system's bundle keeps old ones) the server's is the likelier.
    """
    now = time.time()
    known = context.get_ca_certs() if ca_file and code == _EXPIRED else []
    # Texts in a certificate's dict but for its names, which are tuples (ssl, getpeercert()).
    ends = [ssl.cert_time_to_seconds(str(each["notAfter"])) for each in known]
    if not ends or max(ends) > now:
        return None
    last = ends.index(max(ends))
    day = time.strftime("%Y-%m-%d", time.gmtime(ends[last]))
    clock = time.strftime("%Y-%m-%d %H:%M", time.gmtime(now))
    return HostError(
        "certificate-expired",
        f"the authority {_called(known[last])} in {ca_file} has expired on {day}; "
        f"this host's clock says {clock} UTC",
        "if that is the time, put its new certificate there; if not, set this host's clock",
    )


def _called(certificate: dict[str, Any]) -> str:
    """The last part of a subject's name: its common name, as a rule."""
    parts = [value for rdn in certificate.get("subject", ()) for _, value in rdn]
    return str(parts[-1]) if parts else "without a name"


def _certificate_error(peer: str, name: str, code: int, text: str) -> HostError:
    """The reasons of OpenSSL's X509_V_ERR_* (openssl-verification-options(1)) in our words."""
    if code in (9, _EXPIRED):
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
