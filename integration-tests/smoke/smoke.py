"""Brings up deploy/docker-compose.yml as a person would, uses it, disturbs it and takes it down.

`make smoke` builds what it needs and runs it. It has a compose project, ports and secrets of its own, so
that a stack that is running stays untouched. Needs Python and its standard library, and Docker.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Stack:
    """The compose project of this run."""

    def __init__(self, folder: Path):
        self.name = f"berglake-smoke-{os.getpid()}"
        self.env_file = folder / ".env"
        subprocess.run(
            ["sh", ROOT / "deploy/make-env", self.env_file], check=True, stdout=subprocess.DEVNULL
        )
        ports = [
            "CATALOG_PORT",
            "QUERY_PORT",
            "KAFKA_PORT",
            "MINIO_PORT",
            "MINIO_CONSOLE_PORT",
            "TRINO_PORT",
        ]
        own = dict(zip(ports, map(str, free_ports(len(ports))), strict=True))
        for name in ("BERGLAKE_IMAGE", "BERGLAKE_PROJECT_DIR"):
            if name in os.environ:
                own[name] = os.environ[name]
        lines = [
            line for line in self.env_file.read_text().splitlines() if line.split("=")[0] not in own
        ]
        self.env_file.write_text("\n".join(lines + [f"{k}={v}" for k, v in own.items()]) + "\n")
        settings = (
            line.split("=", 1) for line in self.env_file.read_text().splitlines() if "=" in line
        )
        self.settings = {key: value for key, value in settings if not key.startswith("#")}

    def compose(self, *arguments: str, check: bool = True, quiet: bool = True) -> str:
        command = [
            ROOT / "integration-tests/images/compose",
            "--project-name",
            self.name,
            "--env-file",
            self.env_file,
            "--file",
            ROOT / "deploy/docker-compose.yml",
            "--profile",
            "trino",
            *arguments,
        ]
        # What is set where the tests run would win over the file.
        environment = {k: v for k, v in os.environ.items() if k not in self.settings}
        result = subprocess.run(
            command,
            check=False,
            text=True,
            env=environment,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.STDOUT if quiet else None,
        )
        if check and result.returncode != 0:
            sys.exit(f"compose {' '.join(arguments)} failed:\n{result.stdout or ''}")
        return result.stdout or ""

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.settings[service.upper() + '_PORT']}"

    def query(self, statement: str) -> list[dict]:
        """Rows of a statement by the query service."""
        answer = request(
            self.url("query") + "/v1/sql",
            json.dumps({"sql": statement}).encode(),
            {
                "Authorization": f"Bearer {self.settings['QUERY_TOKEN']}",
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
        )
        return json.loads(answer)

    def trino(self, statement: str) -> list[list]:
        """Rows of a statement by Trino."""
        headers = {
            "X-Trino-User": "smoke",
            "X-Trino-Catalog": "berglake",
            "X-Trino-Time-Zone": "UTC",
        }
        answer = json.loads(
            request(self.url("trino") + "/v1/statement", statement.encode(), headers)
        )
        rows = []
        while True:
            if "error" in answer:
                raise RuntimeError(answer["error"]["message"])
            rows += answer.get("data", [])
            if "nextUri" not in answer:
                return rows
            answer = json.loads(request(answer["nextUri"], None, headers))

    def container(self, service: str) -> str:
        return self.compose("ps", "--all", "--quiet", service).strip()


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def request(url: str, body: bytes | None, headers: dict[str, str]) -> bytes:
    asked = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise RuntimeError(
            f"{url}: {error.code} {error.read().decode(errors='replace')}"
        ) from error


def until(what: str, seconds: float, holds) -> float:
    """Waits until `holds()` is true and gives the time that it took."""
    started = time.monotonic()
    last = None
    while True:
        try:
            if holds():
                return time.monotonic() - started
        except (RuntimeError, OSError) as error:
            last = error
        if time.monotonic() - started > seconds:
            sys.exit(f"in {seconds:.0f} s it never was true that {what}; last error: {last}")
        time.sleep(0.5)
