"""The format part of the bench: planning, deletes, counts, old snapshots, changes of columns and commits
of berglake and its peers, in turn, on tables that berglake makes.

A case is one work; its contestants do it in turn, once per repetition, and have to come to the same
result. A contestant is an engine with a table: the same engine may be in a case twice, on a table with
deletes and on the same rows without. Requests are lines as in the query part:

    {"op": "process"}                                    which process works
    {"op": "plan", "metadata", "range", "keep", "metrics"}
                                                         plan a scan: the files and their rows
    {"op": "query", "table", "snapshot", "sql"}          run a query
    {"op": "delete-rows", "folder", "name", "slot"}      delete one row of each file, in one commit
    {"op": "commit" | "evolve", …}                       berglake alone
    {"op": "make-…", …}                                  berglake alone: the tables
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import format_report
import workload
from harness import (
    HERE,
    RESULTS,
    Refused,
    Request,
    Running,
    check,
    commit,
    executable,
    keep,
    machine,
    now,
)
from report import IN_PROCESS, WHOLE_PROCESS

REPETITIONS = int(os.environ.get("BERGLAKE_BENCH_FORMAT_REPETITIONS", "5"))
# What takes peers minutes is not done as often.
FEWER = min(REPETITIONS, 3)
COMMITS = 4 * REPETITIONS
# A small scale tries the harness; its figures mean nothing and are not kept.
SCALE = float(os.environ.get("BERGLAKE_BENCH_SCALE", "1"))
WITHOUT = set(os.environ.get("BERGLAKE_BENCH_WITHOUT", "").split(","))
ONLY = [work for work in os.environ.get("BERGLAKE_BENCH_FORMAT_WORKS", "").split(",") if work]

NAMESPACE = "bench"
FILES_PER_MANIFEST = 100
# One file is one percent of the table.
FILES = 100
TOUCHED = (1, 50, 100)
ROWS_PER_SMALL_FILE = 10
SLOT = 3


def scaled(number: int, least: int) -> int:
    return max(least, round(number * SCALE))


MANIFESTS = scaled(1_000, 20)
ROWS_PER_FILE = scaled(100_000, 1_000)
COMMITS_BACK = scaled(1_000, 20)
SMALL_FILES = scaled(10_000, 50)
SNAPSHOTS = [size for size in (10, 100, 1_000, 10_000) if size <= scaled(10_000, 100)]
UNMERGED = scaled(1_000, 20)

ALL_COLUMNS = (
    "SELECT count(*) AS n, sum(id) AS ids, min(ts) AS first, max(ts) AS last, "
    "sum(customer) AS customers, sum(amount) AS amount, max(price) AS price, min(item) AS item "
    "FROM {table}"
)
COUNT = "SELECT count(*) AS n FROM {table}"
# Ten of the hundred days, each of which is a partition.
COUNT_DAYS = (
    f"{COUNT} WHERE ts >= TIMESTAMP '2024-02-01 00:00:00' AND ts < TIMESTAMP '2024-02-11 00:00:00'"
)
COUNT_SMALL = "SELECT count(*) AS n, sum(id) AS ids FROM {table}"


def commands() -> dict[str, list[str]]:
    program = executable("BERGLAKE_BENCH_FORMAT_BIN")
    peers = [sys.executable, str(HERE / "format_peers.py")]
    threads = str(workload.THREADS)
    found = {
        "berglake": [program, "berglake", threads],
        "bare-datafusion": [program, "bare-datafusion", threads],
        "pyiceberg": [*peers, "pyiceberg"],
        "duckdb": [*peers, "duckdb"],
        "spark": [*peers, "spark"],
    }
    return {name: command for name, command in found.items() if name not in WITHOUT}


@dataclasses.dataclass(frozen=True)
class Contestant:
    label: str
    engine: str
    # Of a repetition; the warm-up is repetition 0.
    request: Callable[[int], Request]
    # What the engine makes in this folder is counted.
    folder: Callable[[int], Path] | None = None
    # Asked of another engine afterwards; the answer is the result.
    judge: Callable[[int, dict[str, Any]], Any] | None = None
    # What is known of it beside what it answers.
    known: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    title: str
    contestants: list[Contestant]
    mode: str = IN_PROCESS
    repetitions: int = REPETITIONS
    # Whether all have to come to the same result.
    same: bool = True
    # Whom the others are compared with, where that is not everybody.
    against: tuple[str, ...] = ()
    # A JVM compiles what it has done often; this often it does the work before it is measured.
    jvm_warm_ups: int = 3
    note: str = ""


def always(request: Request) -> Callable[[int], Request]:
    return lambda _: request


class Engines:
    """Engines that are up, each from when it is first needed. All but Spark are started anew for each
    section, so that what one section leaves in memory does not count in the next."""

    def __init__(self) -> None:
        self._commands = commands()
        self._up: dict[str, Running] = {}

    def has(self, name: str) -> bool:
        return name in self._commands

    def command(self, name: str) -> list[str]:
        return self._commands[name]

    def get(self, name: str) -> Running:
        if name not in self._up:
            process = Running(name, self._commands[name])
            self._up[name] = process
            process.worker = process.ask({"op": "process"})["id"]
        return self._up[name]

    def end(self, but: tuple[str, ...] = ()) -> None:
        for name in [name for name in self._up if name not in but]:
            self._up.pop(name).close()


def files_below(folder: Path) -> dict[Path, int]:
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            found[path] = path.stat().st_size
    return found


def made(before: dict[Path, int], after: dict[Path, int], folder: Path) -> dict[str, Any]:
    """What is new below a folder: files of data, Puffin files, metadata files and all bytes."""
    new = {path: size for path, size in after.items() if path not in before}
    parts = [path.relative_to(folder).parts[0] for path in new]
    return {
        "data_files_made": parts.count("data"),
        "puffin_files_made": sum(path.suffix == ".puffin" for path in new),
        "metadata_files_made": parts.count("metadata"),
        "metadata_bytes_made": sum(
            size for part, size in zip(parts, new.values(), strict=True) if part == "metadata"
        ),
        "bytes_made": sum(new.values()),
    }


def once(command: list[str], request: Request) -> dict[str, Any]:
    """The work as a whole process, measured from outside."""
    started = time.perf_counter()
    done = subprocess.run(
        [*command, "--once", json.dumps(request)], check=True, stdout=subprocess.PIPE, text=True
    )
    seconds = time.perf_counter() - started
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise Refused(answer["error"])
    return {**answer, "seconds": seconds}


@dataclasses.dataclass
class Measurement:
    case: str
    title: str
    mode: str
    contestant: str
    note: str
    # Whether it does the same as the others of its case.
    compared: bool
    against: tuple[str, ...]
    seconds: list[float] = dataclasses.field(default_factory=list)
    cpu_seconds: list[float] = dataclasses.field(default_factory=list)
    bytes_read: list[int] = dataclasses.field(default_factory=list)
    peak_memory: list[int] = dataclasses.field(default_factory=list)
    details: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    # Why there are no figures.
    refused: str | None = None

    def as_json(self) -> dict[str, Any]:
        median = statistics.median(self.seconds) if self.seconds else None
        return {**dataclasses.asdict(self), "median": median}


def turn(
    engines: Engines, case: Case, contestant: Contestant, repetition: int, into: Measurement | None
) -> Any:
    """One contestant's turn: its result."""
    request = contestant.request(repetition)
    folder = contestant.folder(repetition) if contestant.folder else None
    before = files_below(folder) if folder else {}
    if case.mode == WHOLE_PROCESS:
        answer = once(engines.command(contestant.engine), request)
        cpu = read = None
        peak = answer.get("peak_memory")
    else:
        process = engines.get(contestant.engine)
        process.forget_peak()
        cpu_before, read_before = process.cpu_seconds(), process.bytes_read()
        answer = process.ask(request)
        cpu = process.cpu_seconds() - cpu_before
        read = process.bytes_read() - read_before
        peak = process.peak_memory()
    details = {**contestant.known, **(answer.get("details") or {})}
    if folder:
        details |= made(before, files_below(folder), folder)
    if into:
        into.seconds.append(answer["seconds"])
        into.details.append(details)
        if cpu is not None:
            into.cpu_seconds.append(cpu)
            into.bytes_read.append(read)
        if peak:
            into.peak_memory.append(peak)
    if contestant.judge:
        return contestant.judge(repetition, details)
    return answer["result"]


