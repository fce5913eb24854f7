"""Tables that Spark made, changed, evolved and branched: read by berglake at every snapshot, written further
by it, and written again by Spark. Rows are computed in Python alone; what both engines say of the metadata
and of the lineage of rows is compared."""

from __future__ import annotations

import dataclasses
import json
from datetime import date
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from films import COLUMNS, NAMES, VOTES, WIDE, change, film, late_film, without
from lake import ENGINES, NAME, Changes, Lake, Table, compare
from model import Model, Row, values
from servers import RestServer

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MODES = ("merge-on-read", "copy-on-write")
# Of each metadata table that both have: columns that say what a row is of.
METADATA = {
    "snapshots": "snapshot_id, parent_id, operation, manifest_list",
    "history": "snapshot_id, parent_id, is_current_ancestor",
    "refs": "name, type, snapshot_id, max_reference_age_in_ms, min_snapshots_to_keep, "
    "max_snapshot_age_in_ms",
    "metadata_log_entries": "file, latest_snapshot_id, latest_schema_id, latest_sequence_number",
    "manifests": "path, content, length, partition_spec_id, added_snapshot_id, "
    "added_data_files_count, existing_data_files_count, deleted_data_files_count, "
    "added_delete_files_count, existing_delete_files_count, deleted_delete_files_count",
    "entries": "status, snapshot_id, sequence_number, file_sequence_number, data_file.file_path",
    "files": "content, file_path, spec_id, record_count, file_size_in_bytes, sort_order_id",
    "data_files": "file_path, spec_id, record_count",
    "delete_files": "file_path, content, record_count",
    "all_data_files": "file_path, record_count",
    "all_delete_files": "file_path, record_count",
    "all_manifests": "path, content, reference_snapshot_id",
    "all_entries": "status, snapshot_id, data_file.file_path",
}
# Field ids of the columns in which a file keeps the lineage of rows that were moved into it.
ROW_ID, LAST_UPDATED = 2147483540, 2147483539


@pytest.fixture(scope="module")
def lake(
    rest_on_files: RestServer,
    spark_session: SparkSession,
    tmp_path_factory: pytest.TempPathFactory,
) -> Lake:
    lake = Lake.on(tmp_path_factory.mktemp("foreign"), rest_on_files, spark_session)
    spark_session.sql(f"CREATE NAMESPACE {NAME}.foreign")
    return lake


@dataclasses.dataclass(frozen=True)
class Told:
    table: Table
    changes: Changes
    version: int
    mode: str
    # How many snapshots there were before.
    since: int = 0

    def next(self) -> Told:
        return dataclasses.replace(self, since=len(self.table.model.states))


@pytest.fixture(scope="module", params=[(v, m) for v in (2, 3) for m in MODES], ids=str)
def by_spark(request: pytest.FixtureRequest, lake: Lake) -> Told:
    """What Spark alone did."""
    version, mode = request.param
    model = Model(*NAMES)
    suffix = f"{version}_{mode[0]}"
    table = Table(lake, f"foreign.films_{suffix}", model)
    modes = ", ".join(f"'write.{kind}.mode' = '{mode}'" for kind in ("delete", "update", "merge"))
    table.spark(
        f"CREATE TABLE {{t}} ({COLUMNS}) USING iceberg PARTITIONED BY (genre) "
        f"TBLPROPERTIES ('format-version' = '{version}', {modes})"
    )
    table.insert_by_spark(
        film(1, "a", date(2001, 1, 31)),
        film(2, "a", date(2001, 2, 1)),
        film(3, None, None, studio=None, actors=None),
        film(4, "b", date(1969, 12, 31), actors=[], votes=None),
        film(5, "b", date(2002, 5, 5)),
        film(6, "c", None),
    )
    table.spark("UPDATE {t} SET votes = votes + 1, slogan = NULL WHERE genre = 'a' OR id = 3")
    model.update(
        lambda row: row["genre"] == "a" or row["id"] == 3,
        lambda row: {"votes": row["votes"] + 1, "slogan": None},
    )
    table.spark(
        "MERGE INTO {t} t "
        "USING (SELECT * FROM VALUES (1, 'b'), (2, 'go'), (9, 'new') AS s(id, what)) s "
        "ON t.id = s.id "
        "WHEN MATCHED AND s.what = 'go' THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET t.genre = s.what, t.actors = NULL "
        "WHEN NOT MATCHED THEN INSERT (id, slogan) VALUES (s.id, s.what)"
    )
    model.update(
        lambda row: row["id"] == 1,
        lambda row: {"genre": "b", "actors": None},
        gone=lambda row: row["id"] == 2,
        inserted=[{"id": 9, "slogan": "new"}],
    )
    table.spark("DELETE FROM {t} WHERE id = 4")
    model.delete(lambda row: row["id"] == 4)

    evolve(table)

    retention = "RETAIN 7 DAYS WITH SNAPSHOT RETENTION 3 SNAPSHOTS 2 DAYS"
    table.spark(
        "ALTER TABLE {t} CREATE TAG released RETAIN 365 DAYS",
        f"ALTER TABLE {{t}} CREATE BRANCH audit {retention}",
    )
    model.tag("released")
    model.branch("audit")
    table.insert_by_spark(late(20, "b", date(2002, 5, 6)), branch="audit")
    table.spark("UPDATE {t}.branch_audit SET votes = -1 WHERE kind = 'b'")
    model.update(lambda row: row["kind"] == "b", lambda _: {"votes": -1}, "audit")
    table.spark("DELETE FROM {t}.branch_audit WHERE id IN (5, 10)")
    model.delete(lambda row: row["id"] in (5, 10), "audit")
    table.spark("DELETE FROM {t} WHERE votes = 50")
    model.delete(lambda row: row["votes"] == 50)
    changes = Changes(lake, f"foreign.changes_{suffix}")
    return Told(table, changes, version, mode)


