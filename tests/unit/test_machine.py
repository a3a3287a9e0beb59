"""The real host: files that are replaced whole, programs that run in a small world, the lock."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Optional

import pytest

from sysmail.errors import HostError, RefusedError
from sysmail.host.lock import FileLock, is_locked
from sysmail.host.machine import LARGEST, Machine
from sysmail.host.port import FileState

UID, GID = os.getuid(), os.getgid()
AS_ROOT = UID == 0


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    Machine().write(str(path), data, mode, UID, GID)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def names_in(path: Path) -> list[str]:
    return sorted(inner.name for inner in path.iterdir())


def failing(_self: object = None, *_args: object, **_kwargs: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o755])
@pytest.mark.parametrize("there", ["nothing", "file", "link", "left over"])
def test_write_replaces_whole(tmp_path: Path, mode: int, there: str) -> None:
    """A written file has its content, mode and owner, whatever was there; a link is replaced."""
    path, elsewhere = tmp_path / "file", tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    if there == "file":
        path.write_text("old and longer than the new")
        path.chmod(0o666)
    elif there == "link":
        path.symlink_to(elsewhere)
    elif there == "left over":
        (tmp_path / "file.sysmail-new").write_text("of a write that was cut off")
    write(path, b"new", mode)
    assert path.read_bytes() == b"new"
    assert not path.is_symlink()
    assert (mode_of(path), path.stat().st_uid, path.stat().st_gid) == (mode, UID, GID)
    assert elsewhere.read_text() == "mine"
    assert names_in(tmp_path) == ["elsewhere", "file"]


def test_write_of_a_large_file(tmp_path: Path) -> None:
    """A file that is larger than one write of the system is written to its end."""
    data = os.urandom(3_000_000)
    write(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == data


@pytest.mark.parametrize("call", ["rename", "fchmod", "fchown", "fsync", "write"])
def test_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Whichever call of a write fails, the old file is as it was and nothing lies beside it."""
    path = tmp_path / "file"
    path.write_text("old")
    monkeypatch.setattr(os, call, failing)
    with pytest.raises(HostError, match="No space left") as caught:
        write(path, b"new")
    monkeypatch.undo()
    assert caught.value.code == "file-not-written"
    assert "df" in caught.value.remedy
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["file"]


def test_secret_is_never_readable_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it has its owner, a file that is being written is closed to everybody else."""
    seen: list[int] = []

    def look(descriptor: int, _mode: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))

    monkeypatch.setattr(os, "fchmod", look)
    write(tmp_path / "file", b"secret", 0o644)
    assert seen == [0o600]


def test_write_is_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is on the disk before the file has its name, and then the name is."""
    order: list[str] = []
    real: dict[str, Any] = {name: getattr(os, name) for name in ("fsync", "rename")}

    def sync(descriptor: int) -> None:
        kind = "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        order.append(f"sync {kind}")
        real["fsync"](descriptor)

    def rename(old: str, new: str) -> None:
        order.append("rename")
        real["rename"](old, new)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", rename)
    write(tmp_path / "file", b"x")
    assert order == ["sync file", "rename", "sync directory"]


def test_write_does_not_follow_a_planted_link(tmp_path: Path) -> None:
    """A link that was planted at the temporary name is not written through."""
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "file.sysmail-new").symlink_to(target)
    write(tmp_path / "file", b"new")
    assert target.read_text() == "mine"
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("where", ["missing/file", "file/inner"])
def test_write_where_there_is_no_directory(tmp_path: Path, where: str) -> None:
    """A write where there is no directory is an error with a code, and makes nothing."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(HostError) as caught:
        write(tmp_path / where, b"new")
    assert caught.value.code == "file-not-written"
    assert names_in(tmp_path) == ["file"]


@pytest.mark.skipif(AS_ROOT, reason="root may write everywhere")
def test_write_into_a_read_only_directory(tmp_path: Path) -> None:
    """A directory that may not be written leaves nothing, and the remedy is to be root."""
    tmp_path.chmod(0o500)
    with pytest.raises(HostError) as caught:
        write(tmp_path / "file", b"new")
    tmp_path.chmod(0o700)
    assert "root" in caught.value.remedy
    assert names_in(tmp_path) == []


def test_symlink_replaces_a_file(tmp_path: Path) -> None:
    """A link replaces what was there in one step."""
    path = tmp_path / "link"
    path.write_text("old")
    Machine().symlink(str(path), "/elsewhere")
    Machine().symlink(str(path), "/nowhere")
    assert str(path.readlink()) == "/nowhere"
    assert names_in(tmp_path) == ["link"]


def test_symlink_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that cannot be put there leaves the old file, and nothing beside it."""
    path = tmp_path / "link"
    path.write_text("old")
    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(HostError):
        Machine().symlink(str(path), "/elsewhere")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["link"]


