"""The OpenAPI 3.1 document of the administration, made from the same operations and shapes that serve it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from registry import __version__
from registry.api.operation import BASE, LARGEST_PAGE, PAGE, Operation
from registry.api.shapes import Errors

_REFERENCE = "#/components/schemas/{name}"
_SECURITY: list[dict[str, list[str]]] = [{"basic": []}, {"token": []}]
_RIGHTS = {
    "admin": "For administrators; a token needs the scope registry:admin:*.",
    "known": "For everybody who has logged in.",
    "pull": "For whoever may pull from the repository; a token needs the scope for it.",
    "none": "For everybody.",
}
_OF_ITSELF: dict[str, Any] = {
    "operationId": "openapi",
    "summary": "This document",
    "security": [],
    "responses": {
        "200": {"description": "OpenAPI 3.1", "content": {"application/json": {"schema": {"type": "object"}}}},
    },
}


def document(operations: Sequence[Operation[Any]]) -> dict[str, Any]:
    """The whole of it, as JSON types."""
    shapes = [Errors, *(shape for operation in operations for shape in (operation.body, operation.answer) if shape)]
    shapes = [shape for shape in dict.fromkeys(shapes) if shape is not type(None)]
    schemas, components = msgspec.json.schema_components(shapes, ref_template=_REFERENCE)
    references = dict(zip(shapes, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {f"{BASE}/openapi.json": {"get": _OF_ITSELF}}
    for operation in operations:
        paths.setdefault(operation.template, {})[operation.method.lower()] = _operation(operation, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Shoal: administration",
            "version": __version__,
            "description": "Accounts, groups, grants and keys. A change counts at once, on all nodes.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": _SECURITY,
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "token": {"type": "http", "scheme": "bearer", "description": "from /auth/token"},
            },
        },
    }


def _operation(operation: Operation[Any], references: dict[type, dict[str, Any]]) -> dict[str, Any]:
    success = {str(operation.status_of_success): _success(operation, references)}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": _RIGHTS[operation.right],
        "parameters": _parameters(operation),
        "responses": {**success, "default": _failure(references)},
    }
    if operation.right == "none":
        described["security"] = []
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _json(references[operation.body])}
    return described


def _parameters(operation: Operation[Any]) -> list[dict[str, Any]]:
    text = {"type": "string"}
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": text} for name in operation.parameters
    ]
    found += [
        {"name": name, "in": "query", "description": meaning, "schema": text}
        for name, meaning in operation.filters.items()
    ]
    if operation.is_list:
        size = {"type": "integer", "minimum": 1, "default": PAGE}
        what = f"how many are shown, at most {LARGEST_PAGE}; the header Link has the next page"
        found.append({"name": "n", "in": "query", "description": what, "schema": size})
        found.append({"name": "last", "in": "query", "description": "where the page begins", "schema": text})
    return found


def _success(operation: Operation[Any], references: dict[type, dict[str, Any]]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": operation.summary}
    if operation.answer is not type(None):
        described["content"] = _json(references[operation.answer])
    if operation.is_list:
        link = {"description": 'the next page (RFC 8288), rel="next"', "schema": {"type": "string"}}
        described["headers"] = {"Link": link}
    return described


def _failure(references: dict[type, dict[str, Any]]) -> dict[str, Any]:
    return {"description": "What is wrong, and what to do", "content": _json(references[Errors])}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
