"""Logs and metrics: what is written, by whom, and what never is."""

import asyncio
import io
import json
import logging
import os
import pty
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from prometheus_client import values
from prometheus_client.parser import text_string_to_metric_families

from registry.telemetry.logs import FLUSH_SECONDS, AccessLog, Format, Level, configure
from registry.telemetry.metrics import PUSH_SECONDS, Metrics
from registry.telemetry.requests import AnsweredRequest


@pytest.fixture
def logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before[0], before[1]
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.mark.usefixtures("logging_restored")
class TestLogs:
    def test_json_for_our_own_logs_and_for_those_of_libraries(self) -> None:
        stream = io.StringIO()
        configure("info", "auto", stream)
        structlog.get_logger().info("committed", serial=7, path=Path("/x"), name="a\udcffb")
        structlog.get_logger().debug("too small")
        logging.getLogger("aiohttp.server").warning("slow %s", "client")
        first, second = (json.loads(line) for line in stream.getvalue().splitlines())
        assert first.pop("time").endswith("Z")
        assert first == {"level": "info", "event": "committed", "serial": 7, "path": "/x", "name": "a\\udcffb"}
        assert (second["event"], second["level"]) == ("slow client", "warning")

    @pytest.mark.parametrize("format", ["json", "text"])
    def test_tracebacks_do_not_show_local_variables(self, format: Format) -> None:  # noqa: A002
        stream = io.StringIO()
        configure("info", format, stream)
        password = "wombat" * 2
        try:
            int("x" + password[:0])
        except ValueError:
            structlog.get_logger().exception("failed")
            logging.getLogger("asyncio").exception("failed too")
        assert stream.getvalue().count("ValueError: invalid literal") == 2
        assert "wombatwombat" not in stream.getvalue()

    def test_a_second_call_changes_the_level(self) -> None:
        stream = io.StringIO()
        configure("info", "json", stream)
        log = structlog.get_logger()
        log.debug("one")
        configure("debug", "json", stream)
        log.debug("two")
        assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["two"]


def record(log: AccessLog, path: str = "/v2/a/manifests/b", status: int = 200) -> None:
    log.record(AnsweredRequest("id1", "GET", path, "manifest", "a", status, 10, 3, 0.0012345678, "127.0.0.1"))


def answered(method: str, route: str, status: int, seconds: float, sent: int, received: int) -> AnsweredRequest:
    return AnsweredRequest("id1", method, "/v2/a", route, "a", status, sent, received, seconds, "127.0.0.1")