def test_state_of_every_kind(tmp_path: Path) -> None:
    """The state of a path has its kind, mode, owner, and content only where it is asked for."""
    host = Machine()
    (tmp_path / "file").write_text("x" * 10)
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    found = host.state(str(tmp_path / "file"))
    assert found is not None
    assert (found.kind, found.mode, found.uid, found.data) == ("file", 0o640, UID, b"x" * 10)
    assert (found.size, found.mtime > 0) == (10, True)
    without = host.state(str(tmp_path / "file"), content=False)
    assert without is not None
    assert (without.data, without.size) == (b"", 10)
    kinds: dict[str, Optional[FileState]] = {
        name: host.state(str(tmp_path / name)) for name in ("link", "fifo", "", "missing", "file/x")
    }
    assert {name: s and s.kind for name, s in kinds.items()} == {
        "link": "link",
        "fifo": "other",
        "": "directory",
        "missing": None,
        "file/x": None,
    }
    link = kinds["link"]
    assert link is not None
    assert link.target == "file"


def test_state_of_large_files(tmp_path: Path) -> None:
    """A file is known whole or not at all: half of it is nothing to put back."""
    host = Machine()
    large, too_large = tmp_path / "large", tmp_path / "too large"
    large.write_bytes(b"x" * 20_000_001)
    found = host.state(str(large))
    assert found is not None
    assert len(found.data) == found.size == 20_000_001
    with too_large.open("wb") as handle:
        handle.truncate(LARGEST + 1)
    with pytest.raises(HostError, match="has 100 MB") as caught:
        host.state(str(too_large))
    assert caught.value.code == "file-too-large"
    assert host.state(str(too_large), content=False) is not None


def test_read(tmp_path: Path) -> None:
    """A missing file reads as None, a long one up to the limit, a directory is an error."""
    host = Machine()
    (tmp_path / "file").write_bytes(b"0123456789")
    assert host.read(str(tmp_path / "file"), 4) == b"0123"
    assert host.read(str(tmp_path / "missing")) is None
    assert host.read(str(tmp_path / "file" / "inner")) is None
    with pytest.raises(HostError) as caught:
        host.read(str(tmp_path))
    assert caught.value.code == "file-not-read"


def test_names_and_links(tmp_path: Path) -> None:
    """Names are sorted and empty where there is no directory; a name is followed to its end."""
    host = Machine()
    for name in ("b", "a"):
        (tmp_path / name).write_text("")
    (tmp_path / "c").symlink_to("b")
    assert host.names(str(tmp_path)) == ["a", "b", "c"]
    assert host.names(str(tmp_path / "a")) == host.names(str(tmp_path / "missing")) == []
    assert host.link(str(tmp_path / "c")) == str((tmp_path / "b").resolve())
    assert host.link(str(tmp_path / "missing")) is None


def test_mkdir_makes_parents_open_and_itself_as_asked(tmp_path: Path) -> None:
    """A directory gets its mode, those above it 0755, and one that is there stays as it is."""
    host = Machine()
    if AS_ROOT:
        host.mkdir(str(tmp_path / "a/b"), 0o700)
        assert (mode_of(tmp_path / "a"), mode_of(tmp_path / "a/b")) == (0o755, 0o700)
    (tmp_path / "there").mkdir(mode=0o750)
    host.mkdir(str(tmp_path / "there"), 0o700, UID, GID)
    host.mkdir(str(tmp_path / "there/new"), 0o711, UID, GID)
    assert (mode_of(tmp_path / "there"), mode_of(tmp_path / "there/new")) == (0o750, 0o711)


def test_mkdir_that_is_cut_off_leaves_no_closed_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory has its mode from the first moment, also with a strict umask, which stays."""

    def cut_off(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "chown", cut_off)
    before = os.umask(0o077)
    try:
        with pytest.raises(KeyboardInterrupt):
            Machine().mkdir(str(tmp_path / "open"), 0o755)
    finally:
        assert os.umask(before) == 0o077
    assert mode_of(tmp_path / "open") == 0o755


def test_a_lock_under_a_strict_umask(tmp_path: Path) -> None:
    """Its folder is open to Postfix's programs, which work beside it; so is what is made later."""
    folder = tmp_path / "sysmail"
    before = os.umask(0o077)
    try:
        folder.mkdir()
        FileLock(str(folder / "lock"), "a test", 0).release()
        (tmp_path / "later").mkdir()
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "later").stat().st_mode) == 0o755


