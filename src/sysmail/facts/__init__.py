"""What a host is and has now: collected once, then plain data."""

from __future__ import annotations

from sysmail.facts.collect import collect
from sysmail.facts.model import Facts, Listener, PostfixFacts, ServiceFacts, UnitFacts

__all__ = ["Facts", "Listener", "PostfixFacts", "ServiceFacts", "UnitFacts", "collect"]
