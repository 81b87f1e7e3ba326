"""Pushes a small image to a master and waits until each slave has it: push.py MASTER SLAVE... (HOST:PORT each)."""

from __future__ import annotations

import hashlib
import http.client
import json
import sys
import time

TYPE = "application/vnd.oci.image.manifest.v1+json"
LAYER, CONFIG = "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.config.v1+json"
PATIENCE = 30.0


def request(
    host: str, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream"
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(host, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {"Content-Type": kind, "Accept": TYPE})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def push_blob(host: str, content: bytes, kind: str) -> dict[str, object]:
    """Returns its descriptor."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    status, said = request(host, "POST", f"/v2/demo/hello/blobs/uploads/?digest={digest}", content)
    if status != 201:
        sys.exit(f"{host} answers {status}: {said!r}")
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def main(master: str, *slaves: str) -> None:
    layer = push_blob(master, f"pushed at {time.time()}".encode(), LAYER)
    config = push_blob(master, b'{"architecture": "amd64", "os": "linux"}', CONFIG)
    document = {"schemaVersion": 2, "mediaType": TYPE, "config": config, "layers": [layer]}
    manifest = json.dumps(document).encode()
    status, said = request(master, "PUT", "/v2/demo/hello/manifests/latest", manifest, TYPE)
    if status != 201:
        sys.exit(f"{master} answers {status}: {said!r}")
    began = time.monotonic()
    print(f"demo/hello:latest was pushed to {master}")
    for slave in slaves:
        while request(slave, "GET", "/v2/demo/hello/manifests/latest")[1] != manifest:
            if time.monotonic() - began > PATIENCE:
                sys.exit(f"it did not arrive at {slave}")
            time.sleep(0.005)
        status, _ = request(slave, "GET", f"/v2/demo/hello/blobs/{layer['digest']}")
        if status != 200:
            sys.exit(f"{slave} shows it without its layer: {status}")
        print(f"{slave} had it {time.monotonic() - began:.3f} s after that")


main(*sys.argv[1:])
