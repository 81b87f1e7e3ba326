"""Requests that nobody should send: fixed ones of every known kind, and a generator of others."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

from tests.harness.content import OCI_MANIFEST

DIGEST = "sha256:" + "a" * 64
PATHS = (
    "/v2/../../../etc/passwd",
    "/v2/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/v2/..%2f..%2f..%2fetc%2fpasswd/blobs/" + DIGEST,
    "/v2/app/blobs/../../../../etc/passwd",
    "/v2/app/blobs/sha256:..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/v2/app/blobs/sha256:" + "../" * 21 + "a",
    "/v2/app/blobs/uploads/..%2f..%2fshoal.db",
    "/v2/app/blobs/uploads/../../shoal.db",
    "/v2/app/blobs/uploads/%2e%2e",
    "/v2/app/blobs/uploads/" + "0" * 36,
    "/v2/app/blobs/uploads/{00000000-0000-0000-0000-00000000000}",
    "/v2/app/blobs/uploads/urn:uuid:00000000-0000-0000-0000-000",
    "/v2/app/blobs/uploads/00000000-0000-0000-0000-000000000000%00",
    "/v2/app/manifests/..",
    "/v2/app/manifests/%2e%2e%2fx",
    "/v2/app/manifests/" + "t" * 5000,
    "/v2/" + "a/" * 3000 + "tags/list",
    "/v2/app%00/tags/list",
    "/v2/app\\..\\..\\x/tags/list",
    "//v2//app//tags//list",
    "/v2//tags/list",
    "/v2/app/tags/list/",
    "/v2/app/tags/list?n=-1",
    "/v2/app/tags/list?n=99999999999999999999999",
    "/v2/app/tags/list?n=1e9&last=%00",
    "/v2/app/tags/list?n=%D9%A1",
    "/v2/app/tags/list?last=%ff%fe",
    "/v2/app/tags/list?" + "n=1&" * 2000,
    "/v2/_catalog?n=-5&last=" + "x" * 4000,
    "/v2/app/referrers/sha256:zz",
    "/v2/app/referrers/" + DIGEST + "?artifactType=%00%ff",
    "/v2/%ff%fe/tags/list",
    "/v2/%",
    "/v2/%zz/%1/tags/list",
    "/v2/app/tags/list#fragment",
    "/?/../..",
    "http://other.example/v2/",
    "http://[::1/v2/",
    "https://127.0.0.1:99999999/v2/",
    "*",
    "/",
    "/metrics/../../x",
)
RANGES = (
    "bytes=0-", "bytes=-1", "bytes=-0", "bytes=5-2", "bytes=99999999999999999999-", "bytes=0-0,1-1,2-2", "bytes=--1",
    "bytes=" + "0-0," * 500, "bytes=0-99999999999999999999999999", "bytes=a-b", "lines=1-2", "bytes=", "bytes",
    "bytes=0-1,-1,3-,x", "bytes = 0 - 1",
)  # fmt: skip
UPLOAD = "/v2/app/blobs/uploads/"


def head(method: str, path: str, *fields: str, version: str = "HTTP/1.1") -> bytes:
    lines = [f"{method} {path} {version}", "Host: registry.example", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def fixed() -> Iterator[tuple[str, bytes]]:
    """A name, and the bytes to send."""
    for path in PATHS:
        for method in ("GET", "HEAD", "DELETE"):
            yield f"{method} {path[:60]}", head(method, path)
        yield f"POST {path[:60]}", head("POST", path, "Content-Length: 3") + b"abc"
        yield f"PUT {path[:60]}", head("PUT", path, "Content-Length: 2") + b"{}"
    for value in RANGES:
        yield f"Range {value[:40]}", head("GET", f"/v2/app/blobs/{DIGEST}", f"Range: {value}")
    yield from framings()
    yield from heads()
    yield from beginnings()
    for name, body in manifests():
        fields = (f"Content-Type: {OCI_MANIFEST}", f"Content-Length: {len(body)}")
        yield f"manifest {name}", head("PUT", "/v2/app/manifests/bad", *fields) + body


def framings() -> Iterator[tuple[str, bytes]]:
    """Lengths and codings that two servers in a row might read differently (RFC 9112, section 6.3)."""
    smuggled = b"GET /v2/smuggled/tags/list HTTP/1.1\r\nHost: x\r\n\r\n"
    chunked = "Transfer-Encoding: chunked"
    for length in ("-1", "+5", "5, 5", "5,6", "0x5", "5 5", "", "abc", "9" * 30, "1_0", "\xb2", "5.0"):
        yield f"Content-Length {length[:20]!r}", head("POST", UPLOAD, f"Content-Length: {length}") + b"abcde"
    yield "two lengths", head("POST", UPLOAD, "Content-Length: 5", "Content-Length: 6") + b"abcdef" + smuggled
    yield "same length twice", head("POST", UPLOAD, "Content-Length: 5", "Content-Length: 5") + b"abcde"
    yield "CL.TE", head("POST", UPLOAD, "Content-Length: 4", chunked) + b"0\r\n\r\n" + smuggled
    yield "TE.CL", head("POST", UPLOAD, chunked, "Content-Length: 4") + b"5c\r\n" + smuggled
    for coding in (
        "xchunked", "chunked, identity", "identity, chunked", "gzip, chunked", "chunked, chunked", " chunked",
        "chunked ", "\x0bchunked", "CHUNKED", '"chunked"', "chunked;q=1", "",
    ):  # fmt: skip
        body = b"0\r\n\r\n" + smuggled
        yield f"TE {coding!r}", head("POST", UPLOAD, f"Transfer-Encoding: {coding}") + body
        yield f"TE {coding!r} CL", head("POST", UPLOAD, f"Transfer-Encoding: {coding}", "Content-Length: 5") + body
    yield "TE with space", head("POST", UPLOAD, "Transfer-Encoding : chunked") + b"0\r\n\r\n"
    yield "TE in 1.0", head("POST", UPLOAD, chunked, version="HTTP/1.0") + b"0\r\n\r\n"
    yield "folded TE", head("POST", UPLOAD, "Transfer-Encoding:", "\tchunked") + b"0\r\n\r\n"
    for size in (b"-1", b"+3", b"0x3", b"zz", b"", b"f" * 40, b"3 ", b"3;" + b"x" * 20000, b"3;a=\x00", b"1_0"):
        yield f"chunk size {size[:20]!r}", head("POST", UPLOAD, chunked) + size + b"\r\nabc\r\n0\r\n\r\n"
    yield "chunk without end", head("POST", UPLOAD, chunked) + b"3\r\nabcdef\r\n0\r\n\r\n"
    yield "chunk by LF", head("POST", UPLOAD, chunked) + b"3\nabc\n0\n\n"
    yield "trailers", head("POST", UPLOAD, chunked) + b"0\r\nContent-Length: 9\r\nHost: y\r\n\r\n"
    yield "many trailers", head("POST", UPLOAD, chunked) + b"0\r\n" + b"a: b\r\n" * 20000 + b"\r\n"
    yield "body of GET", head("GET", "/v2/", "Content-Length: 5") + b"abcde" + smuggled
    yield "encoded", head("PUT", "/v2/app/manifests/x", "Content-Encoding: gzip", "Content-Length: 2") + b"{}"
    yield "expects wonders", head("POST", UPLOAD, "Expect: wonders", "Content-Length: 0")


def heads() -> Iterator[tuple[str, bytes]]:
    """Request lines and header fields."""
    for method in ("", "get", "G\x00T", "GE T", "CONNECT", "TRACE", "OPTIONS", "PROPFIND", "A" * 9000, "G\xcbT", "PRI"):
        yield f"method {method[:20]!r}", head(method, "/v2/")
    for version in ("HTTP/0.9", "HTTP/1.0", "HTTP/2.0", "HTTP/9.9", "HTTP/1.10", "HTTP/x.y", "ICY", "", "HTTP/1.1 x"):
        yield f"version {version!r}", head("GET", "/v2/", version=version)
    for field in (
        "no colon", ": empty", "sp ace: x", "Na\x00me: x", "Name: a\x00b", "Name: a\rb", "N\xe4me: \xe4\xff",
        " leading: x", "Long: " + "x" * 70000, "L" * 70000 + ": x", "Host: other.example", "Cookie: " + "a=b; " * 3000,
        "\x80\x81: \xfe", "Connection: close, keep-alive, upgrade", "Upgrade: h2c",
        "X-Forwarded-For: " + "1.1.1.1," * 1000, "If-None-Match: " + '"x",' * 5000, "If-Range: \xff",
        "Accept: " + "a/b," * 5000, "Content-Type: \xff\xfe",
    ):  # fmt: skip
        yield f"field {field[:30]!r}", head("GET", "/v2/app/tags/list", field)
        yield f"field {field[:30]!r} of a blob", head("GET", f"/v2/app/blobs/{DIGEST}", field)
    yield "thousands of fields", head("GET", "/v2/", *(f"X-{number}: {number}" for number in range(5000)))
    yield "same field a thousand times", head("GET", "/v2/", *["X-Same: 1"] * 1000)
    yield "folded field", head("GET", "/v2/", "X-Folded: a", " b", "\tc")
    yield "no host", b"GET /v2/ HTTP/1.1\r\n\r\n"
    yield "only LF", b"GET /v2/ HTTP/1.1\nHost: x\n\n"
    yield "8 bit path", b"GET /v2/\xe4\xf6\xfc/tags/list HTTP/1.1\r\nHost: x\r\n\r\n"
    yield "NUL in path", b"GET /v2/a\x00b/tags/list HTTP/1.1\r\nHost: x\r\n\r\n"
    yield "long path", head("GET", "/v2/" + "a" * 100_000 + "/tags/list")


def beginnings() -> Iterator[tuple[str, bytes]]:
    """What is no HTTP/1 at all, and requests that end too early."""
    yield "TLS", bytes.fromhex("16030100c8010000c40303") + bytes(range(200))
    yield "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    yield "HTTP/0.9", b"GET /v2/\r\n"
    yield "SSH", b"SSH-2.0-client\r\n"
    yield "SOCKS", b"\x05\x01\x00"
    yield "PROXY", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + head("GET", "/v2/")
    yield "nothing", b""
    yield "empty lines", b"\r\n" * 2000
    yield "zeros", bytes(100_000)
    whole = head("POST", UPLOAD, "Content-Length: 10") + b"0123456789"
    for end in (1, 4, 20, len(whole) - 11, len(whole) - 1):
        yield f"cut at {end}", whole[:end]
    yield "pipeline", head("GET", "/v2/") * 500


def manifests() -> Iterator[tuple[str, bytes]]:
    """Bodies that a JSON reader may choke on."""
    deep = 100_000
    base = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {}, "layers": []}
    descriptor = {"mediaType": "a/b", "digest": DIGEST, "size": 1}
    yield "lists", b"[" * deep + b"]" * deep
    yield "objects", b'{"a":' * deep + b"1" + b"}" * deep
    yield "deep annotations", b'{"schemaVersion":2,"annotations":' + b"[" * deep + b"]" * deep + b"}"
    yield "unclosed", b"[" * 1_000_000
    yield "huge integer", b'{"schemaVersion":' + b"9" * 100_000 + b"}"
    yield "huge exponent", b'{"schemaVersion":1e999999999}'
    yield "NaN", b'{"schemaVersion":NaN,"size":Infinity}'
    yield "duplicate keys", b'{"schemaVersion":2,"schemaVersion":1,"layers":[],"layers":{}}'
    yield "invalid UTF-8", b'{"schemaVersion":2,"mediaType":"\xff\xfe"}'
    yield "lone surrogate", b'{"schemaVersion":2,"annotations":{"a":"\\ud800"}}'
    yield "NUL", b'{"schemaVersion":2,"annotations":{"\\u0000":"\\u0000"}}'
    yield "UTF-16", json.dumps(base).encode("utf-16")
    yield "byte order mark", b"\xef\xbb\xbf" + json.dumps(base).encode()
    yield "empty", b""
    yield "number", b"1"
    yield "null", b"null"
    value: object
    for key in base:
        for value in (None, True, -1, 2**70, 1.5, "x", [], {}, [[]], [None], {"digest": 5}):
            yield f"{key}={value!r}", json.dumps(base | {key: value}).encode()
    for key in descriptor:
        for value in (None, True, -1, 2**63, 2**70, 0.5, "", "x" * 1000, [], {}):
            yield f"descriptor {key}={value!r}"[:60], json.dumps(base | {"config": descriptor | {key: value}}).encode()
    yield "100000 layers", json.dumps(base | {"layers": [descriptor] * 25_000}).encode()
    yield "subject", json.dumps(base | {"subject": {"digest": "../../x"}}).encode()
    yield "5 MiB", b" " * (5 * 1024 * 1024)


class Generator:
    """Good requests with something cut out, doubled, swapped or changed; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._good = [
            request for name, request in fixed() if 0 < len(request) < 2000 and not name.startswith("manifest")
        ]

    def next(self) -> bytes:
        request = bytearray(self._random.choice(self._good))
        for _ in range(self._random.randint(1, 6)):
            if not request:
                break
            at = self._random.randrange(len(request))
            length = self._random.choice((1, 1, 2, 5, 50))
            match self._random.randrange(5):
                case 0:
                    del request[at : at + length]
                case 1:
                    request[at:at] = request[at : at + length]
                case 2:
                    request[at] = self._random.randrange(256)
                case 3:
                    request[at:at] = self._random.choice((b"\r\n", b"\n", b"\0", b" ", b"%", b":", b"\r\n\r\n", b"../"))
                case 4:
                    other = self._random.choice(self._good)
                    request[at:] = other[self._random.randrange(len(other)) :]
        return bytes(request)