def measure(engines: Engines, case: Case) -> list[Measurement]:
    able = [contestant for contestant in case.contestants if engines.has(contestant.engine)]
    names = "; ".join(contestant.label for contestant in able)
    print(f"{case.title} ({case.mode}): {names}", file=sys.stderr)
    measurements, taking_part = [], []
    for contestant in able:
        measurement = Measurement(
            case.name,
            case.title,
            case.mode,
            contestant.label,
            case.note,
            case.same,
            case.against,
        )
        measurements.append(measurement)
        try:
            # A whole process is cold each time; its first one finds out whether it can.
            for _ in range(case.jvm_warm_ups if contestant.engine == "spark" else 1):
                turn(engines, case, contestant, 0, None)
        except Refused as refused:
            if contestant.engine == "berglake":
                raise
            measurement.refused = str(refused)
            print(f"  {contestant.label} cannot: {refused}", file=sys.stderr)
        else:
            taking_part.append((contestant, measurement))
    for repetition in range(1, case.repetitions + 1):
        # Back and forth, so that nobody always comes after the same one.
        order = taking_part if repetition % 2 else taking_part[::-1]
        results = {
            contestant.label: turn(engines, case, contestant, repetition, measurement)
            for contestant, measurement in order
        }
        if case.same:
            check(case.title, results)
    return measurements


