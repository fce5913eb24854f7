"""Four engines on the tables of one catalog server, read alike: at the head, at a snapshot, at a branch or a
tag, with a filter. And tables with the model of what they hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.table import Table as PyIcebergTable

import spark
from model import Model, Row, values
from movies import assert_same
from project import Project, duckdb_with_iceberg
from servers import RestServer

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ENGINES = ("berglake", "spark", "pyiceberg", "duckdb")
# PyIceberg reads a branch as it reads the snapshot that the branch is at; DuckDB knows no branches, and is
# given the snapshot. Both show it with the columns that it was made with.
BY_SNAPSHOT = ("pyiceberg", "duckdb")
# How Spark and DuckDB call the catalog.
NAME = "files"
# The pipeline that upserts takes the tables over; whoever writes them by hand then has to say so.
PIPELINE = "corrections"


def plain(cell: Any) -> Any:
    """Structs and lists as values that can be counted."""
    if isinstance(cell, dict):
        return tuple(sorted((name, plain(value)) for name, value in cell.items()))
    if isinstance(cell, (list, tuple)):
        return tuple(plain(value) for value in cell)
    return cell


def compare(found: list[Row], expected: list[Row]) -> None:
    """The same rows in any order, and the same columns in the same order."""
    assert [list(row) for row in found[:1]] == [list(row) for row in expected[:1]]
    assert_same(
        [{name: plain(cell) for name, cell in row.items()} for row in found],
        [{name: plain(cell) for name, cell in row.items()} for row in expected],
    )


def project_of(folder: Path, server: RestServer) -> Project:
    """A project without pipelines on the tables of a server."""
    folder.mkdir(parents=True)
    (folder / "berglake.toml").write_text(f'[project]\nname = "{PIPELINE}"\n')
    environment = {
        "BERGLAKE_CATALOG__URI": server.uri,
        "BERGLAKE_CATALOG__TOKEN": server.token,
    }
    return Project(folder, environment, server.pyiceberg_properties(), server.s3)


@dataclasses.dataclass(frozen=True)
class Lake:
    folder: Path
    server: RestServer
    project: Project
    session: SparkSession
    duck: duckdb.DuckDBPyConnection

    @classmethod
    def on(cls, folder: Path, server: RestServer, session: SparkSession) -> Lake:
        spark.connect(session, NAME, server)
        duck = duckdb_with_iceberg(folder / "duckdb", server.s3)
        duck.execute(f"CREATE SECRET lake_token (TYPE iceberg, TOKEN '{server.token}')")
        duck.execute(
            f"ATTACH '' AS {NAME} (TYPE iceberg, ENDPOINT '{server.uri}', SECRET lake_token, "
            "ACCESS_DELEGATION_MODE 'none')"
        )
        return cls(folder, server, project_of(folder / "project", server), session, duck)

    def berglake(self, *statements: str) -> None:
        """Statements that give no rows, in one process."""
        self.project.call("sql", "--force", "-c", "; ".join(statements))

    def rows_of_spark(self, query: str) -> list[Row]:
        return [row.asDict(recursive=True) for row in self.session.sql(query).collect()]

    def read(
        self, engine: str, table: str, at: int | str | None = None, where: str | None = None
    ) -> list[Row]:
        """All columns, at the head, at the snapshot of this id, or at `branch_x` or `tag_x`."""
        condition = f" WHERE {where}" if where else ""
        ref = f".{at}" if isinstance(at, str) else ""
        version = f" VERSION AS OF {at}" if isinstance(at, int) else ""
        match engine:
            case "berglake":
                return self.project.rows(f"SELECT * FROM {table}{ref}{version}{condition}")
            case "spark":
                source = f"{NAME}.{table}{ref}{version}"
                return self.rows_of_spark(f"SELECT * FROM {source}{condition}")
            case "pyiceberg":
                snapshot = self.snapshot_of(table, at)
                scan = self.project.catalog().load_table(table)
                scan = scan.scan(row_filter=where or AlwaysTrue(), snapshot_id=snapshot)
                return scan.to_arrow().to_pylist()
            case "duckdb":
                snapshot = self.snapshot_of(table, at)
                version = f" AT (VERSION => {snapshot})" if snapshot is not None else ""
                found = self.duck.execute(f"SELECT * FROM {NAME}.{table}{version}{condition}")
                return found.to_arrow_table().to_pylist()
        raise ValueError(engine)

    def snapshot_of(self, table: str, at: int | str | None) -> int | None:
        """The snapshot of a branch or a tag, for those who know them by their snapshots only."""
        if not isinstance(at, str):
            return at
        return self.project.catalog().load_table(table).refs()[at.split("_", 1)[1]].snapshot_id

    def upsert(self, table: str, source: str, sequence: str, partitioned_by: str) -> dict[str, Any]:
        """What is new in a table of changes, into another by its `id`: by position deletes or deletion
        vectors, as the format version wants them. Gives the report of the flow."""
        folder = self.folder / "flows" / table
        project = Project(folder, self.project.environment, self.project.pyiceberg_properties)
        (folder / "pipelines").mkdir(parents=True, exist_ok=True)
        (folder / "berglake.toml").write_text(f'[project]\nname = "{PIPELINE}"\n')
        (folder / "pipelines" / "flow.sql").write_text(
            f"CREATE OR REFRESH STREAMING TABLE {table} PARTITIONED BY ({partitioned_by});\n"
            f"CREATE FLOW upserts AS AUTO CDC INTO {table} FROM STREAM({source})\n"
            f"  KEYS (id) SEQUENCE BY {sequence} STORED AS SCD TYPE 1;\n"
        )
        (flow,) = project.run()["flows"]
        assert flow["status"] == "updated", flow
        return flow


@dataclasses.dataclass
class Table:
    """A table and what it should hold. Statements of berglake are kept until somebody has to see what they
    did, because one process runs many as fast as one."""

    lake: Lake
    name: str
    model: Model
    pending: list[str] = dataclasses.field(default_factory=list)

    def berglake(self, *statements: str) -> None:
        self.pending.extend(statements)

    def flush(self) -> None:
        if self.pending:
            self.lake.berglake(*self.pending)
            self.pending.clear()

    def spark(self, *statements: str) -> None:
        """Statements in which `{t}` is the table."""
        self.flush()
        for statement in statements:
            self.lake.session.sql(statement.replace("{t}", f"{NAME}.{self.name}"))

    def alter(self, *changes: str) -> None:
        self.berglake(*(f"ALTER TABLE {self.name} {change}" for change in changes))

    def insert(self, *rows: Row, branch: str = "main") -> None:
        self.berglake(f"INSERT INTO {self._at(branch)} {values(list(rows), 'make_array')}")
        self.model.insert(rows, branch)

    def insert_by_spark(self, *rows: Row, branch: str = "main") -> None:
        self.flush()
        target = f"{NAME}.{self._at(branch)}"
        self.lake.session.sql(f"INSERT INTO {target} {values(list(rows))}")
        self.model.insert(rows, branch)

    def _at(self, branch: str) -> str:
        return self.name if branch == "main" else f"{self.name}.branch_{branch}"

    def loaded(self) -> PyIcebergTable:
        """As PyIceberg sees its metadata."""
        self.flush()
        return self.lake.project.catalog().load_table(self.name)

    def snapshots(self) -> list[int]:
        """All snapshots in the order in which they were made; the model has as many states."""
        snapshots = self.loaded().metadata.snapshots
        ids = [it.snapshot_id for it in sorted(snapshots, key=lambda it: it.sequence_number)]
        assert len(ids) == len(self.model.states)
        return ids

    def check_head(self, engine: str) -> None:
        self.flush()
        compare(self.lake.read(engine, self.name), self.model.shown())

    def check_snapshots(self, engine: str, since: int = 0) -> None:
        """The first snapshot and all from a place on, each with the columns of its time."""
        snapshots = self.snapshots()
        for place in sorted({0, *range(since, len(snapshots))}):
            expected = self.model.states[place].shown()
            try:
                compare(self.lake.read(engine, self.name, snapshots[place]), expected)
            except Exception as error:
                raise AssertionError(
                    f"{engine}, snapshot {place} of {self.name}: {error}"
                ) from error

    def check_branch(self, engine: str, branch: str) -> None:
        """A branch, with the columns of today; for an engine that only knows its snapshot, with those of
        that snapshot."""
        self.flush()
        found = self.lake.read(engine, self.name, f"branch_{branch}")
        model = self.model
        compare(found, model.last(branch).shown() if engine in BY_SNAPSHOT else model.shown(branch))

    def check_tag(self, engine: str, tag: str) -> None:
        self.flush()
        found = self.lake.read(engine, self.name, f"tag_{tag}")
        compare(found, self.model.tags[tag].shown())

    def check_all(self, engine: str, since: int = 0) -> None:
        self.check_snapshots(engine, since)
        self.check_head(engine)
        for branch in self.model.heads.keys() - {"main"}:
            self.check_branch(engine, branch)
        for tag in self.model.tags:
            self.check_tag(engine, tag)


@dataclasses.dataclass(frozen=True)
class Changes:
    """A table of changes, from which a pipeline upserts."""

    lake: Lake
    name: str

    def apply(self, table: Table, partitioned_by: str, *changes: Row) -> dict[str, Any]:
        table.flush()
        self.lake.berglake(
            f"CREATE TABLE IF NOT EXISTS {self.name} "
            "(id BIGINT, kind STRING, votes BIGINT, released DATE)",
            f"INSERT INTO {self.name} {values(list(changes))}",
        )
        report = self.lake.upsert(table.name, self.name, "votes", partitioned_by)
        table.model.upsert(changes, "id", "votes")
        return report
