"""Booted hosts, DNS, an MX and a smarthost in network namespaces, for tests and benchmarks."""

from __future__ import annotations

from .controller import Controller
from .fresh import FreshHost
from .host import Host
from .knock import Knocker, Knocks, Tally
from .lab import Lab
from .machine import LabError
from .mailu import Delivered, Mailu
from .mx import Mx, Received, Rule
from .played import OnHost, Played, TaskResult
from .releases import NotOfferedError
from .smarthost import Smarthost

__all__ = [
    "Controller",
    "Delivered",
    "FreshHost",
    "Host",
    "Knocker",
    "Knocks",
    "Lab",
    "LabError",
    "Mailu",
    "Mx",
    "NotOfferedError",
    "OnHost",
    "Played",
    "Received",
    "Rule",
    "Smarthost",
    "Tally",
    "TaskResult",
]
