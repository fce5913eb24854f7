"""What both parts of the bench need: engines as processes that answer requests, what the system says of
these processes, and where the record goes."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import report

HERE = Path(__file__).resolve().parent
# Where records go in place of the folder beside this file.
RESULTS = os.environ.get("BERGLAKE_BENCH_RESULTS")

Request = dict[str, Any]


class Refused(Exception):
    """An engine cannot do what it was asked for."""


def executable(variable: str) -> str:
    program = os.environ.get(variable)
    if not program or not os.access(program, os.X_OK):
        raise RuntimeError(f"{variable} does not name a program; run `make bench`")
    return program


class Running:
    """An engine that stays up and answers one request after the other."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        # The process that works; an engine may have started it itself.
        self.worker = self._process.pid

    def ask(self, request: Request) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended while it did {request['op']}")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    def bytes_read(self) -> int:
        """All bytes that the process has read, from the page cache too (Linux only)."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.worker}/io").read_text().splitlines():
                if line.startswith("rchar:"):
                    return int(line.split()[1])
        return 0

    def cpu_seconds(self) -> float:
        """The time that all threads of the process have computed (Linux only)."""
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{self.worker}/stat").read_text()
            # The program's name, in parentheses, may have spaces; user and system time are the 12th
            # and 13th number after it.
            user, system = stat.rsplit(")", 1)[1].split()[11:13]
            return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def peak_memory(self) -> int:
        """The most bytes that the process has held since they were last forgotten (Linux only)."""
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.worker}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return 0

    def forget_peak(self) -> None:
        """Has the peak begin anew with what the process holds now."""
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.worker}/clear_refs").write_text("5")

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def running(name: str, command: list[str]) -> Iterator[Running]:
    process = Running(name, command)
    try:
        yield process
    finally:
        process.close()


def check(operation: str, results: dict[str, Any]) -> None:
    """Engines that do not agree are not compared."""
    (first_engine, first), *others = results.items()
    for engine, result in others:
        if result != first:
            raise RuntimeError(
                f"{operation}: {engine} and {first_engine} came to different results"
            )


def commit() -> str:
    done = subprocess.run(
        ["git", "-C", str(HERE), "describe", "--always", "--dirty"],
        check=False,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or "unknown"


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def machine() -> dict[str, Any]:
    return {
        "cpu": report.cpu_name(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": platform.platform(),
    }


def keep(stem: str, record: dict[str, Any], text: str) -> str:
    """Writes the record as JSON and as Markdown, and says where."""
    results = Path(RESULTS) if RESULTS else HERE / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / f"{stem}.json").write_text(json.dumps(record, indent=1) + "\n")
    (results / f"{stem}.md").write_text(text)
    return f"written to {results / stem}.json and .md"