def late(id: int, kind: str | None, released: date | None, **more: object) -> Row:
    return without(late_film(id, kind, released, **more), "slogan")


def evolve(table: Table) -> None:
    """Columns, partitions and the order, by Spark, with rows between the changes."""
    model = table.model
    table.spark(
        "ALTER TABLE {t} ADD COLUMN note STRING AFTER id",
        "ALTER TABLE {t} DROP COLUMN slogan",
        "ALTER TABLE {t} ALTER COLUMN votes TYPE BIGINT",
        "ALTER TABLE {t} ALTER COLUMN rating TYPE DOUBLE",
        "ALTER TABLE {t} ALTER COLUMN gross TYPE DECIMAL(12, 2)",
    )
    model.add("note", after="id")
    model.drop("slogan")
    table.insert_by_spark(
        {**without(film(10, "a", date(2003, 3, 3), **WIDE), "slogan"), "note": None}
    )
    table.spark(
        "ALTER TABLE {t} ADD COLUMN studio.country STRING",
        "ALTER TABLE {t} RENAME COLUMN studio.founded TO since",
        "ALTER TABLE {t} ALTER COLUMN studio.since TYPE BIGINT",
        "ALTER TABLE {t} RENAME COLUMN genre TO kind",
        "ALTER TABLE {t} ALTER COLUMN gross FIRST",
    )
    model.add("studio.country")
    model.rename("studio.founded", "since")
    model.rename("genre", "kind")
    model.move("gross")
    table.insert_by_spark(late(11, "a", date(2001, 9, 9)), late(12, None, None, studio=None))
    table.spark(
        "ALTER TABLE {t} ADD PARTITION FIELD months(released)",
        "ALTER TABLE {t} WRITE ORDERED BY votes DESC NULLS LAST, id",
    )
    model.repartition()
    table.insert_by_spark(
        late(13, "a", date(2001, 1, 30)),
        late(14, "b", date(2001, 2, 2), votes=None),
        late(15, "a", date(2001, 1, 1)),
    )
    table.spark("UPDATE {t} SET note = 'seen', rating = 9.5 WHERE id IN (5, 9, 11, 13)")
    model.update(lambda row: row["id"] in (5, 9, 11, 13), lambda _: {"note": "seen", "rating": 9.5})
    table.spark("ALTER TABLE {t} REPLACE PARTITION FIELD months(released) WITH years(released)")
    model.repartition()
    table.insert_by_spark(late(16, "c", date(2001, 7, 7)), late(17, "a", date(2006, 6, 6)))