def make(engines: Engines, request: Request) -> dict[str, Any]:
    answer = once(engines.command("berglake"), request)
    details = {k: v for k, v in answer["details"].items() if k != "range"}
    print(f"  {', '.join(answer['tables'])}: {details}", file=sys.stderr)
    return answer


# Who plans, without metrics of the columns unless asked for them; PyIceberg always with all.
WITHOUT_SPARK = ("berglake", "berglake, all metrics", "pyiceberg")
ALL_PLANNERS = (*WITHOUT_SPARK, "spark", "spark, all metrics")


def planning(engines: Engines, folder: Path) -> Iterator[Case]:
    """a. A table of many files in many manifests."""
    answer = make(
        engines,
        {
            "op": "make-planned",
            "folder": str(folder),
            "manifests": MANIFESTS,
            "files": FILES_PER_MANIFEST,
        },
    )
    metadata = answer["tables"]["planned"]["metadata"]
    needed = answer["details"]["manifests_of_range"]

    def contestants(days: Any, kept: bool, labels: tuple[str, ...]) -> list[Contestant]:
        known = {"manifests_needed": needed} if days else {}
        found = []
        for label in labels:
            engine, _, metrics = label.partition(", ")
            request = {"op": "plan", "metadata": metadata, "range": days, "keep": kept}
            request["metrics"] = bool(metrics)
            found.append(Contestant(label, engine, always(request), known=known))
        return found

    size = f"{MANIFESTS * FILES_PER_MANIFEST:,} files in {MANIFESTS:,} manifests"
    point = f"one day needs {needed} of them"
    scans = (("full", f"Plan of {size}", None), ("point", f"Plan of one day of {size}", "range"))
    for name, title, days in scans:
        days = answer["details"][days] if days else None
        note = (
            "berglake and Spark leave the sizes, counts and bounds of columns out of a plan unless "
            "asked for them; PyIceberg cannot leave them out."
        )
        if days:
            note += f" Of the manifests, {point}."
        yield Case(
            f"plan-{name}-cold",
            f"{title}, nothing known before",
            contestants(days, False, WITHOUT_SPARK),
            WHOLE_PROCESS,
            FEWER,
            note=note,
        )
        yield Case(
            f"plan-{name}-fresh",
            f"{title}, table loaded anew",
            contestants(days, False, ALL_PLANNERS),
            repetitions=FEWER,
            note=note,
        )
        yield Case(
            f"plan-{name}-warm",
            f"{title}, table kept open",
            contestants(days, True, ALL_PLANNERS),
            repetitions=FEWER,
            note=note,
        )


