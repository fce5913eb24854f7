"""What berglake and PyIceberg say of the same table's metadata: the same rows, column by column."""

from __future__ import annotations

import dataclasses
from datetime import timezone
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table import Table

import movies
from project import Project

# Metadata tables that PyIceberg has too, and those of them that show one snapshot.
TABLES = [
    "snapshots",
    "history",
    "refs",
    "metadata_log_entries",
    "manifests",
    "entries",
    "files",
    "data_files",
    "delete_files",
    "partitions",
    "all_manifests",
    "all_files",
    "all_data_files",
    "all_delete_files",
]
OF_A_SNAPSHOT = ["entries", "files", "data_files", "delete_files", "partitions"]

# Rows deleted by pipelines; a table whose partitions and columns changed; one that is empty.
UPSERTED = "silver.movies_clean"
EVOLVED = "bronze.evolved"
EMPTY = "bronze.empty"


@dataclasses.dataclass(frozen=True)
class Made:
    project: Project
    version: int

    def table(self, name: str) -> Table:
        return self.project.catalog().load_table(name)


@pytest.fixture(scope="module", params=[2, 3])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    project = Project.local(tmp_path_factory.mktemp("metadata") / "project")
    config = project.folder / "berglake.toml"
    text = config.read_text()
    assert text.count("[defaults]\n") == 1
    defaults = f'[defaults]\n"format-version" = "{request.param}"\n'
    config.write_text(text.replace("[defaults]\n", defaults))
    project.run()
    project.deliver(movies.CORRECTIONS)
    project.run()

    columns = "id BIGINT NOT NULL, kind STRING, at TIMESTAMP, amount DECIMAL(12, 2)"
    project.sql_command(f"CREATE TABLE {EMPTY} ({columns}) PARTITIONED BY (kind)")
    project.sql_command(f"CREATE TABLE {EVOLVED} ({columns}) PARTITIONED BY (kind)")
    project.sql_command(
        f"INSERT INTO {EVOLVED} VALUES (1, 'a', TIMESTAMP '2026-01-31 12:00:00', 1.50), "
        "(2, 'b', TIMESTAMP '2026-02-01 00:00:00', NULL), (3, NULL, NULL, -7.25)"
    )
    project.sql_command(f"ALTER TABLE {EVOLVED} ADD PARTITION FIELD days(at) AS at_day")
    project.sql_command(f"ALTER TABLE {EVOLVED} RENAME COLUMN amount TO price")
    project.sql_command(
        f"INSERT INTO {EVOLVED} VALUES (4, 'a', TIMESTAMP '2026-02-03 10:20:30', 4.00), "
        "(5, 'c', TIMESTAMP '1969-12-31 23:59:59', 5.00)"
    )
    project.sql_command(f"ALTER TABLE {EVOLVED} CREATE TAG v1 RETAIN 365 DAYS")
    retention = "RETAIN 7 DAYS WITH SNAPSHOT RETENTION 2 SNAPSHOTS 3 DAYS"
    project.sql_command(f"ALTER TABLE {EVOLVED} CREATE BRANCH audit {retention}")
    return Made(project, request.param)


def plain(value: Any, kind: pa.DataType, other: pa.DataType) -> Any:
    """A value without what the two libraries spell differently: zones of instants, and whether an
    empty map or list is one or is NULL. Of structs, the fields that both have."""
    if value is None:
        return None
    if pa.types.is_map(kind):
        return dict(sorted(value)) or None
    if pa.types.is_list(kind):
        item, others = kind.value_type, other.value_type
        return [plain(one, item, others) for one in value] or None
    if pa.types.is_struct(kind):
        theirs = {field.name: field.type for field in other}
        return {
            field.name: plain(value[field.name], field.type, theirs[field.name])
            for field in kind
            if field.name in theirs
        }
    if pa.types.is_timestamp(kind) and value.tzinfo is None:
        return value.replace(tzinfo=timezone.utc)
    return value