def test_remove_and_rmdir(tmp_path: Path) -> None:
    """What is not there is no error; a directory that is not empty stays."""
    host = Machine()
    (tmp_path / "d").mkdir()
    (tmp_path / "d/file").write_text("x")
    (tmp_path / "link").symlink_to("d")
    host.remove(str(tmp_path / "missing"))
    host.remove(str(tmp_path / "d/file/inner"))
    host.remove(str(tmp_path / "link"))
    assert host.rmdir(str(tmp_path / "d")) is False
    assert (tmp_path / "d/file").exists()
    host.remove(str(tmp_path / "d/file"))
    assert host.rmdir(str(tmp_path / "d")) is True
    assert host.rmdir(str(tmp_path / "d")) is True
    with pytest.raises(HostError) as caught:
        host.remove(str(tmp_path))
    assert caught.value.code == "file-not-removed"


@pytest.mark.parametrize("top", ["directory", "link"])
def test_rmtree_follows_no_link(tmp_path: Path, top: str) -> None:
    """A tree is removed with all that is in it, and nothing that a link points to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    tree = tmp_path / "tree"
    if top == "directory":
        (tree / "a/b").mkdir(parents=True)
        (tree / "a/file").write_text("x")
        (tree / "a/b/link").symlink_to(outside)
        (tree / "dangling").symlink_to("nowhere")
        Machine().rmtree(str(tree))
        Machine().rmtree(str(tree))
    else:
        tree.symlink_to(outside)
        with contextlib.suppress(HostError):
            Machine().rmtree(str(tree))
    assert (outside / "kept").exists()
    assert top == "link" or not tree.exists()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("method", ["ask", "run"])
def test_program_and_its_output(method: str) -> None:
    """A program gives its status and both outputs, as text whatever its bytes are."""
    call: Callable[[list[str]], Any] = getattr(Machine(), method)
    code = "import sys; sys.stdout.buffer.write(b'out\\xff'); sys.stderr.write('err'); sys.exit(3)"
    done = call(python(code))
    assert (done.status, done.out, done.err) == (3, "out\ufffd", "err")
    missing = call(["no-such-program-here"])
    assert (missing.status, missing.err) == (127, "no-such-program-here: not found")


def test_program_that_may_not_be_run(tmp_path: Path) -> None:
    """A file that is no program ends as a shell says it, with 126."""
    (tmp_path / "plain").write_text("x")
    assert Machine().ask([str(tmp_path / "plain")]).status == 126
    (tmp_path / "empty").touch(0o755)
    assert Machine().ask([str(tmp_path / "empty")]).status == 126
    assert Machine().run(["true"], user="nobody-of-that-name").status == 126


def test_program_that_does_not_end() -> None:
    """A program that does not end in its time is ended, as timeout(1) says it, with 124."""
    assert Machine().ask(["sleep", "30"], timeout=0.05).status == 124


def test_program_sees_nothing_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program gets a small, known environment, and what it is given on purpose."""
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "hunter2")
    monkeypatch.setenv("PATH", "/somewhere")
    code = "import os; print(sorted(os.environ.items())); print(os.getcwd())"
    done = Machine().ask([sys.executable, "-I", "-c", code], env={"GIVEN": "x"})
    assert "hunter2" not in done.out
    assert "('GIVEN', 'x')" in done.out
    assert "/somewhere" not in done.out
    assert done.out.splitlines()[-1] == "/"


def test_program_gets_its_input() -> None:
    """Standard input is what was given, and empty where nothing was."""
    echo = python("import sys; print(repr(sys.stdin.read()))")
    assert Machine().run(echo, stdin=b"x\ny").out == "'x\\ny'\n"
    assert Machine().run(echo).out == "''\n"


def test_program_is_listened_to_line_by_line() -> None:
    """What a program prints is told as it comes, both outputs together."""
    lines: list[str] = []
    code = "import sys; print('a', flush=True); print('b', file=sys.stderr); sys.exit(4)"
    done = Machine().run(python(code), on_line=lines.append)
    assert (done.status, done.out, lines) == (4, "a\nb", ["a", "b"])
    assert Machine().run(["no-such-program-here"], on_line=lines.append).status == 127


HANGS = {
    "its child": "sleep 60 & echo $!; wait",
    "deaf": "trap '' TERM; sleep 60 & echo $!; wait; wait",
    "without output": "echo $$; exec >&- 2>&-; sleep 60",
    "never still": "echo $$; while :; do echo; done",
}


def _runs(pid: str) -> bool:
    """Whether a process is there, and not only its name in the table of its parent."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _ended(pid: str) -> bool:
    """Whether a process ends; its output is closed a moment before."""
    end = time.monotonic() + 20
    while _runs(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not _runs(pid)


@pytest.mark.parametrize("hangs", HANGS)
def test_program_that_is_listened_to_and_does_not_end(
    hangs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that is listened to is ended after its time, with all that it started."""
    monkeypatch.setattr("sysmail.host.stream.GRACE_SECONDS", 0.5)
    lines: list[str] = []
    done = Machine().run(["sh", "-c", HANGS[hangs]], timeout=2, on_line=lines.append)
    assert (done.status, done.out) == (124, "sh did not end in 2 s")
    assert _ended(lines[0])


