"""Small images, pushed request by request as dockerd and podman do, over kept connections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.load.content import MANIFEST_TYPE, Image
from benchmarks.load.crew import Work, together
from benchmarks.load.http import Answer, Connection, LoadError
from benchmarks.load.layers import closing
from benchmarks.processes import Server


@dataclass(frozen=True, slots=True)
class _Task:
    port: int
    images: Sequence[Image]


def push(server: Server, hands: Sequence[Sequence[Image]]) -> float:
    """Push images by as many clients as there are hands of images; returns seconds."""
    return together(_prepare, [_Task(server.port, hand) for hand in hands])


def _prepare(task: _Task) -> Work:
    return partial(_push_all, Connection(task.port), task.images)


def _push_all(connection: Connection, images: Sequence[Image]) -> None:
    for image in images:
        push_image(connection, image)


def push_image(connection: Connection, image: Image) -> None:
    """HEAD, POST, PATCH and PUT for each blob that is not there, then the manifest."""
    for digest, content in image.blobs.items():
        blobs = f"/v2/{image.repository}/blobs"
        if connection.request("HEAD", f"{blobs}/{digest}").status == 200:
            continue
        upload = _expect(202, connection.request("POST", f"{blobs}/uploads/"))
        octets = {"Content-Type": "application/octet-stream"}
        upload = _expect(202, connection.request("PATCH", upload.location, octets, content))
        _expect(201, connection.request("PUT", closing(upload.location, digest)))
    target = f"/v2/{image.repository}/manifests/{image.tag}"
    _expect(201, connection.request("PUT", target, {"Content-Type": MANIFEST_TYPE}, image.manifest))


def _expect(status: int, answer: Answer) -> Answer:
    if answer.status != status:
        raise LoadError(f"{answer.status} instead of {status}: {answer.body[:300]!r}")
    return answer
