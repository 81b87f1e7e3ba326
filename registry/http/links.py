"""Addresses in answers: Location, and Link for the next page (RFC 8288)."""

from __future__ import annotations

from urllib.parse import urlencode

from multidict import MultiMapping

from registry.domain.digest import Digest
from registry.errors import PaginationInvalid

_MAX_NUMBER = 2**31


class Links:
    """Relative addresses, which clients resolve against the one they used; absolute where `public_url` is set."""

    def __init__(self, public_url: str | None) -> None:
        self._base = (public_url or "").rstrip("/")

    def blob(self, repository: str, digest: Digest) -> str:
        return f"{self._base}/v2/{repository}/blobs/{digest}"

    def manifest(self, repository: str, digest: Digest) -> str:
        return f"{self._base}/v2/{repository}/manifests/{digest}"

    def upload(self, repository: str, upload_id: str) -> str:
        return f"{self._base}/v2/{repository}/blobs/uploads/{upload_id}"

    def next_page(self, path: str, query: dict[str, str]) -> str:
        return f'<{self._base}{path}?{urlencode(query)}>; rel="next"'


def page_size(query: MultiMapping[str]) -> int | None:
    """The parameter `n`; raises PaginationInvalid where it is no whole number."""
    text = query.get("n")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise PaginationInvalid("n is not a whole number", {"n": text[:64]})
    return _MAX_NUMBER if len(text) > 9 else int(text)
