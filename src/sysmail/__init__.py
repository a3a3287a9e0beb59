"""sysmail gives a Linux host outbound mail on localhost:25, and proves that it works."""

__version__ = "0.1.0"
