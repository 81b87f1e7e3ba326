"""The OpenAPI document: valid, whole, and silent about secrets."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from registry.api.document import document
from registry.api.operation import BASE
from registry.api.table import OPERATIONS
from registry.auth.logins import NodeLogins
from registry.auth.people import NodePeople
from registry.config import Settings
from registry.http.auditing import NoAudit
from registry.http.router import Route
from registry.processes.access import ProcessAccess
from registry.processes.node_parts import NodeParts
from registry.processes.succession import NoSuccession
from registry.services.leases import LocalLeases
from replication.slaves import NoSlaves
from tests.unit.auth.nodes import Node

DOCUMENT = document(OPERATIONS)


@pytest.fixture
async def routes() -> list[Route]:
    node = Node()
    logins = NodeLogins(node.access, node.passwords, (), node.clock)
    people = NodePeople((), node.access)
    parts = NodeParts(node.metadata, LocalLeases(), logins, people, NoAudit(), NoSlaves(), NoSuccession())
    nothing = cast("Any", None)  # no handler runs
    served = ProcessAccess(Settings(), node.access, node.metadata, nothing, nothing, None).routes(parts)
    return [route for route in served if route.template.startswith(BASE)]


def test_it_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT


def test_every_route_is_in_it_and_nothing_else(routes: list[Route]) -> None:
    described = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert {(route.method, route.template) for route in routes} == described


def test_all_but_this_document_and_whoami_is_for_administrators(routes: list[Route]) -> None:
    assert {route.template: route.right for route in routes if route.right != "admin"} == {
        f"{BASE}/openapi.json": "none",
        f"{BASE}/whoami": "known",
        f"{BASE}/replication/wait/{{name}}": "pull",
    }


def test_each_operation_has_a_name_of_its_own() -> None:
    names = [operation.name for operation in OPERATIONS]
    assert len(set(names)) == len(names)


def test_secrets_go_in_and_only_a_new_one_comes_out() -> None:
    bodies = {operation.body for operation in OPERATIONS} - {None}
    coming_out = {operation.answer for operation in OPERATIONS} - bodies
    shown = {
        kind.__name__: set(kind.__struct_fields__) & {"password", "secret", "private", "pem", "hash", "token"}
        for kind in coming_out
        if kind is not type(None)
    }
    assert {name: fields for name, fields in shown.items() if fields} == {
        "RobotSecret": {"secret"},
        "ReplicationTokenSecret": {"token"},
    }


def test_bodies_are_bounded_and_take_nothing_unknown() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for operation in OPERATIONS:
        if operation.body is not None:
            assert schemas[operation.body.__name__]["additionalProperties"] is False
    for name in ("NewUser", "NewRobot", "GrantChange"):
        for field in schemas[name]["properties"].values():
            assert field.get("type") not in ("string", "array") or "maxLength" in field or "maxItems" in field, field
