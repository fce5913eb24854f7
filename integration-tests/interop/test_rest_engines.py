"""Other engines on tables of the REST catalog: each reads what berglake wrote and writes what berglake
then reads, on local files and on S3. No engine but the server is told how to reach the store."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import date, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest
from pyiceberg.transforms import YearTransform
from pyiceberg.types import LongType

import spark
from movies import assert_same
from project import Project, duckdb_with_iceberg
from servers import RestServer

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "other-engines.md"

FILMS = [
    {"id": 1, "title": "Alien", "rating": 8.5, "released": date(1979, 5, 25)},
    {"id": 2, "title": "Brazil", "rating": 7.9, "released": date(1985, 2, 20)},
    {"id": 3, "title": "Cube", "rating": None, "released": date(1997, 9, 9)},
]
VALUES = (
    "(1, 'Alien', 8.5, DATE '1979-05-25'), (2, 'Brazil', 7.9, DATE '1985-02-20'), "
    "(3, 'Cube', NULL, DATE '1997-09-09')"
)
COLUMNS = "id BIGINT, title STRING, rating DOUBLE, released DATE"


@pytest.fixture(scope="module", params=["files", "s3"])
def server(request: pytest.FixtureRequest) -> RestServer:
    return request.getfixturevalue(f"rest_on_{request.param}")


@pytest.fixture(scope="module")
def project(server: RestServer, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project.over_rest(tmp_path_factory.mktemp("client") / "project", server)


@pytest.fixture(scope="module")
def films(project: Project) -> str:
    """A table that berglake made and filled."""
    project.sql_command("CREATE NAMESPACE ours")
    project.sql_command(f"CREATE TABLE ours.films ({COLUMNS}) PARTITIONED BY (years(released))")
    project.sql_command(f"INSERT INTO ours.films VALUES {VALUES}")
    return "ours.films"


def blocks(language: str, containing: str) -> list[str]:
    """The examples of the guide, so that what stands there is what runs here."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return [block for block in found if containing in block]


def at(server: RestServer, block: str) -> str:
    return block.replace("http://localhost:8181", server.uri).replace(
        "TOKEN_OF_YOURS", server.token
    )


# berglake


def test_check_reaches_catalog_and_store_by_what_the_server_hands_out(
    server: RestServer, project: Project, films: str
) -> None:
    done = project.call("check", "--output", "json")
    steps = {step["step"]: step for step in json.loads(done.stdout)["steps"]}
    assert steps["catalog"]["ok"] and server.uri in steps["catalog"]["subject"]
    place = "s3://" if server.s3 else "file:///"
    assert steps["storage"]["ok"] and steps["storage"]["subject"].startswith(place)


def test_the_token_is_printed_nowhere(server: RestServer, project: Project, films: str) -> None:
    assert server.token not in server.log.read_text()
    for command in (("config", "show"), ("info",), ("plan",), ("tables",)):
        done = project.call(*command)
        assert server.token.encode() not in done.stdout + done.stderr
    refused = dataclasses.replace(
        project, environment={**project.environment, "BERGLAKE_CATALOG__TOKEN": "wrong-4711"}
    )
    done = refused.call("tables", expect_code=3)
    assert b"catalog.token" in done.stderr and b"wrong-4711" not in done.stderr


# PyIceberg


def test_pyiceberg_reads_what_berglake_wrote(project: Project, films: str) -> None:
    table = project.catalog().load_table(films)
    assert_same(table.scan().to_arrow().to_pylist(), FILMS)
    assert_same(project.rows(f"SELECT * FROM {films}"), FILMS)


def test_the_guide_shows_pyiceberg_how_to_connect(server: RestServer, films: str) -> None:
    (block,) = blocks("python", "import load_catalog")
    names: dict[str, Any] = {}
    exec(at(server, block), names)  # noqa: S102 - it is the page that is tested
    assert_same(names["catalog"].load_table(films).scan().to_arrow().to_pylist(), FILMS)