@pytest.fixture(scope="module")
def by_berglake(by_spark: Told) -> Told:
    """What berglake did then."""
    told = by_spark.next()
    table, model = by_spark.table, by_spark.table.model
    table.insert(late(30, "a", date(2001, 7, 8)), late(31, "d", None, actors=[]))
    table.insert(late(32, "d", date(1999, 9, 9)), branch="audit")
    default = "x" if by_spark.version == 3 else None
    clause = f" DEFAULT '{default}'" if default else ""
    table.alter(f"ADD COLUMN seen STRING{clause}", "RENAME COLUMN note TO remark")
    model.add("seen", default)
    model.rename("note", "remark")
    overwritten = {**late(33, "c", date(2001, 7, 9)), "seen": "y"}
    overwritten["remark"] = overwritten.pop("note")
    table.berglake(
        f"INSERT OVERWRITE {table.name} PARTITION (kind = 'c') "
        + values([without(overwritten, "kind")], "make_array")
    )
    model.overwrite(lambda row: row["kind"] == "c", [overwritten])
    table.alter("CREATE TAG ours", "WRITE ORDERED BY id")
    model.tag("ours")
    report = by_spark.changes.apply(
        table,
        "kind, years(released)",
        change(1, "a", 12, date(2001, 1, 31)),
        change(3, None, 32, None),
        change(10, "d", VOTES + 1, date(2003, 3, 3)),
        change(13, "a", 131, date(2001, 1, 30)),
        change(14, "b", 0, date(2001, 2, 2)),
        change(17, "a", 1, date(2006, 6, 6)),
        change(40, None, 40, None),
    )
    assert (report["rows_updated"], report["rows_inserted"], report["rows_superseded"]) == (5, 1, 1)
    return told


@pytest.fixture(scope="module")
def by_spark_again(by_berglake: Told) -> Told:
    """And what Spark and berglake did to each other's rows."""
    told = by_berglake.next()
    table, model = by_berglake.table, by_berglake.table.model
    table.spark("UPDATE {t} SET votes = 0, kind = 'e' WHERE id IN (1, 11, 30, 33, 40)")
    model.update(lambda row: row["id"] in (1, 11, 30, 33, 40), lambda _: {"votes": 0, "kind": "e"})
    table.spark(
        "MERGE INTO {t} t USING (SELECT * FROM VALUES (13, 1), (31, 0), (50, 1) AS s(id, keep)) s "
        "ON t.id = s.id WHEN MATCHED AND s.keep = 0 THEN DELETE "
        "WHEN MATCHED THEN UPDATE SET t.remark = 'merged' "
        "WHEN NOT MATCHED THEN INSERT (id, seen) VALUES (s.id, 'z')"
    )
    model.update(
        lambda row: row["id"] == 13,
        lambda _: {"remark": "merged"},
        gone=lambda row: row["id"] == 31,
        inserted=[{"id": 50, "seen": "z"}],
    )
    table.spark("DELETE FROM {t}.branch_audit WHERE id = 32")
    model.delete(lambda row: row["id"] == 32, "audit")
    by_berglake.changes.apply(
        table,
        "kind, years(released)",
        change(1, "a", 1, date(2001, 1, 31)),
        change(13, "a", 132, None),
        change(15, "a", 151, None),
        change(33, "f", 1, None),
        change(50, "f", 1, None),
    )
    return told


# What Spark did is read


def test_the_story_went_through_what_it_is_about(by_spark: Told) -> None:
    """Otherwise equal rows prove nothing."""
    table = by_spark.table
    rows = table.lake.project.rows
    assert table.loaded().format_version == by_spark.version
    assert len(rows(f"SELECT DISTINCT spec_id FROM {table.name}.data_files")) == 3
    deletes = rows(f"SELECT DISTINCT spec_id, file_format FROM {table.name}.all_delete_files")
    if by_spark.mode == "copy-on-write":
        assert deletes == []
    else:
        form = "PUFFIN" if by_spark.version == 3 else "PARQUET"
        assert {row["file_format"] for row in deletes} == {form}
        assert len({row["spec_id"] for row in deletes}) >= 2


@pytest.mark.parametrize("engine", ENGINES)
def test_what_spark_wrote_is_read_in_every_state(by_spark: Told, engine: str) -> None:
    by_spark.table.check_all(engine)


# It is written further


@pytest.mark.parametrize("engine", ENGINES)
def test_what_berglake_wrote_after_spark_is_read_in_every_state(
    by_berglake: Told, engine: str
) -> None:
    by_berglake.table.check_all(engine, by_berglake.since)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_both_changed_of_each_other_is_read_in_every_state(
    by_spark_again: Told, engine: str
) -> None:
    by_spark_again.table.check_all(engine, by_spark_again.since)


