"""The engines that the format part compares berglake with: `format_peers.py ENGINE [--once REQUEST]`.

See `format_run` for the requests. A request that an engine cannot do is answered with its error, and the
runner leaves the engine out and says why.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

import peers
import workload

Request = dict[str, Any]
Answer = dict[str, Any]

INTEROP = Path(__file__).resolve().parent.parent / "integration-tests" / "interop"
SPARK_MEMORY = os.environ.get("BERGLAKE_BENCH_SPARK_MEMORY", "6g")


def answer(started: float, ended: float, result: Any, **details: Any) -> Answer:
    return {"seconds": ended - started, "result": result, "details": details}


def timed(work: Callable[[], Any]) -> Answer:
    started = time.perf_counter()
    rows = work()
    ended = time.perf_counter()
    return answer(started, ended, [[str(cell) for cell in row] for row in rows])


def as_time(micros: int) -> str:
    moment = datetime.fromtimestamp(micros / 1_000_000, tz=timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S")


class PyIceberg:
    def __init__(self) -> None:
        self._open: dict[str, Any] = {}

    def plan(self, request: Request) -> Answer:
        from pyiceberg.expressions import AlwaysTrue
        from pyiceberg.table import StaticTable

        wanted: Any = AlwaysTrue()
        if request["range"]:
            first, end = map(as_time, request["range"])
            wanted = f"ts >= '{first}' AND ts < '{end}'"
        metadata = request["metadata"]
        started = time.perf_counter()
        table = self._open.get(metadata) if request["keep"] else None
        if table is None:
            table = StaticTable.from_metadata(metadata)
        tasks = list(table.scan(row_filter=wanted).plan_files())
        ended = time.perf_counter()
        if request["keep"]:
            self._open[metadata] = table
        records = sum(task.file.record_count for task in tasks)
        return answer(started, ended, [[str(len(tasks)), str(records)]])


class DuckDb(peers.DuckDb):
    def query(self, request: Request) -> Answer:
        table = request["table"]
        if request.get("plain"):
            source = f"read_parquet({table['files']!r})"
        elif request["snapshot"] is None:
            source = f"iceberg_scan('{table['metadata']}')"
        else:
            source = f"iceberg_scan('{table['metadata']}', snapshot_from_id={request['snapshot']})"
        sql = request["sql"].replace("{table}", source)
        return timed(lambda: self._connection.execute(sql).fetchall())


class Spark:
    """Spark in one JVM, which stays up: with Iceberg's own library in it, without a catalog for what is
    read."""

    def __init__(self) -> None:
        sys.path.insert(0, str(INTEROP))
        import spark as interop

        interop.java()
        from pyspark.sql import SparkSession

        folder = workload.cache_folder() / "spark"
        builder = (
            SparkSession.builder.master(f"local[{workload.THREADS}]")
            .appName("berglake-bench")
            .config("spark.jars", str(interop.jar(*interop.RUNTIME)))
            .config(
                "spark.sql.extensions",
                "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
            )
            .config("spark.sql.warehouse.dir", str(folder / "warehouse"))
            .config("spark.sql.session.timeZone", "UTC")
            .config("spark.sql.shuffle.partitions", str(workload.THREADS))
            .config("spark.driver.memory", SPARK_MEMORY)
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.log.level", "ERROR")
            # Tables that are read by the path of a metadata file come from this catalog; loaded each
            # time, as the other engines do.
            .config("spark.sql.catalog.default_iceberg", "org.apache.iceberg.spark.SparkCatalog")
            .config("spark.sql.catalog.default_iceberg.type", "hadoop")
            .config("spark.sql.catalog.default_iceberg.warehouse", str(folder / "warehouse"))
            .config("spark.sql.catalog.default_iceberg.cache-enabled", "false")
        )
        self._spark = builder.getOrCreate()
        self._jvm = self._spark._jvm
        self._open: dict[str, Any] = {}

    def process(self, _: Request) -> Answer:
        return {"id": int(self._jvm.java.lang.ProcessHandle.current().pid())}

    def _load(self, metadata: str, properties: dict[str, str]) -> Any:
        jvm = self._jvm
        io = jvm.org.apache.iceberg.hadoop.HadoopFileIO(self._spark._jsc.hadoopConfiguration())
        given = jvm.java.util.HashMap()
        for key, value in properties.items():
            given.put(key, value)
        io.initialize(given)
        operations = jvm.org.apache.iceberg.StaticTableOperations(metadata, io)
        return jvm.org.apache.iceberg.BaseTable(operations, "planned")

    def plan(self, request: Request) -> Answer:
        """What Spark's driver does with a table: Iceberg's scan, planned by its pool of threads. The
        tasks stay in the JVM, so that handing them to Python is no part of it."""
        jvm, metadata = self._jvm, request["metadata"]
        expressions = jvm.org.apache.iceberg.expressions.Expressions
        lists = jvm.org.apache.iceberg.relocated.com.google.common.collect.Lists
        started = time.perf_counter()
        if request["keep"]:
            table = self._open.get(metadata)
            if table is None:
                # A table that is kept may keep its manifests too.
                table = self._load(metadata, {"io.manifest.cache-enabled": "true"})
                self._open[metadata] = table
        else:
            table = self._load(metadata, {})
        scan = table.newScan()
        if request["metrics"]:
            scan = scan.includeColumnStats()
        if request["range"]:
            first, end = map(as_time, request["range"])
            scan = scan.filter(expressions.greaterThanOrEqual("ts", first))
            scan = scan.filter(expressions.lessThan("ts", end))
        files = scan.planFiles()
        tasks = lists.newArrayList(files)
        ended = time.perf_counter()
        files.close()
        # Tasks of whole files have as many rows as their files.
        records = jvm.org.apache.iceberg.BaseCombinedScanTask(tasks).estimatedRowsCount()
        return answer(started, ended, [[str(tasks.size()), str(records)]])

    def query(self, request: Request) -> Answer:
        # A literal without zone is of another type in Spark's SQL.
        sql = request["sql"].replace("TIMESTAMP '", "TIMESTAMP_NTZ '").replace("{table}", "scanned")

        def work() -> Any:
            reader = self._spark.read.format("iceberg")
            if request["snapshot"] is not None:
                reader = reader.option("versionAsOf", str(request["snapshot"]))
            reader.load(request["table"]["metadata"]).createOrReplaceTempView("scanned")
            return self._spark.sql(sql).collect()

        return timed(work)

    def delete_rows(self, request: Request) -> Answer:
        warehouse = Path(request["folder"]) / "hadoop"
        prefix = "spark.sql.catalog.copies"
        self._spark.conf.set(prefix, "org.apache.iceberg.spark.SparkCatalog")
        self._spark.conf.set(f"{prefix}.type", "hadoop")
        self._spark.conf.set(f"{prefix}.warehouse", str(warehouse))
        self._spark.conf.set(f"{prefix}.cache-enabled", "false")
        table = f"copies.{request['namespace']}.{request['name']}"
        started = time.perf_counter()
        self._spark.sql(f"DELETE FROM {table} WHERE slot = {request['slot']}").collect()
        ended = time.perf_counter()
        metadata = warehouse / request["namespace"] / request["name"] / "metadata"
        version = (metadata / "version-hint.text").read_text().strip()
        current = str(metadata / f"v{version}.metadata.json")
        return answer(started, ended, [], metadata=current)


def peak_memory() -> int | None:
    try:
        found = re.search(r"^VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def reply(engine: Any, line: str) -> Answer:
    request = json.loads(line)
    if request["op"] == "process" and not hasattr(engine, "process"):
        return {"id": os.getpid()}
    try:
        done = getattr(engine, request["op"].replace("-", "_"))(request)
    except Exception as error:  # noqa: BLE001 - whatever it is, the runner says it and goes on
        first, *_ = str(error).strip().splitlines() or [""]
        return {"error": f"{type(error).__name__}: {first}"}
    return {**done, "peak_memory": peak_memory()}


def private_output() -> TextIO:
    """Standard output for answers alone; whatever else an engine prints goes to standard error."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return output


def main() -> None:
    output = private_output()
    engines = {"pyiceberg": PyIceberg, "duckdb": DuckDb, "spark": Spark}
    engine = engines[sys.argv[1]]()
    lines = [sys.argv[3]] if sys.argv[2:3] == ["--once"] else sys.stdin
    for line in lines:
        print(json.dumps(reply(engine, line)), file=output, flush=True)


if __name__ == "__main__":
    main()