# Who reads tables with deletes and old snapshots.
QUERY_ENGINES = ("berglake", "duckdb", "spark")


def rows(engines: Engines, folder: Path) -> Iterator[Case]:
    """b, c and d. Tables of rows: deletes, counts, and a snapshot far back."""

    def contestant(label: str, engine: str, table: Any, sql: str, **more: Any) -> Contestant:
        request = {"op": "query", "table": table, "snapshot": None, "sql": sql, **more}
        return Contestant(label, engine, always(request))

    base = {"folder": str(folder)}
    answer = make(engines, {"op": "make-rows", **base, "files": FILES, "rows": ROWS_PER_FILE})
    table = answer["tables"]["rows"]
    for name, title, sql in (
        ("count", "Count of all rows", COUNT),
        ("count-days", "Count of ten days", COUNT_DAYS),
    ):
        yield Case(
            name,
            f"{title} of {FILES * ROWS_PER_FILE:,} in {FILES} partitions",
            [
                contestant("berglake", "berglake", table, sql),
                contestant("bare-datafusion", "bare-datafusion", table, sql),
                contestant("duckdb", "duckdb", table, sql),
                contestant("duckdb, Parquet", "duckdb", table, sql, plain=True),
                contestant("spark", "spark", table, sql),
            ],
        )

    for touched in TOUCHED:
        tables = make(engines, {"op": "make-deleted", **base, "touched": touched})["tables"]
        forms = ("clean", "positions", "vectors")
        yield Case(
            f"deletes-{touched}",
            f"Scan with a tenth of the rows deleted in {touched} of {FILES} files",
            [
                contestant(f"{engine}, {form}", engine, tables[f"{form}_{touched}"], ALL_COLUMNS)
                for engine in QUERY_ENGINES
                for form in forms
            ],
            against=tuple(f"{engine}, clean" for engine in QUERY_ENGINES),
        )

    answer = make(engines, {"op": "make-history", **base, "commits": COMMITS_BACK})
    table, first = answer["tables"]["history"], answer["details"]["first"]
    yield Case(
        "history",
        f"Scan of a snapshot {COMMITS_BACK:,} commits back",
        [
            contestant(f"{engine}, {label}", engine, table, ALL_COLUMNS, snapshot=snapshot)
            for engine in QUERY_ENGINES
            for label, snapshot in (("head", None), ("back", first))
        ],
        against=tuple(f"{engine}, head" for engine in QUERY_ENGINES),
    )


def commits(engines: Engines, folder: Path) -> Iterator[Case]:
    """f. What a commit costs when a table has many snapshots."""
    sizes = [(f"{size:,} snapshots", f"grown_{size}", size, 0) for size in SNAPSHOTS]
    most = SNAPSHOTS[-1]
    label = f"{most:,} snapshots, manifests not merged"
    sizes.append((label, f"unmerged_{most}", most, min(UNMERGED, most)))
    for _, name, snapshots, unmerged in sizes:
        request = {"op": "make-grown", "folder": str(folder), "name": name}
        make(engines, {**request, "snapshots": snapshots, "unmerged": unmerged})

    def contestants(fresh: bool) -> list[Contestant]:
        return [
            Contestant(
                label,
                "berglake",
                always({"op": "commit", "folder": str(folder), "name": name, "fresh": fresh}),
                always(folder / "warehouse" / NAMESPACE / name),
            )
            for label, name, _, _ in sizes
        ]

    yield Case(
        "commit-next",
        "Append to a table with a history, by a process that has it loaded",
        contestants(False),
        repetitions=COMMITS,
        same=False,
        note="The metadata file has all snapshots, as the specification wants it.",
    )
    yield Case(
        "commit-first",
        "Append to a table with a history, by a process that has yet to load it",
        contestants(True),
        same=False,
        note="The catalog is opened and the metadata file is read and parsed in this time.",
    )


