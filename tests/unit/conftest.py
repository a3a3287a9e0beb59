"""What all unit tests share: how long a generated example may take."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is no failure: no deadline for one example; the suite has its own bounds.
settings.register_profile("sysmail", deadline=None)
settings.load_profile("sysmail")
