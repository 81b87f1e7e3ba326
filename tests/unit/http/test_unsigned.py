"""Who may read a manifest that is not signed yet."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from registry.auth.visitor import OPEN, Visitor
from registry.domain.access import AccessTable, Account, Grant, Principal
from registry.http.manifests import _may_read_unsigned
from registry.http.router import Call

REPO = "team/app"


def with_token(*rights: str, repository: str = REPO) -> Visitor:
    """Somebody who may do everything in team/**, with a token for some of it."""
    table = AccessTable()
    table.put(Account("ci"))
    table.put(Grant("ci", "team/**", ("pull", "push", "delete")))
    table.put(Grant("reader", "team/**", ("pull",)))
    return Visitor(Principal("ci"), table, {repository: frozenset(rights)})


READER = Visitor(Principal("reader"), with_token().table, {REPO: frozenset(("pull",))})
PASSWORD_ALONE = Visitor(Principal("ci"), with_token().table)


@pytest.mark.parametrize(
    ("visitor", "method", "program", "may"),
    [
        (with_token("pull", "push"), "GET", "docker/28", True),
        (with_token("pull", "push"), "HEAD", "containerd/2", True),
        (with_token("pull"), "GET", "docker/28", False),
        (with_token("pull"), "HEAD", "containerd/2", False),
        (with_token("pull"), "GET", "cosign/v3.1.2", True),
        (READER, "GET", "cosign/v3.1.2", False),
        (READER, "GET", "docker/28", False),
        (with_token("pull", "push", repository="team/other"), "GET", "docker/28", False),
        (PASSWORD_ALONE, "GET", "docker/28", False),
        (OPEN, "GET", "docker/28", False),
        (OPEN, "GET", "", False),
        (OPEN, "GET", "docker/28 cosign/v3.1.2", False),
        (OPEN, "HEAD", "containerd/2", True),
        (OPEN, "GET", "cosign/v3.1.2 (linux; amd64)", True),
        (OPEN, "GET", "notation/1.3.2", True),
    ],
)
def test_those_who_push_or_sign(visitor: Visitor, method: str, program: str, may: bool) -> None:
    request = make_mocked_request(method, f"/v2/{REPO}/manifests/1", headers={"User-Agent": program})
    assert _may_read_unsigned(Call(request, "1", visitor=visitor), REPO) is may
