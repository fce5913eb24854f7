"""Compacted and expired tables are to other engines what they were before."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyiceberg.catalog import Catalog

import movies
from movies import assert_same
from project import Project, duckdb_with_iceberg
from test_foreign_writes import append_a_film

TABLES = [*movies.TABLES, "bronze.movies_errors"]
# Everything is too old at once, so that what stays is needed for something else.
RETENTION = {
    f"BERGLAKE_LAYERS__{layer}__HISTORY_EXPIRE_MAX_SNAPSHOT_AGE_MS": "0"
    for layer in ("BRONZE", "SILVER", "GOLD")
}


@dataclasses.dataclass(frozen=True)
class Maintained:
    project: Project
    before: dict[str, list[dict[str, Any]]]
    rows_of_tag: list[dict[str, Any]]
    report: dict[str, Any]

    @property
    def catalog(self) -> Catalog:
        return self.project.catalog()


@pytest.fixture(scope="module", params=[2, 3])
def maintained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Maintained:
    folder = tmp_path_factory.mktemp(f"maintenance-{request.param}") / "project"
    project = Project.local(folder)
    environment = {**RETENTION, "BERGLAKE_DEFAULTS__FORMAT_VERSION": str(request.param)}
    project = dataclasses.replace(project, environment=environment)
    project.run()
    silver = project.catalog().load_table("silver.movies_clean")
    if request.param == 2:
        # PyIceberg reads version 3 and does not write it.
        append_a_film(project)
        tag = silver.manage_snapshots()
        tag.create_tag(silver.current_snapshot().snapshot_id, "first").commit()
    rows_of_tag = project.rows("SELECT * FROM silver.movies_clean")
    project.deliver(movies.CORRECTIONS)
    project.run()
    before = {table: project.rows(f"SELECT * FROM {table}") for table in TABLES}
    arguments = ("maintain", "run", "--option", "rewrite-all=true", "--output", "json")
    report = json.loads(project.call(*arguments).stdout)
    return Maintained(project, before, rows_of_tag, report)


def test_files_were_rewritten_and_snapshots_are_gone(maintained: Maintained) -> None:
    by_name = {table["table"]: table for table in maintained.report["tables"]}
    assert set(by_name) == set(TABLES)
    for table in by_name.values():
        groups = table["compact"]["done"]["groups"]
        assert groups and all(group["outcome"] == "committed" for group in groups)
        assert table["expire"]["done"]["files_left"] == 0
    expired = [table["expire"]["done"]["expired"] for table in by_name.values()]
    assert all(expired)
    deletes = maintained.project.rows(
        'SELECT count(*) AS n FROM silver."movies_clean$files" WHERE content <> 0'
    )
    assert deletes == [{"n": 0}]


@pytest.mark.parametrize("table", TABLES)
def test_pyiceberg_reads_what_was_there_before(maintained: Maintained, table: str) -> None:
    found = maintained.catalog.load_table(table).scan().to_arrow().to_pylist()
    assert_same(maintained.before[table], found)


@pytest.mark.parametrize("table", TABLES)
def test_duckdb_reads_what_was_there_before(
    maintained: Maintained, tmp_path_factory: pytest.TempPathFactory, table: str
) -> None:
    duck: duckdb.DuckDBPyConnection = duckdb_with_iceberg(tmp_path_factory.mktemp("duck"), None)
    location = maintained.catalog.load_table(table).metadata_location
    found = duck.execute("SELECT * FROM iceberg_scan(?)", [location]).to_arrow_table().to_pylist()
    assert_same(maintained.before[table], found)


def test_a_tag_of_pyiceberg_still_holds_what_it_held(maintained: Maintained) -> None:
    silver = maintained.catalog.load_table("silver.movies_clean")
    if silver.format_version != 2:
        assert "first" not in silver.refs()
        return
    tagged = silver.refs()["first"].snapshot_id
    found = silver.scan(snapshot_id=tagged).to_arrow().to_pylist()
    assert_same(maintained.rows_of_tag, found)


def test_every_file_that_is_left_is_needed(maintained: Maintained) -> None:
    """PyIceberg reads all that the tables reach; whatever else lies there would be an orphan."""
    for name in TABLES:
        table = maintained.catalog.load_table(name)
        reached: set[str] = set()
        for snapshot in table.snapshots():
            reached.add(snapshot.manifest_list)
            for manifest in snapshot.manifests(table.io):
                reached.add(manifest.manifest_path)
                entries = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
                reached.update(entry.data_file.file_path for entry in entries)
        folder = Path(table.location().removeprefix("file://"))
        there = {
            str(path)
            for path in folder.rglob("*")
            if path.is_file() and not path.name.endswith(".metadata.json")
        }
        assert there == {path.removeprefix("file://") for path in reached}, name


def test_flows_go_on(maintained: Maintained) -> None:
    report = maintained.project.run()
    assert all(flow["status"] in ("updated", "up-to-date") for flow in report["flows"])
    for table in movies.TABLES:
        assert_same(
            maintained.before[table],
            maintained.project.rows(f"SELECT * FROM {table}"),
            digits=9,
        )