def small(engines: Engines, folder: Path) -> Iterator[Case]:
    """e and g. A table of many small files: a change of its columns, and deletes in all of them."""
    base = {"folder": str(folder)}
    make(engines, {"op": "make-small", **base, "files": SMALL_FILES, "rows": ROWS_PER_SMALL_FILE})
    yield Case(
        "evolve",
        f"A column added to a table of {SMALL_FILES:,} files",
        [
            Contestant(
                "berglake",
                "berglake",
                always({"op": "evolve", **base, "name": "small"}),
                always(folder / "warehouse" / NAMESPACE / "small"),
            )
        ],
    )

    repetitions = min(FEWER, 2)
    copies = {}
    for repetition in range(repetitions + 1):
        for engine, hadoop in (("berglake", False), ("spark", True)):
            name = f"{engine}_{repetition}"
            answer = make(engines, {"op": "copy-small", **base, "name": name, "hadoop": hadoop})
            copies[name] = answer["tables"][name]
    witness = "spark" if engines.has("spark") else "berglake"

    def left(name: str, details: dict[str, Any]) -> Any:
        """What is left in the table, as another engine reads it and as it has to be."""
        table = {**copies[name], "metadata": details["metadata"]}
        request = {"op": "query", "table": table, "snapshot": None, "sql": COUNT_SMALL}
        found = engines.get(witness).ask(request)["result"]
        per_file = ROWS_PER_SMALL_FILE
        ids = (number for number in range(SMALL_FILES * per_file) if number % per_file != SLOT)
        expected = [[str(SMALL_FILES * (per_file - 1)), str(sum(ids))]]
        if found != expected:
            raise RuntimeError(f"{name}: {witness} reads {found} where {expected} must be left")
        return found

    def contestant(engine: str, where: Path) -> Contestant:
        request = {"op": "delete-rows", **base, "namespace": NAMESPACE, "slot": SLOT}
        return Contestant(
            engine,
            engine,
            lambda repetition: {**request, "name": f"{engine}_{repetition}"},
            lambda repetition: where / NAMESPACE / f"{engine}_{repetition}",
            lambda repetition, details: left(f"{engine}_{repetition}", details),
        )

    yield Case(
        "delete-many",
        f"Deletion of one row in each of {SMALL_FILES:,} files, format version 3",
        [
            contestant("berglake", folder / "warehouse"),
            contestant("spark", folder / "hadoop"),
        ],
        repetitions=repetitions,
        jvm_warm_ups=1,
        note="berglake finds the rows by a scan with positions, writes one Puffin file and commits; "
        "Spark runs DELETE. Each deletes from a table of its own of the same files, once.",
    )


SECTIONS = {"plan": planning, "rows": rows, "commits": commits, "small": small}


def main() -> None:
    for name in ONLY:
        if name not in SECTIONS:
            known = ", ".join(SECTIONS)
            raise SystemExit(f"BERGLAKE_BENCH_FORMAT_WORKS: no works {name}; there are {known}")
    workload.cache_folder().mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    engines = Engines()
    measurements: list[Measurement] = []
    with contextlib.ExitStack() as stack:
        stack.callback(engines.end)
        for section in [SECTIONS[name] for name in ONLY or SECTIONS]:
            parent, prefix = workload.cache_folder(), "format-"
            with tempfile.TemporaryDirectory(dir=parent, prefix=prefix) as folder:
                for case in section(engines, Path(folder)):
                    measurements += measure(engines, case)
                engines.end(but=("spark",))

    record = {
        "date": now(),
        "commit": commit(),
        "machine": machine(),
        "setup": {
            "threads": workload.THREADS,
            "repetitions": REPETITIONS,
            "scale": SCALE,
            "manifests": MANIFESTS,
            "files_per_manifest": FILES_PER_MANIFEST,
            "files": FILES,
            "rows_per_file": ROWS_PER_FILE,
            "commits_back": COMMITS_BACK,
            "snapshots": SNAPSHOTS,
            "small_files": SMALL_FILES,
            "works": ONLY or list(SECTIONS),
            "without": sorted(name for name in WITHOUT if name),
            "seconds": round(time.perf_counter() - started),
        },
        "measurements": [measurement.as_json() for measurement in measurements],
    }
    text = format_report.markdown(record)
    print(text)
    if RESULTS or (SCALE == 1 and not ONLY):
        print(keep(f"{record['date'][:10]}-format", record, text), file=sys.stderr)


if __name__ == "__main__":
    main()
