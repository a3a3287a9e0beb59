"""Changing a host: as a transaction under a journal, and back again."""

from __future__ import annotations

from sysmail.apply.checkpoint import Checkpoint, Store
from sysmail.apply.transaction import Transaction
from sysmail.apply.undo import check_edits, is_pending, recover, removes_postfix, revert, undo

__all__ = [
    "Checkpoint",
    "Store",
    "Transaction",
    "check_edits",
    "is_pending",
    "recover",
    "removes_postfix",
    "revert",
    "undo",
]
