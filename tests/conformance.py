"""Run the conformance program of the OCI distribution specification against a fresh registry.

The program is built from the folder `conformance` of the specification's repository and has to be on PATH as
`oci-conformance`. Every option is on, also those that only the next version of the specification asks for, but for
sparse images: their blobs are not in the registry, and Shoal refuses a manifest whose blobs it does not have.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.harness.server import ShoalServer

PROGRAM = "oci-conformance"
APIS = """
    PING PULL PUSH REFERRER
    BLOBS_ATOMIC BLOBS_DELETE BLOBS_DIGEST_HEADER BLOBS_MOUNT_ANONYMOUS BLOBS_UPLOAD_CANCEL
    MANIFESTS_ATOMIC MANIFESTS_DELETE MANIFESTS_DIGEST_HEADER MANIFESTS_TAG_PARAM
    TAGS_ATOMIC TAGS_DELETE TAGS_LIST
""".split()
DATA = """
    IMAGE INDEX INDEX_LIST ARTIFACT SUBJECT SUBJECT_MISSING ARTIFACT_LIST SUBJECT_LIST DATA_FIELD NONDISTRIBUTABLE
    CUSTOM_FIELDS NO_LAYERS EMPTY_BLOB SHA512
""".split()
PASSED = "OCI Conformance Result: Pass"
TIMEOUT = 900


def options(registry: str, results: Path) -> dict[str, str]:
    """The environment of the program: `registry` is host:port, `results` where its reports go."""
    return {
        "OCI_VERSION": "dev",
        "OCI_REGISTRY": registry,
        "OCI_TLS": "disabled",
        "OCI_RESULTS_DIR": str(results),
        "OCI_DATA_SPARSE": "false",
        **{f"OCI_API_{name}": "true" for name in APIS},
        **{f"OCI_DATA_{name}": "true" for name in DATA},
    }


def passed(status: int, output: str) -> bool:
    """Whether the run was good; the program also ends with 0 when it could not begin, so its verdict must be there."""
    return status == 0 and any(line.startswith(PASSED) for line in output.splitlines())


def run(program: str, results: Path) -> int:
    """Start a registry on empty data, run `program` against it and print what it says; 0 if all passed."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OCI_")}
    with (
        tempfile.TemporaryDirectory(prefix="shoal-conformance-") as directory,
        ShoalServer(Path(directory) / "data") as server,
    ):
        done = subprocess.run(
            [program],
            cwd=directory,
            env=inherited | options(server.host, results),
            stdout=subprocess.PIPE,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    print(done.stdout)
    if not passed(done.returncode, done.stdout):
        print(f"conformance: not passed; every request and answer is in {results}/report.html", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    program = shutil.which(PROGRAM)
    if program is None:
        print(
            f"conformance: {PROGRAM} is not on PATH. Build it with Go: `go build -o {PROGRAM} .` in the folder "
            "conformance of the OCI distribution specification, and put it into a folder of PATH.",
            file=sys.stderr,
        )
        return 2
    results = Path("build/conformance").resolve()
    results.mkdir(parents=True, exist_ok=True)
    return run(program, results)


if __name__ == "__main__":
    sys.exit(main())
