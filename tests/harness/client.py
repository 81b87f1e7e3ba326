"""A small registry client that does one HTTP request at a time and checks each answer.

It sends what the OCI distribution specification 1.1 describes and nothing clever, so that a test
says exactly what goes over the wire. Not for use from several threads at once: one client a thread.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urljoin

import requests

from tests.harness.content import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Blob,
    Image,
    Index,
    Json,
    digest_of,
)

MANIFESTS = f"{OCI_MANIFEST}, {OCI_INDEX}, {DOCKER_MANIFEST}, {DOCKER_LIST}, */*"
TIMEOUT = (5.0, 60.0)


class UnexpectedAnswerError(AssertionError):
    """An answer with a status that the test did not expect; the message holds its body."""

    def __init__(self, response: requests.Response, wanted: tuple[int, ...]) -> None:
        request = f"{response.request.method} {response.request.url}"
        super().__init__(f"{request}: {response.status_code}, wanted {wanted}: {response.text[:1000]}")
        self.response = response
        self.status = response.status_code


def error_code(response: requests.Response) -> str:
    """The code of the first error in an answer that has the specification's JSON form."""
    return str(response.json()["errors"][0]["code"])


class RegistryClient:
    """`url` is the address of the registry, without /v2/; `ca` the authority that its certificate must be from."""

    def __init__(self, url: str, ca: Path | None = None) -> None:
        self.url = url.rstrip("/")
        self.session = requests.Session()
        self.session.trust_env = False
        if ca is not None:
            self.session.verify = str(ca)

    def request(
        self,
        method: str,
        path: str,
        *,
        want: int | tuple[int, ...] | None = None,
        data: object = None,
        headers: dict[str, str] | None = None,
        params: dict[str, str] | list[tuple[str, str]] | None = None,
        stream: bool = False,
    ) -> requests.Response:
        """One request, no redirects followed; `want` names the statuses that are right (None: any)."""
        response = self.session.request(
            method,
            urljoin(self.url + "/", path),
            data=data,  # type: ignore[arg-type]
            headers=headers,
            params=params,
            stream=stream,
            allow_redirects=False,
            timeout=TIMEOUT,
        )
        wanted = (want,) if isinstance(want, int) else want
        if wanted is not None and response.status_code not in wanted:
            raise UnexpectedAnswerError(response, wanted)
        return response

    # Blobs

    def start_upload(self, repository: str, **params: str) -> str:
        """Opens an upload session; returns its address, always absolute."""
        answer = self.request("POST", f"/v2/{repository}/blobs/uploads/", want=202, params=params)
        return urljoin(self.url + "/", answer.headers["Location"])

    def patch(self, location: str, data: object, **headers: str) -> str:
        """Sends a chunk (bytes with a length, an iterator chunked); returns where to go on."""
        sent = {"Content-Type": "application/octet-stream", **headers}
        answer = self.request("PATCH", location, want=202, data=data, headers=sent)
        return urljoin(self.url + "/", answer.headers["Location"])

    def finish_upload(self, location: str, digest: str, data: bytes = b"") -> requests.Response:
        separator = "&" if "?" in location else "?"
        address = f"{location}{separator}digest={quote(digest, safe='')}"
        return self.request("PUT", address, want=201, data=data, headers={"Content-Type": "application/octet-stream"})

    def push_blob(self, repository: str, content: bytes, algorithm: str = "sha256") -> str:
        """POST, then one PUT with the whole content; returns the digest."""
        digest = digest_of(content, algorithm)
        self.finish_upload(self.start_upload(repository), digest, content)
        return digest

    def mount(self, repository: str, digest: str, source: str | None = None) -> bool:
        """Asks for a mount; True when the blob is there now, False when the registry opened an upload instead."""
        params = {"mount": digest} | ({"from": source} if source else {})
        answer = self.request("POST", f"/v2/{repository}/blobs/uploads/", want=(201, 202), params=params)
        return answer.status_code == 201

    def blob(self, repository: str, digest: str) -> bytes:
        return self.request("GET", f"/v2/{repository}/blobs/{digest}", want=200).content

    def has_blob(self, repository: str, digest: str) -> bool:
        return self.request("HEAD", f"/v2/{repository}/blobs/{digest}", want=(200, 404)).status_code == 200

    # Manifests

    def push_manifest(self, repository: str, reference: str, manifest: Blob) -> requests.Response:
        path = f"/v2/{repository}/manifests/{reference}"
        headers = {"Content-Type": manifest.media_type}
        return self.request("PUT", path, want=201, data=manifest.content, headers=headers)

    def manifest(self, repository: str, reference: str) -> Blob:
        """The manifest as it is stored, with the type it is served as; 404 raises UnexpectedAnswerError."""
        path = f"/v2/{repository}/manifests/{reference}"
        answer = self.request("GET", path, want=200, headers={"Accept": MANIFESTS})
        return Blob(answer.content, answer.headers["Content-Type"])

    def resolve(self, repository: str, reference: str) -> str | None:
        """The digest that a tag or digest stands for, None when there is none."""
        path = f"/v2/{repository}/manifests/{reference}"
        answer = self.request("HEAD", path, want=(200, 404), headers={"Accept": MANIFESTS})
        return answer.headers["Docker-Content-Digest"] if answer.status_code == 200 else None

    def delete_manifest(self, repository: str, reference: str) -> None:
        self.request("DELETE", f"/v2/{repository}/manifests/{reference}", want=202)

    # Whole images

    def push_image(self, repository: str, image: Image, tag: str | None = None) -> str:
        """Pushes blobs that are missing, then the manifest; returns the manifest's digest."""
        for blob in image.blobs:
            if not self.has_blob(repository, blob.digest):
                self.push_blob(repository, blob.content)
        self.push_manifest(repository, tag or image.digest, image.manifest)
        return image.digest

    def push_index(self, repository: str, index: Index, tag: str | None = None) -> str:
        for image in index.images:
            self.push_image(repository, image)
        self.push_manifest(repository, tag or index.digest, index.manifest)
        return index.digest

    def check_image(self, repository: str, image: Image, reference: str | None = None) -> None:
        """Raises AssertionError unless every byte of the image is there."""
        found = self.manifest(repository, reference or image.digest)
        assert found.content == image.manifest.content, f"{repository}:{reference} has other bytes"
        assert found.media_type == image.manifest.media_type
        for blob in image.blobs:
            assert self.blob(repository, blob.digest) == blob.content, f"blob {blob.digest} has other bytes"

    # Lists

    def tags(self, repository: str) -> list[str]:
        """All tags, over all pages."""
        return self._pages(f"/v2/{repository}/tags/list", "tags")

    def catalog(self) -> list[str]:
        return self._pages("/v2/_catalog", "repositories")

    def referrers(self, repository: str, digest: str, artifact_type: str | None = None) -> list[Json]:
        params = {"artifactType": artifact_type} if artifact_type else None
        answer = self.request("GET", f"/v2/{repository}/referrers/{digest}", want=200, params=params)
        manifests: list[Json] = answer.json()["manifests"]
        return manifests

    def _pages(self, path: str, key: str) -> list[str]:
        names: list[str] = []
        address: str | None = path
        while address:
            answer = self.request("GET", address, want=200)
            names += answer.json()[key]
            address = answer.links.get("next", {}).get("url")
        return names

    def close(self) -> None:
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
