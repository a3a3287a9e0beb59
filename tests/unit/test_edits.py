"""What somebody changed since: found by content, owner and mode, kept, and told."""

from __future__ import annotations

from typing import Any, Callable, Optional

import pytest

from sysmail.apply.checkpoint import Checkpoint, Store, digest
from sysmail.apply.edits import KEPT, changed_paths, how_changed
from sysmail.apply.recovery import recover
from sysmail.commands import apply, plan, rollback
from sysmail.errors import RefusedError
from sysmail.host.port import FileState
from unit.fake_debian import FakeDebian

MAIN_CF = "/etc/postfix/main.cf"
ADMIN = {"admin": "ops@example.com"}
OLD, NEW = b"old\n", b"new\n"


def silent(_text: str) -> None:
    """Tell nobody."""


def entry(
    before: Optional[bytes], after: Optional[bytes], access: Optional[list[int]] = None
) -> dict[str, Any]:
    former = {"kind": "file", "mode": 0o644, "uid": 0, "gid": 0, "backup": "000"}
    return {
        "path": MAIN_CF,
        "before": None if before is None else {**former, "sha256": digest(before)},
        "after": None if after is None else digest(after),
        "access": access,
    }


def file(data: bytes, mode: int = 0o644, uid: int = 0) -> FileState:
    return FileState("file", mode, uid, 0, data)


@pytest.mark.parametrize(
    ("state", "found", "how"),
    [
        (file(NEW), entry(OLD, NEW, [0o644, 0, 0]), ""),
        (file(OLD), entry(OLD, NEW, [0o644, 0, 0]), ""),
        (file(b"mine"), entry(OLD, NEW), "edited"),
        (file(NEW, 0o600), entry(OLD, NEW, [0o644, 0, 0]), "given mode 0600 and owner 0:0"),
        (file(NEW, 0o644, 7), entry(None, NEW, [0o644, 0, 0]), "given mode 0644 and owner 7:0"),
        (file(NEW, 0o600), entry(OLD, NEW), ""),  # of an older journal, without owner and mode
        (None, entry(OLD, NEW), "removed"),
        (None, entry(None, NEW), ""),
        (None, entry(OLD, None), ""),
        (file(b"mine"), entry(OLD, None), "made anew"),
        (FileState("directory", 0o755, 0, 0), entry(OLD, NEW), "replaced by a directory"),
        (FileState("directory", 0o755, 0, 0), entry(b"", b""), "replaced by a directory"),
        (FileState("other", 0o644, 0, 0), entry(OLD, NEW), "replaced by something that is no file"),
        (FileState("link", 0o777, 0, 0, target="/x"), entry(OLD, NEW), "replaced by a link to /x"),
    ],
)
def test_how_a_path_differs(state: Optional[FileState], found: dict[str, Any], how: str) -> None:
    """What sysmail left and what was there before are no edits; anything else is, and named."""
    assert how_changed(state, found) == how


def test_a_file_that_was_only_remembered_is_none_of_ours() -> None:
    """The first former state and the last content of a path decide whether it was changed."""
    left_alone = Checkpoint(1, "apply", files=[entry(OLD, OLD)])
    changed = Checkpoint(1, "apply", files=[entry(OLD, OLD), entry(OLD, NEW, [0o644, 0, 0])])
    assert changed_paths(left_alone) == {}
    assert changed_paths(changed)[MAIN_CF]["access"] == [0o644, 0, 0]


def in_force() -> FakeDebian:
    host = FakeDebian(postfix=True)
    apply.run(host, "", ADMIN, silent)
    return host


def edit(host: FakeDebian) -> str:
    host.put(MAIN_CF, host.text(MAIN_CF) + "# mine\n")
    return host.text(MAIN_CF)


def test_plan_and_apply_tell_of_an_edit() -> None:
    """The step says that somebody edited its file; the note says where that version is."""
    host = in_force()
    mine = edit(host)
    step = next(s for s in plan.run(host, "", {}).steps if MAIN_CF in s.name)
    assert (step.edited, "edited by somebody" in step.summary) == ("edited", True)
    assert "-# mine" in step.diff
    report = apply.run(host, "", {}, silent)
    kept = report.notes[0].rpartition(" ")[2]
    assert host.text(kept) == mine
    assert apply.run(host, "", {}, silent).notes == ()


def test_a_change_of_policy_is_no_edit() -> None:
    """A step that comes from another policy names nobody."""
    host = in_force()
    steps = plan.run(host, "", {"admin": "other@example.com"}).steps
    assert steps
    assert [s.edited for s in steps if s.edited] == []
    assert "edited" not in plan.run(host, "", {"admin": "o@example.com"}).as_data()["steps"][0]


