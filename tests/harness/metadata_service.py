"""What hands out credentials inside a cloud: the services of containers, of instances, and for web identities."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from tests.harness.s3 import ACCESS_KEY, SECRET_KEY

_ROLE = "/latest/meta-data/iam/security-credentials/"


class MetadataService:
    """On a port of 127.0.0.1. `lifetime`: seconds of what it gives; `delay`: before each answer; `tokens`: the session
    tokens in their order, the last one again and again; `given`: how often it gave credentials.
    """

    def __init__(self) -> None:
        self.lifetime = 6 * 3600.0
        self.delay = 0.0
        self.tokens = [""]
        self.given = 0
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer("a-role" if self.path == _ROLE else json.dumps(service._credentials()))

            def do_PUT(self) -> None:
                self._answer("a token for the instance's own service")

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._answer(_as_xml(service._credentials()))

            def log_message(self, *_arguments: object) -> None:
                """Not to stderr."""

            def _answer(self, text: str) -> None:
                time.sleep(service.delay)
                self.send_response(200)
                self.send_header("Content-Length", str(len(text)))
                self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
                self.end_headers()
                self.wfile.write(text.encode())

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _credentials(self) -> dict[str, str]:
        self.given += 1
        token = self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]
        until = datetime.now(UTC) + timedelta(seconds=self.lifetime)
        keys = {"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY, "Token": token}
        return {"Code": "Success", **keys, "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ")}


def _as_xml(keys: dict[str, str]) -> str:
    """The answer of AssumeRoleWithWebIdentity."""
    names = {"AccessKeyId": "AccessKeyId", "SecretAccessKey": "SecretAccessKey", "Token": "SessionToken"}
    names["Expiration"] = "Expiration"
    listed = "".join(f"<{name}>{keys[key]}</{name}>" for key, name in names.items())
    user = "<AssumedRoleUser><AssumedRoleId>id:shoal</AssumedRoleId><Arn>arn</Arn></AssumedRoleUser>"
    result = f"<AssumeRoleWithWebIdentityResult><Credentials>{listed}</Credentials>{user}"
    return (
        '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
        f"{result}</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
    )