def test_pyiceberg_creates_fills_and_evolves_a_table_that_berglake_reads(project: Project) -> None:
    catalog = project.catalog()
    catalog.create_namespace("py", {"owner": "ann"})
    rows = pa.Table.from_pylist(FILMS)
    table = catalog.create_table("py.films", schema=rows.schema)
    table.append(rows)
    assert_same(project.rows("SELECT * FROM py.films"), FILMS)

    with table.update_schema() as update:
        update.add_column("votes", LongType())
        update.rename_column("title", "name")
    with table.update_spec() as update:
        update.add_field("released", YearTransform(), "released_year")
    more = [
        {"id": 4, "name": "Dune", "rating": 6.3, "released": date(1984, 12, 3), "votes": 100},
    ]
    table = catalog.load_table("py.films")
    table.append(pa.Table.from_pylist(more, schema=table.schema().as_arrow()))
    expected = [
        {"name": row["title"], "votes": None, **{k: v for k, v in row.items() if k != "title"}}
        for row in FILMS
    ] + more
    assert_same(project.rows("SELECT * FROM py.films"), expected)

    table.delete("id = 2")
    kept = [row for row in expected if row["id"] != 2]
    assert_same(project.rows("SELECT * FROM py.films"), kept)

    # And back: what berglake appends to it, PyIceberg reads.
    project.sql_command("INSERT INTO py.films (id, name) VALUES (5, 'Eraserhead')")
    kept.append({"id": 5, "name": "Eraserhead", "rating": None, "released": None, "votes": None})
    assert_same(catalog.load_table("py.films").scan().to_arrow().to_pylist(), kept)

    catalog.rename_table("py.films", "py.movies")
    assert_same(project.rows("SELECT * FROM py.movies"), kept)
    catalog.purge_table("py.movies")
    assert not catalog.table_exists("py.movies")
    catalog.drop_namespace("py")


# DuckDB


