"""The entry point of a worker process; only the node starts it (registry.processes.supervisor)."""

from __future__ import annotations

import sys

from registry.app import serve_worker


def main() -> None:
    channel, sockets, metrics_directory, commits, parent = sys.argv[1:]
    listening = [int(number) for number in sockets.split(",")]
    serve_worker(int(channel), listening, metrics_directory, int(commits), int(parent))


if __name__ == "__main__":
    main()
