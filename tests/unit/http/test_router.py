"""The URL map."""

import pytest
from aiohttp import web

from registry.errors import EndpointUnknown, MethodNotAllowed
from registry.http.router import Call, Route, Router


async def handler(_call: Call) -> web.StreamResponse:
    return web.Response()


TEMPLATES = {
    "/v2/{name}/manifests/{reference}": ("GET", "PUT", "DELETE"),
    "/v2/{name}/blobs/uploads/": ("POST",),
    "/v2/{name}/blobs/uploads/{upload}": ("PATCH", "PUT"),
    "/v2/{name}/blobs/{digest}": ("GET", "DELETE"),
    "/v2/{name}/tags/list": ("GET",),
    "/v2/": ("GET",),
}
ROUTER = Router(
    [
        Route(method, template, "pull", handler, template)
        for template, methods in TEMPLATES.items()
        for method in methods
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "template", "parameters"),
    [
        ("GET", "/v2/", "/v2/", {}),
        ("GET", "/v2/a/manifests/b", "/v2/{name}/manifests/{reference}", {"name": "a", "reference": "b"}),
        ("PUT", "/v2/a/b/c/manifests/v1", "/v2/{name}/manifests/{reference}", {"name": "a/b/c", "reference": "v1"}),
        ("GET", "/v2/a/manifests/manifests/b", "/v2/{name}/manifests/{reference}", {"name": "a/manifests"}),
        ("GET", "/v2/blobs/blobs/x", "/v2/{name}/blobs/{digest}", {"name": "blobs", "digest": "x"}),
        ("POST", "/v2/a/blobs/uploads/", "/v2/{name}/blobs/uploads/", {"name": "a"}),
        ("PATCH", "/v2/a/blobs/uploads/7", "/v2/{name}/blobs/uploads/{upload}", {"name": "a", "upload": "7"}),
        ("GET", "/v2/a/blobs/uploads/blobs/x", "/v2/{name}/blobs/{digest}", {"name": "a/blobs/uploads"}),
        ("GET", "/v2/a/tags/tags/list", "/v2/{name}/tags/list", {"name": "a/tags"}),
        ("HEAD", "/v2/a/tags/list", "/v2/{name}/tags/list", {"name": "a"}),
    ],
)
def test_finds_the_route(method: str, path: str, template: str, parameters: dict[str, str]) -> None:
    route, found = ROUTER.match(method, path)
    assert route.template == template
    assert found.items() >= parameters.items()


@pytest.mark.parametrize(
    "path",
    ["", "/", "/v1/", "/v2/a", "/v2/a/", "/v2/a/manifests", "/v2/a/manifests/", "/v2//manifests/a", "/v2/a/tags/list/"],
)
def test_what_is_no_part_of_the_api(path: str) -> None:
    with pytest.raises(EndpointUnknown):
        ROUTER.match("GET", path)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v2/a/manifests/b", ("DELETE", "GET", "HEAD", "PUT")),
        ("GET", "/v2/a/blobs/uploads/", ("POST",)),
        ("HEAD", "/v2/a/blobs/uploads/", ("POST",)),
        ("BREW", "/v2/", ("GET", "HEAD")),
    ],
)
def test_another_method_is_told_which_are_allowed(method: str, path: str, allowed: tuple[str, ...]) -> None:
    with pytest.raises(MethodNotAllowed) as refusal:
        ROUTER.match(method, path)
    assert refusal.value.allowed == allowed
