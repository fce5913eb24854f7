"""The movies project through the eyes of other engines, and against an independent computation.

`life` is a project after its first run, an idle run and a run on the corrections; the snapshots of
each stage are known, so that the tests can read any of them in any order.
"""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timezone
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog

import movies
from conftest import Life, Stage
from movies import assert_same

SOURCE_PLACE = {"source_file", "source_row", "ingested_at"}


@pytest.fixture(scope="session")
def catalog(life: Life) -> Catalog:
    return life.project.catalog()


def scan(catalog: Catalog, table: str, snapshot_id: int | None = None) -> list[movies.Row]:
    return catalog.load_table(table).scan(snapshot_id=snapshot_id).to_arrow().to_pylist()


def keyed(rows: list[movies.Row]) -> dict[movies.Key, movies.Row]:
    films = {(row["title"], row["release_date"]): row for row in rows}
    assert len(films) == len(rows), "a key occurs twice"
    return films


def test_pyiceberg_lists_the_tables_of_every_layer(catalog: Catalog) -> None:
    assert {name for (name,) in catalog.list_namespaces()} == {"bronze", "silver", "gold"}
    found = {
        ".".join(t) for layer in ("bronze", "silver", "gold") for t in catalog.list_tables(layer)
    }
    assert found == {*movies.TABLES, "bronze.movies_errors"}


@pytest.mark.parametrize("table", [*movies.TABLES, "bronze.movies_errors"])
def test_pyiceberg_reads_what_berglake_sql_reads(life: Life, catalog: Catalog, table: str) -> None:
    assert_same(life.project.rows(f"SELECT * FROM {table}"), scan(catalog, table))


@pytest.mark.parametrize("table", movies.TABLES)
def test_pyiceberg_reads_the_first_snapshot_as_berglake_sql_does(
    life: Life, catalog: Catalog, table: str
) -> None:
    snapshot_id = life.first.snapshot_ids[table]
    assert_same(
        life.project.rows(f"SELECT * FROM {table} FOR VERSION AS OF {snapshot_id}"),
        scan(catalog, table, snapshot_id),
    )


@pytest.mark.parametrize("table", movies.TABLES)
def test_duckdb_reads_what_berglake_sql_reads(
    life: Life, duck: duckdb.DuckDBPyConnection, table: str
) -> None:
    location = life.corrected.metadata_locations[table]
    found = duck.execute("SELECT * FROM iceberg_scan(?)", [location]).to_arrow_table()
    assert_same(life.project.rows(f"SELECT * FROM {table}"), found.to_pylist())


def test_bronze_holds_every_record_as_it_came(
    life: Life, catalog: Catalog, deliveries: list[movies.Delivery]
) -> None:
    rows = scan(catalog, "bronze.movies_raw")
    records = [{k: v for k, v in row.items() if k not in SOURCE_PLACE} for row in rows]
    assert_same(records, movies.bronze(deliveries))

    places = Counter((row["source_file"], row["source_row"]) for row in rows)
    assert set(places.values()) == {1}, "two records claim the same place in a source file"
    per_file = Counter(row["source_file"].rsplit("/", 1)[-1] for row in rows)
    assert per_file == {movies.MOVIES.name: 3201, movies.CORRECTIONS.name: 10}


def test_a_line_that_is_cut_off_is_one_dead_letter_with_its_bytes(
    catalog: Catalog, deliveries: list[movies.Delivery]
) -> None:
    rows = scan(catalog, "bronze.movies_errors")
    assert len(rows) == sum(delivery.dead_letters for delivery in deliveries) == 1
    (line,) = [
        line for line in movies.CORRECTIONS.read_bytes().splitlines() if b"Tron: Legacy" in line
    ]
    assert rows[0]["raw"].rstrip(b"\r\n") == line
    assert rows[0]["error_type"] == "malformed"
    assert rows[0]["error_message"]
    assert rows[0]["file"].endswith(movies.CORRECTIONS.name)


@pytest.mark.parametrize("stage", ["first", "corrected"])
def test_silver_equals_an_independent_computation(
    life: Life, catalog: Catalog, deliveries: list[movies.Delivery], stage: str
) -> None:
    seen = deliveries[:1] if stage == "first" else deliveries
    snapshot_id = getattr(life, stage).snapshot_ids["silver.movies_clean"]
    assert_same(
        scan(catalog, "silver.movies_clean", snapshot_id),
        movies.silver(seen).values(),
    )


@pytest.mark.parametrize("stage", ["first", "corrected"])
def test_gold_equals_an_independent_computation(
    life: Life, catalog: Catalog, deliveries: list[movies.Delivery], stage: str
) -> None:
    films = list(movies.silver(deliveries[:1] if stage == "first" else deliveries).values())
    snapshot_ids = getattr(life, stage).snapshot_ids
    for table, expected in (
        ("gold.movies_by_year_genre", movies.by_year_genre(films)),
        ("gold.top_movies", movies.top_movies(films)),
    ):
        assert_same(scan(catalog, table, snapshot_ids[table]), expected, digits=9)


