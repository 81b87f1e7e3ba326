"""Metrics for Prometheus, summed over all processes of a node.

Every process writes to files of its own in one directory (the multi-process mode of prometheus-client), and any of them
can answer for all. A write to these files costs more than a request may, so requests are counted in plain objects and
moved there `PUSH_SECONDS` later.
"""

import asyncio
import os
import platform
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from registry.telemetry.requests import AnsweredRequest

PUSH_SECONDS = 0.5
SECONDS_BUCKETS = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 600.0)
CHANGES_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
# A client can send any word as its method; only these become label values.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_Key = tuple[str, str, int]


class _Totals:
    """What the requests of one method, route and status came to since the last push."""

    __slots__ = ("buckets", "count", "received", "seconds", "sent")

    def __init__(self) -> None:
        self.buckets = [0] * (len(SECONDS_BUCKETS) + 1)
        self.count = 0
        self.seconds = 0.0
        self.sent = 0
        self.received = 0


class _SummedHistogram(Histogram):
    """A histogram that takes many observations at once."""

    def add(self, counts: list[int], total: float) -> None:
        """Add observations: how many fell into each bucket (the last is for those above all bounds), and their sum."""
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class Metrics:
    """The metrics of one process. Make it after the process was forked, and once in a process.

    `directory` is the same for all processes of a node, empty at the start of the node and removed at its end.
    """

    def __init__(self, directory: Path, version: str) -> None:
        self._directory = directory
        # prometheus-client reads both when a metric is made; set here so that the order of imports does not matter.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
        values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]
        self._pending: dict[_Key, _Totals] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._requests = Counter(
            "shoal_requests_total", "Requests answered.", ("method", "route", "status"), registry=None
        )
        self._seconds = _SummedHistogram(
            "shoal_request_seconds",
            "Seconds from the first byte of a request to the last of its answer.",
            ("method", "route"),
            buckets=SECONDS_BUCKETS,
            registry=None,
        )
        self._received = Counter("shoal_received_bytes_total", "Bytes of bodies that clients sent.", registry=None)
        self._sent = Counter("shoal_sent_bytes_total", "Bytes of bodies sent to clients.", registry=None)
        self._uploads = Gauge(
            "shoal_uploads_active", "Uploads that a client sends now.", registry=None, multiprocess_mode="livesum"
        )
        self._collected = Counter("shoal_blobs_collected_total", "Blobs removed by the collector.", registry=None)
        self._damaged = Counter(
            "shoal_blobs_damaged_total", "Objects that were found missing or changed.", registry=None
        )
        self._cache_hits = Counter("shoal_cache_hits_total", "Blobs that were served from the cache.", registry=None)
        self._cache_misses = Counter(
            "shoal_cache_misses_total", "Blobs that were asked for and not in the cache yet.", registry=None
        )
        self._cache_filled = Counter(
            "shoal_cache_filled_bytes_total", "Bytes that came from the store into the cache.", registry=None
        )
        self._cache_bytes = Gauge(
            "shoal_cache_bytes", "Bytes that the cache holds.", registry=None, multiprocess_mode="mostrecent"
        )
        self._serial = Gauge(
            "shoal_journal_serial", "Serial of the newest journal row.", registry=None, multiprocess_mode="max"
        )
        # Without a label for each slave: whoever may read metrics need not know their names.
        self._slaves = Gauge(
            "shoal_replication_slaves",
            "Slaves that reported within a day.",
            registry=None,
            multiprocess_mode="mostrecent",
        )
        self._lag_events = Gauge(
            "shoal_replication_lag_events",
            "Events that the slave which is furthest behind does not show yet.",
            registry=None,
            multiprocess_mode="mostrecent",
        )
        self._lag_seconds = Gauge(
            "shoal_replication_lag_seconds",
            "Seconds that the oldest event is waited for which some slave does not show yet.",
            registry=None,
            multiprocess_mode="mostrecent",
        )
        self._drift = Counter(
            "shoal_replication_drift_total",
            "Items of this slave that were found to differ from what is above, and were healed.",
            registry=None,
        )
        self._changes = Histogram(
            "shoal_commit_changes", "Changes in one commit.", buckets=CHANGES_BUCKETS, registry=None
        )
        build = Gauge("shoal_build_info", "Always 1.", ("version", "python"), registry=None, multiprocess_mode="max")
        build.labels(version, platform.python_version()).set(1)

    def observe_request(self, request: AnsweredRequest) -> None:
        """Count one request; call it in the event loop."""
        method, route, status = request.method, request.route, request.status
        totals = self._pending.get((method, route, status))
        if totals is None:
            totals = self._totals((method if method in METHODS else "other", route, status))
        totals.count += 1
        totals.seconds += request.seconds
        totals.sent += request.sent
        totals.received += request.received
        totals.buckets[bisect_left(SECONDS_BUCKETS, request.seconds)] += 1

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """While a client sends the bytes of a blob."""
        self._uploads.inc()
        try:
            yield
        finally:
            self._uploads.dec()

    def blobs_collected(self, count: int) -> None:
        """The collector removed `count` blobs."""
        self._collected.inc(count)

    def drifted(self, items: int) -> None:
        """So many items of a slave differed from what is above."""
        self._drift.inc(items)

    def blob_damaged(self) -> None:
        """An object was missing, or was not what its blob was."""
        self._damaged.inc()

    def cache_hit(self) -> None:
        """A blob was served from the cache; this and the next ones as registry.storage.cache.counts has it."""
        self._cache_hits.inc()

    def cache_missed(self) -> None:
        self._cache_misses.inc()

    def cache_filled(self, size: int) -> None:
        self._cache_filled.inc(size)

    def cache_holds(self, size: int) -> None:
        self._cache_bytes.set(size)

    def journal_at(self, serial: int) -> None:
        """The journal's last row at the start."""
        self._serial.set(serial)

    def committed(self, changes: int, serial: int) -> None:
        """One commit of the node: how many changes it held, and the serial of its last journal row."""
        self._changes.observe(changes)
        self._serial.set(serial)

    def push(self) -> None:
        """Move what was counted to where all processes see it."""
        pending, self._pending = self._pending, {}
        for (method, route, status), totals in pending.items():
            self._requests.labels(method, route, status).inc(totals.count)
            self._seconds.labels(method, route).add(totals.buckets, totals.seconds)
            self._sent.inc(totals.sent)
            self._received.inc(totals.received)

    def close(self) -> None:
        """Move what was counted and end the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.push()

    def worker_died(self, pid: int) -> None:
        """Forget what a dead process had under way; what it had counted stays counted."""
        mark_process_dead(pid, self._directory)  # type: ignore[no-untyped-call]

    def slaves(self, count: int, lag_events: int, lag_seconds: float) -> None:
        """How many slaves the node has heard of, and how far the last of them is behind it."""
        self._slaves.set(count)
        self._lag_events.set(lag_events)
        self._lag_seconds.set(lag_seconds)

    def render(self) -> tuple[bytes, str]:
        """The metrics of all processes and the content type of that text.

        What other processes counted in the last `PUSH_SECONDS` may be missing.
        """
        self.push()
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._directory))  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def _totals(self, key: _Key) -> _Totals:
        totals = self._pending.get(key)
        if totals is None:
            totals = self._pending[key] = _Totals()
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(PUSH_SECONDS, self._on_timer)
        return totals

    def _on_timer(self) -> None:
        self._timer = None
        self.push()
