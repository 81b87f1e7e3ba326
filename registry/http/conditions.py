"""Conditional requests (RFC 9110, section 13): content has one strong ETag, its digest."""

from __future__ import annotations

from aiohttp import web


def matches(request: web.BaseRequest, etag: str) -> bool:
    """Whether If-None-Match names this content, so that 304 is the answer."""
    values = request.headers.getall("If-None-Match", ())
    return bool(values) and _listed(values, etag)


def range_applies(request: web.BaseRequest, etag: str) -> bool:
    """Whether Range is to be honoured: without If-Range, or where that names this very content."""
    condition = request.headers.get("If-Range")
    return condition is None or condition.strip() == etag


def _listed(values: list[str] | tuple[str, ...], etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for value in values for tag in value.split(",")]
    return etag in tags or "*" in tags
