"""Time as a value: whoever needs it is handed a clock."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since the epoch, as a float."""

system_clock: Clock = time.time
