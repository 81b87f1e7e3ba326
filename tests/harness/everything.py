"""A client that pulls everything that a registry shows, over and over: what it is shown has to be whole."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import requests

from tests.harness.client import RegistryClient
from tests.harness.content import Json, digest_of

AWAY = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, requests.Timeout)


class PullsEverything:
    """A thread that pulls every tag of every repository, with all that belongs to it, until the block ends.

    What is wrong is kept in `violations`: a thing that is missing or damaged though its tag still points there. Blobs
    that were whole once are only asked for by HEAD again.
    """

    def __init__(self, url: str, name: str = "", password: str = "") -> None:
        """`name`: of the account that pulls, where the registry wants one."""
        self._client = RegistryClient(url)
        if name:
            self._client.session.auth = (name, password)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulls everything")
        self._whole: set[str] = set()
        self.violations: list[str] = []
        self.pulls = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(60)
        self._client.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                for repository in self._client.catalog():
                    for tag in self._client.tags(repository):
                        self._pull(repository, tag)
            except AWAY:  # it was killed, and comes back
                time.sleep(0.05)
            except AssertionError as error:
                self.violations.append(str(error)[:500])
            time.sleep(0.005)

    def _pull(self, repository: str, tag: str) -> None:
        digest = self._client.resolve(repository, tag)
        if digest is None:  # it was deleted since the list was made
            return
        found = self._wrong(repository, digest)
        if found and self._client.resolve(repository, tag) == digest:
            self.violations.append(f"{repository}:{tag} ({digest[:19]}): {found}")
        self.pulls += not found

    def _wrong(self, repository: str, digest: str) -> str:
        """What is wrong with a manifest or anything that it needs; "" where all is there."""
        answer = self._client.request("GET", f"/v2/{repository}/manifests/{digest}", headers={"Accept": "*/*"})
        if answer.status_code != 200:
            return f"manifest {digest[:19]}: {answer.status_code}"
        if digest_of(answer.content) != digest:
            return f"manifest {digest[:19]} has other bytes"
        document: Json = answer.json()
        for child in document.get("manifests", ()):
            if found := self._wrong(repository, child["digest"]):
                return found
        for blob in (*(each for each in (document.get("config"),) if each), *document.get("layers", ())):
            if found := self._wrong_blob(repository, blob["digest"]):
                return found
        return ""

    def _wrong_blob(self, repository: str, digest: str) -> str:
        method = "HEAD" if digest in self._whole else "GET"
        answer = self._client.request(method, f"/v2/{repository}/blobs/{digest}")
        if answer.status_code != 200:
            return f"blob {digest[:19]}: {answer.status_code}"
        if method == "GET" and digest_of(answer.content) != digest:
            return f"blob {digest[:19]} has other bytes"
        self._whole.add(digest)
        return ""


@contextmanager
def nothing_wrong(master: str, slave: str, timeout: float = 60.0) -> Iterator[RegistryClient]:
    """While the block runs, with a client that pushes; at its end the slave comes to show what the master does."""
    with PullsEverything(slave) as everything, RegistryClient(master) as pushes:
        yield pushes
        wait_until_same(master, slave, timeout)
        time.sleep(0.1)
    assert everything.violations == []
    assert everything.pulls > 0


def tags_of(url: str) -> dict[str, str]:
    """All that a registry shows: repository:tag to digest."""
    with RegistryClient(url) as client:
        found = {
            f"{repository}:{tag}": client.resolve(repository, tag) or ""
            for repository in client.catalog()
            for tag in client.tags(repository)
        }
    return {name: digest for name, digest in found.items() if digest}


def wait_until_same(master: str, slave: str, timeout: float = 30.0) -> None:
    """Until the slave shows what the master does. Raises AssertionError where it does not in time."""
    deadline = time.monotonic() + timeout
    wanted, found = tags_of(master), None
    while time.monotonic() < deadline:
        try:
            found = tags_of(slave)
        except AWAY:
            found = None
        if found == wanted:
            return
        time.sleep(0.05)
    raise AssertionError(f"after {timeout:g} s the slave shows {found}, the master {wanted}")
