"""What repositories may take, as clients are told."""

from __future__ import annotations

import pytest

from tests.conftest import StartShoal
from tests.harness.administration import Commands
from tests.harness.client import RegistryClient, UnexpectedAnswerError
from tests.harness.content import random_bytes, small_image


@pytest.mark.parametrize("workers", [1, 2])
def test_quota_tags_and_immutable_tags(start_shoal: StartShoal, workers: int) -> None:
    server = start_shoal(workers=workers)
    shoal = Commands("--data", server.data)
    shoal("limit", "set", "team/**", "--bytes", "100KiB", "--tags", "2", "--immutable", "v*")
    with RegistryClient(server.url) as client:
        first, other, large = small_image(1), small_image(2), random_bytes(300_000)
        client.push_image("team/a", first, "v1")
        client.push_image("team/a", other, "latest")
        for wanted, work in (
            ("v1 is immutable", lambda: client.push_manifest("team/a", "v1", other.manifest)),
            ("v1 is immutable", lambda: client.delete_manifest("team/a", "v1")),
            ("v1 is immutable", lambda: client.delete_manifest("team/a", first.digest)),
            ("2 tags", lambda: client.push_manifest("team/a", "third", other.manifest)),
            ("quota of team/** is 102,400 bytes", lambda: client.push_blob("team/b", large)),
        ):
            with pytest.raises(UnexpectedAnswerError) as refused:
                work()
            assert refused.value.response.status_code == 403
            (error,) = refused.value.response.json()["errors"]
            assert error["code"] == "DENIED"
            assert wanted in error["message"]
        client.push_blob("other/b", large)
        assert shoal.json("limit", "list") == [{"pattern": "team/**", "bytes": 102_400, "tags": 2, "immutable": ["v*"]}]
        shoal("limit", "delete", "team/**")
        client.push_blob("team/b", large)
    assert shoal.json("limit", "list") == []
    assert not server.complaints()
