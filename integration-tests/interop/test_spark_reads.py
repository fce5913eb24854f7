"""Tables that berglake made, evolved and branched, read at every snapshot by four engines: rows as they are
computed in Python alone. Then Spark writes on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from films import COLUMNS, NAMES, VOTES, WIDE, change, film, late_film, without, year
from lake import ENGINES, Changes, Lake, Table, compare
from model import Model, Row, literal, values
from servers import RestServer

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture(scope="module")
def lake(
    rest_on_files: RestServer,
    spark_session: SparkSession,
    tmp_path_factory: pytest.TempPathFactory,
) -> Lake:
    lake = Lake.on(tmp_path_factory.mktemp("evolved"), rest_on_files, spark_session)
    lake.berglake("CREATE NAMESPACE evolved")
    return lake


@dataclasses.dataclass(frozen=True)
class Told:
    """A table with its story behind it."""

    table: Table
    story: str


@pytest.fixture(scope="module", params=["2", "3", "upgraded"])
def told(request: pytest.FixtureRequest, lake: Lake) -> Told:
    """Always of format version 2, always of 3, or first of 2 and then of 3."""
    story = request.param
    first, then = {"2": (2, 2), "3": (3, 3), "upgraded": (2, 3)}[story]
    table = Table(lake, f"evolved.films_{story}", Model(*NAMES))
    changes = Changes(lake, f"evolved.changes_{story}")
    table.berglake(
        f"CREATE TABLE {table.name} ({COLUMNS}) PARTITIONED BY (genre) "
        f"TBLPROPERTIES ('format-version' = '{first}')"
    )
    table.insert(
        film(1, "a", date(2001, 1, 31)),
        film(2, "b", date(2001, 2, 1)),
        film(3, None, None, studio=None, actors=None),
        film(4, "a", date(1969, 12, 31), actors=[], votes=None),
    )
    change_columns(table, first)
    change_partitions(table)

    # Rows of three partitionings are replaced; one comes too late.
    report = changes.apply(
        table,
        "kind, years(released)",
        change(1, "c", VOTES + 1, date(2004, 1, 1)),
        change(2, "a", 1, None),
        change(5, None, 51, None),
        change(11, "a", 111, date(2001, 1, 30)),
        change(13, "a", 131, date(1999, 12, 31)),
        change(40, "b", 40, date(2001, 4, 4)),
    )
    assert (report["rows_updated"], report["rows_inserted"], report["rows_superseded"]) == (4, 1, 1)

    if then != first:
        table.alter(f"SET TBLPROPERTIES ('format-version' = '{then}')")
    # A column of an old name is a new one, and columns change places.
    add(table, then, "slogan", "INT", 7)
    table.alter("ALTER COLUMN gross FIRST, ALTER COLUMN votes AFTER actors")
    table.model.move("gross")
    table.model.move("votes", after="actors")
    table.insert(late_film(15, "b", date(2001, 5, 5)), late_film(16, "a", None, slogan=None))
    overwrite(table)
    table.alter("DROP PARTITION FIELD kind")
    table.model.repartition()
    rows = [late_film(20, "a", date(2001, 8, 8)), late_film(21, "b", date(2001, 8, 8), slogan=None)]
    table.insert(*rows)
    branch_and_roll_back(table)
    changes.apply(
        table,
        "years(released)",
        change(4, "a", 5, date(1969, 12, 31)),
        change(6, "c", 61, date(2001, 1, 2)),
        change(11, "a", 112, date(2001, 1, 30)),
        change(14, "c", 142, None),
        change(16, "a", 161, None),
        change(20, None, 201, date(2001, 8, 9)),
        change(41, "e", 41, date(2007, 7, 7)),
    )
    return Told(table, story)


def add(
    table: Table, version: int, name: str, of: str, default: Any, after: str | None = None
) -> None:
    """Adds a column, with a default where the format has such."""
    place = f" AFTER {after}" if after else ""
    if version < 3:
        default = None
    clause = "" if default is None else f" DEFAULT {literal(default)}"
    table.alter(f"ADD COLUMN {name} {of}{clause}{place}")
    table.model.add(name, default, after)


def change_columns(table: Table, version: int) -> None:
    """Columns come and go, become wider, get other names, inside of a struct too, with rows in between."""
    model = table.model
    add(table, version, "note", "STRING", "none", after="id")
    table.alter("DROP COLUMN slogan")
    model.drop("slogan")
    rows = [film(5, "a", date(2002, 5, 5)), film(6, "c", date(2004, 1, 1))]
    table.insert(*({**without(row, "slogan"), "note": "given"} for row in rows))

    table.alter("ALTER COLUMN votes TYPE BIGINT, ALTER COLUMN rating TYPE DOUBLE")
    table.alter("ALTER COLUMN gross TYPE DECIMAL(12, 2)")
    rows = [film(7, "a", date(2003, 3, 3), **WIDE), film(8, "b", None, **WIDE)]
    table.insert(*(without(row, "slogan") for row in rows))

    # The column of the partitions among them.
    table.alter("ADD COLUMN studio.country STRING", "RENAME COLUMN studio.founded TO since")
    table.alter("ALTER COLUMN studio.since TYPE BIGINT", "RENAME COLUMN genre TO kind")
    model.add("studio.country")
    model.rename("studio.founded", "since")
    model.rename("genre", "kind")
    rows = [late_film(9, "a", date(2001, 9, 9)), late_film(10, None, None, studio=None)]
    table.insert(*(without(row, "slogan") for row in rows))


def change_partitions(table: Table) -> None:
    table.alter("ADD PARTITION FIELD months(released)")
    table.model.repartition()
    rows = [late_film(11, "a", date(2001, 1, 30)), late_film(12, "b", date(2001, 2, 2))]
    table.insert(*(without(row, "slogan") for row in rows))
    table.alter("REPLACE PARTITION FIELD months(released) WITH years(released)")
    table.model.repartition()
    rows = [late_film(13, "a", date(2001, 3, 30)), late_film(14, "c", date(2002, 2, 28))]
    table.insert(*(without(row, "slogan") for row in rows))


def overwrite(table: Table) -> None:
    """All of one kind, in each partitioning; then what is in two partitions of the newest one."""
    rows = [late_film(17, "b", date(2005, 1, 1))]
    table.berglake(
        f"INSERT OVERWRITE {table.name} PARTITION (kind = 'b') "
        + values([without(row, "kind") for row in rows], "make_array")
    )
    table.model.overwrite(lambda row: row["kind"] == "b", rows)
    rows = [late_film(18, "a", date(1999, 7, 7)), late_film(19, "c", date(2004, 7, 7))]
    table.berglake(
        "SET berglake.partition_overwrite_mode = dynamic",
        f"INSERT OVERWRITE {table.name} {values(rows, 'make_array')}",
        "SET berglake.partition_overwrite_mode = static",
    )
    table.model.replace_partitions(lambda row: (row["kind"], year(row)), rows)


def branch_and_roll_back(table: Table) -> None:
    """A tag, a branch with a row of its own, a column that both do not have, and what is undone."""
    model = table.model
    table.alter("CREATE TAG released RETAIN 365 DAYS", "CREATE BRANCH audit")
    model.tag("released")
    model.branch("audit")
    table.insert(late_film(22, "d", date(2006, 6, 6)), branch="audit")
    table.alter("ADD COLUMN seen DATE")
    model.add("seen")
    table.insert({**late_film(23, "d", date(2006, 6, 7)), "seen": date(2026, 1, 31)})
    before = model.states[-1]
    table.insert({**late_film(666, "e", None), "seen": None})
    undone_to = table.snapshots()[-2]
    table.berglake(f"CALL system.rollback_to_snapshot('{table.name}', {undone_to})")
    model.roll_back(before)


def test_the_story_went_through_what_it_is_about(told: Told) -> None:
    """Otherwise equal rows prove nothing."""
    table = told.table
    rows = table.lake.project.rows
    assert table.loaded().format_version == (2 if told.story == "2" else 3)
    specs = rows(f"SELECT DISTINCT spec_id FROM {table.name}.data_files")
    assert len(specs) == 4
    deletes = rows(f"SELECT DISTINCT spec_id, file_format FROM {table.name}.delete_files")
    assert len({row["spec_id"] for row in deletes}) >= 3
    forms = {"2": {"PARQUET"}, "3": {"PUFFIN"}, "upgraded": {"PARQUET", "PUFFIN"}}
    assert {row["file_format"] for row in deletes} == forms[told.story]
    schemas = {snapshot.schema_id for snapshot in table.loaded().metadata.snapshots}
    assert len(schemas) >= 5


@pytest.mark.parametrize("engine", ENGINES)
def test_the_head_is_read(told: Told, engine: str) -> None:
    told.table.check_head(engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_snapshot_is_read_with_the_columns_of_its_time(told: Told, engine: str) -> None:
    told.table.check_snapshots(engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_branch_is_read_with_the_columns_of_today(told: Told, engine: str) -> None:
    told.table.check_branch(engine, "audit")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_tag_is_read_with_the_columns_of_its_time(told: Told, engine: str) -> None:
    told.table.check_tag(engine, "released")


FILTERS: dict[str, Callable[[Row], bool]] = {
    "kind = 'a'": lambda row: row["kind"] == "a",
    "kind IS NULL": lambda row: row["kind"] is None,
    "released >= '2001-02-01' AND released < '2004-01-02'": lambda row: (
        row["released"] is not None and date(2001, 2, 1) <= row["released"] < date(2004, 1, 2)
    ),
    "released IS NULL": lambda row: row["released"] is None,
    "votes > 4000000000": lambda row: (row["votes"] or 0) > 4_000_000_000,
    "rating < 1.3": lambda row: row["rating"] is not None and row["rating"] < 1.3,
    "gross >= 1.25 AND gross < 20": lambda row: (
        row["gross"] is not None and Decimal("1.25") <= row["gross"] < 20
    ),
    "note = 'none'": lambda row: row["note"] == "none",
    "note IS NULL": lambda row: row["note"] is None,
    "slogan = 7": lambda row: row["slogan"] == 7,
    "slogan IS NULL": lambda row: row["slogan"] is None,
    "studio.country = 'fr'": lambda row: bool(row["studio"]) and row["studio"]["country"] == "fr",
    "studio.since < 2000": lambda row: bool(row["studio"]) and row["studio"]["since"] < 2000,
    "seen IS NOT NULL": lambda row: row["seen"] is not None,
}


# What nobody has: version 2 has no defaults, and where a column has one no row is without it.
FOUND_NOWHERE = {
    "2": ["note = 'none'", "slogan = 7"],
    "3": ["note IS NULL"],
    "upgraded": ["note = 'none'"],
}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_filter_finds_rows_of_all_partitionings(told: Told, engine: str) -> None:
    rows = told.table.model.shown()
    for condition, matches in FILTERS.items():
        found = told.table.lake.read(engine, told.table.name, where=condition)
        if condition in FOUND_NOWHERE[told.story]:
            assert found == [], condition
        else:
            compare(found, [row for row in rows if matches(row)])


def test_spark_writes_on(told: Told) -> None:
    """Copy-on-write, which is what it does unless told otherwise, and merge-on-read."""
    table, model = told.table, told.table.model
    since = len(model.states)
    table.spark("UPDATE {t} SET rating = 9.5, note = 'seen' WHERE id IN (3, 6, 7, 20)")
    model.update(lambda row: row["id"] in (3, 6, 7, 20), lambda _: {"rating": 9.5, "note": "seen"})
    modes = ", ".join(
        f"'write.{kind}.mode' = 'merge-on-read'" for kind in ("update", "delete", "merge")
    )
    table.spark(f"ALTER TABLE {{t}} SET TBLPROPERTIES ({modes})")
    table.spark("UPDATE {t} SET kind = 'z' WHERE id IN (4, 9, 18)")
    model.update(lambda row: row["id"] in (4, 9, 18), lambda _: {"kind": "z"})
    table.spark("DELETE FROM {t} WHERE released IS NULL")
    model.delete(lambda row: row["released"] is None)
    table.spark("DELETE FROM {t}.branch_audit WHERE id IN (9, 22)")
    model.delete(lambda row: row["id"] in (9, 22), "audit")
    # Columns that are left out have their defaults.
    row = {**late_film(50, "z", date(2008, 8, 8)), "seen": None}
    table.insert_by_spark(row)
    table.insert_by_spark(without({**row, "id": 51}, "note", "slogan"))
    for engine in ("berglake", "spark"):
        table.check_all(engine, since)
