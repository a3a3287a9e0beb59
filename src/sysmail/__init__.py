"""Outbound mail for the programs of a Linux host: a relay on loopback, and the proof of it."""

__version__ = "0.1.0"
