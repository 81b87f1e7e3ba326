"""Logs: text for a terminal, else one JSON object a line; the standard library's loggers take the same way.

The access log has a writer of its own, because a request has about ten microseconds for log and metrics together.
Neither headers nor query strings are logged: both can hold secrets.
"""

import asyncio
import logging
import os
import select
import sys
import time
from typing import Literal, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from registry.telemetry.requests import AnsweredRequest

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "text", "json"]

FLUSH_SECONDS = 0.05


def configure(level: Level, format: Format, stream: TextIO | None = None) -> None:  # noqa: A002 - the setting's name
    """Send every log of this process to `stream` (stderr unless given). May be called again to change the level."""
    stream = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(_Impatient(stream))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(format, stream)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)


def is_text(format: Format, stream: TextIO) -> bool:  # noqa: A002
    """Whether the lines are for people: `auto` means text on a terminal."""
    return format == "text" or (format == "auto" and stream.isatty())


def _renderers(format: Format, stream: TextIO) -> list[Processor]:  # noqa: A002
    if is_text(format, stream):
        # The plain traceback: the pretty ones print local variables, and these can hold secrets.
        return [
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(), timestamp_key="time", exception_formatter=structlog.dev.plain_traceback
            )
        ]
    return [structlog.processors.format_exc_info, _json]


def _json(logger: logging.Logger, name: str, event: EventDict) -> str:
    first = {"time": event.pop("time", None), "level": event.pop("level", None), "event": event.pop("event", None)}
    return msgspec.json.encode(_encodable({**first, **event}), enc_hook=str).decode()


def _encodable(value: object) -> object:
    """The value with all texts fit for UTF-8: bytes that a client sent may have become lone surrogates."""
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case dict():
            return {str(_encodable(key)): _encodable(item) for key, item in value.items()}
        case list() | tuple():
            return [_encodable(item) for item in value]
        case _:
            return value


class _Line(msgspec.Struct):
    time: str
    level: str
    event: str
    id: str
    method: str
    path: str
    repository: str
    status: int
    sent: int
    received: int
    seconds: float
    client: str


class AccessLog:
    """One line a request, gathered in memory and written by the event loop `FLUSH_SECONDS` later at the latest.

    A write is at most PIPE_BUF bytes of whole lines, which a pipe takes in one piece (pipe(7)), so that the lines of
    several processes do not mix. Lines that could not be written are counted, and the count is logged afterwards.
    """

    def __init__(self, level: Level, format: Format, stream: TextIO | None = None) -> None:  # noqa: A002
        stream = stream or sys.stderr
        # the stream is kept so that its descriptor cannot be closed, and given to another file, under us
        self._stream = stream
        self._format_line = _text_line if is_text(format, stream) else _json_line
        # Above "info" only the server's own failures are written.
        self._least_status = 0 if level in ("debug", "info") else 500
        self._lines: list[bytes] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None
        self._second = 0
        self._millisecond = 0
        self._date = ""
        self._time = ""
        self.lost = 0

    def record(self, request: AnsweredRequest) -> None:
        """Add the line of one request; call it in the event loop. What follows `?` in the path is left out."""
        if request.status < self._least_status:
            return
        line = self._format_line(self._now(), request)
        if self._size + len(line) > select.PIPE_BUF:
            self.flush()
        self._lines.append(line)
        self._size += len(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._on_timer)

    def flush(self) -> None:
        """Write what was gathered."""
        if not self._lines:
            return
        lines, self._lines, self._size = self._lines, [], 0
        try:
            if not _has_room(self._stream.fileno()):
                # Whoever reads the log has stopped; waiting for it would stop the server too.
                self.lost += len(lines)
                return
            _write(self._stream.fileno(), b"".join(lines))
        except OSError:
            # Nowhere else to say it: the stream of the logs itself is broken.
            self.lost += len(lines)
            return
        if self.lost:
            lost, self.lost = self.lost, 0
            structlog.get_logger().warning("access log lines lost", lines=lost)

    def close(self) -> None:
        """Write what was gathered and end the timer. Lines can still be recorded while the loop runs."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()

    def _on_timer(self) -> None:
        self._timer = None
        self.flush()

    def _now(self) -> str:
        now = time.time()
        millisecond = int(now * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            second = millisecond // 1000
            if second != self._second:
                self._second = second
                self._date = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
            self._time = f"{self._date}{millisecond % 1000:03d}Z"
        return self._time


def _json_line(now: str, request: AnsweredRequest) -> bytes:
    line = _Line(
        now,
        "info" if request.status < 500 else "error",
        "request",
        request.id,
        request.method,
        _without_query(request.path),
        request.repository,
        request.status,
        request.sent,
        request.received,
        round(request.seconds, 6),
        request.client,
    )
    try:
        return _encode(line) + b"\n"
    except UnicodeEncodeError:
        fields = _encodable(msgspec.structs.asdict(line))
        return _encode(fields) + b"\n"


def _without_query(path: str) -> str:
    return path[: path.index("?")] if "?" in path else path


def _text_line(now: str, request: AnsweredRequest) -> bytes:
    line = (
        f"{now} {request.status} {request.method} {_without_query(request.path)} in={request.received}"
        f" out={request.sent} {request.seconds * 1000:.1f}ms {request.client} {request.id}"
    )
    if not line.isprintable():
        # a control character would reach the terminal, or forge a line
        line = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
    return line.encode() + b"\n"


_encode = msgspec.json.Encoder().encode


def _has_room(descriptor: int) -> bool:
    """Whether a write of PIPE_BUF bytes would not wait: that is when poll(2) calls a pipe writable."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))


class _Impatient:
    """The stream of the logs for the logging module: what nobody reads is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            has_room = _has_room(self._stream.fileno())
        except OSError:  # a stream without a descriptor takes everything
            has_room = True
        return self._stream.write(text) if has_room else len(text)

    def flush(self) -> None:
        self._stream.flush()


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
