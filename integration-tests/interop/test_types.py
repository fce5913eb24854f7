"""Every type and every partition transform, written by one engine and read by the others."""

from __future__ import annotations

import uuid
from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    IdentityTransform,
    TruncateTransform,
)
from pyiceberg.types import (
    DateType,
    DecimalType,
    DoubleType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
)

from movies import assert_same
from project import Project, duckdb_with_iceberg

COLUMNS = """
  id BIGINT NOT NULL, flag BOOLEAN, small INT, big BIGINT, single FLOAT, wide DOUBLE,
  price DECIMAL(9, 2), huge DECIMAL(38, 10), day DATE, moment TIME, local TIMESTAMP_NTZ,
  instant TIMESTAMP, name STRING, raw BINARY, code FIXED(4), uid UUID"""

ROWS = """
  (1, true, -7, 9007199254740993, CAST(1.5 AS FLOAT), 2.25, 12.34,
   CAST('12345678901234567890.0123456789' AS DECIMAL(38, 10)),
   DATE '1969-12-31', TIME '23:59:59.123456', TIMESTAMP '1969-12-31 23:59:59.999999',
   TIMESTAMP '2024-02-29 12:30:00.000001', 'Ångström / a=b', X'00FF10', X'01020304',
   X'F79C3E09677C4BBDA4793F349CB785E7'),
  (2, false, 2147483647, -1, CAST(-0.0 AS FLOAT), -1e300, -0.01, -1.0000000001,
   DATE '2024-02-29', TIME '00:00:00', TIMESTAMP '2024-02-29 00:00:00',
   TIMESTAMP '1969-12-31 23:00:00', '', X'', X'00000000',
   X'00000000000000000000000000000000'),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"""

EXPECTED: list[dict[str, Any]] = [
    {
        "id": 1, "flag": True, "small": -7, "big": 9007199254740993, "single": 1.5, "wide": 2.25,
        "price": Decimal("12.34"), "huge": Decimal("12345678901234567890.0123456789"),
        "day": date(1969, 12, 31), "moment": time(23, 59, 59, 123456),
        "local": datetime(1969, 12, 31, 23, 59, 59, 999999),
        "instant": datetime(2024, 2, 29, 12, 30, 0, 1, tzinfo=timezone.utc),
        "name": "Ångström / a=b", "raw": b"\x00\xff\x10", "code": b"\x01\x02\x03\x04",
        "uid": uuid.UUID("f79c3e09-677c-4bbd-a479-3f349cb785e7"),
    },
    {
        "id": 2, "flag": False, "small": 2147483647, "big": -1, "single": -0.0, "wide": -1e300,
        "price": Decimal("-0.01"), "huge": Decimal("-1.0000000001"),
        "day": date(2024, 2, 29), "moment": time(0, 0), "local": datetime(2024, 2, 29),
        "instant": datetime(1969, 12, 31, 23, tzinfo=timezone.utc),
        "name": "", "raw": b"", "code": b"\x00\x00\x00\x00", "uid": uuid.UUID(int=0),
    },
]  # fmt: skip
# The third row has nothing but its key.
EXPECTED.append({**dict.fromkeys(EXPECTED[0]), "id": 3})

# Each transform on each kind of type that it takes. PyIceberg 0.12 reads all of them.
PARTITIONINGS = {
    "none": "",
    "identity_flag": "flag",
    "identity_text": "name",
    "identity_numbers": "small, price",
    "identity_times": "day, local",
    "identity_binary": "code, raw",
    "identity_uuid": "uid",
    "years": "years(day), years(local)",
    "months": "months(day), months(instant)",
    "days": "days(local), days(instant)",
    "hours": "hours(instant), hours(local)",
    "bucket_numbers": "bucket(4, small), bucket(8, big), bucket(16, price)",
    "bucket_text": "bucket(4, name), bucket(4, uid), bucket(4, raw)",
    "bucket_times": "bucket(4, day), bucket(4, moment), bucket(4, instant)",
    "truncate": "truncate(10, small), truncate(100, big), truncate(50, price), truncate(3, name)",
}


def plain(cell: Any) -> Any:
    """Engines hand out UUIDs as objects, as text or as bytes, and time zones as several objects."""
    if isinstance(cell, uuid.UUID):
        return str(cell)
    if isinstance(cell, datetime) and cell.tzinfo is not None:
        return cell.astimezone(timezone.utc)
    if isinstance(cell, dict):
        return tuple(sorted((name, plain(value)) for name, value in cell.items()))
    if isinstance(cell, (list, tuple)):
        return tuple(plain(value) for value in cell)
    return cell


