"""The tool as one archive: its name, its content, and that Python runs it."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sysmail.errors import SysmailError
from sysmail.fleet import archive, place
from unit.fake_host import FakeHost


def run(path: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", str(path), *words], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_archive_runs(tmp_path: Path) -> None:
    """It is the command, compiled and not, and the same source makes the same bytes."""
    data = archive.build()
    assert data == archive.build()
    for name, content in (("plain.pyz", data), ("compiled.pyz", place.compiled(data))):
        path = tmp_path / name
        path.write_bytes(content)
        assert run(path, "--version").startswith("sysmail ")
        found = tmp_path / f"{name}.identity"
        found.write_text("")
        code = (
            f"import sys; sys.path.insert(0, {str(path)!r})\n"
            "from sysmail.fleet import archive\n"
            "print(archive.identity(), archive.own_archive())"
        )
        said = subprocess.run(
            [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
        )
        assert said.stdout.split() == [archive.identity(), str(path)]


def test_compiled_modules_are_used(tmp_path: Path) -> None:
    """Python takes the compiled ones of its own version, and those of another it passes over."""
    path = tmp_path / "sysmail.pyz"
    code = (
        f"import sys; sys.path.insert(0, {str(path)!r})\n"
        "from sysmail import door\n"
        "print(door.__file__)"
    )
    mine = place.compiled(archive.build())
    for content, end in ((mine, ".pyc"), (_foreign(mine), ".py")):
        path.write_bytes(content)
        said = subprocess.run(
            [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
        )
        assert said.stdout.strip().endswith(f"door{end}")
    assert zipfile.ZipFile(io.BytesIO(place.compiled(_foreign(mine)))).testzip() is None


def _foreign(data: bytes) -> bytes:
    """The archive as another version of Python would have compiled it."""
    return data.replace(importlib.util.MAGIC_NUMBER, b"\x01\x02\r\n")


def test_archives_of_the_past() -> None:
    """The former archive stays for who runs from it, older ones go; another's command stays."""
    host = FakeHost()
    data = archive.build()
    for number in range(4):
        host.clock += 1
        place.place(host, data, f"{number:016x}")
    assert host.names(place.FOLDER) == [f"sysmail-{n:016x}.pyz" for n in (2, 3)]
    command = host.state(place.COMMAND)
    assert command is not None
    assert command.target == place.archive_path(f"{3:016x}")
    host.remove(place.COMMAND)
    host.put(place.COMMAND, "somebody's own\n", 0o755)
    place.place(host, data, f"{9:016x}")
    place.take_away(host)
    assert host.text(place.COMMAND) == "somebody's own\n"
    assert host.state(place.FOLDER) is None


def test_folder_that_others_may_write() -> None:
    """What runs as root is not put where somebody else could replace it."""
    host = FakeHost()
    host.mkdir(place.FOLDER, 0o777)
    with pytest.raises(SysmailError, match="root alone"):
        place.place(host, archive.build(), "0" * 16)
    assert host.names(place.FOLDER) == []
