"""POST to a web server, with its certificate verified. The URL is a secret and in no error."""

from __future__ import annotations

import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Optional

from sysmail.errors import HostError
from sysmail.watch.shapes import shown

__all__ = ["post"]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect of a POST is followed as a GET, maybe unencrypted, and tells another server."""

    def redirect_request(self, *_args: Any) -> None:
        """Follow none: the answer is an error with its code."""
        return


def post(url: str, body: bytes, headers: Mapping[str, str], ca_file: str, timeout: float) -> None:
    """POST. HostError unless the server says 2xx within ``timeout`` seconds, all in all.

    No proxy is used, whatever the environment says. A server that sends a byte now and then
    keeps a thread of ours, which ends with the program.
    """
    result: list[str] = []
    # The policy takes https://, and http:// for loopback.
    request = urllib.request.Request(url, body, dict(headers), method="POST")  # noqa: S310
    request.add_header("User-Agent", "sysmail")

    def work() -> None:
        result.append(_trouble(request, ca_file, timeout))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout)
    trouble = result[0] if result else f"no answer in {timeout:g} s"
    if trouble:
        raise HostError(
            "webhook-failed",
            f"the alert did not reach {shown(url)}: {trouble}",
            "try the address of alert.webhook by hand, as in docs/watch.md",
        )


def _trouble(request: urllib.request.Request, ca_file: str, timeout: float) -> str:
    """Why it was not taken; empty where it was."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=context),
            _NoRedirect(),
        )
        with opener.open(request, timeout=timeout) as answer:
            answer.read(1000)
    except urllib.error.HTTPError as error:
        return _code(error.code)
    except urllib.error.URLError as error:
        return _reason(error.reason)
    except Exception as error:  # noqa: BLE001 - of a thread; http.client alone has a dozen kinds
        return _reason(error)
    return ""


def _code(code: int) -> str:
    if 300 <= code < 400:
        return f"it says {code}, which is elsewhere, and no redirect is followed"
    return f"it says {code}"


def _reason(error: object) -> str:
    """The error in words that hold nothing of the request."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or type(error).__name__}"
    if isinstance(error, socket.timeout):  # TimeoutError has no words of its own
        return "it timed out"
    words: Optional[str] = getattr(error, "strerror", None)
    return words or type(error).__name__