class TestAccessLog:
    async def lines(
        self, tmp_path: Path, *requests: tuple[str, int], level: Level = "info", form: Format = "json"
    ) -> list[str]:
        with (tmp_path / "log").open("w+") as stream:
            log = AccessLog(level, form, stream)
            for path, status in requests:
                record(log, path, status)
            log.close()
            return (tmp_path / "log").read_text().removesuffix("\n").split("\n")

    async def test_a_line_has_all_fields(self, tmp_path: Path) -> None:
        (line,) = await self.lines(tmp_path, ("/v2/a/manifests/b", 200))
        fields = json.loads(line)
        assert fields.pop("time")[-1] == "Z"
        assert fields == {
            "level": "info", "event": "request", "id": "id1", "method": "GET", "path": "/v2/a/manifests/b",
            "repository": "a", "status": 200, "sent": 10, "received": 3, "seconds": 0.001235, "client": "127.0.0.1",
        }  # fmt: skip

    async def test_query_strings_are_left_out(self, tmp_path: Path) -> None:
        for form in ("json", "text"):
            (line,) = await self.lines(tmp_path, ("/token?password=wombat", 200), form=form)
            assert "wombat" not in line
            assert "/token" in line

    async def test_hostile_paths_stay_on_one_readable_line(self, tmp_path: Path) -> None:
        hostile = "/v2/\x1b[2J\r\n2026 GET /forged \udcff \u2028 ä"
        (line,) = await self.lines(tmp_path, (hostile, 404))
        assert json.loads(line)["path"].endswith("\\udcff \u2028 ä")
        (line,) = await self.lines(tmp_path, (hostile, 404), form="text")
        assert line.isprintable()
        assert "\\x1b[2J\\r\\n2026 GET /forged \\udcff" in line

    async def test_above_info_only_failures_of_the_server_are_written(self, tmp_path: Path) -> None:
        (line,) = await self.lines(tmp_path, ("/a", 200), ("/b", 404), ("/c", 507), level="warning")
        assert (json.loads(line)["path"], json.loads(line)["level"]) == ("/c", "error")

    async def test_lines_wait_in_memory_but_not_long(self, tmp_path: Path) -> None:
        with (tmp_path / "log").open("w") as stream:
            log = AccessLog("info", "json", stream)
            record(log)
            assert (tmp_path / "log").read_text() == ""
            await asyncio.sleep(FLUSH_SECONDS * 3)
            assert len((tmp_path / "log").read_text().splitlines()) == 1
            record(log)
            await asyncio.sleep(FLUSH_SECONDS * 3)
            assert len((tmp_path / "log").read_text().splitlines()) == 2

    async def test_many_lines_are_bounded_in_memory_and_written_whole(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        with os.fdopen(writer, "w") as stream, os.fdopen(reader, "rb", buffering=0) as pipe:
            log = AccessLog("info", "json", stream)
            for _ in range(100):
                record(log)
            written = pipe.read(1 << 20) or b""
            assert 60 < written.count(b"\n") < 100
            assert written.endswith(b"}\n")
            log.close()
            assert (written + (pipe.read(1 << 20) or b"")).count(b"\n") == 100

    async def test_what_could_not_be_written_is_counted(self, tmp_path: Path) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        with os.fdopen(writer, "w") as stream:
            log = AccessLog("info", "json", stream)
            record(log)
            record(log)
            log.close()
            assert log.lost == 2

    async def test_auto_is_text_on_a_terminal_and_json_elsewhere(self, tmp_path: Path) -> None:
        assert json.loads((await self.lines(tmp_path, ("/a", 200), form="auto"))[0])
        controller, terminal = pty.openpty()
        with os.fdopen(terminal, "w") as stream, os.fdopen(controller, "rb", buffering=0) as screen:
            log = AccessLog("info", "auto", stream)
            record(log)
            log.close()
            assert b" 200 GET /v2/a/manifests/b in=3 out=10 1.2ms 127.0.0.1 id1" in screen.read(4096)


@pytest.fixture
def metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Metrics:
    # both are put back afterwards; Metrics sets them
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    monkeypatch.setattr(values, "ValueClass", values.ValueClass)
    return Metrics(tmp_path, "1.2.3")


def samples(metrics: Metrics) -> dict[str, float]:
    """Each sample as `name{label=value,...}`."""
    text = metrics.render()[0].decode()
    return {
        sample.name
        + "{"
        + ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
        + "}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


WORKER = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    from registry.telemetry.metrics import Metrics
    from registry.telemetry.requests import AnsweredRequest

    async def main():
        metrics = Metrics(Path(sys.argv[1]), "1.2.3")
        metrics.observe_request(AnsweredRequest("1", "GET", "/v2/a", "/v2/", "a", 200, 100, 5, 0.02, ""))
        metrics.push()
        with metrics.uploading():
            print("ready", flush=True)
            await asyncio.sleep(60)

    asyncio.run(main())
""")


class TestMetrics:
    async def test_requests(self, metrics: Metrics) -> None:
        for seconds in (0.0005, 0.001, 0.02, 700.0):
            metrics.observe_request(answered("GET", "/v2/", 200, seconds, 100, 5))
        metrics.observe_request(answered("PUT", "/v2/", 500, 1.0, 1, 2))
        seen = samples(metrics)
        metrics.close()
        assert seen["shoal_requests_total{method=GET,route=/v2/,status=200}"] == 4
        assert seen["shoal_requests_total{method=PUT,route=/v2/,status=500}"] == 1
        assert seen["shoal_request_seconds_bucket{le=0.001,method=GET,route=/v2/}"] == 2
        assert seen["shoal_request_seconds_bucket{le=0.005,method=GET,route=/v2/}"] == 2
        assert seen["shoal_request_seconds_bucket{le=0.025,method=GET,route=/v2/}"] == 3
        assert seen["shoal_request_seconds_bucket{le=600.0,method=GET,route=/v2/}"] == 3
        assert seen["shoal_request_seconds_bucket{le=+Inf,method=GET,route=/v2/}"] == 4
        assert seen["shoal_request_seconds_count{method=GET,route=/v2/}"] == 4
        assert seen["shoal_request_seconds_sum{method=GET,route=/v2/}"] == pytest.approx(700.0215)
        assert seen["shoal_sent_bytes_total{}"] == 401
        assert seen["shoal_received_bytes_total{}"] == 22

    async def test_everything_else(self, metrics: Metrics) -> None:
        metrics.committed(3, 17)
        metrics.committed(500, 517)
        metrics.blobs_collected(4)
        with metrics.uploading():
            with metrics.uploading():
                pass
            seen = samples(metrics)
        assert seen["shoal_commit_changes_bucket{le=2.0}"] == 0
        assert seen["shoal_commit_changes_bucket{le=4.0}"] == 1
        assert seen["shoal_commit_changes_count{}"] == 2
        assert seen["shoal_journal_serial{}"] == 517
        assert seen["shoal_blobs_collected_total{}"] == 4
        assert seen["shoal_uploads_active{}"] == 1
        assert [key for key in seen if key.startswith("shoal_build_info{") and "version=1.2.3" in key]

    async def test_invented_methods_do_not_become_series(self, metrics: Metrics) -> None:
        for number in range(50):
            metrics.observe_request(answered(f"M{number}", "/v2/", 405, 0.1, 0, 0))
        seen = samples(metrics)
        metrics.close()
        assert seen["shoal_requests_total{method=other,route=/v2/,status=405}"] == 50
        assert len([key for key in seen if key.startswith("shoal_requests_total")]) == 1

    async def test_requests_reach_the_other_processes_by_themselves(self, metrics: Metrics, tmp_path: Path) -> None:
        metrics.observe_request(answered("GET", "/v2/", 200, 0.1, 0, 0))
        deadline = asyncio.get_running_loop().time() + PUSH_SECONDS * 4
        while metrics._pending and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.02)
        assert not metrics._pending
        metrics.observe_request(answered("GET", "/v2/", 200, 0.1, 0, 0))
        metrics.close()
        assert samples(metrics)["shoal_requests_total{method=GET,route=/v2/,status=200}"] == 2

    async def test_all_processes_are_summed_and_a_dead_one_has_nothing_under_way(
        self, metrics: Metrics, tmp_path: Path
    ) -> None:
        workers = [
            subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], stdout=subprocess.PIPE) for _ in range(2)
        ]
        try:
            for worker in workers:
                assert worker.stdout is not None
                assert worker.stdout.readline() == b"ready\n"
            metrics.observe_request(answered("GET", "/v2/", 200, 0.02, 100, 5))
            seen = samples(metrics)
            assert seen["shoal_requests_total{method=GET,route=/v2/,status=200}"] == 3
            assert seen["shoal_sent_bytes_total{}"] == 300
            assert seen["shoal_uploads_active{}"] == 2

            workers[0].send_signal(signal.SIGKILL)
            workers[0].wait()
            metrics.worker_died(workers[0].pid)
            seen = samples(metrics)
            assert seen["shoal_uploads_active{}"] == 1
            assert seen["shoal_requests_total{method=GET,route=/v2/,status=200}"] == 3
        finally:
            for worker in workers:
                worker.kill()
                worker.communicate()
        metrics.close()
