"""Faults of the object store, between the registry and a real one: lived through, told, or found."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from benchmarks.recorder import operation_of
from tests.harness.process import wait_until
from tests.harness.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.harness.server import Settings, ShoalServer
from tests.harness.store_proxy import Choose, Fault, StoreProxy

REPO = "library/one"
LARGE = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(700_000))  # 21 MiB: three parts
DIGEST = f"sha256:{hashlib.sha256(LARGE).hexdigest()}"
_numbers = itertools.count(1)


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[StoreProxy]:
    with StoreProxy(s3_server.endpoint) as found:
        yield found


@pytest.fixture
def shoal(s3_server: S3Server, proxy: StoreProxy, tmp_path: Path) -> Iterator[ShoalServer]:
    bucket = s3_server.bucket(f"faults-{next(_numbers)}").bucket
    settings: Settings = {
        "storage": {
            "kind": "s3",
            "endpoint": proxy.url,
            "bucket": bucket,
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
        },
        "uploads": {"expire_after": 1.0},
        "collect": {"interval": 0.5, "leftovers": 0.5},
    }
    with ShoalServer(tmp_path / "data", settings=settings) as server:
        proxy.counts.clear()
        yield server


def bucket_of(shoal: ShoalServer) -> str:
    storage = (shoal._settings or {})["storage"]
    assert isinstance(storage, dict)
    return str(storage["bucket"])


def push(shoal: ShoalServer, content: bytes = LARGE) -> requests.Response:
    begun = requests.post(f"{shoal.url}/v2/{REPO}/blobs/uploads/", timeout=90)
    if begun.status_code != 202:
        return begun
    url = requests.compat.urljoin(shoal.url, begun.headers["Location"])
    sent = requests.patch(url, data=content, timeout=90)
    if sent.status_code != 202:
        return sent
    return requests.put(url, params={"digest": f"sha256:{hashlib.sha256(content).hexdigest()}"}, timeout=90)


def pull(shoal: ShoalServer, digest: str = DIGEST) -> requests.Response:
    return requests.get(f"{shoal.url}/v2/{REPO}/blobs/{digest}", timeout=90)


def once(kind: str, fault: Fault, times: int = 1) -> Choose:
    """A fault for the first requests of a kind."""
    left = itertools.count(times, -1)
    return lambda method, url: fault if operation_of(method, url) == kind and next(left) > 0 else None


def until(moment: float, fault: Fault) -> Choose:
    return lambda _method, _url: fault if time.monotonic() < moment else None


# What Amazon does while it completes an upload: it says 200, then spaces, and after some time how it ended.
_SPACES_THEN_ERROR = Fault(pieces=(b"  ", 0.2, b"<?xml version='1.0'?><Error><Code>InternalError</Code></Error>"))

PUSH_FAULTS: list[tuple[str, Callable[[], Choose]]] = [
    ("a part is refused for now", lambda: once("UploadPart", Fault(status=503), 3)),
    ("an internal error", lambda: once("UploadPart", Fault(status=500, code="InternalError"))),
    ("a reset in the middle of a part", lambda: once("UploadPart", Fault(cut_request=1_000_000), 2)),
    ("the answer of a part is lost", lambda: once("UploadPart", Fault(cut_answer=0))),
    ("the beginning's answer is lost", lambda: once("CreateMultipartUpload", Fault(cut_answer=0))),
    ("the completion's answer is lost", lambda: once("CompleteMultipartUpload", Fault(cut_answer=0))),
    ("the completion fails after its head", lambda: once("CompleteMultipartUpload", _late_error())),
    ("the completion fails after a while", lambda: once("CompleteMultipartUpload", _SPACES_THEN_ERROR, 2)),
    ("the tail is refused for now", lambda: once("PutObject", Fault(status=503), 2)),
]


def _late_error() -> Fault:
    return Fault(change=lambda _content: b"<Error><Code>InternalError</Code></Error>".ljust(len(_content)))


@pytest.mark.parametrize("choose", [choose for _, choose in PUSH_FAULTS], ids=[name for name, _ in PUSH_FAULTS])
def test_a_push_lives_through(shoal: ShoalServer, proxy: StoreProxy, choose: Callable[[], Choose]) -> None:
    proxy.choose = choose()
    assert push(shoal).status_code == 201
    proxy.choose = lambda _method, _url: None
    assert pull(shoal).content == LARGE


@pytest.mark.parametrize("seconds", [6, pytest.param(30, marks=pytest.mark.slow)])
def test_pushes_live_through_a_store_that_is_away(shoal: ShoalServer, proxy: StoreProxy, seconds: int) -> None:
    with ThreadPoolExecutor(8) as clients:
        running = [clients.submit(push, shoal, LARGE + b"%d" % number) for number in range(8)]
        time.sleep(0.2)
        proxy.choose = until(time.monotonic() + seconds, Fault(status=503))
        assert [answer.result().status_code for answer in running] == [201] * 8
    assert pull(shoal, f"sha256:{hashlib.sha256(LARGE + b'7').hexdigest()}").content == LARGE + b"7"


@pytest.mark.parametrize("cut", [0, 1, 5_000_000])
def test_a_read_goes_on_where_it_broke(shoal: ShoalServer, proxy: StoreProxy, cut: int) -> None:
    assert push(shoal).status_code == 201
    proxy.choose = once("GetObject", Fault(cut_answer=cut), 2)
    answer = pull(shoal)
    assert (answer.status_code, answer.content) == (200, LARGE)


def test_changed_bytes_are_cut(shoal: ShoalServer, proxy: StoreProxy) -> None:
    assert push(shoal).status_code == 201
    proxy.choose = once("GetObject", Fault(change=lambda content: content[:-1] + bytes([content[-1] ^ 1])))
    with pytest.raises(requests.exceptions.RequestException):
        pull(shoal)
    shoal.wait_for_log(lambda entry: "has changed" in str(entry.get("event")))
    assert pull(shoal).content == LARGE


def test_a_store_that_is_down_is_told_and_found_again(shoal: ShoalServer, proxy: StoreProxy) -> None:
    assert push(shoal).status_code == 201
    proxy.choose = lambda _method, _url: Fault(status=503)
    assert requests.get(f"{shoal.url}/readyz", timeout=30).status_code == 503
    answer = pull(shoal)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert push(shoal, b"small").status_code == 503
    proxy.choose = lambda _method, _url: None
    wait_until(lambda: requests.get(f"{shoal.url}/readyz", timeout=30).status_code == 200, "ready again")
    assert push(shoal, b"small").status_code == 201


def test_what_is_asked_of_the_store(shoal: ShoalServer, proxy: StoreProxy) -> None:
    """Neither a listing nor a copy, and for a small blob one PutObject."""
    assert push(shoal, b"the first one tells which checksum the store compares").status_code == 201
    proxy.counts.clear()
    assert push(shoal, b"a small one").status_code == 201
    assert proxy.counts == {"PutObject": 1}
    proxy.counts.clear()
    assert push(shoal).status_code == 201
    assert proxy.counts == {
        "CreateMultipartUpload": 1,
        "UploadPart": 3,
        "CompleteMultipartUpload": 1,
    }
    proxy.counts.clear()
    assert pull(shoal).content == LARGE
    assert proxy.counts == {"GetObject": 1}


def test_after_kills_in_the_middle_only_blobs_stay(s3_server: S3Server, shoal: ShoalServer) -> None:
    assert push(shoal, b"kept").status_code == 201
    for pause in (0.05, 0.15, 0.3, 0.6):
        pushing = threading.Thread(target=_push_to_the_end_of_the_server, args=(shoal,))
        pushing.start()
        time.sleep(pause)
        shoal.kill()
        pushing.join()
        shoal.restart()
    blobs = {len(b"kept"), len(LARGE)} if pull(shoal).status_code == 200 else {len(b"kept")}
    bucket = bucket_of(shoal)

    def only_blobs() -> bool:
        found = s3_server.objects(bucket)
        return set(found.values()) == blobs and len(found) == len(blobs) and not s3_server.multiparts(bucket)

    wait_until(only_blobs, "only blobs are in the store", 40)


def _push_to_the_end_of_the_server(shoal: ShoalServer) -> None:
    try:
        push(shoal)
    except requests.exceptions.RequestException:
        return


def test_two_clients_with_one_digest_leave_one_object(s3_server: S3Server, shoal: ShoalServer) -> None:
    with ThreadPoolExecutor(2) as clients:
        assert [answer.status_code for answer in clients.map(lambda _: push(shoal), range(2))] == [201, 201]
    bucket = bucket_of(shoal)
    wait_until(lambda: list(s3_server.objects(bucket).values()) == [len(LARGE)], "one object is left", 20)
    assert pull(shoal).content == LARGE
