"""Everybody who reads the tables of the stack, each in its own way, with rows as dictionaries.

The four outside of the stack know the catalog's address and a token, and nothing else: where the files
are and how to open them is what the catalog hands out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import load_catalog

import spark
from project import duckdb_with_iceberg
from servers import S3, RestServer
from stack import Stack, request

Row = dict[str, Any]
# Rows of a table of the catalog.
Reader = Callable[[str], list[Row]]


class Engines:
    """The readers of one stack by name."""

    def __init__(self, stack: Stack, folder: Path):
        self.stack = stack
        token = stack.settings["CATALOG_TOKEN"]
        # Only whether there is a store is asked of it.
        store = S3("", "", "", "", stack.settings["LAKE_BUCKET"])
        server = RestServer(stack.url("catalog"), token, folder / "catalog.log", store)
        self.pyiceberg = load_catalog("lake", **server.pyiceberg_properties())
        self.duckdb = duckdb_with_iceberg(folder / "duckdb", None)
        self.duckdb.execute(f"CREATE SECRET lake_token (TYPE iceberg, TOKEN '{token}')")
        self.duckdb.execute(
            f"ATTACH '' AS lake (TYPE iceberg, ENDPOINT '{server.uri}', SECRET lake_token)"
        )
        self.spark = spark.session({"lake": server}, folder / "spark")

    def close(self) -> None:
        self.spark.stop()
        self.duckdb.close()

    def readers(self) -> dict[str, Reader]:
        return {
            "berglake": lambda table: self.query(f"SELECT * FROM {table}"),
            "Trino": lambda table: self.trino(f"SELECT * FROM {table}"),
            "PyIceberg": lambda table: arrow_rows(
                self.pyiceberg.load_table(table).scan().to_arrow()
            ),
            "DuckDB": lambda table: arrow_rows(
                self.duckdb.execute(f"SELECT * FROM lake.{table}").to_arrow_table()
            ),
            "Spark": lambda table: [
                {name: same(value) for name, value in row.asDict(recursive=True).items()}
                for row in self.spark.sql(f"SELECT * FROM lake.{table}").collect()
            ],
        }

    def query(self, statement: str) -> list[Row]:
        """Rows of a statement by the query service."""
        answer = request(
            self.stack.url("query") + "/v1/sql",
            json.dumps({"sql": statement}).encode(),
            {
                "Authorization": f"Bearer {self.stack.settings['QUERY_TOKEN']}",
                "Content-Type": "application/json",
                "Accept": "application/vnd.apache.arrow.stream",
            },
        )
        return arrow_rows(pa.ipc.open_stream(answer).read_all())

    def trino(self, statement: str) -> list[Row]:
        """Rows of a statement by Trino."""
        headers = {
            "X-Trino-User": "smoke",
            "X-Trino-Catalog": "berglake",
            "X-Trino-Time-Zone": "UTC",
        }
        answer = json.loads(
            request(self.stack.url("trino") + "/v1/statement", statement.encode(), headers)
        )
        rows: list[Row] = []
        while True:
            if "error" in answer:
                raise RuntimeError(answer["error"]["message"])
            columns = [(column["name"], column["type"]) for column in answer.get("columns", [])]
            for cells in answer.get("data", []):
                pairs = zip(columns, cells, strict=True)
                rows.append({name: of_trino(kind, cell) for (name, kind), cell in pairs})
            if "nextUri" not in answer:
                return rows
            answer = json.loads(request(answer["nextUri"], None, headers))

    def count(self, table: str) -> int:
        return self.query(f"SELECT count(*) AS n FROM {table}")[0]["n"]


def of_trino(kind: str, cell: Any) -> Any:
    """A cell of Trino's JSON as the value that it stands for."""
    if cell is None:
        return None
    if kind == "date":
        return date.fromisoformat(cell)
    if kind.startswith("timestamp") and kind.endswith("with time zone"):
        return datetime.fromisoformat(re.sub(r" UTC$", "", cell)).replace(tzinfo=timezone.utc)
    return same(cell)


def arrow_rows(table: pa.Table) -> list[Row]:
    rows = table.to_pylist()
    return [{name: same(value) for name, value in row.items()} for row in rows]


def same(value: Any) -> Any:
    """A value in the form in which all engines' values are compared."""
    # A map is a dictionary for some and a list of pairs for others, in any order.
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, list) and all(isinstance(pair, tuple) for pair in value):
        return sorted(value)
    if isinstance(value, datetime):
        # PySpark gives the time of this machine's zone without saying so, as `astimezone` takes it.
        return value.astimezone(timezone.utc)
    return value
