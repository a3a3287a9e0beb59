"""What a machine can find out about the network around it, beside SMTP.

A part of ``Machine`` in a file of its own. Sockets and dnspython are imported
when they are needed: only a proof of deliverability or of arrival asks any of this.
"""

from __future__ import annotations

from sysmail.host.port import Answer, Mailbox, Resolver

__all__ = ["Outside"]


class Outside:
    """The questions of ``port.Reader`` about the way from this host to others."""

    def connection_trouble(
        self, address: str, port: int, source: str = "", timeout: float = 5.0
    ) -> str:
        """Why a TCP connection does not come about; empty if it does."""
        import socket

        origin = (source, 0) if source else None
        try:
            with socket.create_connection((address, port), timeout, origin):
                return ""
        except socket.timeout:
            return f"no answer in {timeout:g} s"
        except OSError as error:
            return error.strerror or str(error) or type(error).__name__

    def source_address(self, destination: str) -> str:
        """The address that the kernel's routing table gives: connecting UDP sends nothing."""
        import socket

        family = socket.AF_INET6 if ":" in destination else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((destination, 25))
                return str(probe.getsockname()[0]).partition("%")[0]
        except OSError:
            return ""

    def exchangers(self, domain: str, seconds: float) -> Answer:
        """The exchangers of a domain, asked of the servers in resolv.conf."""
        from sysmail.host.exchangers import ask_exchangers

        try:
            with open("/etc/resolv.conf", encoding="utf-8", errors="replace") as handle:
                text = handle.read(65536)
        except OSError:
            text = ""
        return ask_exchangers(domain, text, seconds)

    def resolver(self, seconds: float) -> Resolver:
        """The servers of resolv.conf, asked with dnspython."""
        from sysmail.host.resolver import LiveResolver

        return LiveResolver(seconds)

    def mailbox(
        self, host: str, port: int, user: str, password: str, *, ca_file: str, seconds: float
    ) -> Mailbox:
        """A mailbox over IMAP, with the standard library's imaplib."""
        from sysmail.host.imap import ImapMailbox

        return ImapMailbox(host, port, user, password, ca_file, seconds)
