"""A client of one registry, wherever it is: on a host of a testbed, or anywhere over the network."""

from __future__ import annotations

import base64
import http.client
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from benchmarks.load.content import ACCEPT, MANIFEST_TYPE, Image, sha256
from benchmarks.load.http import Answer, LoadError
from benchmarks.load.layers import closing
from benchmarks.testbed.hosts import Host

_PATIENCE = 600.0
_START_PATIENCE = 60.0
_POLL = 0.002


@dataclass(frozen=True, slots=True)
class Registry:
    """`host`: where a client of it is, None for here. `login`: NAME:PASSWORD where it wants one. `ca_file`: as curl."""

    url: str
    host: Host | None = None
    login: str = field(default="", repr=False)
    ca_file: str | None = None

    def inside(self) -> AbstractContextManager[None]:
        return nullcontext() if self.host is None else self.host.entered()


class Session:
    """One kept connection to a registry. Raises LoadError for answers that were not wanted, OSError as it comes."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._headers = {}
        if registry.login:
            self._headers["Authorization"] = f"Basic {base64.b64encode(registry.login.encode()).decode()}"
        self._connection = self._connect()

    def _connect(self) -> http.client.HTTPConnection:
        url = urlsplit(self.registry.url)
        if url.hostname is None:
            raise LoadError(f"{self.registry.url} is no address of a registry")
        if url.scheme == "https":
            trust = ssl.create_default_context(cafile=self.registry.ca_file)
            made: http.client.HTTPConnection = http.client.HTTPSConnection(
                url.hostname, url.port, timeout=_PATIENCE, context=trust
            )
        else:
            made = http.client.HTTPConnection(url.hostname, url.port, timeout=_PATIENCE)
        made.auto_open = 0  # it would connect from wherever we are then
        with self.registry.inside():
            made.connect()
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        want: int | None = None,
    ) -> Answer:
        """`want`: the status of the answer, where only one will do."""
        self._connection.request(method, path, body, {**self._headers, **(headers or {})})
        response = self._connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        reply = Answer(response.status, received, response.read())
        if response.will_close:
            self._connection.close()
            self._connection = self._connect()
        if want is not None and reply.status != want:
            raise LoadError(
                f"{method} {path} at {self.registry.url}: {reply.status} instead of {want}: {reply.body[:300]!r}"
            )
        return reply

    def push(self, image: Image) -> float:
        """Pushes what is not there of an image, and its manifest; returns seconds."""
        began = time.monotonic()
        blobs = f"/v2/{image.repository}/blobs"
        for digest, content in image.blobs.items():
            if self.request("HEAD", f"{blobs}/{digest}").status != 200:
                upload = self.request("POST", f"{blobs}/uploads/", want=202)
                octets = {"Content-Type": "application/octet-stream"}
                self.request("PUT", closing(upload.location, digest), octets, content, want=201)
        self.request("PUT", _manifest(image, image.tag), {"Content-Type": MANIFEST_TYPE}, image.manifest, want=201)
        return time.monotonic() - began

    def remove(self, image: Image) -> None:
        """Deletes the manifest, and its tags with it; the registry removes the blobs when nothing needs them."""
        self.request("DELETE", _manifest(image, sha256(image.manifest)))

    def shows(self, image: Image) -> bool:
        """Whether its tag is there. Raises LoadError where something is missing of an image that is shown."""
        reply = self.request("GET", _manifest(image, image.tag), {"Accept": ACCEPT})
        if reply.status != 200 or reply.body != image.manifest:
            return False
        for digest in image.blobs:
            self.request("HEAD", f"/v2/{image.repository}/blobs/{digest}", want=200)
        return True

    def wait_for(self, image: Image, poll: float = _POLL, patience: float = _PATIENCE) -> float:
        """The moment (monotonic seconds) at which all of an image could be pulled. Raises LoadError."""
        deadline = time.monotonic() + patience
        while not self.shows(image):
            if time.monotonic() > deadline:
                raise LoadError(f"{image.repository}:{image.tag} did not arrive at {self.registry.url}")
            time.sleep(poll)
        return time.monotonic()


def _manifest(image: Image, reference: str) -> str:
    return f"/v2/{image.repository}/manifests/{reference}"


def wait_until_it_answers(registry: Registry, lives: Callable[[], bool], patience: float = _START_PATIENCE) -> bool:
    """Whether a registry answered within that time, and before its process ended."""
    deadline = time.monotonic() + patience
    while lives() and time.monotonic() < deadline:
        try:
            with Session(registry) as session:
                if session.request("GET", "/readyz").status == 200:
                    return True
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.02)
    return False