def metadata_of(table: Table, engine: str, name: str) -> list[tuple]:
    source = f"{table.name}.{name}"
    query = "SELECT {} FROM {}"
    if engine == "spark":
        rows = table.lake.rows_of_spark(query.format(METADATA[name], f"{NAME}.{source}"))
    else:
        rows = table.lake.project.rows(query.format(METADATA[name], source))
    found = sorted((tuple(row.values()) for row in rows), key=repr)
    # Of a file that several manifests list, Spark has a row for each.
    return sorted(set(found), key=repr) if name.startswith("all_") else found


@pytest.mark.parametrize("name", METADATA)
def test_spark_and_berglake_say_the_same_of_the_metadata(by_spark_again: Told, name: str) -> None:
    ours, theirs = (
        metadata_of(by_spark_again.table, engine, name) for engine in ("berglake", "spark")
    )
    assert ours == theirs
    assert ours


def test_spark_and_berglake_count_the_same_in_partitions(by_spark_again: Told) -> None:
    """Spark has a row for each partitioning that left files under the same values, berglake and PyIceberg
    one for all of them: what is counted is the same."""
    counts = (
        "record_count", "file_count", "total_data_file_size_in_bytes",
        "position_delete_record_count", "position_delete_file_count",
        "equality_delete_record_count", "equality_delete_file_count",
    )  # fmt: skip
    columns = ", ".join(f"sum({name}) AS {name}" for name in counts)
    query = f"SELECT partition, {columns} FROM {{}}.partitions GROUP BY partition"
    table = by_spark_again.table
    compare(
        table.lake.project.rows(query.format(table.name)),
        table.lake.rows_of_spark(query.format(f"{NAME}.{table.name}")),
    )


Lineage = dict[int, tuple[int, int]]


def lineage(table: Table, branch: str = "main") -> Lineage:
    """Of each row by its id: `_row_id` and `_last_updated_sequence_number`, as Spark says and DuckDB too.
    Checked row by row against what berglake says of the files and what is in them."""
    table.flush()
    source = f"{NAME}.{table.name}" + ("" if branch == "main" else f".branch_{branch}")
    rows = table.lake.rows_of_spark(
        f"SELECT id, _file, _pos, _row_id, _last_updated_sequence_number AS updated FROM {source}"
    )
    version = f" FOR VERSION AS OF '{branch}'"
    entries = table.lake.project.rows(
        "SELECT data_file.file_path AS path, sequence_number, data_file.first_row_id AS first "
        f"FROM {table.name}.entries{version} WHERE status < 2 AND data_file.content = 0"
    )
    of_file = {entry["path"]: entry for entry in entries}
    kept: dict[str, list[Row]] = {}
    found = {}
    for row in rows:
        path, entry = row["_file"], of_file[row["_file"]]
        if path not in kept:
            kept[path] = own_lineage(path)
        own = kept[path][row["_pos"]]
        assert own["id"] == row["id"]
        row_id = entry["first"] + row["_pos"] if own["row_id"] is None else own["row_id"]
        updated = entry["sequence_number"] if own["updated"] is None else own["updated"]
        assert (row["_row_id"], row["updated"]) == (row_id, updated)
        found[row["id"]] = (row_id, updated)
    ids = [row_id for row_id, _ in found.values()]
    assert len(ids) == len(set(ids)) == len(rows) > 0
    if branch == "main":
        query = f"SELECT id, _row_id, _last_updated_sequence_number FROM {source}"
        cells = table.lake.duck.execute(query).fetchall()
        assert {id: (row_id, updated) for id, row_id, updated in cells} == found
    return found


def own_lineage(path: str) -> list[Row]:
    """What a file itself says of its rows; NULL is what its entry says of all of them."""
    with pq.ParquetFile(path.removeprefix("file://")) as parquet:
        file = parquet.read()
    names = {int(field.metadata[b"PARQUET:field_id"]): field.name for field in file.schema}
    columns = {"id": names[1], "row_id": names.get(ROW_ID), "updated": names.get(LAST_UPDATED)}
    nothing = [None] * file.num_rows
    cells = {
        name: file.column(column).to_pylist() if column else nothing
        for name, column in columns.items()
    }
    return [dict(zip(cells, row, strict=True)) for row in zip(*cells.values(), strict=True)]


def sequence_number(table: Table) -> int:
    return table.loaded().metadata.last_sequence_number


