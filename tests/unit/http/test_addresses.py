"""Where a client comes from, and whether others could have read what it sent."""

from __future__ import annotations

from ipaddress import ip_network
from unittest.mock import Mock

import pytest
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from registry.errors import Denied
from registry.http.addresses import Addresses

PROXY = [ip_network("127.0.0.2/32")]


def request(remote: str, *, tls: bool = False, **headers: str) -> web.BaseRequest:
    made = Mock(spec=web.BaseRequest)
    made.remote = remote
    made.headers = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    made.secure = tls
    return made


@pytest.mark.parametrize(
    "seen",
    [
        request("127.0.0.1"),
        request("::1"),
        request("192.0.2.1", tls=True),
        request("127.0.0.2", X_Forwarded_For="192.0.2.1", X_Forwarded_Proto="https"),
        request("127.0.0.2", X_Forwarded_For="127.0.0.5"),
        request(""),
    ],
)
def test_a_password_may_come(seen: web.BaseRequest) -> None:
    Addresses(None, PROXY).check_private(seen)


@pytest.mark.parametrize(
    "seen",
    [
        request("192.0.2.1"),
        request("192.0.2.1", X_Forwarded_Proto="https"),
        request("127.0.0.2", X_Forwarded_For="192.0.2.1"),
        request("127.0.0.2", X_Forwarded_For="192.0.2.1", X_Forwarded_Proto="http"),
    ],
)
def test_a_password_that_others_could_read_is_refused(seen: web.BaseRequest) -> None:
    with pytest.raises(Denied, match="HTTPS"):
        Addresses(None, PROXY).check_private(seen)


@pytest.mark.parametrize("host", ['evil"', "a b", "x\r\ny", "", "evil.example/path", "a@b"])
def test_a_host_that_is_none_does_not_reach_the_challenge(host: str) -> None:
    assert Addresses(None, ()).base(request("127.0.0.1", Host=host)) == "http://localhost"


def test_the_address_is_what_the_client_used() -> None:
    assert Addresses(None, ()).base(request("::1", Host="[::1]:5000")) == "http://[::1]:5000"
    assert Addresses("https://r.example/", ()).base(request("::1", Host="[::1]:5000")) == "https://r.example"
    seen = request("127.0.0.2", Host="r.example", X_Forwarded_Proto="https")
    assert Addresses(None, PROXY).base(seen) == "https://r.example"


def test_of_several_lines_the_last_one_is_the_proxys() -> None:
    seen = request("127.0.0.2", X_Forwarded_For="192.0.2.1")
    lines = (("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http"))
    seen.headers = CIMultiDictProxy(CIMultiDict((*seen.headers.items(), *lines)))
    assert Addresses(None, PROXY).scheme(seen) == "http"


@pytest.mark.parametrize("said", ["::1%any text", "2001:db8::1%\udcff", "nobody", ""])
def test_what_a_proxy_sends_on_that_is_no_address_is_not_the_client(said: str) -> None:
    assert Addresses(None, PROXY).client(request("127.0.0.2", X_Forwarded_For=said)) == "127.0.0.2"
