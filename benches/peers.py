"""The engines that berglake is compared with: `peers.py pyiceberg` and `peers.py duckdb`.

See `workload` for the requests. What an engine cannot do is not in its table of operations, and the
runner leaves that cell out.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import workload
from workload import Answer

# Read by PyIceberg when it is imported.
os.environ["PYICEBERG_MAX_WORKERS"] = str(workload.THREADS)

Request = dict[str, Any]


def cells(row: Any) -> list[str]:
    return [str(cell) for cell in row]


def timed(work: Callable[[], list[list[str]]]) -> Answer:
    started = time.perf_counter()
    result = work()
    return Answer(time.perf_counter() - started, result)


class PyIceberg:
    def __init__(self) -> None:
        import pyarrow as pa

        pa.set_cpu_count(workload.THREADS)
        pa.set_io_thread_count(workload.THREADS)
        self._rows = None

    def _input(self) -> Any:
        """The rows to append, decoded once: reading the input is not what is measured."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._rows is None:
            once = pq.read_table(workload.flights())
            self._rows = pa.concat_tables([once] * workload.REPLICATION)
        return self._rows

    def append(self, request: Request) -> Answer:
        from pyiceberg.catalog.sql import SqlCatalog
        from pyiceberg.transforms import MonthTransform

        rows = self._input()
        folder = Path(request["folder"])
        folder.mkdir(parents=True)
        catalog = SqlCatalog(
            "berglake", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse"
        )
        catalog.create_namespace("bench")
        table = catalog.create_table(
            "bench.flights",
            rows.schema,
            properties={
                "write.parquet.compression-codec": workload.CODEC,
                "write.parquet.compression-level": str(workload.LEVEL),
                "write.parquet.row-group-limit": str(workload.ROW_GROUP_ROWS),
                "write.parquet.dict-size-bytes": str(workload.DICTIONARY_BYTES),
            },
        )
        with table.update_spec() as spec:
            spec.add_field("date", MonthTransform(), "date_month")

        started = time.perf_counter()
        table.append(rows)
        return Answer(time.perf_counter() - started, rows.num_rows)

    def _scan(self, request: Request, **arguments: Any) -> Any:
        from pyiceberg.table import StaticTable

        return StaticTable.from_metadata(request["table"]["metadata"]).scan(**arguments).to_arrow()

    def full(self, request: Request) -> Answer:
        def work() -> list[list[str]]:
            rows = self._scan(request)
            totals = rows.group_by([]).aggregate(
                [
                    ([], "count_all"),
                    ("delay", "sum"),
                    ("distance", "sum"),
                    ("date", "min"),
                    ("origin", "min"),
                    ("destination", "max"),
                ]
            )
            return [cells(totals.to_pylist()[0].values())]

        return timed(work)

    def filtered(self, request: Request) -> Answer:
        def work() -> list[list[str]]:
            import pyarrow.compute as pc

            first, end = (f"{day}T00:00:00" for day in workload.WEEK)
            rows = self._scan(
                request,
                row_filter=f"date >= '{first}' AND date < '{end}' AND origin = 'SFO'",
                selected_fields=("delay",),
            )
            return [cells((rows.num_rows, pc.sum(rows["delay"]).as_py()))]

        return timed(work)

    def grouped(self, request: Request) -> Answer:
        def work() -> list[list[str]]:
            rows = self._scan(request, selected_fields=("origin", "delay", "distance"))
            groups = rows.group_by("origin").aggregate(
                [([], "count_all"), ("delay", "sum"), ("distance", "max")]
            )
            names = ("origin", "count_all", "delay_sum", "distance_max")
            groups = groups.sort_by("origin").to_pylist()
            return [cells(group[name] for name in names) for group in groups]

        return timed(work)


class DuckDb:
    def __init__(self) -> None:
        import duckdb

        # Installed once for all runs: a user's DuckDB has them installed too.
        extensions = workload.cache_folder() / "duckdb-extensions"
        self._connection = duckdb.connect(
            config={"extension_directory": str(extensions), "threads": workload.THREADS}
        )
        for name in ("avro", "iceberg"):
            package = importlib.import_module(f"duckdb_extension_{name}")
            folder = Path(package.__file__).parent / "extensions" / f"v{duckdb.__version__}"
            self._connection.execute(f"INSTALL '{folder / name}.duckdb_extension'")
            self._connection.execute(f"LOAD {name}")
        self._loaded = False

    def append(self, request: Request) -> Answer:
        """Parquet files by month: DuckDB writes Iceberg through a REST catalog only, so no commit."""
        if not self._loaded:
            self._connection.execute(f"CREATE TABLE input AS SELECT * FROM '{workload.flights()}'")
            self._loaded = True
        Path(request["folder"]).mkdir(parents=True)
        copies = " UNION ALL ".join(["SELECT * FROM input"] * workload.REPLICATION)
        started = time.perf_counter()
        self._connection.execute(
            f"COPY (SELECT *, date_trunc('month', date)::DATE AS date_month FROM ({copies})) "
            f"TO '{request['folder']}/data' (FORMAT parquet, PARTITION_BY (date_month), "
            f"COMPRESSION {workload.CODEC}, COMPRESSION_LEVEL {workload.LEVEL}, "
            f"ROW_GROUP_SIZE {workload.ROW_GROUP_ROWS})"
        )
        return Answer(time.perf_counter() - started, workload.ROWS * workload.REPLICATION)

    def _query(self, request: Request) -> Answer:
        # A view is a name for the scan: each query opens the table's metadata anew.
        self._connection.execute(
            "CREATE OR REPLACE TEMPORARY VIEW flights AS "
            f"SELECT * FROM iceberg_scan('{request['table']['metadata']}')"
        )
        run = self._connection.execute
        return timed(lambda: [cells(row) for row in run(request["sql"]).fetchall()])

    full = filtered = grouped = _query


def main() -> None:
    engines = {"pyiceberg": PyIceberg, "duckdb": DuckDb}
    engine = engines[sys.argv[1]]()

    def answer(line: str) -> str:
        request = json.loads(line)
        return json.dumps(getattr(engine, request["op"])(request).as_json())

    if sys.argv[2:3] == ["--once"]:
        print(answer(sys.argv[3]))
        return
    for line in sys.stdin:
        print(answer(line), flush=True)


if __name__ == "__main__":
    main()
