"""What people have beside sysmail's own files: no way back takes it without a word."""

from __future__ import annotations

import json
from typing import Any, Callable

import pytest

from sysmail.apply.checkpoint import Store
from sysmail.apply.edits import KEPT
from sysmail.commands import apply, rollback
from sysmail.errors import RefusedError, SysmailError
from unit.fake_debian import FakeDebian
from unit.test_apply import bare, differences, do_apply, fresh, linked, private, silent

CHECKS = "/etc/postfix/header_checks"
EXIM = "/etc/exim4/update-exim4.conf.conf"
BACK = [rollback.rollback, rollback.remove]


def with_checks() -> FakeDebian:
    """A host with a file of its owner's in the folder of a package that is yet to come."""
    host = FakeDebian()
    host.put(CHECKS, "/^Old:/ REJECT\n")
    return host


def with_exim() -> FakeDebian:
    host = FakeDebian()
    host.install_exim4()
    return host


def write(path: str, text: str = "# mine\n") -> Callable[[FakeDebian], None]:
    return lambda host: host.put(path, host.text(path) + text)


def close(path: str) -> Callable[[FakeDebian], None]:
    return lambda host: host.put(path, host.text(path), 0o600)


EDITS: dict[str, tuple[Callable[[], FakeDebian], Callable[[FakeDebian], None], str, str]] = {
    "was there before": (with_checks, write(CHECKS), CHECKS, "edited"),
    "made in the package's folder": (
        bare, write("/etc/postfix/mine/my_map"), "/etc/postfix/mine/my_map", "made",
    ),
    "of the package": (
        bare, write("/etc/postfix/postfix-mine"), "/etc/postfix/postfix-mine", "made",
    ),
    "elsewhere in /etc": (
        bare, write("/etc/rsyslog.d/postfix.conf"), "/etc/rsyslog.d/postfix.conf", "edited",
    ),
    "left by the package": (bare, write("/etc/aliases", "root: me\n"), "/etc/aliases", "edited"),
    "mode": (bare, close("/etc/aliases"), "/etc/aliases", "given mode 0600 and owner 0:0"),
    "of the program that was replaced": (with_exim, write(EXIM), EXIM, "edited"),
}  # fmt: skip


@pytest.mark.parametrize("back", BACK)
@pytest.mark.parametrize("name", EDITS)
def test_what_the_way_back_would_take_is_refused(name: str, back: Callable[..., Any]) -> None:
    """Named before anything is changed; forced, a copy is kept and that is said."""
    make, edit, path, how = EDITS[name]
    host = fresh(make)
    do_apply(host)
    edit(host)
    mine, before = host.text(path), host.world()
    with pytest.raises(RefusedError) as caught:
        back(host, silent, force=False)
    assert caught.value.code == "edited-since"
    assert f"{path} was {how} by somebody" in caught.value.message
    assert differences(before, host.world()) == {}
    report = back(host, silent, force=True)
    assert host.text(KEPT + path) == mine
    assert host.entries[KEPT + path].mode == 0o600
    assert any(note.endswith(KEPT + path) for note in report.notes)
    assert Store(host).load() == []


def test_a_file_made_where_a_package_leaves_one_stays() -> None:
    """Postfix was there without it: only a person can have made it."""
    host = FakeDebian(postfix=True)
    host.take("/etc/mailname")
    do_apply(host)
    assert Store(host).load()[0].packages_brought, "msmtp came, and nothing of Postfix"
    host.put("/etc/mailname", "mine.example.org\n")
    report = rollback.remove(host, silent, force=False)
    assert report.exit_code == 0
    assert host.text("/etc/mailname") == "mine.example.org\n"


def put_all(*paths: str) -> Callable[[FakeDebian], None]:
    def put(host: FakeDebian) -> None:
        for path in paths:
            host.put(path, "newer\n")

    return put


BY_PRODUCTS: dict[str, Callable[[FakeDebian], None]] = {
    "compiled maps": put_all("/etc/aliases.db", CHECKS + ".db", "/etc/postfix/main.cf.lmdb"),
    "a newer package": put_all(
        *(f"/etc/postfix/{name}" for name in ("dynamicmaps.cf", "main.cf.proto", "postfix-files")),
        "/etc/postfix/dynamicmaps.cf.d/ldap.cf",
        CHECKS + ".dpkg-dist",
    ),
    "as it was before": lambda host: host.put(CHECKS, "/^Old:/ REJECT\n"),
    "removed": lambda host: host.take(CHECKS),
    "nothing": lambda _host: None,
}


@pytest.mark.parametrize("name", BY_PRODUCTS)
def test_by_products_are_no_edits(name: str) -> None:
    """What Postfix or a package makes is not held up against anybody."""
    host = with_checks()
    before = host.world()
    apply.run(host, "", {"admin": "one@example.com"}, silent)
    apply.run(host, "", {"admin": "two@example.com"}, silent)
    BY_PRODUCTS[name](host)
    report = rollback.remove(host, silent, force=False)
    assert not any(KEPT in note for note in report.notes)
    assert differences(before, host.world()) == {}


def test_a_journal_of_a_former_version_tells_what_it_can() -> None:
    """Without what was there at the end of the apply, at least what was remembered is compared."""
    host = with_checks()
    do_apply(host)
    journal = f"{Store(host).load()[0].directory}/journal.json"
    data = json.loads(host.text(journal))
    for name in ("found", "folders", "folder_goes"):
        del data[name]
    host.put(journal, json.dumps(data), 0o600)
    host.put("/etc/postfix/my_map", "not known\n")
    rollback.foresee(host)
    host.put(CHECKS, "mine\n")
    with pytest.raises(RefusedError, match="header_checks was edited"):
        rollback.foresee(host)


@pytest.mark.parametrize("back", BACK)
def test_folders_come_back_with_owner_and_mode(back: Callable[..., Any]) -> None:
    """A private folder is private again before the first file in it is there; an empty one too."""
    host = fresh(private)
    before = host.world()
    do_apply(host)

    def look(_call: object) -> None:
        ssl = host.entries.get("/etc/postfix/ssl")
        if ssl is not None and "/etc/postfix/ssl/key.pem" in host.entries:
            assert ssl.mode == 0o700

    host.watch = look
    back(host, silent, force=False)
    assert differences(before, host.world()) == {}


def test_a_failed_apply_puts_folders_back() -> None:
    """It says that the host is as it was before."""
    host = fresh(private)
    before = host.world()
    host.starts = False
    with pytest.raises(SysmailError):
        do_apply(host)
    assert differences(before, host.world()) == {}


@pytest.mark.parametrize("back", BACK)
def test_a_folder_that_is_a_link_elsewhere(back: Callable[..., Any]) -> None:
    """The link is back, and where it leads is only what was there before."""
    host = fresh(linked)
    before = host.world()
    do_apply(host)
    back(host, silent, force=False)
    assert differences(before, host.world()) == {}
