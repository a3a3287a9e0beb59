"""Records as a zone file has them (RFC 1035, 5.1): what a remedy tells to publish."""

from __future__ import annotations

from collections.abc import Iterable

from sysmail.deliverability.names import Address, address_kind

__all__ = ["LONGEST", "address_record", "pointer", "shown", "txt"]

LONGEST = 2000
_STRING = 255


def txt(name: str, text: str) -> str:
    """A TXT record. A string of one holds 255 bytes: a longer text is several strings."""
    parts = [text[at : at + _STRING] for at in range(0, len(text), _STRING)] or [""]
    return f"{name}. IN TXT " + " ".join(f'"{_escaped(part)}"' for part in parts)


def address_record(name: str, address: Address) -> str:
    """An A or AAAA record."""
    return f"{name}. IN {address_kind(address)} {address}"


def pointer(address: Address, name: str) -> str:
    """A PTR record."""
    return f"{address.reverse_pointer}. IN PTR {name}."


def shown(texts: Iterable[str], longest: int = 160) -> str:
    """Texts of strangers in a line of evidence: each in quotes, not too long, not too many."""
    found = list(texts)
    cut = [text if len(text) <= longest else text[: longest - 3] + "..." for text in found[:4]]
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    return ", ".join(f'"{text}"' for text in cut) + more


def _escaped(text: str) -> str:
    def one(character: str) -> str:
        if character in '"\\':
            return "\\" + character
        return character if " " <= character <= "~" else f"\\{ord(character) & 255:03d}"

    return "".join(one(character) for character in text)
