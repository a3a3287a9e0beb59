"""The check of DKIM: where something signs, receivers have to find a good key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from sysmail.deliverability.dkim_key import BadKeyError, Key, looks_like_key, read_key
from sysmail.deliverability.opendkim import Signer
from sysmail.deliverability.origin import Origin
from sysmail.deliverability.records import shown, txt
from sysmail.deliverability.reverse import RESOLVER
from sysmail.host.port import ABSENT, UNANSWERED, Resolver
from sysmail.report import FAIL, PASS, UNKNOWN, Verdict

__all__ = ["Signing", "dkim"]

NAME = "dkim"
SELECTOR = "name the selector that the signer uses: `--dkim-selector SELECTOR`"


@dataclass(frozen=True)
class Signing:
    """What signs on this host.

    ``milters`` are Postfix's for SMTP, ``local`` those for sendmail(1);
    ``signers`` the keys that are known, ``public`` the base64 of the public half
    of a private key on this host, by file. ``why``: why no key is known.
    """

    milters: str = ""
    local: str = ""
    signers: tuple[Signer, ...] = ()
    public: tuple[tuple[str, str], ...] = ()
    why: str = ""


def dkim(resolver: Resolver, origin: Origin, signing: Signing) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict, and the domains whose key is good."""
    if not signing.signers:
        return _without_keys(origin, signing), ()
    public = dict(signing.public)
    verdicts = [_key(resolver, each, public.get(each.key_file, "")) for each in signing.signers]
    good = [s.domain for s, v in zip(signing.signers, verdicts) if v.status == PASS]
    evidence = "; ".join(verdict.evidence for verdict in verdicts)
    for status in (FAIL, UNKNOWN):
        wrong = [verdict.remedy for verdict in verdicts if verdict.status == status]
        if wrong:
            return Verdict(NAME, status, evidence, "; ".join(wrong)), tuple(good)
    if signing.milters and not signing.local:
        remedy = f'non_smtpd_milters = "{signing.milters}" under [postfix], then `sysmail apply`'
        what = "mail by sendmail, such as cron's, is not signed: non_smtpd_milters is empty"
        return Verdict(NAME, FAIL, f"{evidence}; but {what}", remedy), tuple(good)
    return Verdict(NAME, PASS, evidence), tuple(good)


def _without_keys(origin: Origin, signing: Signing) -> Verdict:
    milters = signing.milters or signing.local
    if not milters:
        return Verdict(NAME, PASS, "nothing signs here (Postfix has no milter): DMARC needs SPF")
    if signing.why:
        return Verdict(NAME, UNKNOWN, f"{milters}: {signing.why}", SELECTOR)
    return Verdict(
        NAME,
        FAIL,
        f"OpenDKIM runs as a milter ({milters}) and signs nothing of {origin.sender}",
        f"give it a key for {origin.domain}: Domain, Selector and KeyFile, or a row in "
        "SigningTable and KeyTable (opendkim.conf(5))",
    )


def _key(resolver: Resolver, signer: Signer, public: str) -> Verdict:
    name = f"{signer.selector}._domainkey.{signer.domain}"
    private = _own(public)
    public = public if private is not None else ""
    answer = resolver.lookup(name, "TXT")
    if answer.status == UNANSWERED:
        return Verdict(NAME, UNKNOWN, f"TXT of {name}: {answer.why}", RESOLVER)
    texts = [text for text in answer.values if looks_like_key(text)]
    words = ("publish", "publish in its place", f"publish in place of the {len(texts)}")
    remedy = f"{words[min(len(texts), 2)]}: {_record(name, public)}"
    if not texts:
        what = "there is no such name" if answer.status == ABSENT else "it has no key"
        return Verdict(NAME, FAIL, f"{name}: {what}", remedy)
    if len(texts) > 1:
        return Verdict(NAME, FAIL, f"{name} has {len(texts)} keys: {shown(texts, 60)}", remedy)
    try:
        key = read_key(texts[0])
    except BadKeyError as error:
        return Verdict(NAME, FAIL, f"{name}: {error}", remedy)
    if private is not None and private.number != key.number:
        what = f"is not that of {signer.key_file}, so no signature passes"
        return Verdict(NAME, FAIL, f"the key at {name} {what}", remedy)
    return Verdict(NAME, PASS, _praise(name, key, proven=private is not None))


def _own(public: str) -> Optional[Key]:
    """The public half of the key on this host; None where it is not known, or not RSA."""
    try:
        return read_key(f"p={public}")
    except BadKeyError:
        return None


def _praise(name: str, key: Key, *, proven: bool) -> str:
    words = [f"{name} has a key, {key.kind} with {key.bits} bits"]
    if key.kind == "rsa" and key.bits < 2048:
        words.append("2048 are advised")
    if key.testing:
        words.append("marked as a test (t=y)")
    words.append("that of the private key here" if proven else "not compared with a private key")
    return ", ".join(words)


def _record(name: str, public: str) -> str:
    if public:
        return txt(name, f"v=DKIM1; k=rsa; p={''.join(public.split())}")
    return (
        f'{name}. IN TXT "v=DKIM1; k=rsa; p=..." with the public key of the signer '
        "(opendkim-genkey writes it into SELECTOR.txt)"
    )
