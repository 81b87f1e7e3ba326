"""The commands that administer a registry, as an operator would give them, and the API with a name and a password."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from tests.harness.process import clean_environment
from tests.harness.server import ROOT

ADMIN, PASSWORD = "alice", "correct horse battery"


class CommandFailedError(AssertionError):
    """A command ended with another status than the test wanted."""


class Commands:
    """`shoal …` on one registry: `where` are the arguments that name it."""

    def __init__(self, *where: str | Path, env: Mapping[str, str] | None = None) -> None:
        self.where = [str(word) for word in where]
        self._env = dict(env or {})

    def run(self, *words: str, text: str = "", status: int = 0) -> subprocess.CompletedProcess[str]:
        """`text` is the input."""
        done = subprocess.run(
            [sys.executable, "-m", "registry", *words, *self.where],
            cwd=ROOT,
            env=clean_environment(self._env),
            input=text,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        if done.returncode != status:
            raise CommandFailedError(f"shoal {' '.join(words)}: {done.returncode}, wanted {status}: {done.stderr}")
        return done

    def __call__(self, *words: str, text: str = "") -> str:
        """What a command that succeeds prints."""
        return self.run(*words, text=text).stdout

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))

    def refused(self, *words: str, text: str = "") -> str:
        """The one line of a command that fails."""
        told = self.run(*words, text=text, status=2).stderr
        assert told.startswith("shoal: "), told
        assert told.count("\n") == 1, told
        return told

    def add_admin(self) -> None:
        self("user", "add", ADMIN, "--admin", "--password-stdin", text=f"{PASSWORD}\n")


def as_account(name: str = ADMIN, password: str = PASSWORD) -> requests.Session:
    """A session that logs in with each request, over connections of their own: any worker may get them."""
    session = requests.Session()
    session.trust_env = False
    session.auth = (name, password)
    session.headers["Connection"] = "close"
    return session


def may_log_in(url: str, name: str, password: str) -> bool:
    """Whether the password is good; where wrong ones came before, the next try has to wait."""
    for _ in range(10):
        answer = as_account(name, password).get(f"{url}/v2/", timeout=60)
        if answer.status_code != 429:
            break
        time.sleep(float(answer.headers["Retry-After"]))
    assert answer.status_code in (200, 401), answer.text
    return answer.status_code == 200
