"""The client of the load, against a server of the standard library."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.load.content import Layer, LayerSource
from benchmarks.load.http import Connection, LoadError


class Handler(BaseHTTPRequestHandler):
    """Tells of a body its digest; serves `size` bytes of which the last `missing` never come."""

    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.answer(200, b"", length=1_000_000)

    def do_GET(self) -> None:
        size, missing = map(int, self.path.strip("/").split("-"))
        self.answer(200, bytes(size - missing), length=size)
        self.close_connection = missing > 0

    def do_PATCH(self) -> None:
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        body = b"".join(self.chunks()) if chunked else self.rfile.read(int(self.headers["Content-Length"]))
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        self.answer(202, digest.encode(), Location="http://elsewhere/v2/upload?state=a%3Db")

    def chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            assert self.rfile.readline() == b"\r\n"
        assert self.rfile.readline() == b"\r\n"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def connection() -> Iterator[Connection]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with Connection(server.server_port) as connection:
                yield connection
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    return LayerSource(tmp_path / "layer", 2 * 1024 * 1024 + 12345).next()


@pytest.mark.parametrize("chunked", [True, False])
def test_layer_arrives_whole(connection: Connection, layer: Layer, chunked: bool) -> None:
    for _ in range(2):  # the connection is kept
        answer = connection.send_layer("PATCH", "/upload", layer, chunked=chunked)
        assert (answer.status, answer.body.decode()) == (202, layer.digest)


def test_location_without_its_host(connection: Connection) -> None:
    assert connection.request("PATCH", "/upload", body=b"x").location == "/v2/upload?state=a%3Db"


def test_head_does_not_wait_for_a_body(connection: Connection) -> None:
    for _ in range(2):
        answer = connection.request("HEAD", "/blob")
        assert (answer.status, answer.headers["content-length"], answer.body) == (200, "1000000", b"")


def test_discard_counts_every_byte(connection: Connection) -> None:
    for size in (0, 10, 5_000_000):
        assert connection.discard(f"/{size}-0") == size


def test_discard_notices_a_cut(connection: Connection) -> None:
    with pytest.raises(LoadError, match="cut after 4999990 of 5000000"):
        connection.discard("/5000000-10")
