# Copyright: the sysmail authors. MIT License (see LICENSE).
"""Finds the package sysmail that belongs to this collection."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from zipimport import zipimporter

from ansible.errors import AnsibleError

COLLECTION = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "../.."))


class ArchiveFinder:
    """Imports sysmail from an archive inside a collection.

    sys.path will not do: Ansible's own importer answers for every path below
    ansible_collections, and knows no archives.
    """

    def __init__(self, archive: str) -> None:
        self.archive = archive

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, _target: object = None
    ) -> ModuleSpec | None:
        """Find the package and what is in it, and nothing else."""
        if name != "sysmail" and not name.startswith("sysmail."):
            return None
        return zipimporter(path[0] if path else self.archive).find_spec(name)


def load_tool() -> None:
    """Make ``import sysmail`` find the package of the same version as this collection.

    In a checkout, and where pip installed both, it is the neighbour of the
    folder ansible_collections; in a collection from a tarball it is an archive
    inside. AnsibleError where it is neither.
    """
    archive = os.path.join(COLLECTION, "files", "sysmail.pyz")
    neighbour = os.path.realpath(os.path.join(COLLECTION, "../../.."))
    if os.path.isfile(archive):
        if not any(getattr(found, "archive", None) == archive for found in sys.meta_path):
            sys.meta_path.insert(0, ArchiveFinder(archive))
    elif os.path.isfile(os.path.join(neighbour, "sysmail", "door.py")):
        if neighbour not in sys.path:
            sys.path.insert(0, neighbour)
    else:
        raise AnsibleError(
            f"the collection in {COLLECTION} lacks the tool: install a tarball that "
            "`make collection` made, or the project with pip"
        )
