"""Runs the same work on berglake, its limits and its peers, interleaved; prints ratios with their spread.

Each repetition asks every engine once, in turn, so that a machine that slows down slows all of them.
In process, an engine has done the work once before it is measured (warm-up) and measures the work
alone; a whole process is measured from outside, start-up and the reading of the input included. A
ratio above 1 means that the engine is faster than the one it is compared with.

All engines query one table, which berglake writes. A target that is missed is printed as missed; it does
not make the run fail, because a shared machine can miss any.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import report
import workload
from harness import (
    HERE,
    Request,
    check,
    commit,
    executable,
    keep,
    machine,
    now,
    running,
)

REPETITIONS = int(os.environ.get("BERGLAKE_BENCH_REPETITIONS", "5"))
IN_PROCESS, WHOLE_PROCESS = report.IN_PROCESS, report.WHOLE_PROCESS


@dataclasses.dataclass(frozen=True)
class Engine:
    name: str
    command: list[str]
    operations: tuple[str, ...]
    # The program that people run, where it can do the work: its queries as a whole process.
    program: str | None = None


def engines() -> list[Engine]:
    program = executable("BERGLAKE_BENCH_BIN")
    setup = json.dumps(workload.setup())
    peers = [sys.executable, str(HERE / "peers.py")]
    queries = tuple(workload.QUERIES)
    everything = ("append", *queries)
    return [
        Engine("berglake", [program, "berglake", setup], everything, executable("BERGLAKE_BIN")),
        Engine("bare-parquet", [program, "bare-parquet", setup], ("append",)),
        Engine("bare-datafusion", [program, "bare-datafusion", setup], queries),
        Engine("pyiceberg", [*peers, "pyiceberg"], everything),
        Engine("duckdb", [*peers, "duckdb"], everything),
    ]


# What the table's catalog is to `berglake sql`, which looks for a project.
PROJECT = """\
[project]
name = "bench"
[catalog]
name = "berglake"
uri = "sqlite:catalog.db"
[storage]
warehouse = "warehouse"
"""


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A name for a folder that the engine makes, and that is gone afterwards."""
    folder = parent / f"append-{time.monotonic_ns()}"
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


ISO_TIME = re.compile(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)")


def once(engine: Engine, request: Request) -> dict[str, Any]:
    """The work as a whole process, measured from outside."""
    if engine.program and "table" in request:
        folder = request["table"]["folder"]
        sql = request["sql"].replace("FROM flights", "FROM bench.flights")
        command = [engine.program, "--project", folder, "sql", "--output", "json", "-c", sql]
    else:
        command = [*engine.command, "--once", json.dumps(request)]
    started = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - started
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if engine.program and "table" in request:
        # Timestamps are ISO 8601 there, and Python's own form elsewhere.
        rows = [[ISO_TIME.sub(r"\1 \2", str(cell)) for cell in line.values()] for line in lines]
        return {"seconds": seconds, "result": rows}
    return {"seconds": seconds, "result": lines[0]["result"]}


@dataclasses.dataclass
class Measurements:
    # (operation, mode) → engine → seconds of each repetition
    seconds: dict[tuple[str, str], dict[str, list[float]]]
    # operation → engine → bytes read by one run in process
    bytes_read: dict[str, dict[str, int]]
    # operation → engine → CPU seconds of each repetition in process
    cpu_seconds: dict[str, dict[str, list[float]]]


def measure(folder: Path, table: Request) -> Measurements:
    def lists() -> Any:
        return defaultdict(lambda: defaultdict(list))

    found = Measurements(lists(), defaultdict(dict), lists())
    all_engines = engines()
    for operation in ("append", *workload.QUERIES):
        able = [engine for engine in all_engines if operation in engine.operations]
        request = {"op": operation}
        if operation != "append":
            request |= {"table": table, "sql": workload.QUERIES[operation]}
        print(f"{operation}: {', '.join(engine.name for engine in able)}", file=sys.stderr)

        def work(ask: Any, request: Request = request) -> dict[str, Any]:
            if request["op"] != "append":
                return ask(request)
            with scratch(folder) as target:
                return ask({**request, "folder": str(target)})

        with contextlib.ExitStack() as stack:
            up = [stack.enter_context(running(engine.name, engine.command)) for engine in able]
            for process in up:
                work(process.ask)
            for _ in range(REPETITIONS):
                results = {}
                for process in up:
                    name = process.name
                    before, cpu = process.bytes_read(), process.cpu_seconds()
                    answer = work(process.ask)
                    found.bytes_read[operation][name] = process.bytes_read() - before
                    found.cpu_seconds[operation][name].append(process.cpu_seconds() - cpu)
                    found.seconds[operation, IN_PROCESS][name].append(answer["seconds"])
                    results[name] = answer["result"]
                check(operation, results)
        for _ in range(REPETITIONS):
            results = {}
            for engine in able:
                answer = work(lambda request, engine=engine: once(engine, request))
                found.seconds[operation, WHOLE_PROCESS][engine.name].append(answer["seconds"])
                results[engine.name] = answer["result"]
            check(operation, results)
    return found


def make_table(engine: Engine, folder: Path) -> tuple[Request, dict[str, str]]:
    """The table that all engines query, and what berglake's plan says of each query."""
    with running(engine.name, engine.command) as process:
        process.ask({"op": "append", "folder": str(folder)})
        (folder / "berglake.toml").write_text(PROJECT)
        table = process.ask({"op": "describe", "folder": str(folder)})
        scans = {}
        for operation, sql in workload.QUERIES.items():
            lines = process.ask({"op": "explain", "table": table, "sql": sql})
            (scan,) = [line.strip() for line in lines if "files=" in line]
            words = scan.split(", ")
            scans[operation] = ", ".join(
                word for word in words if word.startswith(("files=", "manifests=", "bytes="))
            )
    return table, scans


def main() -> None:
    workload.flights()
    workload.cache_folder().mkdir(parents=True, exist_ok=True)
    writer = engines()[0]
    with tempfile.TemporaryDirectory(dir=workload.cache_folder(), prefix="run-") as name:
        folder = Path(name)
        table, scans = make_table(writer, folder / "table")
        sizes = [Path(file).stat().st_size for file in table["files"]]
        found = measure(folder, table)

    record = {
        "date": now(),
        "commit": commit(),
        "machine": machine(),
        "setup": {
            "rows": workload.ROWS * workload.REPLICATION,
            "replication": workload.REPLICATION,
            "threads": workload.THREADS,
            "repetitions": REPETITIONS,
            "codec": f"{workload.CODEC} {workload.LEVEL}",
            "row_group_rows": workload.ROW_GROUP_ROWS,
            "table": {"written_by": writer.name, "files": len(sizes), "bytes": sum(sizes)},
        },
        "scans": scans,
        "measurements": [
            {
                "operation": operation,
                "mode": mode,
                "engine": engine,
                "seconds": seconds,
                "median": statistics.median(seconds),
                # Known of engines that stay up, by what the system says of their process.
                "cpu_seconds": found.cpu_seconds[operation][engine] if mode == IN_PROCESS else None,
                "bytes_read": found.bytes_read[operation][engine] if mode == IN_PROCESS else None,
            }
            for (operation, mode), by_engine in found.seconds.items()
            for engine, seconds in by_engine.items()
        ],
    }
    text = report.markdown(record)
    print(text)
    print(keep(record["date"][:10], record, text), file=sys.stderr)


if __name__ == "__main__":
    main()