@pytest.fixture(scope="module")
def duck(server: RestServer, tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    connection = duckdb_with_iceberg(tmp_path_factory.mktemp("duckdb"), None)
    kind = "S3" if server.s3 else "files"
    (block,) = [b for b in blocks("sql", "ENDPOINT") if f"-- {kind}" in b]
    connection.execute(at(server, block))
    return connection


def from_duck(connection: duckdb.DuckDBPyConnection, statement: str) -> list[dict[str, Any]]:
    return connection.execute(statement).to_arrow_table().to_pylist()


def test_duckdb_reads_what_berglake_wrote(duck: duckdb.DuckDBPyConnection, films: str) -> None:
    assert_same(from_duck(duck, f"SELECT * FROM lake.{films}"), FILMS)


def test_duckdb_creates_fills_and_changes_a_table_that_berglake_reads(
    server: RestServer, project: Project, duck: duckdb.DuckDBPyConnection
) -> None:
    duck.execute("CREATE SCHEMA lake.duck")
    duck.execute(
        "CREATE TABLE lake.duck.films (id BIGINT, title VARCHAR, rating DOUBLE, released DATE)"
    )
    duck.execute(f"INSERT INTO lake.duck.films VALUES {VALUES}")
    assert_same(project.rows("SELECT * FROM duck.films"), FILMS)

    duck.execute("UPDATE lake.duck.films SET rating = 9.0 WHERE title = 'Brazil'")
    duck.execute("DELETE FROM lake.duck.films WHERE id = 3")
    expected = [FILMS[0], {**FILMS[1], "rating": 9.0}]
    assert_same(project.rows("SELECT * FROM duck.films"), expected)

    project.sql_command("INSERT INTO duck.films VALUES (7, 'Gilda', 7.6, DATE '1946-02-14')")
    expected.append({"id": 7, "title": "Gilda", "rating": 7.6, "released": date(1946, 2, 14)})
    assert_same(from_duck(duck, "SELECT * FROM lake.duck.films"), expected)

    # A table that is created and filled in one transaction, as this is, is staged first. On local files
    # DuckDB 1.5 then does not make the folder of its manifests.
    if server.s3 is not None:
        duck.execute("CREATE TABLE lake.duck.copied AS SELECT * FROM lake.duck.films")
        assert_same(project.rows("SELECT * FROM duck.copied"), expected)
        duck.execute("DROP TABLE lake.duck.copied")
    assert not project.catalog().table_exists("duck.copied")


# Spark


@pytest.fixture
def at_spark(server: RestServer, spark_session: SparkSession) -> str:
    """The name by which Spark knows the catalog."""
    name = "s3" if server.s3 else "files"
    spark.connect(spark_session, name, server)
    return name


def from_spark(session: SparkSession, statement: str) -> list[dict[str, Any]]:
    return [row.asDict(recursive=True) for row in session.sql(statement).collect()]


def test_spark_reads_what_berglake_wrote(
    spark_session: SparkSession, at_spark: str, films: str
) -> None:
    assert_same(from_spark(spark_session, f"SELECT * FROM {at_spark}.{films}"), FILMS)


@pytest.mark.parametrize("version", [2, 3])
def test_spark_creates_fills_changes_and_alters_a_table_that_berglake_reads(
    project: Project, spark_session: SparkSession, at_spark: str, version: int
) -> None:
    run = spark_session.sql
    table = f"{at_spark}.spark.films{version}"
    ours = f"spark.films{version}"
    run(f"CREATE NAMESPACE IF NOT EXISTS {at_spark}.spark")
    run(
        f"CREATE TABLE {table} ({COLUMNS}, at TIMESTAMP) USING iceberg "
        f"PARTITIONED BY (years(released)) TBLPROPERTIES ('format-version' = '{version}', "
        "'write.delete.mode' = 'merge-on-read', 'write.update.mode' = 'merge-on-read', "
        "'write.merge.mode' = 'merge-on-read')"
    )
    moment = "TIMESTAMP '2024-02-29 12:30:00.000001'"
    run(f"INSERT INTO {table} SELECT *, {moment} FROM VALUES {VALUES}")
    instant = datetime(2024, 2, 29, 12, 30, 0, 1, tzinfo=timezone.utc)
    expected = {row["id"]: {**row, "at": instant} for row in FILMS}
    assert_same(project.rows(f"SELECT * FROM {ours}"), expected.values())

    run(f"UPDATE {table} SET rating = 8.0 WHERE title = 'Brazil'")
    expected[2]["rating"] = 8.0
    run(
        f"MERGE INTO {table} t USING (SELECT * FROM VALUES (1L, 'Aliens'), (9L, 'Jaws') AS s(id, title)) s "
        "ON t.id = s.id WHEN MATCHED THEN UPDATE SET t.title = s.title "
        "WHEN NOT MATCHED THEN INSERT (id, title) VALUES (s.id, s.title)"
    )
    expected[1]["title"] = "Aliens"
    expected[9] = {"id": 9, "title": "Jaws", "rating": None, "released": None, "at": None}
    run(f"DELETE FROM {table} WHERE id = 3")
    del expected[3]
    assert_same(project.rows(f"SELECT * FROM {ours}"), expected.values())
    # It was merge-on-read: the deletes are files of their own, which berglake has applied.
    deletes = project.rows(
        f"SELECT file_format FROM {ours.replace('.', '.`')}$files` WHERE content = 1"
    )
    assert {row["file_format"] for row in deletes} == {"PUFFIN" if version == 3 else "PARQUET"}

    run(f"ALTER TABLE {table} ADD COLUMN votes BIGINT")
    run(f"ALTER TABLE {table} RENAME COLUMN title TO name")
    run(f"ALTER TABLE {table} DROP COLUMN at")
    run(f"INSERT INTO {table} (id, name, votes) VALUES (10, 'Klute', 5)")
    rows = [
        {"name": row["title"], "votes": None, **{k: row[k] for k in ("id", "rating", "released")}}
        for row in expected.values()
    ]
    rows.append({"id": 10, "name": "Klute", "rating": None, "released": None, "votes": 5})
    assert_same(project.rows(f"SELECT * FROM {ours}"), rows)

    project.sql_command(f"INSERT INTO {ours} (id, name) VALUES (11, 'Laura')")
    rows.append({"id": 11, "name": "Laura", "rating": None, "released": None, "votes": None})
    assert_same(from_spark(spark_session, f"SELECT * FROM {table}"), rows)
    assert_same(project.rows(f"SELECT * FROM {ours}"), rows)
    run(f"DROP TABLE {table} PURGE")
    assert not project.catalog().table_exists(ours)


def test_the_guide_shows_spark_how_to_connect() -> None:
    (block,) = blocks("sh", "spark-sql")
    for setting in ("spark.sql.catalog.lake.type=rest", ":".join(spark.RUNTIME)):
        assert setting in block
