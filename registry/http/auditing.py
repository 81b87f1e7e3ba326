"""What of a request belongs into the audit log: every change, login, refusal and issue of a token."""

from __future__ import annotations

from registry.domain.access import ANONYMOUS
from registry.domain.audit import AuditEntry
from registry.http.router import Call

_READING = ("GET", "HEAD")
_TOO_LITTLE = {401: "unauthorized", 403: "denied", 429: "too many"}
_LONGEST_TARGET = 400
_ADMINISTRATION = "/api/"


def entry_of(call: Call, status: int, path: str, origin: str, now: float) -> AuditEntry | None:
    """None for what only reads, for the chunks of an upload, and for the challenge that clients begin with."""
    result = _result(call, status)
    if result is None:
        return None
    what = f"{call.label}.{call.request.method.lower()}"
    return AuditEntry(now, call.actor or ANONYMOUS, origin, what, path[:_LONGEST_TARGET], result, call.id)


def is_of_administration(path: str) -> bool:
    """Whether an answer waits until the audit log is durable."""
    return path.startswith(_ADMINISTRATION)


def _result(call: Call, status: int) -> str | None:
    if status in _TOO_LITTLE:
        nobody_asked = status == 401 and "Authorization" not in call.request.headers and not call.actor
        return None if nobody_asked else _TOO_LITTLE[status]
    if status >= 400:
        return None
    if call.label == "token":
        return "done" if call.request.method in ("GET", "POST") else None
    if call.request.method in _READING or (status in (202, 204) and call.label in ("upload", "uploads")):
        return None
    return "done"


class NoAudit:
    """Where there is no audit log: of tests, and of the listener of metrics."""

    def note(self, entry: AuditEntry) -> None:
        pass

    async def record(self, entry: AuditEntry) -> None:
        pass
