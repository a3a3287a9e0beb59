"""The syntax of a DKIM key record (RFC 6376, 3.6.1; RFC 8463 for ed25519)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from sysmail.deliverability.dmarc_record import BadTagsError, read_tags

__all__ = ["BadKeyError", "Key", "looks_like_key", "read_key"]

ED25519_BYTES = 32
_RSA = bytes.fromhex("06092a864886f70d010101")
"""The object identifier rsaEncryption, 1.2.840.113549.1.1.1, in DER."""


class BadKeyError(Exception):
    """What is wrong with a key, in a few words."""


@dataclass(frozen=True)
class Key:
    """A key: ``kind`` is rsa or ed25519, ``bits`` its length, ``number`` the key itself."""

    kind: str
    bits: int
    number: int
    testing: bool = False


def looks_like_key(text: str) -> bool:
    """Whether a TXT record is meant to be a key: the version may be left out."""
    bare = "".join(text.split())
    return bare.startswith("v=DKIM1") or "p=" in bare


def read_key(text: str) -> Key:
    """Read a record; BadKeyError says why no signature can pass with it."""
    try:
        tags = read_tags(text)
    except BadTagsError as error:
        raise BadKeyError(str(error)) from None
    if "v" in tags and (next(iter(tags)) != "v" or tags["v"] != "DKIM1"):
        raise BadKeyError("v=DKIM1 has to stand first")
    if "p" not in tags:
        raise BadKeyError("it has no p=")
    public = "".join(tags["p"].split())
    if not public:
        raise BadKeyError("the key is revoked (p= is empty)")
    services = [word.strip().lower() for word in tags.get("s", "*").split(":")]
    if not {"*", "email"} & set(services):
        raise BadKeyError(f"it is not for mail (s={tags['s'][:40]})")
    hashes = [word.strip().lower() for word in tags.get("h", "sha256").split(":")]
    if "sha256" not in hashes:
        raise BadKeyError(f"it does not allow sha256 (h={tags['h'][:40]})")
    try:
        data = base64.b64decode(public, validate=True)
    except (binascii.Error, ValueError):
        raise BadKeyError("p= is not base64") from None
    testing = "y" in [word.strip().lower() for word in tags.get("t", "").split(":")]
    return _measured(tags.get("k", "rsa").lower(), data, testing=testing)


def _measured(kind: str, data: bytes, *, testing: bool) -> Key:
    if kind == "ed25519":
        if len(data) != ED25519_BYTES:
            raise BadKeyError(f"an ed25519 key has 32 bytes, and this one {len(data)}")
        return Key(kind, 256, int.from_bytes(data, "big"), testing)
    if kind != "rsa":
        raise BadKeyError(f"k={kind[:20]} is a kind of key that receivers do not know")
    try:
        number = _rsa_modulus(data)
    except (IndexError, ValueError):
        raise BadKeyError("p= holds no RSA key") from None
    bits = number.bit_length()
    if bits < 1024:
        raise BadKeyError(f"{bits} bits are too short: receivers want 1024, better 2048 (RFC 8301)")
    return Key(kind, bits, number, testing)


def _rsa_modulus(data: bytes) -> int:
    """The modulus of a SubjectPublicKeyInfo, or of a bare RSAPublicKey (DER)."""
    outer = _part(data, 0x30)
    if _RSA in outer[:20]:
        algorithm = _part(outer, 0x30)
        # After the algorithm, with its two bytes of header, comes a string of bits.
        outer = _part(_part(outer[2 + len(algorithm) :], 0x03)[1:], 0x30)
    modulus = _part(outer, 0x02)
    if not modulus:
        raise ValueError("no modulus")
    return int.from_bytes(modulus, "big")


def _part(data: bytes, tag: int) -> bytes:
    """The content of the first value in DER; ValueError or IndexError for anything else."""
    if data[0] != tag:
        raise ValueError("not the expected value")
    length, start = data[1], 2
    if length & 0x80:
        size = length & 0x7F
        length, start = int.from_bytes(data[2 : 2 + size], "big"), 2 + size
    content = data[start : start + length]
    if len(content) != length:
        raise ValueError("cut off")
    return content
