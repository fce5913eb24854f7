"""The compose project of one smoke run: what is started, asked and taken down."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
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
        if "BERGLAKE_IMAGE" in os.environ:
            own["BERGLAKE_IMAGE"] = os.environ["BERGLAKE_IMAGE"]
        self.settings: dict[str, str] = {}
        self.set(own)

    def set(self, own: dict[str, str]) -> None:
        """Changes lines of `.env`, which the next `up` takes."""
        lines = self.env_file.read_text().splitlines()
        lines = [line for line in lines if line.split("=")[0] not in own]
        self.env_file.write_text("\n".join(lines + [f"{k}={v}" for k, v in own.items()]) + "\n")
        settings = (
            line.split("=", 1) for line in self.env_file.read_text().splitlines() if "=" in line
        )
        self.settings = {key: value for key, value in settings if not key.startswith("#")}

    def up(self) -> None:
        self.compose(
            "up", "--detach", "--wait", "--wait-timeout", "600", "--no-build", "--pull", "never"
        )

    def produce(self, topic: str, path: Path, key: str) -> None:
        """Sends the records of a file as they stand there, by the program that the examples use."""
        producer = Path(os.environ["BERGLAKE_BUILD"]) / "berglake-example-producer"
        servers = f"127.0.0.1:{self.settings['KAFKA_PORT']}"
        command = [producer, "--servers", servers, "--partitions", "3", "files", topic, path]
        subprocess.run([*command, "--key", key], check=True, stdout=subprocess.DEVNULL)

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

    def container(self, service: str) -> str:
        return self.compose("ps", "--all", "--quiet", service).strip()

    def memory(self) -> list[str]:
        """What each container holds in memory."""
        containers = self.compose("ps", "--quiet").split()
        return docker(
            "stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", *containers
        ).splitlines()

    def exit_codes(self) -> dict[str, int]:
        """How the containers of our own services ended."""
        roles = ["catalog", "bronze", "silver", "gold", "query", "maintenance"]
        state = "{{.State.ExitCode}}"
        return {
            role: int(docker("inspect", "--format", state, self.container(role))) for role in roles
        }

    def leftovers(self) -> list[str]:
        """Containers, volumes and networks of this project that still exist."""
        label = f"label=com.docker.compose.project={self.name}"
        return [
            *docker("ps", "--all", "--quiet", "--filter", label).split(),
            *docker("volume", "ls", "--quiet", "--filter", label).split(),
            *docker("network", "ls", "--quiet", "--filter", label).split(),
        ]


def docker(*arguments: str) -> str:
    return subprocess.run(
        ["docker", *arguments], check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


# The stack is on this machine, whatever proxy leads out of it.
LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def request(url: str, body: bytes | None, headers: dict[str, str]) -> bytes:
    asked = urllib.request.Request(url, data=body, headers=headers)
    try:
        with LOCAL.open(asked, timeout=120) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise RuntimeError(
            f"{url}: {error.code} {error.read().decode(errors='replace')}"
        ) from error


def until(what: str, seconds: float, holds: Callable[[], bool]) -> float:
    """Waits until `holds()` is true, where it may also fail, and gives the time that it took."""
    started = time.monotonic()
    last = None
    while True:
        try:
            if holds():
                return time.monotonic() - started
        except (RuntimeError, OSError, AssertionError) as error:
            last = error
        if time.monotonic() - started > seconds:
            sys.exit(f"in {seconds:.0f} s it never was true that {what}; last error: {last}")
        time.sleep(0.5)
