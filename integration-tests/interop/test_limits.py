"""What an engine cannot do with these tables, in its own words: what stands in the guide, as long as it is true."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from lake import NAME, Lake
from servers import RestServer

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def lake(
    rest_on_files: RestServer,
    spark_session: SparkSession,
    tmp_path_factory: pytest.TempPathFactory,
) -> Lake:
    lake = Lake.on(tmp_path_factory.mktemp("limits"), rest_on_files, spark_session)
    lake.berglake(
        "CREATE NAMESPACE limits",
        "CREATE TABLE limits.two (id BIGINT)",
        "INSERT INTO limits.two VALUES (1)",
        "CREATE TABLE limits.three (id BIGINT) TBLPROPERTIES ('format-version' = '3')",
        "INSERT INTO limits.three VALUES (1)",
        "ALTER TABLE limits.three CREATE BRANCH audit",
        "CREATE TABLE limits.times (id BIGINT, at TIME)",
        "INSERT INTO limits.times VALUES (1, TIME '10:00:00')",
        "CREATE TABLE limits.nanos (id BIGINT, at TIMESTAMP_NS) "
        "TBLPROPERTIES ('format-version' = '3')",
        "INSERT INTO limits.nanos VALUES (1, TIMESTAMP '2026-01-31 00:00:00.123456789')",
    )
    for form in ("orc", "avro"):
        table = f"{NAME}.limits.{form}"
        properties = f"TBLPROPERTIES ('write.format.default' = '{form}')"
        spark_session.sql(f"CREATE TABLE {table} (id BIGINT) USING iceberg {properties}")
        spark_session.sql(f"INSERT INTO {table} VALUES (1)")
    return lake


@pytest.mark.parametrize(
    ("engine", "table", "words"),
    [
        ("spark", "times", "Spark does not support time fields"),
        ("spark", "nanos", "Cannot convert unsupported type to Spark: timestamp_ns"),
        ("berglake", "orc", "files of the format orc are not read"),
        ("berglake", "avro", "files of the format avro are not read"),
        ("duckdb", "orc", "File format 'ORC' not supported"),
        ("duckdb", "avro", "File format 'AVRO' not supported"),
        ("pyiceberg", "avro", "Unsupported file format: FileFormat.AVRO"),
    ],
)
def test_what_an_engine_does_not_read(lake: Lake, engine: str, table: str, words: str) -> None:
    with pytest.raises(Exception, match=words):
        lake.read(engine, f"limits.{table}")


def test_nanoseconds_are_read_by_the_others(lake: Lake) -> None:
    name = "limits.nanos"
    read = [
        lake.project.sql(f"SELECT * FROM {name}"),
        lake.project.catalog().load_table(name).scan().to_arrow(),
        lake.duck.execute(f"SELECT * FROM {NAME}.{name}").to_arrow_table(),
    ]
    instant = int(datetime(2026, 1, 31, tzinfo=timezone.utc).timestamp()) * 1_000_000_000
    for table in read:
        assert table.column("at").cast(pa.int64()).to_pylist() == [instant + 123_456_789]


def test_duckdb_knows_no_branches(lake: Lake) -> None:
    source = f"SELECT * FROM {NAME}.limits.three"
    with pytest.raises(Exception, match="Could not convert string 'audit' to INT64"):
        lake.duck.execute(f"{source} AT (VERSION => 'audit')")
    with pytest.raises(Exception, match="NOT IMPLEMENTED"):
        lake.duck.execute(f"{source}.branch_audit")


def test_spark_declares_no_defaults(lake: Lake) -> None:
    """It fills them in where they are declared, which the tests of its reading and writing show."""
    table = f"{NAME}.limits.three"
    with pytest.raises(Exception, match="setting default values in Spark is currently unsupported"):
        lake.session.sql(f"ALTER TABLE {table} ADD COLUMN more STRING DEFAULT 'x'")
    with pytest.raises(Exception, match="does not support column default value"):
        lake.session.sql(
            f"CREATE TABLE {NAME}.limits.defaults (id BIGINT DEFAULT 1) USING iceberg "
            "TBLPROPERTIES ('format-version' = '3')"
        )


def test_pyiceberg_writes_no_version_3(lake: Lake) -> None:
    table = lake.project.catalog().load_table("limits.three")
    with pytest.raises(Exception, match="Cannot write manifest for table version: 3"):
        table.append(pa.Table.from_pylist([{"id": 2}], schema=table.schema().as_arrow()))


def test_who_shows_the_lineage_of_rows(lake: Lake) -> None:
    columns = "_row_id, _last_updated_sequence_number"
    query = f"SELECT {columns} FROM {NAME}.limits.three"
    assert [tuple(row.values()) for row in lake.rows_of_spark(query)] == [(0, 1)]
    assert lake.duck.execute(query).fetchall() == [(0, 1)]
    refused = lake.project.call("sql", "-c", f"SELECT {columns} FROM limits.three", expect_code=2)
    assert b'there is no column "_row_id"' in refused.stderr
    table = lake.project.catalog().load_table("limits.three")
    with pytest.raises(Exception, match="Could not find column: '_row_id'"):
        table.scan(selected_fields=("_row_id",)).to_arrow()
    # Rows of version 2 have none.
    with pytest.raises(Exception, match="`_row_id` cannot be resolved"):
        lake.session.sql(f"SELECT _row_id FROM {NAME}.limits.two")


@pytest.mark.parametrize(("column", "ty"), [("payload", "VARIANT"), ("nothing", "VOID")])
def test_a_column_of_a_type_that_is_not_supported_is_refused_by_name(
    lake: Lake, column: str, ty: str
) -> None:
    name = f"limits.{ty.lower()}"
    properties = "TBLPROPERTIES ('format-version' = '3')"
    stated = {"VARIANT": "variant", "VOID": "unknown"}[ty]
    with pytest.raises(Exception, match=f'column "outer.{column}" has the type "{stated}"'):
        lake.session.sql(
            f"CREATE TABLE {NAME}.{name} (id BIGINT, outer STRUCT<{column}: {ty}>) "
            f"USING iceberg {properties}"
        )
    lake.session.sql(f"CREATE TABLE {NAME}.{name} (id BIGINT) USING iceberg {properties}")
    with pytest.raises(Exception, match=f'column "{column}" has the type "{stated}"'):
        lake.session.sql(f"ALTER TABLE {NAME}.{name} ADD COLUMN {column} {ty}")