def test_program_that_leaves_its_output_to_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has left the group keeps the output open, and is not waited for; it goes on."""
    monkeypatch.setattr("sysmail.host.stream.GRACE_SECONDS", 0.1)
    lines: list[str] = []
    argv = ["sh", "-c", "setsid sh -c 'echo $$; exec sleep 60' & wait"]
    try:
        done = Machine().run(argv, timeout=2, on_line=lines.append)
        assert done.status == 124
        assert _runs(lines[0])
    finally:
        os.kill(int(lines[0]), 9)


def test_program_that_is_listened_to_by_somebody_who_stops() -> None:
    """Who stops listening lets it end by itself: a package manager leaves nothing half done."""
    lines: list[str] = []

    def stop(line: str) -> None:
        lines.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Machine().run(["sh", "-c", "echo $$; sleep 0.2; echo more"], on_line=stop)
    assert _ended(lines[0])
    assert len(lines) == 1


def test_program_is_found_outside_of_the_callers_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are looked for on a known path, whatever the caller's is."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert Machine().which("sh") in ("/usr/bin/sh", "/bin/sh")
    assert Machine().which("no-such-program-here") is None
    assert Machine().which("") is None


def test_second_holder_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    """Who comes second is told who holds the lock, and gets it once it was given back."""
    path = str(tmp_path / "run/lock")
    held = Machine().lock(path, "sysmail apply (pid 1)", 0)
    with pytest.raises(RefusedError, match=r"sysmail apply \(pid 1\)") as caught:
        FileLock(path, "sysmail try (pid 2)", 0)
    assert caught.value.code == "locked"
    assert "sysmail apply" in Path(path).read_text()
    held.release()
    FileLock(path, "sysmail try (pid 2)", 0).release()


def test_lock_forgets_the_words_of_an_earlier_holder(tmp_path: Path) -> None:
    """The lock names its holder alone, also after one whose words were longer."""
    path = str(tmp_path / "lock")
    first = FileLock(path, "a holder with many words", 0)
    os.close(first._descriptor)  # as the kernel does for a process that was killed
    second = FileLock(path, "b", 0)
    assert Path(path).read_text() == "b"
    second.release()


def test_free_port_and_sockets_of_this_process() -> None:
    """The sockets of a process are found by its number, and their owner by the socket."""
    import socket

    host = Machine()
    with socket.create_server(("127.0.0.1", 0)) as server:
        inode = os.fstat(server.fileno()).st_ino
        assert inode in host.socket_inodes(os.getpid())
        assert f"(pid {os.getpid()})" in host.socket_owner(inode)
        assert host.can_connect("127.0.0.1", server.getsockname()[1])
    assert host.socket_inodes(2**22 + 1) == set()
    assert host.socket_owner(1) == ""
    assert 0 < host.free_port() < 65536


def test_lock_of_another_process(tmp_path: Path) -> None:
    """Whether somebody holds a lock is seen from outside, and looking takes nothing away."""
    path = tmp_path / "lock"
    assert not is_locked(str(path))
    path.write_text("")
    assert not is_locked(str(path))
    holder = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX)\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert is_locked(str(path))
        assert Machine().is_locked(str(path))
        process.communicate()
    assert not is_locked(str(path))


OPENS = "import sys; f = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"


@pytest.mark.parametrize("contained", [False, True], ids=["of this host", "of a container"])
def test_package_manager_in_a_container_is_not_the_hosts(
    tmp_path: Path, *, contained: bool
) -> None:
    """A file of the same path that a process has open in a container is another file."""
    path = tmp_path / "db.lck"
    path.touch()
    argv = [sys.executable, "-c", OPENS, str(path)]
    if contained:
        namespace = ["unshare", "--mount"] if AS_ROOT else ["unshare", "-Urm"]
        if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode:
            pytest.skip("no namespaces for this user")
        over = f'mount -t tmpfs tmpfs {tmp_path} && touch {path} && exec "$@"'
        argv = [*namespace, "sh", "-c", over, "sh", *argv]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        links = [str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert str(path) in links
        assert is_locked(str(path)) is not contained
        assert bool(Machine().user_of(str(path))) is not contained
        process.communicate()


def test_a_user_that_is_not_there() -> None:
    """Not every host has a user nobody."""
    said = Machine().run(["true"], user="no-such-user")
    assert (said.status, said.err) == (126, "there is no user no-such-user")
