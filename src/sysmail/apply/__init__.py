"""Changing a host: as a transaction under a journal, and back again."""

from __future__ import annotations

from sysmail.apply.checkpoint import Checkpoint, Store
from sysmail.apply.recovery import is_pending, recover, revert
from sysmail.apply.transaction import Transaction
from sysmail.apply.undo import check_undo, undo
from sysmail.apply.undo_packages import removes_postfix

__all__ = [
    "Checkpoint",
    "Store",
    "Transaction",
    "check_undo",
    "is_pending",
    "recover",
    "removes_postfix",
    "revert",
    "undo",
]