def normal(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for row in rows:
        cells = {name: plain(cell) for name, cell in row.items()}
        if isinstance(cells.get("uid"), bytes):
            cells["uid"] = str(uuid.UUID(bytes=cells["uid"]))
        found.append(cells)
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project.local(tmp_path_factory.mktemp("types") / "project")
    project.call("sql", "-c", "CREATE NAMESPACE types")
    return project


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    return duckdb_with_iceberg(tmp_path_factory.mktemp("duckdb"), None)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("partitioning", PARTITIONINGS)
def test_what_sql_inserts_is_read_by_pyiceberg_and_duckdb(
    project: Project, engine: duckdb.DuckDBPyConnection, partitioning: str, version: int
) -> None:
    name = f"types.{partitioning}_v{version}"
    by = PARTITIONINGS[partitioning]
    clause = f"PARTITIONED BY ({by})" if by else ""
    project.call(
        "sql", "-c",
        f"CREATE TABLE {name} ({COLUMNS}) {clause} TBLPROPERTIES ('format-version' = '{version}'); "
        f"INSERT INTO {name} VALUES {ROWS}",
    )  # fmt: skip
    expected = normal(EXPECTED)
    assert_same(normal(project.rows(f"SELECT * FROM {name}")), expected)
    table = project.catalog().load_table(name)
    assert table.format_version == version
    assert_same(normal(table.scan().to_arrow().to_pylist()), expected)
    found = engine.execute("SELECT * FROM iceberg_scan(?)", [table.metadata_location])
    assert_same(normal(found.to_arrow_table().to_pylist()), expected)

    conditions = ("small = -7", "day = '2024-02-29'", "name = ''", "flag = true", "price < 0")
    for condition in conditions:
        assert_same(
            normal(table.scan(row_filter=condition).to_arrow().to_pylist()),
            normal(project.rows(f"SELECT * FROM {name} WHERE {condition}")),
        )


FOREIGN = Schema(
    NestedField(1, "id", LongType(), required=True),
    NestedField(2, "kind", StringType()),
    NestedField(3, "day", DateType()),
    NestedField(4, "local", TimestampType()),
    NestedField(5, "instant", TimestamptzType()),
    NestedField(6, "price", DecimalType(12, 3)),
    NestedField(
        7,
        "place",
        StructType(
            NestedField(8, "x", DoubleType()),
            NestedField(
                9, "tags", ListType(element_id=10, element=StringType(), element_required=False)
            ),
        ),
    ),
    NestedField(
        11, "sizes", ListType(element_id=12, element=LongType(), element_required=False)
    ),
    NestedField(
        13,
        "names",
        MapType(
            key_id=14, key_type=StringType(),
            value_id=15, value_type=LongType(), value_required=False,
        ),
    ),
)  # fmt: skip

FOREIGN_SPEC = PartitionSpec(
    PartitionField(1, 1000, BucketTransform(4), "id_bucket"),
    PartitionField(2, 1001, IdentityTransform(), "kind"),
    PartitionField(5, 1002, DayTransform(), "instant_day"),
    PartitionField(6, 1003, TruncateTransform(1000), "price_trunc"),
)


def foreign_rows() -> list[dict[str, Any]]:
    rows = []
    for i in range(40):
        missing = i % 5 == 0
        rows.append(
            {
                "id": i,
                "kind": None if i % 7 == 0 else f"kind/{i % 3}",
                "day": None if missing else date(2024, 1 + i % 12, 1),
                "local": None if missing else datetime(2024, 1, 1, i % 24, 0, 0, i),
                "instant": None
                if i % 11 == 0
                else datetime(2023, 12, 30 + i % 2, 23, i, tzinfo=timezone.utc),
                "price": None if missing else Decimal(i * 100 - 500).scaleb(-3),
                "place": None
                if i % 4 == 0
                else {"x": i / 2, "tags": None if i % 3 == 0 else ["a", None, str(i)]},
                "sizes": None if i % 6 == 0 else [n if n % 2 else None for n in range(i % 4)],
                "names": None if i % 6 == 1 else [(f"k{n}", n or None) for n in range(i % 3)],
            }
        )
    return rows


@pytest.mark.parametrize(
    "condition",
    [
        "true",
        "id = 17",
        "kind = 'kind/1'",
        "kind IS NULL",
        "kind IN ('kind/0', 'kind/2') AND id > 20",
        "instant >= TIMESTAMP '2023-12-31 00:00:00'",
        "instant IS NULL",
        "price < 0",
        "price BETWEEN 0.5 AND 1.5",
        "day = DATE '2024-03-01'",
        "place.x > 10",
    ],
)
def test_a_table_of_pyiceberg_with_nested_columns_is_read_by_sql(
    foreign: Project, condition: str
) -> None:
    found = foreign.sql(f"SELECT * FROM foreign_tables.nested WHERE {condition}")
    # The rows themselves are filtered by DuckDB, an engine that saw no partition of the table.
    everything = pa.Table.from_pylist(foreign_rows(), schema=FOREIGN.as_arrow())
    oracle = duckdb.connect()
    oracle.execute("SET TimeZone = 'UTC'")
    oracle.register("everything", everything)
    expected = oracle.execute(f"SELECT * FROM everything WHERE {condition}").to_arrow_table()
    assert_same(normal(found.to_pylist()), normal(expected.to_pylist()))


@pytest.fixture(scope="module")
def foreign(project: Project) -> Project:
    catalog = project.catalog()
    catalog.create_namespace("foreign_tables")
    table = catalog.create_table("foreign_tables.nested", FOREIGN, partition_spec=FOREIGN_SPEC)
    rows = foreign_rows()
    # Its own schema: PyIceberg numbers the columns anew.
    schema = table.schema().as_arrow()
    for part in (rows[:25], rows[25:]):
        table.append(pa.Table.from_pylist(part, schema=schema))
    return project