def test_rows_keep_their_ids_whoever_writes(by_spark_again: Told) -> None:
    table, model = by_spark_again.table, by_spark_again.table.model
    if by_spark_again.version < 3:
        table.check_head("spark")
        return
    lineage(table, "audit")
    before = lineage(table)

    # Rows that come are new, and nothing becomes of the others.
    next_row_id = table.loaded().metadata.next_row_id
    row = {**without(late(60, "a", date(2001, 1, 2)), "note"), "seen": None}
    table.insert(row, {**row, "id": 61})
    after = lineage(table)
    number = sequence_number(table)
    assert {id: after[id] for id in before} == before
    assert {after[id] for id in (60, 61)} == {(next_row_id, number), (next_row_id + 1, number)}

    # Spark's UPDATE of a row of berglake's: the same row, changed now.
    table.spark("UPDATE {t} SET votes = 7 WHERE id = 60")
    model.update(lambda row: row["id"] == 60, lambda _: {"votes": 7})
    updated = lineage(table)
    assert updated[60] == (after[60][0], sequence_number(table)) != after[60]
    assert {**updated, 60: after[60]} == after

    # A row that is upserted is a new one.
    by_spark_again.changes.apply(table, "kind, years(released)", change(60, "a", 8, None))
    upserted = lineage(table)
    assert upserted[60][0] > max(row_id for row_id, _ in updated.values())
    assert upserted[60][1] == sequence_number(table)
    assert {**upserted, 60: updated[60]} == updated
    table.check_head("spark")


def test_a_compacted_table_is_the_same_to_spark(by_spark_again: Told) -> None:
    table, model = by_spark_again.table, by_spark_again.table.model
    before = lineage(table) if by_spark_again.version == 3 else None
    since = len(model.states)
    done = table.lake.project.call(
        "maintain", "run", "--table", table.name, "--operation", "compact",
        "--option", "rewrite-all=true", "--option", "partial-progress.enabled=false",
        "--output", "json",
    )  # fmt: skip
    (report,) = json.loads(done.stdout)["tables"]
    groups = report["compact"]["done"]["groups"]
    assert groups and all(group["outcome"] == "committed" for group in groups)
    for _ in range(len(table.loaded().metadata.snapshots) - since):
        model.rewritten()
    assert model.states[-1].branch == "main"
    left = table.lake.project.rows(
        f"SELECT (SELECT count(*) FROM {table.name}.delete_files) AS deletes, "
        f"(SELECT count(DISTINCT spec_id) FROM {table.name}.data_files) AS specs"
    )
    assert left == [{"deletes": 0, "specs": 1}]
    for engine in ENGINES:
        table.check_all(engine, since)
    if before is not None:
        assert lineage(table) == before

    table.spark("UPDATE {t} SET votes = votes + 1 WHERE votes IS NOT NULL")
    model.update(lambda row: row["votes"] is not None, lambda row: {"votes": row["votes"] + 1})
    for engine in ENGINES:
        table.check_head(engine)
    if before is not None:
        after = lineage(table)
        assert {id: row_id for id, (row_id, _) in after.items()} == {
            id: row_id for id, (row_id, _) in before.items()
        }


@pytest.mark.parametrize("name", ["Major Genre", "größe"])
@pytest.mark.parametrize("version", [2, 3])
def test_partition_fields_have_names_of_any_letters(lake: Lake, version: int, name: str) -> None:
    """Avro takes letters, digits and underscores in the names of its fields; manifests are Avro."""
    model = Model("id", "genre", "size")
    kind = "ascii" if name.isascii() else "other"
    table = Table(lake, f"foreign.names_{kind}_{version}", model)
    table.spark(
        "CREATE TABLE {t} (id BIGINT, genre STRING, size INT) USING iceberg "
        f"TBLPROPERTIES ('format-version' = '{version}', 'write.delete.mode' = 'merge-on-read')",
        f"ALTER TABLE {{t}} ADD PARTITION FIELD genre AS `{name}`",
        "ALTER TABLE {t} ADD PARTITION FIELD truncate(10, size) AS `size, in 10`",
        "ALTER TABLE {t} ADD PARTITION FIELD bucket(2, id) AS `2.nd`",
    )
    rows = [{"id": i, "genre": f"g {i % 3}", "size": i * 7} for i in range(12)]
    table.insert_by_spark(*rows[:6])
    table.insert(*rows[6:])
    table.alter('DROP PARTITION FIELD "size, in 10"')
    table.spark("DELETE FROM {t} WHERE id IN (1, 8)")
    model.delete(lambda row: row["id"] in {1, 8})
    # DuckDB 1.5.5 ends its process at a name that is not ASCII, whoever wrote the table.
    readers = [engine for engine in ENGINES if name.isascii() or engine != "duckdb"]
    for engine in readers:
        table.check_head(engine)
