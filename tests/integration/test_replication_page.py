"""The transcript of docs/replication.md, as it stands there, with what it says that is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from registry.domain import events
from replication import wire
from tests.conftest import StartShoal
from tests.harness.administration import ADMIN, PASSWORD, Commands
from tests.harness.client import RegistryClient
from tests.harness.content import small_image
from tests.harness.process import clean_environment
from tests.harness.server import ROOT

PAGE = (ROOT / "docs" / "replication.md").read_text()
_DATA, _MASTER = "/var/lib/shoal", "https://registry.example:5000"
_MARK = "=== next ==="


def steps_below(heading: str) -> list[tuple[str, list[str]]]:
    """Each command of a section with the lines that it prints; … in a line stands for anything."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert section, heading
    steps: list[tuple[str, list[str]]] = []
    for block in re.findall(r"^```console\n(.*?)^```$", section, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line.removeprefix("$ "), []))
            else:
                steps[-1][1].append(line)
    return steps


def pattern_of(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.split("…"))


@pytest.mark.require("curl")
def test_the_transcript(start_shoal: StartShoal, tmp_path: Path) -> None:
    server = start_shoal(workers=2)
    Commands("--data", server.data).add_admin()
    with RegistryClient(server.url) as client:
        client.session.auth = (ADMIN, PASSWORD)
        client.push_image("team/app", small_image(8700), "1")
    steps = steps_below("A transcript")
    script = [f'shoal() {{ PYTHONPATH="{ROOT}" "{sys.executable}" -m registry "$@"; }}']
    for command, _ in steps:
        script += [command.replace(_DATA, str(server.data)).replace(_MASTER, server.url), f"echo; echo '{_MARK}'"]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )
    printed = done.stdout.split(f"{_MARK}\n")
    assert len(printed) == len(steps) + 1, done.stdout
    for (command, wanted), found in zip(steps, printed, strict=False):
        lines = [line for line in found.splitlines() if line]
        assert len(lines) == len(wanted), (command, found)
        for expected, line in zip(wanted, lines, strict=True):
            assert re.fullmatch(pattern_of(expected), line), (command, expected, line)
    assert not server.complaints()


@pytest.mark.parametrize(
    "kind",
    [
        wire.Hello,
        wire.Event,
        wire.Heartbeat,
        wire.Record,
        wire.Manifest,
        wire.Tag,
        wire.RepositoryEnd,
        wire.SnapshotEnd,
    ],
)
def test_the_page_has_every_message_with_its_fields(kind: type[wire.Line]) -> None:
    row = re.search(rf"^\| `{re.escape(str(kind.__struct_config__.tag))}` \| (.*) \|$", PAGE, re.MULTILINE)
    assert row is not None
    for field in kind.__struct_fields__:
        assert f"`{field}`" in row[1], field


def test_the_page_has_every_field_of_a_report_and_every_kind_of_event() -> None:
    for field in wire.Ack.__struct_fields__:
        assert re.search(rf"^\| `{field}` \|", PAGE, re.MULTILINE), field
    kinds = {value for name, value in vars(events).items() if name.isupper() and isinstance(value, str)} - {events.AUTH}
    for kind in kinds:
        assert f"| `{kind}` |" in PAGE, kind
