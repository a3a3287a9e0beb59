"""``sys-svc-mail-smtp``: the configuration of Postfix that a policy asks for. Pure."""

from __future__ import annotations

from sysmail.postfix.desired import (
    MINIMUM_VERSION,
    catch_for_try,
    desired_files,
    own_paths,
    skeleton,
)
from sysmail.postfix.main_cf import parameters

__all__ = [
    "MINIMUM_VERSION",
    "catch_for_try",
    "desired_files",
    "own_paths",
    "parameters",
    "skeleton",
]