@pytest.mark.parametrize("back", [rollback.rollback, rollback.remove])
def test_force_keeps_what_it_overwrites(back: Callable[..., Any]) -> None:
    """Forced, the way back keeps the edited version below a folder of root's, and says where."""
    host = in_force()
    mine = edit(host)
    with pytest.raises(RefusedError) as caught:
        back(host, silent, force=False)
    assert caught.value.code == "edited-since"
    report = back(host, silent, force=True)
    assert host.text(KEPT + MAIN_CF) == mine
    assert host.entries[KEPT + MAIN_CF].mode == 0o600
    assert host.entries[KEPT].mode == 0o700
    assert report.notes[0].endswith(KEPT + MAIN_CF)
    assert Store(host).load() == []


def test_versions_of_several_edits_are_all_kept() -> None:
    """A name that is taken gets a number; the same content is kept once."""
    host = in_force()
    host.put(KEPT + MAIN_CF, "of earlier\n", 0o600)
    mine = edit(host)
    rollback.rollback(host, silent, force=True)
    assert host.text(KEPT + MAIN_CF) == "of earlier\n"
    assert host.text(KEPT + MAIN_CF + ".1") == mine


def test_an_edit_over_a_cut_off_apply_is_kept() -> None:
    """Recovery puts files back in any case, and keeps what it did not write itself."""
    host = in_force()
    apply.run(host, "", {"admin": "other@example.com"}, silent)
    last = Store(host).load()[-1]
    path = next(iter(changed_paths(last)))
    journal = f"{last.directory}/journal.json"
    host.put(journal, host.text(journal).replace('"state": "done"', '"state": "open"'), 0o600)
    host.put(path, "# mended by hand\n")
    told = recover(host, silent)
    assert host.text(KEPT + path) == "# mended by hand\n"
    assert any(KEPT + path in sentence for sentence in told)


BROKEN: list[tuple[str, Callable[[FakeDebian], None], str]] = [
    ("master.cf removed", lambda host: host.take("/etc/postfix/master.cf"), "No such file"),
    ("main.cf removed", lambda host: host.take(MAIN_CF), "No such file"),
    (
        "main.cf broken",
        lambda host: host.put(MAIN_CF, host.text(MAIN_CF) + "no line of it\n"),
        "missing '='",
    ),
]


@pytest.mark.parametrize(("_name", "spoil", "words"), BROKEN, ids=lambda each: str(each)[:17])
def test_a_running_postfix_is_not_stopped_where_it_would_not_start(
    _name: str, spoil: Callable[[FakeDebian], None], words: str
) -> None:
    """Somebody broke its files while it ran: going back to those, it goes on, and that is said."""
    host = in_force()
    spoil(host)
    before = host.world()
    assert apply.run(host, "", {}, silent).outcome == "applied"
    report = rollback.rollback(host, silent, force=False)
    note = next(note for note in report.notes if note.startswith("Postfix still runs"))
    assert words in note
    assert "/run/" not in note
    assert {k: v for k, v in host.world().items() if k != "running"} == {
        k: v for k, v in before.items() if k != "running"
    }
    assert host.running is not None
    assert Store(host).is_clean()
    assert recover(host, silent) == []


@pytest.mark.parametrize(("_name", "spoil", "words"), BROKEN, ids=lambda each: str(each)[:17])
def test_a_removal_says_nothing_of_what_it_went_past(
    _name: str, spoil: Callable[[FakeDebian], None], words: str
) -> None:
    """The files before the first apply are whole: Postfix was started with those in the end."""
    host = FakeDebian(postfix=True)
    before = host.world()
    apply.run(host, "", ADMIN, silent)
    spoil(host)
    apply.run(host, "", {}, silent)
    report = rollback.remove(host, silent, force=False)
    assert not any(words in note for note in report.notes)
    after = host.world()
    after["files"].pop(KEPT + MAIN_CF, None)
    assert {**before, "files": 0} == {**after, "files": 0}


def test_a_postfix_that_does_not_run_does_not_hold_up_the_way_back() -> None:
    """Its former files are broken and somebody stopped it: the way back ends, and says so."""
    host = in_force()
    host.take("/etc/postfix/master.cf")
    apply.run(host, "", {}, silent)
    host._stop()
    report = rollback.rollback(host, silent, force=False)
    assert any(note.startswith("Postfix does not run; it will not start") for note in report.notes)
    assert Store(host).is_clean()