def test_a_second_run_processes_no_row_and_commits_nothing(life: Life) -> None:
    flows = life.idle.report["flows"]
    assert len(flows) >= 4
    counts = ("rows_read", "rows_inserted", "rows_updated", "rows_deleted", "dead_letters")
    for flow in flows:
        assert flow["status"] == "up-to-date", flow
        assert [flow[count] for count in counts] == [0] * len(counts), flow
        assert flow["snapshot_id"] is None, flow
    assert life.idle.snapshot_ids == life.first.snapshot_ids
    assert life.idle.metadata_locations == life.first.metadata_locations


def test_the_report_of_a_run_counts_what_it_did(life: Life) -> None:
    def flow(stage: Stage, target: str) -> dict[str, Any]:
        (found,) = [flow for flow in stage.report["flows"] if flow["target"] == target]
        return found

    bronze, silver = (flow(life.first, t) for t in ("bronze.movies_raw", "silver.movies_clean"))
    assert (bronze["rows_read"], bronze["rows_inserted"], bronze["dead_letters"]) == (3201, 3201, 0)
    assert (silver["rows_read"], silver["rows_inserted"], silver["rows_updated"]) == (3201, 3200, 0)
    failed = {e["name"]: (e["action"], e["failed"]) for e in silver["expectations"]}
    assert failed["has_title"] == ("drop-row", 1)
    assert failed["rating_in_range"] == ("warn", 0)
    assert failed["sequence_is_set"] == ("fail-update", 0)

    bronze, silver = (flow(life.corrected, t) for t in ("bronze.movies_raw", "silver.movies_clean"))
    assert (bronze["rows_inserted"], bronze["dead_letters"]) == (10, 1)
    assert (silver["rows_read"], silver["rows_inserted"], silver["rows_updated"]) == (10, 1, 6)
    for stage in (life.first, life.corrected):
        for name in movies.TABLES:
            assert flow(stage, name)["snapshot_id"] == stage.snapshot_ids[name]


def test_corrections_change_exactly_the_expected_keys(life: Life, catalog: Catalog) -> None:
    table = "silver.movies_clean"
    before = keyed(scan(catalog, table, life.first.snapshot_ids[table]))
    after = keyed(scan(catalog, table))
    assert before.keys() <= after.keys()
    changed = {key for key, row in after.items() if before.get(key) != row}
    assert changed == movies.CHANGED_KEYS
    assert after.keys() - before.keys() == movies.NEW_KEYS


def test_time_travel_by_id_and_by_timestamp_shows_the_old_values(life: Life) -> None:
    project, table = life.project, "silver.movies_clean"
    film = "WHERE title = 'Inception'"
    assert project.rows(f"SELECT genre, revenue FROM {table} {film}") == [
        {"genre": "Action", "revenue": 825532764}
    ]
    old = [{"genre": "Thriller/Suspense", "revenue": 753830280}]
    snapshot_id = life.first.snapshot_ids[table]
    assert (
        project.rows(f"SELECT genre, revenue FROM {table} FOR VERSION AS OF {snapshot_id} {film}")
        == old
    )

    snapshots = project.catalog().load_table(table).snapshots()
    committed = next(s.timestamp_ms for s in snapshots if s.snapshot_id == snapshot_id)
    moment = datetime.fromtimestamp(committed / 1000, tz=timezone.utc).strftime(
        "%Y-%m-%d %H:%M:%S.%f"
    )
    assert (
        project.rows(
            f"SELECT genre, revenue FROM {table} FOR TIMESTAMP AS OF TIMESTAMP '{moment}' {film}"
        )
        == old
    )


def test_the_upsert_wrote_position_deletes_for_one_data_file_each(catalog: Catalog) -> None:
    table = catalog.load_table("silver.movies_clean")
    deletes = table.inspect.delete_files().to_pylist()
    # Six films were replaced; the seventh changed key is new.
    assert sum(file["record_count"] for file in deletes) == 6
    assert {file["content"] for file in deletes} == {1}, "position deletes, no equality deletes"
    assert table.format_version == 2


