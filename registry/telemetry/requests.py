"""What the log and the metrics are told of a request."""

from __future__ import annotations

import msgspec


class AnsweredRequest(msgspec.Struct, frozen=True):
    """One request that was answered: `route` is its pattern, sizes are in bytes of bodies, time in seconds."""

    id: str
    method: str
    path: str
    route: str
    repository: str
    status: int
    sent: int
    received: int
    seconds: float
    client: str
