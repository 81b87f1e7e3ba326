"""What of a request belongs into the audit log: every change, login, refusal and issue of a token."""

from __future__ import annotations

from registry.domain.access import ANONYMOUS
from registry.domain.audit import AuditEntry, action
from registry.http.router import Call

_READING = ("GET", "HEAD")
_TOO_LITTLE = {401: "unauthorized", 403: "denied", 429: "too many"}
_LONGEST_TARGET = 400
_ADMINISTRATION = "/api/"
_LOGINS = ("token", "login")
REPLICATION = "replication."
"""The beginning of the labels of what slaves ask for."""


def entry_of(call: Call, result: str, path: str, origin: str, now: float) -> AuditEntry:
    what, target = action(call.label, call.request.method), path[:_LONGEST_TARGET]
    return AuditEntry(now, call.actor or ANONYMOUS, origin, what, target, result, call.id)


def is_of_administration(path: str) -> bool:
    """Whether an answer waits until the audit log is durable."""
    return path.startswith(_ADMINISTRATION)


def result_of(call: Call, status: int) -> str | None:
    """What came of a request, as the log says it.

    None where it says nothing: of what only reads, of the chunks of an upload, of what slaves report, and of the
    challenge that clients begin with.
    """
    if status < 400 and call.request.method in _READING and call.label not in _LOGINS:
        return None  # most of all requests
    if status in _TOO_LITTLE:
        is_nobody = call.actor in ("", ANONYMOUS)
        nobody_asked = status == 401 and is_nobody and "Authorization" not in call.request.headers
        return None if nobody_asked else _TOO_LITTLE[status]
    if status >= 400:
        return None
    if call.label.startswith(REPLICATION):
        return None
    if call.label == "token":
        return "done" if call.request.method in ("GET", "POST") else None
    return None if status in (202, 204) and call.label in ("upload", "uploads") else "done"


class NoAudit:
    """Audit of a node that writes nothing down; for tests of what stands before it."""

    def note(self, entry: AuditEntry) -> None:
        pass

    async def record(self, entry: AuditEntry) -> None:
        pass