def rows(table: pa.Table, other: pa.Table) -> list[Any]:
    kind, others = pa.struct(list(table.schema)), pa.struct(list(other.schema))
    found = [plain(row, kind, others) for row in table.to_pylist()]
    return sorted(found, key=lambda row: repr(sorted(row.items())))


def assert_equal(ours: pa.Table, theirs: pa.Table, partitioned: bool) -> None:
    missing = set(theirs.column_names) - set(ours.column_names)
    # PyIceberg has an empty struct where there are no partitions, which Java leaves out.
    assert missing <= (set() if partitioned else {"partition"})
    assert rows(ours, theirs) == rows(theirs, ours)


@pytest.mark.parametrize("metadata", TABLES)
@pytest.mark.parametrize("name", [UPSERTED, EVOLVED])
def test_rows_equal_those_of_pyiceberg(made: Made, name: str, metadata: str) -> None:
    table = made.table(name)
    assert table.format_version == made.version
    theirs = getattr(table.inspect, metadata)()
    ours = made.project.sql(f"SELECT * FROM {name}.{metadata}")
    assert_equal(ours, theirs, partitioned=not table.spec().is_unpartitioned())
    deletes = metadata in ("delete_files", "all_delete_files")
    assert (ours.num_rows > 0) == (name == UPSERTED or not deletes)


@pytest.mark.parametrize("metadata", OF_A_SNAPSHOT)
@pytest.mark.parametrize("name", [UPSERTED, EVOLVED])
def test_rows_of_an_older_snapshot_equal_those_of_pyiceberg(
    made: Made, name: str, metadata: str
) -> None:
    table = made.table(name)
    first = table.metadata.snapshots[0].snapshot_id
    theirs = getattr(table.inspect, metadata)(first)
    ours = made.project.sql(f"SELECT * FROM {name}${metadata} FOR VERSION AS OF {first}")
    assert_equal(ours, theirs, partitioned=not table.spec().is_unpartitioned())


@pytest.mark.parametrize(
    "metadata",
    [table for table in TABLES if table not in ("entries", "partitions")],
)
def test_an_empty_table_has_the_rows_that_pyiceberg_sees(made: Made, metadata: str) -> None:
    theirs = getattr(made.table(EMPTY).inspect, metadata)()
    ours = made.project.sql(f"SELECT * FROM {EMPTY}.{metadata}")
    assert_equal(ours, theirs, partitioned=True)
    assert ours.num_rows == (metadata == "metadata_log_entries")


@pytest.mark.parametrize("metadata", ["entries", "partitions"])
def test_an_empty_table_has_no_rows_where_pyiceberg_refuses_to_look(
    made: Made, metadata: str
) -> None:
    with pytest.raises(ValueError, match="does not have any"):
        getattr(made.table(EMPTY).inspect, metadata)()
    assert made.project.rows(f"SELECT * FROM {EMPTY}.{metadata}") == []


def test_all_entries_are_the_entries_of_each_manifest(made: Made) -> None:
    """PyIceberg has no such table: its rows are compared with what the manifests hold."""
    table = made.table(UPSERTED)
    manifests = {
        manifest.manifest_path: manifest
        for snapshot in table.metadata.snapshots
        for manifest in snapshot.manifests(table.io)
    }
    expected = sorted(
        (entry.status.value, entry.snapshot_id, entry.sequence_number, entry.data_file.file_path)
        for manifest in manifests.values()
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False)
    )
    found = made.project.rows(
        "SELECT status, snapshot_id, sequence_number, data_file.file_path AS path "
        f"FROM {UPSERTED}.all_entries"
    )
    assert sorted(tuple(row.values()) for row in found) == expected


def test_properties_are_those_of_the_metadata(made: Made) -> None:
    found = made.project.rows(f"SELECT key, value FROM {EVOLVED}$properties")
    assert {row["key"]: row["value"] for row in found} == made.table(EVOLVED).properties
