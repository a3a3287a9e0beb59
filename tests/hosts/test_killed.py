"""Promise 7 on booted hosts: cut off at sampled moments; SYSMAIL_SEED repeats what is printed."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest
from cutoff import CHANGES, Bench, Change, draw, interrupt, kill, open_bench

from lab import Lab

SEED = int(os.environ.get("SYSMAIL_SEED") or random.SystemRandom().randrange(10**6))
