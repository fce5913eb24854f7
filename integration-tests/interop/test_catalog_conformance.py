"""The conformance tests of the catalog crate, on a PostgreSQL server."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from servers import Postgres

WORKSPACE = Path(__file__).resolve().parents[2]
TIMEOUT = 1800


def catalog_tests() -> Path:
    """The integration tests of the catalog crate, built as `make test` builds them.

    A build of this package alone would choose fewer features of its dependencies and compile them
    anew.
    """
    cargo = os.environ.get("CARGO", "cargo")
    command = [cargo, "test", "--locked", "--workspace", "--test", "it", "--no-run"]
    built = subprocess.run(
        [*command, "--message-format", "json"],
        cwd=WORKSPACE,
        check=False,
        stdout=subprocess.PIPE,
        timeout=TIMEOUT,
    )
    assert built.returncode == 0, f"{' '.join(command)} failed, its messages are above"
    found = [
        message["executable"]
        for message in map(json.loads, built.stdout.splitlines())
        if message.get("executable")
        and message["target"]["name"] == "it"
        and Path(message["manifest_path"]).parent == WORKSPACE / "crates" / "catalog"
    ]
    (executable,) = found
    return Path(executable)


def test_the_catalog_conforms_on_postgresql(postgres_server: Postgres) -> None:
    done = subprocess.run(
        [str(catalog_tests()), "--include-ignored"],
        cwd=WORKSPACE / "crates" / "catalog",
        env={**os.environ, "BERGLAKE_TEST_POSTGRES": postgres_server.uri},
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    passed = [line for line in done.stdout.splitlines() if line.endswith("... ok")]
    assert sum("postgres" in line for line in passed) >= 3, done.stdout
    assert "0 ignored" in done.stdout
