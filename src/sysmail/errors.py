"""Failures with stable codes.

Every failure that a person can meet is one of these; each says what happened
and what to do next, and decides the exit code of the command.

    SysmailError
    ├── UsageError            64   the command line or the policy cannot be used
    │   └── PolicyError       64   one key of the policy, named
    ├── NotPermittedError     77   not root, or a file that may not be read
    ├── RefusedError           1   the host is not one we may change like this
    ├── StepError              1   a step of a transaction failed
    └── HostError              1   the machine did not do what was asked of it

``code`` is part of the JSON contract: words joined by hyphens, never renamed.
"""

from __future__ import annotations

__all__ = [
    "EXIT_NOPERM",
    "EXIT_USAGE",
    "HostError",
    "NotPermittedError",
    "PolicyError",
    "RefusedError",
    "StepError",
    "SysmailError",
    "UsageError",
]

EXIT_USAGE = 64
"""``EX_USAGE`` of sysexits.h: bad usage or bad policy."""

EXIT_NOPERM = 77
"""``EX_NOPERM`` of sysexits.h: not permitted."""


class SysmailError(Exception):
    """A failure with a stable ``code``, a ``message`` and a ``remedy``, all one line each.

    ``notes`` are sentences about what was done all the same before it failed.
    """

    exit_code = 1
    notes: tuple[str, ...] = ()

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy


class UsageError(SysmailError):
    """The command line or the policy cannot be used as it is; nothing was touched."""

    exit_code = EXIT_USAGE


class PolicyError(UsageError):
    """A key of the policy is wrong; ``key`` is its dotted name, such as ``queue.lifetime``."""

    def __init__(self, code: str, message: str, remedy: str, key: str = "") -> None:
        super().__init__(code, message, remedy)
        self.key = key


class NotPermittedError(SysmailError):
    """The caller lacks the right to do this; nothing was touched."""

    exit_code = EXIT_NOPERM


class RefusedError(SysmailError):
    """The host is in a state in which this must not be done; nothing was touched."""


class StepError(SysmailError):
    """A step of a transaction failed; the transaction is rolled back."""


class HostError(SysmailError):
    """A program, a file or the network of the host did not do what was asked of it."""
