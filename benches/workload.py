"""The work that every engine does, its input, and how the runner talks to an engine.

An engine is a program that reads one JSON request per line and answers each with one JSON line
(`seconds` is what it measured itself, in process); with `--once REQUEST` it does that one request and
ends, which is how a whole process is timed. Requests:

    {"op": "append", "folder": …}                       make a table there, append, commit
    {"op": "full" | "filtered" | "grouped", "table": …} query a table; "table" has the "folder" of its
                                                        catalog, its "metadata" file and the "files"
                                                        of its current snapshot, "sql" is the
                                                        statement on `flights`
    {"op": "describe", "folder": …}                     berglake alone: the "table" of an append
    {"op": "explain", "table": …, "sql": …}             berglake alone: the lines of the plan
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

PACKAGE = "vega-datasets"
PACKAGE_VERSION = "3.2.1"
MEMBER = "package/data/flights-3m.parquet"
SHA256 = "dbeb920c90f59b6ccaff823dcc3d08f25a97fa1ce128d93f40be4e931f5900b0"
ROWS = 3_000_000

# How often the input is appended: 13.5 MB alone would measure little but start-up.
REPLICATION = int(os.environ.get("BERGLAKE_BENCH_REPLICATION", "10"))
THREADS = int(os.environ.get("BERGLAKE_BENCH_THREADS", str(os.cpu_count() or 1)))

# Every writer gets the same settings.
CODEC, LEVEL = "zstd", 3
ROW_GROUP_ROWS = 1_048_576
DICTIONARY_BYTES = 2 << 20

# One week of one airport: one month's files of seven.
WEEK = ("2001-03-05", "2001-03-12")
QUERIES = {
    "full": "SELECT count(*) AS n, sum(delay) AS delay, sum(distance) AS distance, "
    "min(date) AS first, min(origin) AS origin, max(destination) AS destination FROM flights",
    "filtered": "SELECT count(*) AS n, sum(delay) AS delay FROM flights "
    f"WHERE date >= TIMESTAMP '{WEEK[0]} 00:00:00' AND date < TIMESTAMP '{WEEK[1]} 00:00:00' "
    "AND origin = 'SFO'",
    "grouped": "SELECT origin, count(*) AS n, sum(delay) AS delay, max(distance) AS distance "
    "FROM flights GROUP BY origin ORDER BY origin",
}


@dataclasses.dataclass(frozen=True)
class Answer:
    seconds: float
    # The rows of a query as text, to check that all engines agree; for an append the number of rows.
    result: Any

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def cache_folder() -> Path:
    given = os.environ.get("BERGLAKE_BENCH_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "berglake" / "bench"


def flights() -> Path:
    """The input file, fetched with npm at the first call and checked each time."""
    path = cache_folder() / f"flights-3m-{PACKAGE_VERSION}.parquet"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        npm = shutil.which("npm")
        if not npm:
            raise FileNotFoundError(f"npm is missing: it fetches {PACKAGE}@{PACKAGE_VERSION}")
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            command = [npm, "pack", "--silent", f"{PACKAGE}@{PACKAGE_VERSION}"]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            (archive,) = Path(folder).glob("*.tgz")
            with tarfile.open(archive) as tar, tar.extractfile(MEMBER) as member:  # type: ignore[union-attr]
                part = Path(folder) / "flights.parquet"
                with part.open("wb") as output:
                    shutil.copyfileobj(member, output)
            part.rename(path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise ValueError(f"{path} has the checksum {found}, not {SHA256}: remove it and run again")
    return path


def setup() -> dict[str, Any]:
    """What an engine in another language is told once."""
    return {
        "input": str(flights()),
        "replication": REPLICATION,
        "threads": THREADS,
        "zstd_level": LEVEL,
        "row_group_rows": ROW_GROUP_ROWS,
        "dictionary_bytes": DICTIONARY_BYTES,
    }
