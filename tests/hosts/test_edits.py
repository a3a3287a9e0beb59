"""What people change by hand on a booted host: shown, kept, and never overwritten unasked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from onhost import SYSMAIL, Ran, apply, policy, sysmail
from world import same, world

from lab import FreshHost, Host, Lab

MAIN_CF = "/etc/postfix/main.cf"
MINE = "# a note of mine\n"
KEPT = "/var/lib/sysmail/kept"


def asked(host: Host, name: str) -> None:
    """A policy that differs from others in its admin."""
    policy(host, f'admin = "{name}@example.org"\n')


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[Host]:
    """A host with a stock Postfix; sysmail is not in force between tests."""
    host = lab.host("edits", packages=["postfix", "msmtp"])
    yield host
    lab.remove(host)


@pytest.fixture
def host(machine: Host) -> Iterator[Host]:
    """The host with one policy in force."""
    asked(machine, "ops")
    apply(machine)
    yield machine
    sysmail(machine, "remove", "--force")
    machine.run(f"rm -rf /etc/sysmail /var/lib/sysmail {MAIN_CF}.away")


def text(host: Host, path: str) -> str:
    return (host.root / path.lstrip("/")).read_text()


def step(ran: Ran, path: str) -> dict[str, str]:
    found = [each for each in ran.report["steps"] if each["name"] == f"file {path}"]
    assert found, ran.report["steps"]
    return dict(found[0])


EDITS = {
    MAIN_CF: (f"echo '{MINE.strip()}' >> {MAIN_CF}", "edited"),
    "/etc/postfix/master.cf": ("rm /etc/postfix/master.cf", "removed"),
    "/etc/msmtprc": ("ln -sf /etc/hosts /etc/msmtprc", "replaced by a link to /etc/hosts"),
    "/etc/postfix/sysmail/generic": (
        "chmod 640 /etc/postfix/sysmail/generic", "given mode 0640 and owner 0:0",
    ),
    "/etc/postfix/sysmail/recipient": (
        "chown alice /etc/postfix/sysmail/recipient", "given mode 0644 and owner 1000:0",
    ),
}  # fmt: skip


def test_edits_are_told_and_never_overwritten(host: Host) -> None:
    """plan says that somebody changed a file, and how; rollback and remove leave all alone."""
    for command, _ in EDITS.values():
        host.run(command)
    before = world(host)
    planned = sysmail(host, "plan")
    for path, (_, how) in EDITS.items():
        told = step(planned, path)
        assert told["edited"] == how
        assert f"{path}, which was {how} by somebody since the last apply" in told["summary"]
    assert "-# a note of mine" in step(planned, MAIN_CF)["diff"]
    assert "by somebody since the last apply" in host.run([SYSMAIL, "plan"], check=False).stdout
    for back in ("rollback", "remove"):
        refused = sysmail(host, back)
        assert (refused.status, refused.codes) == (1, ["edited-since"]), refused.report
        error = refused.report["errors"][0]
        assert "and 2 more by somebody" in error["message"]
        assert "--force" in error["remedy"]
    assert same(before, host) == []
    apply(host)
    undone = sysmail(host, "rollback")
    assert undone.status == 0, undone.report
    assert same(before, host) == [], "with the apply that replaced them, their versions come back"
    # It ran without its master.cf, and would not start without it: it was not stopped.
    note = next(note for note in undone.report["notes"] if note.startswith("Postfix still runs"))
    assert "open /etc/postfix/master.cf: No such file or directory" in note
    assert sysmail(host, "status").report.get("notes", []) == [], "nothing is left to recover"


def test_apply_keeps_the_edited_version_and_says_where(host: Host) -> None:
    """apply puts its own version back; theirs is where the report says, and rollback brings it."""
    host.run(f"echo '{MINE.strip()}' >> {MAIN_CF}")
    edited = text(host, MAIN_CF)
    ran = apply(host)
    assert step(ran, MAIN_CF)["edited"] == "edited"
    note = next(note for note in ran.report["notes"] if MAIN_CF in note)
    path = note.rpartition(" ")[2]
    # A main.cf has words like "password" in it: it may hold one, and is kept apart.
    assert path.startswith("/var/lib/sysmail/secrets/0002/")
    assert text(host, path) == edited
    assert MINE not in text(host, MAIN_CF)
    assert sysmail(host, "plan").status == 0
    assert sysmail(host, "rollback").status == 0
    assert text(host, MAIN_CF) == edited
    refused = sysmail(host, "rollback")
    assert refused.codes == ["edited-since"], "the edit is there again, over the first apply"


def test_force_keeps_the_edited_version(host: Host) -> None:
    """rollback --force puts the former file back, and keeps theirs where it says."""
    host.run(f"echo '{MINE.strip()}' >> {MAIN_CF}")
    edited = text(host, MAIN_CF)
    ran = sysmail(host, "rollback", "--force")
    assert ran.status == 0, ran.report
    note = next(note for note in ran.report["notes"] if MAIN_CF in note)
    assert note.endswith(KEPT + MAIN_CF)
    assert text(host, KEPT + MAIN_CF) == edited
    assert host.run(["stat", "-c", "%a %U", KEPT + MAIN_CF]).stdout == "600 root\n"
    assert MINE not in text(host, MAIN_CF)


def test_remove_keeps_what_an_earlier_apply_replaced(host: Host) -> None:
    """An edit that an apply replaced long ago is not lost with the checkpoints."""
    host.run(f"echo '{MINE.strip()}' >> {MAIN_CF}")
    edited = text(host, MAIN_CF)
    asked(host, "other")
    apply(host)
    ran = sysmail(host, "remove")
    assert ran.status == 0, ran.report
    assert any(KEPT + MAIN_CF in note for note in ran.report["notes"]), ran.report
    assert text(host, KEPT + MAIN_CF) == edited
    assert text(host, MAIN_CF) != edited
    assert sysmail(host, "status").codes[0] == "not-applied", "what is kept is no checkpoint"


def test_several_rollbacks_stop_at_an_edit(host: Host) -> None:
    """Each apply that is undone brings back what was there before; an edit in between stops it."""
    states = [text(host, MAIN_CF)]
    for name in ("second", "third"):
        policy(host, f'admin = "{name}@example.org"\nhostname = "{name}.example.org"\n')
        apply(host)
        states.append(text(host, MAIN_CF))
    assert len(set(states)) == 3
    assert sysmail(host, "rollback").status == 0
    assert text(host, MAIN_CF) == states[1]
    host.run(f"echo '{MINE.strip()}' >> {MAIN_CF}")
    assert sysmail(host, "rollback").codes == ["edited-since"]
    assert text(host, MAIN_CF) == states[1] + MINE
    assert sysmail(host, "rollback", "--force").status == 0
    assert text(host, MAIN_CF) == states[0]
    assert text(host, KEPT + MAIN_CF) == states[1] + MINE


def test_folder_in_place_of_a_file(host: Host) -> None:
    """A folder at a managed path is never thrown away, forced or not."""
    host.run(f"rm {MAIN_CF}; mkdir {MAIN_CF}; touch {MAIN_CF}/mine")
    for words in (["rollback"], ["rollback", "--force"], ["remove", "--force"]):
        ran = sysmail(host, *words)
        assert (ran.status, ran.codes) == (1, ["not-a-file"]), ran.report
        assert MAIN_CF in ran.report["errors"][0]["remedy"]
    assert (host.root / f"{MAIN_CF[1:]}/mine").exists()
    host.run(f"rm -r {MAIN_CF}")


def test_edit_after_a_cut_off_apply(host: Host) -> None:
    """What somebody mended by hand after a crash is kept when the next command goes back."""
    path = "/etc/postfix/sysmail/recipient"  # the admin is in it
    former = text(host, path)
    asked(host, "other")
    journal = "/var/lib/sysmail/checkpoints/0002/journal.json"
    apply(host)
    host.run(f'sed -i \'s/"state": "done"/"state": "open"/\' {journal}')
    host.run(f"echo '{MINE.strip()}' >> {path}")
    edited = text(host, path)
    assert "other@example.org" in edited
    changed = sysmail(host, "status")
    note = next(note for note in changed.report["notes"] if path in note)
    assert note.endswith(KEPT + path)
    assert text(host, KEPT + path) == edited
    assert text(host, path) == former


def test_what_the_package_manager_changed_stays(host: Host) -> None:
    """A file that no apply changed is not taken back with it, whoever changed it since."""
    path = "/etc/postfix/dynamicmaps.cf"
    host.run(f"echo '# of a newer version' >> {path}")
    assert sysmail(host, "rollback").status == 0
    assert "of a newer version" in text(host, path)
    host.run(f"sed -i '$d' {path}")


OLD = "/^Old:/ REJECT"
CHECKS, EXIM = "/etc/postfix/header_checks", "/etc/exim4/update-exim4.conf.conf"
BESIDE = {
    CHECKS: "was there before, and was edited since",
    "/etc/postfix/mine/my_map": "made since in the folder that the purge takes along",
    "/etc/rsyslog.d/postfix.conf": "of the package, elsewhere, and edited since",
    "/etc/aliases": "left by the package, and edited since",
    EXIM: "of the program that was replaced, and edited since",
}


def test_what_people_have_beside_is_not_lost(fresh_host: FreshHost) -> None:
    """What a removal would overwrite or purge of somebody's is refused; forced, it is kept."""
    host = fresh_host(packages=["exim4"])
    host.run(f"mkdir /etc/postfix && echo '{OLD}' > /etc/postfix/header_checks; rm /etc/mailname")
    host.run("rm -f /etc/aliases")
    former = {path: text(host, path) for path in (CHECKS, EXIM)}
    apply(host, "--admin", "ops@example.org")
    # None of these is somebody's: maps are made anew, and packages bring newer files.
    host.run("newaliases && postmap /etc/postfix/header_checks")
    host.run("echo '# newer' | tee -a /etc/postfix/dynamicmaps.cf >> /etc/postfix/main.cf.proto")
    for path in BESIDE:
        host.run(f"mkdir -p $(dirname {path}) && echo '# mine' >> {path}")
    host.run("rm -f /etc/mailname; echo mine.example.org > /etc/mailname")
    mine = {path: text(host, path) for path in BESIDE}
    before = world(host)
    for words in (["remove"], ["rollback"]):
        refused = sysmail(host, *words)
        assert (refused.status, refused.codes) == (1, ["edited-since"]), refused.report
        assert "and 2 more by somebody" in refused.report["errors"][0]["message"]
    assert same(before, host) == []
    ran = sysmail(host, "remove", "--force")
    assert ran.status == 0, ran.report
    notes = "\n".join(ran.report["notes"])
    for path in BESIDE:
        assert f"is kept: {KEPT}{path}\n" in notes, notes
        assert text(host, KEPT + path) == mine[path]
    assert {path: text(host, path) for path in former} == former
    assert not (host.root / "etc/postfix/mine").exists()
    assert text(host, "/etc/mailname") == "mine.example.org\n", "made by nobody but its owner"
