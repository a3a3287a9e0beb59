"""The type of the fixture `fresh_host`, for the tests that use it."""

from __future__ import annotations

from typing import Any, Protocol

from .host import Host


class FreshHost(Protocol):
    """Boots a host that is taken away after the test; its FQDN is its own unless given."""

    def __call__(self, base: str = "debian", **kwargs: Any) -> Host:
        """`kwargs` are those of Lab.host."""
        ...
