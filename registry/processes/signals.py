"""The signals that a process of a node listens to."""

from __future__ import annotations

import asyncio
import signal


def stop_and_reload() -> tuple[asyncio.Event, asyncio.Event]:
    """Events for "stop" (SIGTERM, SIGINT) and "read the settings again" (SIGHUP)."""
    loop = asyncio.get_running_loop()
    stop, again = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, again.set)
    return stop, again
