"""What clients do while things go wrong: pushes of every form, retags, mounts, deletes, uploads left open."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from typing import Self

import requests

from tests.faults.ledger import Ledger, Session
from tests.harness.client import RegistryClient, UnexpectedAnswerError
from tests.harness.content import Image, digest_of, image, random_layer

BROKEN = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)
"""How a client notices that the server died."""


class Worker:
    """One client with repositories of its own, so that it knows what each of its changes replaced."""

    def __init__(self, url: str, ledger: Ledger, name: str, seed: int, largest: int = 200_000) -> None:
        self._client = RegistryClient(url)
        self._ledger = ledger
        self._main, self._other = f"{name}/main", f"{name}/other"
        self._seeds = itertools.count(seed * 1_000_000)
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._largest = largest
        self._images: list[Image] = []

    def everything(self) -> None:
        """Each kind of change once, in a fixed order."""
        first, second = self.push_image("first"), self.push_image("second")
        self.retag(first, "second")
        self.retag(second, "third")
        self.mount(first.layers[0].content)
        self.delete_blob(self._other, first.layers[0].content)
        self.delete_tag("third")
        self.delete_image(second)
        self.delete_blob(self._main, second.layers[0].content)
        self.leave_open()

    def anything(self) -> None:
        """One change, whichever comes."""
        choice = self._random.random()
        if choice < 0.5 or not self._images:
            self.push_image(f"t{self._random.randrange(5)}")
        elif choice < 0.6:
            self.leave_open()
        elif choice < 0.7:
            self.retag(self._random.choice(self._images), f"t{self._random.randrange(5)}")
        elif choice < 0.8:
            self.mount(self._random.choice(self._images).layers[0].content)
        elif choice < 0.9:
            self.delete_image(self._images.pop(self._random.randrange(len(self._images))))
        else:
            tags = [tag for (name, tag), at in self._ledger.tags.items() if name == self._main and None not in at]
            if tags:
                self.delete_tag(self._random.choice(tags))

    def push_image(self, tag: str) -> Image:
        """An image of two layers; each blob is pushed in another way, the manifest by a tag."""
        sizes = (self._random.randrange(10, self._largest), self._random.randrange(10, self._largest))
        made = image(*(random_layer(size, next(self._seeds)) for size in sizes))
        for blob, push in zip(made.blobs, (self.push_at_once, self.push_chunked, self.push_streamed), strict=True):
            push(blob.content)
        with self._ledger.manifest(self._main, made.manifest), self._ledger.tag(self._main, tag, made.digest):
            self._client.push_manifest(self._main, tag, made.manifest)
        self._images.append(made)
        return made

    def push_at_once(self, content: bytes) -> None:
        with self._ledger.blob(self._main, content):
            params = {"digest": digest_of(content)}
            self._client.request("POST", f"/v2/{self._main}/blobs/uploads/", want=201, params=params, data=content)

    def push_chunked(self, content: bytes) -> None:
        session = self._open(content)
        middle = len(content) // 2
        self._send(session, content[:middle])
        self._finish(session, content[middle:])

    def push_streamed(self, content: bytes) -> None:
        session = self._open(content)
        self._send(session, content)
        self._finish(session, b"")

    def leave_open(self) -> None:
        """Begin an upload and go away; the ledger knows how far it came."""
        content = self._random.randbytes(self._random.randrange(1000, self._largest))
        session = self._open(content)
        self._send(session, content[: len(content) // 3])

    def _open(self, content: bytes) -> Session:
        session = Session(self._main, self._client.start_upload(self._main), content)
        self._ledger.sessions.append(session)
        return session

    def _send(self, session: Session, chunk: bytes) -> None:
        """The next chunk, without a length where it is the whole content."""
        offset = max(session.told)
        session.told.add(offset + len(chunk))
        streamed = len(chunk) == len(session.content)
        self._client.patch(session.location, _pieces(chunk) if streamed else chunk)
        session.told = {offset + len(chunk)}

    def _finish(self, session: Session, last: bytes) -> None:
        session.closing = True
        session.told.add(len(session.content))
        with self._ledger.blob(session.repository, session.content):
            self._client.finish_upload(session.location, digest_of(session.content), last)
        self._ledger.sessions.remove(session)

    def retag(self, made: Image, tag: str) -> None:
        with self._ledger.tag(self._main, tag, made.digest):
            self._client.push_manifest(self._main, tag, made.manifest)

    def mount(self, content: bytes) -> None:
        with self._ledger.blob(self._other, content):
            assert self._client.mount(self._other, digest_of(content), self._main)

    def delete_blob(self, repository: str, content: bytes) -> None:
        with self._ledger.blob(repository, content, there=False):
            self._client.request("DELETE", f"/v2/{repository}/blobs/{digest_of(content)}", want=202)

    def delete_tag(self, tag: str) -> None:
        with self._ledger.tag(self._main, tag, None):
            self._client.delete_manifest(self._main, tag)

    def delete_image(self, made: Image) -> None:
        """The manifest, with the tags that point at it."""
        tags = self._ledger.tags_of(self._main, made.digest)
        for tag in tags:
            self._ledger.tags[self._main, tag].add(None)
        with self._ledger.manifest(self._main, made.manifest, there=False):
            self._client.delete_manifest(self._main, made.digest)
        for tag in tags:
            self._ledger.tags[self._main, tag].discard(made.digest)


def _pieces(content: bytes) -> Iterator[bytes]:
    size = max(len(content) // 4, 1)
    return (content[start : start + size] for start in range(0, len(content), size))


class Crowd:
    """Several workers at once until `stop` is called; an answer that no fault explains is raised there.

    `broken`: statuses that the fault explains (503: the worker's node is going).
    """

    def __init__(self, workers: list[Worker], broken: tuple[int, ...] = (503,)) -> None:
        self._broken = broken
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(worker,)) for worker in workers]
        self._surprises: list[BaseException] = []

    def _work(self, worker: Worker) -> None:
        try:
            while not self._stopped.is_set():
                if until_broken(worker.anything, self._broken):
                    self._stopped.wait(0.1)
        except BaseException as error:
            self._surprises.append(error)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let each worker end its change; raises what surprised one of them."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)
        for surprise in self._surprises:
            raise surprise


def until_broken(work: Callable[[], object], broken: tuple[int, ...] = (503,)) -> bool:
    """Do some work; True where the server died under it, or answered with one of the statuses in `broken`."""
    try:
        work()
    except BROKEN:
        return True
    except UnexpectedAnswerError as error:
        if error.status in broken:
            return True
        raise
    return False
