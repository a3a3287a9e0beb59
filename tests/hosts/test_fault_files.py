"""The files of tests/faults are whole, and say what exists."""

from __future__ import annotations

import re

from fault_files import FOLDER, faults

from sysmail.prove import CHECKS


def test_every_file_is_whole() -> None:
    """Each can be read, names checks that exist, and is about something of its own."""
    found = faults()
    assert len(found) == len(list(FOLDER.glob("*.toml")))
    assert len({fault.fault for fault in found}) == len(found)
    for fault in found:
        assert re.fullmatch("[a-z0-9-]+", fault.name)
        if fault.check in CHECKS:
            assert fault.broken <= set(CHECKS), fault.name
            assert fault.command[0] == "prove", fault.name
        else:
            assert not fault.also, f"{fault.name}: an error stands alone"
        assert fault.check not in fault.also, fault.name


def test_every_promise_is_broken_by_some() -> None:
    """No check is without a fault that it alone is named for."""
    assert {fault.check for fault in faults()} >= set(CHECKS)
