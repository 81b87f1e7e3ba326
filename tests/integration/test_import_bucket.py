"""`shoal import distribution s3://…`: the storage of a docker-registry that kept it in a bucket."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import content
from tests.harness.client import RegistryClient
from tests.harness.docker_registry import V2, DockerRegistry
from tests.harness.moving import Holdings, fill, fsck, kinds, shoal, take
from tests.harness.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.harness.server import ShoalServer, to_toml

KEYS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}


def filled(s3: S3Server, bucket: str, data: Path) -> Holdings:
    """A bucket that a docker-registry has written."""
    s3.bucket(bucket)
    storage = {
        "s3": {
            "accesskey": ACCESS_KEY, "secretkey": SECRET_KEY, "region": "us-east-1", "regionendpoint": s3.endpoint,
            "bucket": bucket, "secure": False, "v4auth": True, "forcepathstyle": True, "rootdirectory": "/old/one",
        },
        "redirect": {"disable": True},
    }  # fmt: skip
    with DockerRegistry(data, storage=storage) as registry, RegistryClient(registry.url) as client:
        return fill(client)


@pytest.mark.require("docker-registry")
def test_from_a_bucket_into_files_and_into_another_bucket(s3_server: S3Server, tmp_path: Path) -> None:
    holdings = filled(s3_server, "moving-out", tmp_path / "old")
    source = f"s3://moving-out/old/one?endpoint={s3_server.endpoint}"
    told = take("distribution", source, "--data", tmp_path / "new", env=KEYS)
    assert (told["repositories"], told["tags"], told["complete"]) == (3, 7, True)
    assert fsck(tmp_path / "new", "--deep") == []

    bucket = s3_server.bucket("moving-in").bucket
    store = {"kind": "s3", "endpoint": s3_server.endpoint, "bucket": bucket}
    settings = {"storage": {**store, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY}}
    config = tmp_path / "s3.toml"
    config.write_text(to_toml(settings))
    data = tmp_path / "in-bucket"
    layer = holdings.images[-1][1].layers[0].digest.removeprefix("sha256:")
    key = f"old/one/{V2}/blobs/sha256/{layer[:2]}/{layer}/data"
    s3_server.boto().put_object(Bucket="moving-out", Key=key, Body=b"damaged")
    told = take("distribution", source, "--data", data, "--config", config, env=KEYS, status=1)
    assert ("sha256:" + layer, "damaged") in kinds(told["problems"])
    s3_server.boto().put_object(Bucket="moving-out", Key=key, Body=holdings.images[-1][1].layers[0].content)
    assert told["bytes"]["linked"] > 0
    assert told["bytes"]["copied"] == 0, "the store copies by itself"
    again = take("distribution", source, "--data", data, "--config", config, env=KEYS)
    assert again["blobs"] == 1
    assert fsck(data, "--deep", "--config", str(config)) == []
    with ShoalServer(data, settings=settings) as server, RegistryClient(server.url) as client:
        holdings.check(client)
        assert client.resolve("app", "latest") == content.small_image(6).digest


def test_a_bucket_that_is_none_is_told(s3_server: S3Server, tmp_path: Path) -> None:
    for source in ("s3://", f"s3://no-such?endpoint={s3_server.endpoint}", "s3://x?endpint=y"):
        done = shoal("import", "distribution", source, "--data", tmp_path / "new", env=KEYS)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