def test_tables_have_the_partitions_codec_and_file_size_of_the_project(catalog: Catalog) -> None:
    expected = {
        "bronze.movies_raw": [("ingested_at", "day")],
        "silver.movies_clean": [("release_date", "month"), ("genre", "identity")],
        "gold.movies_by_year_genre": [("year", "identity")],
        "gold.top_movies": [],
    }
    retention = {"bronze": 3, "silver": 7, "gold": 30}
    for name, fields in expected.items():
        table = catalog.load_table(name)
        schema, spec = table.schema(), table.spec()
        assert [
            (schema.find_column_name(field.source_id), str(field.transform))
            for field in spec.fields
        ] == fields
        assert table.properties["write.target-file-size-bytes"] == str(128 * 1024 * 1024)
        milliseconds = retention[name.split(".")[0]] * 24 * 60 * 60 * 1000
        assert table.properties["history.expire.max-snapshot-age-ms"] == str(milliseconds)
        # What the files say, not only the property.
        path = table.inspect.data_files().to_pylist()[0]["file_path"]
        with table.io.new_input(path).open() as file:
            footer = pq.ParquetFile(file).metadata
        assert footer.row_group(0).column(0).compression == "SNAPPY"


def test_a_filter_on_the_release_date_plans_only_the_files_of_those_months(
    life: Life, catalog: Catalog
) -> None:
    table = catalog.load_table("silver.movies_clean")
    condition = "release_date >= '2010-01-01' AND release_date < '2010-02-01'"
    all_files = len(list(table.scan().plan_files()))
    planned = list(table.scan(row_filter=condition).plan_files())
    assert 0 < len(planned) < all_files / 10
    rows = life.project.rows(
        "SELECT * FROM silver.movies_clean "
        "WHERE release_date >= DATE '2010-01-01' AND release_date < DATE '2010-02-01'"
    )
    assert_same(rows, table.scan(row_filter=condition).to_arrow().to_pylist())


def test_info_counts_rows_files_and_snapshots_as_pyiceberg_does(
    life: Life, catalog: Catalog
) -> None:
    tables = {table["name"]: table for table in life.project.info()["tables"]}
    for name in movies.TABLES:
        table = catalog.load_table(name)
        files = table.inspect.data_files().to_pylist()
        found = tables[name]
        assert found["latest_snapshot_id"] == table.current_snapshot().snapshot_id
        assert found["snapshots"] == len(table.snapshots())
        assert found["rows"] == table.scan().count()
        assert found["files"] == len(files)
        assert found["total_size"] == sum(file["file_size_in_bytes"] for file in files)


@pytest.mark.parametrize("name", movies.TABLES)
def test_metadata_tables_agree_with_pyiceberg_and_duckdb(
    life: Life, catalog: Catalog, duck: duckdb.DuckDBPyConnection, name: str
) -> None:
    table = catalog.load_table(name)
    namespace, short = name.split(".")

    def ours(kind: str, columns: str) -> list[movies.Row]:
        return life.project.rows(f'SELECT {columns} FROM {namespace}."{short}${kind}"')

    def theirs(inspected: Any, columns: str) -> list[movies.Row]:
        return inspected.select(columns.split(", ")).to_pylist()

    columns = "content, file_path, record_count, file_size_in_bytes, spec_id"
    assert_same(ours("files", columns), theirs(table.inspect.files(), columns))

    columns = "snapshot_id, parent_id, operation, manifest_list"
    assert_same(ours("snapshots", columns), theirs(table.inspect.snapshots(), columns))

    columns = "snapshot_id, parent_id, is_current_ancestor"
    assert_same(ours("history", columns), theirs(table.inspect.history(), columns))

    columns = "record_count, file_count, position_delete_file_count, equality_delete_file_count"
    assert_same(ours("partitions", columns), theirs(table.inspect.partitions(), columns))

    snapshots = duck.execute(
        "SELECT snapshot_id FROM iceberg_snapshots(?)", [table.metadata_location]
    ).fetchall()
    assert {id for (id,) in snapshots} == {
        s["snapshot_id"] for s in ours("snapshots", "snapshot_id")
    }


def test_json_output_is_one_object_a_line(life: Life) -> None:
    statement = "SELECT year, genre, movie_count FROM gold.movies_by_year_genre"
    lines = life.project.call("sql", "--output", "json", "-c", statement).stdout.splitlines()
    # A null may be left out of the object.
    rows = [
        {"year": None, "genre": None, "movie_count": None, **json.loads(line)} for line in lines
    ]
    assert_same(rows, life.project.rows(statement))


def test_no_secret_is_printed_or_stored(life: Life, catalog: Catalog) -> None:
    project = life.project
    secrets = [
        value
        for key, value in project.environment.items()
        if key.endswith(("SECRET_ACCESS_KEY", "TOKEN")) or "@" in value
    ]
    secrets += [uri.split("@")[0].rsplit(":", 1)[-1] for uri in secrets if "@" in uri]
    printed = b"".join(
        done.stdout + done.stderr
        for done in (
            project.call("config", "show"),
            project.call("info"),
            project.call("plan"),
            project.call("sql", "-c", "EXPLAIN SELECT * FROM gold.top_movies"),
        )
    ).decode()
    assert "warehouse" in printed
    stored = " ".join(catalog.load_table(name).metadata.model_dump_json() for name in movies.TABLES)
    for secret in secrets:
        assert secret not in printed
        assert secret not in stored
