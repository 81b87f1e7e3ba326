"""Every error that Shoal tells a client or an operator.

The tree follows the error codes of the OCI distribution specification ("Error Codes"). A class is
a kind of failure, its `code` the identifier that a client sees; which HTTP status goes with it is
decided in one table, in `registry.http.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping


class StartupError(Exception):
    """The server cannot start; the message is one line that says what to do."""


class DataInUse(StartupError):
    """Another process holds the data directory."""


class RegistryError(Exception):
    """A failure that is told to the client as `{"errors": [{code, message, detail}]}`."""

    code = "UNKNOWN"

    def __init__(self, message: str, detail: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = dict(detail or {})

    @property
    def with_cause(self) -> str:
        """For an operator: the message, and what the system or the store itself said, where that is known."""
        cause = self.detail.get("error")
        return f"{self.message} ({cause})" if cause else self.message


class BlobUnknown(RegistryError):
    code = "BLOB_UNKNOWN"


class BlobUploadInvalid(RegistryError):
    code = "BLOB_UPLOAD_INVALID"


class BlobUploadUnknown(RegistryError):
    code = "BLOB_UPLOAD_UNKNOWN"


class UploadRangeInvalid(BlobUploadInvalid):
    """A chunk that does not begin where the last one ended; the session goes on.

    `offset` is where the next chunk has to begin.
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message, {"offset": offset})
        self.offset = offset


class UploadBusy(BlobUploadInvalid):
    """Another request is writing to the same upload session."""


class DigestInvalid(RegistryError):
    code = "DIGEST_INVALID"


class ManifestBlobUnknown(RegistryError):
    code = "MANIFEST_BLOB_UNKNOWN"


class ManifestInvalid(RegistryError):
    code = "MANIFEST_INVALID"


class ManifestTooLarge(ManifestInvalid):
    """A manifest beyond the limit of 4 MiB."""


class ManifestUnknown(RegistryError):
    code = "MANIFEST_UNKNOWN"


class NameInvalid(RegistryError):
    code = "NAME_INVALID"


class NameUnknown(RegistryError):
    code = "NAME_UNKNOWN"


class TagInvalid(RegistryError):
    code = "TAG_INVALID"


class SizeInvalid(RegistryError):
    code = "SIZE_INVALID"


class RequestTooLarge(SizeInvalid):
    """A body beyond the limit of what it is for."""


class PaginationInvalid(RegistryError):
    code = "PAGINATION_NUMBER_INVALID"


class Denied(RegistryError):
    """What the caller asked is not allowed, and trying again will not help."""

    code = "DENIED"


class BlobInUse(Denied):
    """A blob that a manifest of the repository needs is not deleted."""


class ReadOnly(Denied):
    """A slave was asked to change something."""


class Unsupported(RegistryError):
    code = "UNSUPPORTED"


class MethodNotAllowed(Unsupported):
    """`allowed` lists the methods that the path knows."""

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{method} is not allowed here; allowed: {', '.join(allowed)}")
        self.allowed = allowed


class RequestInvalid(Unsupported):
    """A request that cannot be understood at all (its framing, encoding or query)."""


class MediaTypeUnsupported(Unsupported):
    """An encoding of the body that a registry must not undo: content is named by the bytes as they are."""


class RangeUnsatisfiable(Unsupported):
    """None of the ranges that were asked lies inside the content of `size` bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"no such range: the content has {size} bytes", {"size": size})
        self.size = size


class EndpointUnknown(Unsupported):
    """A path that is no part of the API."""


class ClientGone(BlobUploadInvalid):
    """The client broke off in the middle of its request."""


class RequestTimeout(ClientGone):
    """The client sent nothing for too long."""


class StorageFull(RegistryError):
    """The disk has no room (ENOSPC, EDQUOT, or the reserve for the database would be touched)."""

    code = "STORAGE_FULL"


class StorageFailure(RegistryError):
    """The disk or the database answered with an error (EIO and its like)."""

    code = "STORAGE_FAILURE"


class StoreRefused(StorageFailure):
    """The object store does not let us do it: nothing is said of the bytes, and other keys or rights may help."""


class BlobDamaged(StorageFailure):
    """The bytes of a blob are others than were pushed, or its disk has lost them: only a push brings them back."""


class Unavailable(RegistryError):
    """The node cannot take the request now; the client may try again."""

    code = "UNAVAILABLE"


class Unauthorized(RegistryError):
    """Nobody knows who asks, or what they showed does not go that far. `challenge`: the header that says what would."""

    code = "UNAUTHORIZED"
    challenge = ""  # one that a worker hears of from its node has none of its own

    def __init__(self, message: str, challenge: str = "", detail: Mapping[str, object] | None = None) -> None:
        super().__init__(message, detail)
        self.challenge = challenge


class TooManyRequests(RegistryError):
    """Later it will do; `after` says in how many seconds."""

    code = "TOOMANYREQUESTS"

    def __init__(self, message: str, after: float = 1.0, detail: Mapping[str, object] | None = None) -> None:
        super().__init__(message, {"retry_after": after, **(detail or {})})

    @property
    def after(self) -> float:
        return float(str(self.detail["retry_after"]))


class LimitReached(Denied):
    """A quota or a rule about tags; the message says which."""


class AccessInvalid(RequestInvalid):
    """A name, a pattern or rights that cannot be."""


class AccessRefused(Denied):
    """A change of accounts or grants that must not be made."""


class AccessUnknown(RegistryError):
    """There is no such account, group or grant."""

    code = "NAME_UNKNOWN"


class AccessChanged(Unavailable):
    """Somebody else changed the record between its reading and its writing."""


class AccessExists(RegistryError):
    """There is one of that name already."""

    code = "DENIED"


class LogForked(Denied):
    """What a slave has is not of this log."""


class PromotionRefused(Denied):
    """A slave must not take the place of its master just now."""


class SucceededAlready(Denied):
    """A node says that it has taken the place of this one, and its epoch does not count here."""


class LogCutOff(RegistryError):
    """The events that a slave needs next are not kept any more: it has to take a snapshot."""

    code = "DENIED"


class UpstreamFailed(RegistryError):
    """What the registry above a slave has could not be learned from it: that says nothing of whether it is there."""

    code = "UNAVAILABLE"


class UpstreamTimedOut(UpstreamFailed):
    """It did not answer in time."""
