"""The lab's DNS: dnsmasq in a namespace of its own, answering for every name there is.

Names it does not know do not exist (NXDOMAIN, at once): there is no other DNS to ask.
Addresses change without a restart; other records need one, which takes some hundredths of a second.
"""

from __future__ import annotations

import signal
import subprocess
from ipaddress import ip_address
from pathlib import Path

from .machine import LabError, end_process, wait_until
from .network import Node, inside

_READ_AGAIN = "read "


class Dns:
    """The server; `node` is its cable, so an outage of DNS is `lab.cut(lab.dns)`."""

    def __init__(self, node: Node, folder: Path) -> None:
        """Nothing runs before start(). Its files are in `folder`."""
        self.node = node
        self._folder = folder
        self._addresses: list[tuple[str, str]] = []
        self._records: list[tuple[str, str]] = []  # owner and directive
        self._process: subprocess.Popen[str] | None = None
        folder.mkdir(parents=True)

    @property
    def address(self) -> str:
        """Where hosts ask."""
        return self.node.address

    def add(self, name: str, kind: str, value: str, preference: int = 10) -> None:
        """Add a record and have it served when this returns.

        `kind` is A, AAAA, MX, TXT, PTR, CNAME or ADDRESS (A or AAAA, and the PTR for it).
        For PTR, `name` is the address and `value` the name. Names are written without a last dot.
        Raises LabError for any other kind.
        """
        if kind == "ADDRESS":
            self._addresses.append((str(ip_address(value)), name))
            self._read_addresses_again()
            return
        self._records.append((name, _directive(name, kind, value, preference)))
        self._restart()

    def remove(self, name: str) -> None:
        """Take away every record of a name; it need not have any. For a PTR give the address."""
        self._addresses = [pair for pair in self._addresses if pair[1] != name]
        self._records = [record for record in self._records if record[0] != name]
        self._restart()

    def start(self) -> None:
        """Run the server and wait until it listens. Raises LabError with its log if it does not."""
        self._write()
        log = self._folder / "log"
        log.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            inside(
                self.node.netns,
                *("dnsmasq", "--keep-in-foreground", "--user=root", "--pid-file="),
                *(f"--conf-file={self._folder}/conf", f"--log-facility={log}"),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self._folder / "errors").open("w"),
            text=True,
            start_new_session=True,
        )
        process = self._process

        def listens() -> bool:
            if process.poll() is not None:
                raise LabError(f"dnsmasq ended: {(self._folder / 'errors').read_text()}")
            # It reads the files of addresses after it has bound its sockets.
            return log.exists() and _READ_AGAIN in log.read_text()

        wait_until("dnsmasq listens", listens)

    def stop(self) -> None:
        """End the server: questions are refused from then on, until start()."""
        if self._process is not None:
            end_process(self._process)
            self._process = None

    def _restart(self) -> None:
        if self._process is not None:
            self.stop()
            self.start()

    def _write(self) -> None:
        addresses = "".join(f"{address} {name}\n" for address, name in self._addresses)
        (self._folder / "addresses").write_text(addresses)
        settings = [
            *("port=53", "no-resolv", "no-hosts", "no-poll", "local-ttl=1", "neg-ttl=1"),
            *("local=/#/", f"addn-hosts={self._folder}/addresses", "bind-interfaces"),
            *("interface=eth0", "except-interface=lo", "cache-size=0"),
            *(directive for _, directive in self._records),
        ]
        (self._folder / "conf").write_text("".join(f"{line}\n" for line in settings))

    def _read_addresses_again(self) -> None:
        if self._process is None:
            return
        self._write()
        log = self._folder / "log"
        before = log.read_text().count(_READ_AGAIN)
        self._process.send_signal(signal.SIGHUP)
        wait_until(
            "dnsmasq has read its addresses", lambda: log.read_text().count(_READ_AGAIN) > before
        )


def _reverse(address: str) -> str:
    try:
        return ip_address(address).reverse_pointer
    except ValueError:
        return address


def _directive(name: str, kind: str, value: str, preference: int) -> str:
    if kind in ("A", "AAAA"):
        # Not host-record: that would answer the reverse question as well. (But this one also
        # answers for the names below it, which ADDRESS does not.)
        return f"address=/{name}/{ip_address(value)}"
    if kind == "MX":
        return f"mx-host={name},{value},{preference}"
    if kind == "TXT":
        # A string of a TXT record holds 255 bytes; a longer text is several strings.
        parts = [value[at : at + 255] for at in range(0, len(value), 255)] or [""]
        return f"txt-record={name}," + ",".join(f'"{part}"' for part in parts)
    if kind == "PTR":
        return f"ptr-record={_reverse(name)},{value}"
    if kind == "CNAME":
        return f"cname={name},{value}"
    raise LabError(f"no DNS record kind {kind!r} in the lab")
